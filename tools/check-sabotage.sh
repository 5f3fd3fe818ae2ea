#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Each sabotage of the demo must end in status 1, with a line that names its own fault. Tries all of them, then fails if one did not.
#
# Usage: tools/check-sabotage.sh [PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-${CARGO_TARGET_DIR:-target}/release/fctl}

missed=0
expect() {
    local sabotage=$1 fault=$2 status=0 output line
    output=$("$program" demo --seconds 2 --sabotage "$sabotage" 2>&1) || status=$?
    line=$(printf '%s\n' "$output" | grep -m1 '^FAIL' || true)
    printf '%-12s status %s: %s\n' "$sabotage" "$status" "${line:-no FAIL}"
    if [ "$status" -ne 1 ] || [[ $line != "FAIL  $fault ("* ]]; then
        printf '%-12s NOT FOUND: status 1 and "FAIL  %s (" were expected\n' "" "$fault"
        missed=$((missed + 1))
    fi
}
expect lose "lost completion"
expect double "double completion"
expect flip-bit "wrong bytes"
expect clear-early "changed after the end"
expect skip-write "write missing"
if [ "$missed" -ne 0 ]; then
    echo "$missed of 5 sabotages were not found"
    exit 1
fi
