// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the guest with the system's C compiler (`CC`, or `cc`): no library, no start-up files, one flat image.

#[allow(dead_code, reason = "only the list of it is used here")]
#[path = "src/vmm/layout.rs"]
mod layout;

use std::path::{Path, PathBuf};
use std::process::Command;

const FLAGS: &[&str] = &[
    "-std=c11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-m64",
    "-ffreestanding",
    "-fbuiltin",
    "-nostdlib",
    "-static",
    "-fno-pie",
    "-no-pie",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
    "-fno-tree-loop-distribute-patterns",
    // Interrupts use the stack of whom they interrupt, and nobody saves the vector registers.
    "-mno-red-zone",
    "-mgeneral-regs-only",
    "-Wl,--build-id=none",
    "-Wl,--no-warn-rwx-segments",
];

fn main() {
    println!("cargo::rerun-if-env-changed=CC");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        return;
    }
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's folder"));
    let image = Path::new(&std::env::var("OUT_DIR").expect("cargo names a folder for what is built")).join("guest.bin");
    let (guest, headers) = (here.join("guest"), here.join("../../../ringabi/include"));
    for watched in [&guest, &headers] {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let script = guest.join("guest.ld");
    let status = Command::new(&compiler)
        .args(FLAGS)
        .args(layout::ALL.iter().map(|(name, value)| format!("-D{name}={value}")))
        .arg("-I")
        .arg(&headers)
        .arg(format!("-Wl,-T,{},--defsym=LOAD={:#x}", script.display(), layout::PROGRAM))
        .args(["boot.c", "guest.c", "jobs.c", "volume.c"].map(|source| guest.join(source)))
        .arg("-o")
        .arg(&image)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("the guest does not compile: {compiler} ended with {status}"),
        Err(error) => panic!("the guest needs a C compiler: {compiler}: {error} (set CC)"),
    }
}
