#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Fetches Debian 13's QEMU for s390x guests with all its libraries into a folder, without touching the host, and prints the path of a program that runs it
# by its own dynamic loader.
set -euo pipefail
cd "$(dirname "$0")"
cache=${FCTL_GUEST_CACHE:-$PWD/../../target/guest-test}/qemu-10
mkdir -p "$cache/lists/partial" "$cache/archives/partial"
cache=$(cd "$cache" && pwd)
if [ ! -x "$cache/qemu-10.sh" ]; then
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${FCTL_DEBIAN_MIRROR:-http://deb.debian.org/debian} trixie main" >"$cache/sources.list"
    : >"$cache/status"
    # An empty list of installed packages: all that it depends on is fetched.
    apt=(-o Dir::State::Lists="$cache/lists" -o Dir::State::status="$cache/status" -o Dir::Etc::SourceList="$cache/sources.list"
        -o Dir::Etc::SourceParts=/dev/null -o Dir::Cache="$cache/archives" -o Debug::NoLocking=1)
    apt-get "${apt[@]}" update -qq >&2
    apt-get "${apt[@]}" install -y -qq --no-install-recommends --download-only qemu-system-s390x >&2
    for package in "$cache"/archives/archives/*.deb; do
        dpkg -x "$package" "$cache/root"
    done
    cat >"$cache/qemu-10.sh" <<'PROGRAM'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
libraries=$root/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR="$libraries/qemu"
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/pulseaudio" "$root/usr/bin/qemu-system-s390x" -L "$root/usr/share/qemu" "$@"
PROGRAM
    chmod +x "$cache/qemu-10.sh"
fi
echo "$cache/qemu-10.sh"
