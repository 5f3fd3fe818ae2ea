#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes the C headers: ringabi/include/fctl_ring.h of ringabi/src/c_abi.rs, dispatcher/capi/include/fctl.h of that package. With --check it writes nothing
# and fails if a committed header is stale.
set -euo pipefail

version=0.29.4
top=$(cd "$(dirname "$0")/.." && pwd)

case "${1:-}" in
'' | --check) ;;
*)
    echo "usage: tools/header.sh [--check]" >&2
    exit 2
    ;;
esac

PATH=$PATH:$top/target/tools/bin:$top/target/tools
if ! found=$(cbindgen --version 2>/dev/null); then
    echo "header.sh: cbindgen is not on PATH nor under target/tools;" >&2
    echo "header.sh: cargo install cbindgen --version $version --locked --root target/tools" >&2
    exit 2
fi
if [ "$found" != "cbindgen $version" ]; then
    echo "header.sh: found \"$found\": only version $version makes the same bytes" >&2
    exit 2
fi

made=$(mktemp)
trap 'rm -f "$made"' EXIT
stale=0

# Leaves out what callers in Rust must promise: the comments' sections "Safety", and the empty line before each.
for_c() {
    awk '/^ *\/\/ # Safety$/ { skip = 1; held = ""; next }
         skip && /^ *\/\// { next }
         { skip = 0; if (held != "") print held; held = "" }
         /^ *\/\/$/ { held = $0; next }
         { print }'
}

# header FOLDER SOURCE HEADER CHECK: makes FOLDER/HEADER of FOLDER/SOURCE, a file or a package.
header() {
    local header=$1/$3
    cbindgen --quiet --config "$top/$1/cbindgen.toml" "$top/$1/$2" | for_c >"$made"
    if [ "$4" != --check ]; then
        cat "$made" >"$top/$header"
        echo "header.sh: wrote $header"
    elif diff -u "$top/$header" "$made"; then
        echo "header.sh: $header is up to date"
    else
        echo "header.sh: $header is stale: run tools/header.sh" >&2
        stale=1
    fi
}

header ringabi src/c_abi.rs include/fctl_ring.h "${1:-}"
header dispatcher/capi . include/fctl.h "${1:-}"
exit "$stale"
