#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The demo and the tests as an unprivileged user, with 64 KiB of lockable memory, and inside a mask of one CPU.
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
cp target/release/fctl "$place/"
# The test programs, as built for `cargo test`: run from a place that anybody may read.
cargo test --workspace --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json,sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("profile", {}).get("test") and message.get("executable") and message["manifest_path"].endswith("/dispatcher/Cargo.toml"):
        print(message["executable"])' | while read -r program; do cp "$program" "$place/"; done
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
