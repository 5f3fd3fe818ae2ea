#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The demo and the tests as an unprivileged user, with 64 KiB of lockable memory, and inside a mask of one CPU. Left out are the tests that need a
# compiler or KVM, and the measurements.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
    echo "already unprivileged (uid $(id -u)): only the limits are lowered"
    drop=()
else
    drop=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
target=${CARGO_TARGET_DIR:-target}
cp "$target/release/fctl" "$place/"
# The test programs, as built for `cargo test`: run from a place that anybody may read.
cargo test --workspace --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json,sys
crates = ("/ringabi/", "/dispatcher/", "/dispatcher/model/", "/tools/", "/tools/qemu/")
for line in sys.stdin:
    message = json.loads(line)
    if not message.get("profile", {}).get("test") or not message.get("executable"):
        continue
    if message["manifest_path"].endswith(tuple(crate + "Cargo.toml" for crate in crates)) and message["target"]["name"] not in ("c_guest", "c_vectors"):
        print(message["executable"])' | while read -r program; do cp "$program" "$place/"; done
# What the tests of the library in QEMU preload: they look for it where they are.
cp "$target/debug/deps/libfctl_qemu.so" "$place/"
chmod -R a+rwX "$place"
cpu=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
cd "$place"
limited() { (ulimit -l 64; HOME=$place TMPDIR=$place exec "${drop[@]}" taskset -c "$cpu" "$@"); }
echo "demo on CPU $cpu as uid $("${drop[@]}" id -u)"
limited ./fctl demo --seconds 4 | tail -n 12
for program in ./*-*; do
    printf '%s: ' "${program##*/}"
    limited "$program" --quiet 2>&1 | grep -E '^test result' || { echo FAILED; exit 1; }
done
