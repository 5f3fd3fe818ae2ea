#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The checks that are too slow, or need too much of the machine, for `cargo test`. Each says what it ran and what came out;
# what cannot run here says so by name, and has failed if FCTL_GATE is 1 and tools/setup-ci.sh installs what it needs (/dev/fuse and
# /dev/kvm are not its to give).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/target/tools/bin:$PATH"
bin=${CARGO_TARGET_DIR:-$PWD/target}/release
step() { printf '\n-- %s (%ss)\n' "$1" "$SECONDS"; }

step "C headers are what the code says"
tools/header.sh --check

step "at most 45 crates behind fctl-dispatcher, 5 behind fctl-ringabi"
tools/count-crates.sh fctl-dispatcher 45
tools/count-crates.sh fctl-ringabi 5

step "licences and sources of what stands behind, and the Rust version that it needs"
tools/check-dependencies.py

step "fctl-ringabi without std and without an allocator"
tools/check-no-std.sh

step "memory model: the shipped ring code, and each weakened variant of it"
tools/weaken.py

step "the rules of merging: each mutant is killed by the test that is named for it"
tools/mutants.py

step "halts and clears of reads in flight, ten thousand of them; each build that presents a status too soon is found"
tools/check-stops.sh

step "states × sequences × interleavings: the subchannel equals the model in all of them"
cargo test --release --quiet --package fctl-dispatcher --test model -- --nocapture --test-threads=1 exhaustive::

step "random comparison with the model, with new seeds"
tools/check-random.sh 60

step "a big-endian guest"
tools/check-big-endian.sh

step "release build"
cargo build --release --workspace --quiet

step "the demo"
"$bin/fctl" demo --seconds 4

step "each sabotage is found and named"
tools/check-sabotage.sh

step "the final image, checked from seed and block number alone"
volume=$(mktemp)
truncate -s 32M "$volume"
"$bin/fctl" demo --seconds 2 --volume "$volume" --seed 7 >/dev/null
tools/check_image.py "$volume" 7
rm -f "$volume"

step "system calls: enters per turn and per start, others per second"
tools/check-syscalls.sh

step "a guest under KVM: its ring against one exit each"
"$bin/fctl-kvm-example"

step "a stock s390x Linux in QEMU, on our volumes"
tools/check-qemu.sh

step "instruction counts: at most 5 % above the baselines of bench/instructions.toml"
tools/count-instructions.py

step "unprivileged, 64 KiB of locked memory, one CPU"
tools/check-unprivileged.sh

step "the bench table"
"$bin/fctl-bench" peers --quick
