#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes ringabi/include/fctl_ring.h of ringabi/src/c_abi.rs. With --check it writes nothing and fails if the committed header is stale.
set -euo pipefail

version=0.29.4
top=$(cd "$(dirname "$0")/.." && pwd)
ring=$top/ringabi
header=$ring/include/fctl_ring.h

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
cbindgen --quiet --config "$ring/cbindgen.toml" --output "$made" "$ring/src/c_abi.rs"

if [ "${1:-}" = --check ]; then
    if ! diff -u "$header" "$made"; then
        echo "header.sh: ringabi/include/fctl_ring.h is stale: run tools/header.sh" >&2
        exit 1
    fi
    echo "header.sh: ringabi/include/fctl_ring.h is up to date"
else
    cat "$made" >"$header"
    echo "header.sh: wrote ringabi/include/fctl_ring.h"
fi
