#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes the guest of the QEMU checks: Debian's s390x kernel and an initramfs with busybox, e2fsprogs and two small programs.
# Prints the folder that holds `kernel` and `initrd`. What was fetched and built is kept there; nothing of the host's packages changes.
set -euo pipefail
cd "$(dirname "$0")"
cache=${FCTL_GUEST_CACHE:-$PWD/../../target/guest-test}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

key=$(cat fetch.sh init programs/*.c | sha256sum | cut -c1-16)
if [ -s "$cache/$key/initrd" ] && [ -s "$cache/$key/kernel" ]; then
    echo "$cache/$key"
    exit 0
fi

packages=$cache/packages
if [ ! -e "$packages/complete" ]; then
    rm -rf "$packages"
    mkdir -p "$packages/lists/partial" "$packages/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${FCTL_DEBIAN_MIRROR:-http://deb.debian.org/debian} bookworm main" \
        >"$packages/sources.list"
    apt=(-o APT::Architecture=s390x -o APT::Architectures=s390x -o Dir::State::Lists="$packages/lists"
        -o Dir::Etc::SourceList="$packages/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Cache="$packages/archives")
    apt-get "${apt[@]}" update -qq >&2
    kernel=$(apt-cache "${apt[@]}" depends linux-image-s390x | awk '/Depends: linux-image-/ { print $2; exit }')
    (cd "$packages" && apt-get "${apt[@]}" download -qq "$kernel" busybox-static e2fsprogs libc6 libext2fs2 libcom-err2 libblkid1 libuuid1 libss2 2>&1) |
        grep -v unsandboxed >&2 || true
    for package in "$packages"/*.deb; do
        dpkg -x "$package" "$packages/root"
    done
    touch "$packages/complete"
fi
from=$packages/root

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{bin,sbin,etc,proc,sys,dev,run,tmp,mnt,lib,modules}
cp "$from/bin/busybox" "$work/bin/"
for applet in $(awk '/^# applets:/ { $1 = $2 = ""; print }' init); do
    ln -s busybox "$work/bin/$applet"
done
cp "$from"/sbin/{mke2fs,e2fsck} "$work/sbin/"
cp "$from/etc/mke2fs.conf" "$work/etc/"
for library in ld64.so.1 libc.so.6 libext2fs.so.2 libcom_err.so.2 libe2p.so.2 libblkid.so.1 libuuid.so.1 libss.so.2 libpthread.so.0 libdl.so.2; do
    found=$(find "$from" -name "$library" | head -1)
    [ -n "$found" ] && cp -L "$found" "$work/lib/"
done
modules=$(echo "$from"/lib/modules/*/kernel)
for module in lib/crc16 fs/mbcache crypto/crc32c_generic lib/libcrc32c fs/jbd2/jbd2 fs/ext4/ext4 drivers/s390/block/dasd_mod \
    drivers/s390/block/dasd_fba_mod drivers/block/virtio_blk; do
    cp "$modules/$module.ko" "$work/modules/"
done
for program in programs/*.c; do
    s390x-linux-gnu-gcc -static -O2 -Wall -Wextra -Werror -pthread -o "$work/bin/$(basename "$program" .c)" "$program"
done
cp init "$work/init"
chmod +x "$work/init"
mkdir -p "$cache/$key.new"
(cd "$work" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -1 >"$cache/$key.new/initrd"
cp "$from"/boot/vmlinuz-* "$cache/$key.new/kernel"
rm -rf "${cache:?}/$key"
mv "$cache/$key.new" "$cache/$key"
echo "$cache/$key"
