#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# That fctl-ringabi needs neither the standard library nor an allocator: a program of nothing but `core` is made of it. That program has its own
# panic handler, so if the crate or anything behind it linked `std`, there would be two of them, and with `alloc` no allocator: either is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir "$place/src"
cat >"$place/Cargo.toml" <<TOML
[package]
name = "bare-guest"
version = "0.0.0"
edition = "2021"
[lib]
crate-type = ["staticlib"]
[dependencies]
fctl-ringabi = { path = "$top/ringabi" }
[profile.dev]
panic = "abort"
[workspace]
TOML
cat >"$place/src/lib.rs" <<'RUST'
#![no_std]
use core::ptr::NonNull;
use fctl_ringabi::{Descriptor, GuestPort, MappedWords, Operation};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Posts a clear, as a guest without an operating system would.
#[no_mangle]
pub unsafe extern "C" fn post(region: *mut u8, bytes: usize) -> bool {
    let Some(base) = NonNull::new(region.cast()) else { return false };
    let Ok(words) = (unsafe { MappedWords::new(base, bytes, ()) }) else { return false };
    let Ok(port) = GuestPort::open(words) else { return false };
    let (mut poster, mut reader) = port.split();
    let descriptor = Descriptor::new(Operation::Clear, fctl_ringabi::arch::SubsystemId::new(0, 1), 1);
    poster.post(&descriptor).is_ok() && reader.take().is_ok()
}
RUST
cp Cargo.lock "$place/"
(cd "$place" && CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$top/target}/no-std cargo build --quiet --offline)
echo "fctl-ringabi is linked into a program without std and without an allocator"
