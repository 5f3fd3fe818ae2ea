#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# A big-endian guest: C guests and the frozen vectors, built for s390x and run by an emulator of its instructions, on the same region
# as the dispatcher's end on this machine. First against scripted answers, then on a real dispatcher: channel I/O with results that are
# written out, and sequences of up to three instructions (two in `cargo test`) as the model of the subchannel has them. Where
# FCTL_GATE is 1, as .ci/run sets it, what cannot run has failed.
set -euo pipefail
cd "$(dirname "$0")/.."
runner=$(command -v qemu-s390x-static || command -v qemu-s390x || true)
if ! command -v s390x-linux-gnu-gcc >/dev/null || [ -z "$runner" ]; then
    echo "big-endian guest: not run (s390x-linux-gnu-gcc or qemu-s390x is missing; tools/setup-ci.sh installs them)"
    exit "${FCTL_GATE:-0}"
fi
export FCTL_CC="s390x-linux-gnu-gcc -static" FCTL_CC_RUNNER="$runner"
report() { grep -E '^(test |test result)|sequences='; }
cargo test -p fctl-ringabi --test c_guest --test c_vectors 2>&1 | report
FCTL_LONGEST_SEQUENCE=3 cargo test -p fctl-dispatcher --test c_guest -- --nocapture 2>&1 | report
