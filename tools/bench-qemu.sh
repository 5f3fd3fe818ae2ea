#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Throughput in a guest, on our DASD and on virtio-blk-ccw: tools/bench-qemu.sh [--mode writethrough] [--qemu PROGRAM] …
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet -p fctl-tools -p fctl-qemu
guest=$(tools/guest-test/fetch.sh)
exec python3 -B tools/guest-test/bench.py --fctl "${CARGO_TARGET_DIR:-target}/release/fctl" --guest "$guest" "$@"
