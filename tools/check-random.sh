#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The random comparison with the model (dispatcher/tests/random_model), in release, for SECONDS (60 if not said) with seeds that were never
# used before. Prints the seeds and how much was compared; a failure prints its seed and the fewest steps that show it.
# FCTL_RANDOM_SEED=n begins with that seed instead.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
if ! [[ $seconds =~ ^[0-9]+$ ]]; then
    echo "usage: ${0##*/} [SECONDS]: '$seconds' is no number of seconds" >&2
    exit 2
fi
export FCTL_RANDOM_SECONDS=$seconds
export FCTL_RANDOM_SEED=${FCTL_RANDOM_SEED:-$(od -An -N6 -tu8 /dev/urandom | tr -d ' ')}
echo "random comparison: ${seconds}s from seed $FCTL_RANDOM_SEED on"
cargo test --release --quiet --package fctl-dispatcher --test random_model -- --nocapture every_code
