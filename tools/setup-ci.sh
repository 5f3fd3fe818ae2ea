#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Installs what the checks need beyond a bare Debian with Rust. Does nothing for what is already there.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need cc gcc
need c++ g++
need pkg-config pkg-config
need python3 python3
need strace strace
need setpriv util-linux
need taskset util-linux
need valgrind valgrind
need qemu-storage-daemon qemu-system-common
need s390x-linux-gnu-gcc gcc-s390x-linux-gnu
need qemu-s390x-static qemu-user-static
need qemu-system-s390x qemu-system-misc
need cpio cpio
[ -x /sbin/e2fsck ] || packages+=(e2fsprogs)
[ -e /usr/include/stdio.h ] || packages+=(libc6-dev)
[ -e /usr/s390x-linux-gnu/include/stdio.h ] || packages+=(libc6-dev-s390x-cross)
if [ "${#packages[@]}" -gt 0 ]; then
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

# Programs from the crate registry, at fixed versions, into the project's own build folder.
tool() {
    local name=$1 version=$2
    if ! "target/tools/bin/$name" --version 2>/dev/null | grep -qF "$version"; then
        CARGO_TARGET_DIR=target/tools/build cargo install --quiet --locked --root target/tools --version "$version" "$name"
    fi
}
tool cbindgen 0.29.4
