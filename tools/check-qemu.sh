#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# A real guest on our volumes: Debian's Linux for s390x in QEMU, as installed, or in the one whose path is given. Fetches the guest once.
# Where FCTL_GATE is 1, as .ci/run sets it, what cannot run has failed.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet -p fctl-tools -p fctl-qemu
if ! guest=$(tools/guest-test/fetch.sh); then
    echo "not run: a guest in QEMU (its packages could not be fetched)"
    exit "${FCTL_GATE:-0}"
fi
qemu=${1:-qemu-system-s390x}
if ! command -v "$qemu" >/dev/null; then
    echo "not run: a guest in QEMU (no $qemu)"
    exit "${FCTL_GATE:-0}"
fi
"$qemu" --version | head -1
exec python3 -B tools/guest-test/check.py --fctl "${CARGO_TARGET_DIR:-target}/release/fctl" --guest "$guest" --qemu "$qemu" "${@:2}"
