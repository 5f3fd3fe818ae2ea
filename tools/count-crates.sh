#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# count-crates.sh PACKAGE MOST: fails when more than MOST crates stand behind PACKAGE (build and macro crates included).
set -euo pipefail
count=$(cargo tree -p "$1" -e normal,build --prefix none --no-dedupe | awk '{print $1, $2}' | sort -u | grep -vc "^fctl-")
echo "$1: $count crates (at most $2)"
[ "$count" -le "$2" ]
