#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# install-c-api.sh PREFIX [PROFILE]: builds libfctl and installs it with its headers and pkg-config file under PREFIX. PROFILE is cargo's; release if not said.
# DESTDIR is put before PREFIX, for who makes packages.
set -euo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ] || [ "${1#/}" = "$1" ]; then
    echo "usage: tools/install-c-api.sh PREFIX [PROFILE]    (PREFIX begins with /)" >&2
    exit 2
fi
prefix=${1%/} profile=${2:-release}
cd "$(dirname "$0")/.."
capi=dispatcher/capi

# Builds, and tells what the static library needs of the system.
said=$(cargo rustc --quiet --package fctl-capi --lib --profile "$profile" --crate-type staticlib --crate-type cdylib \
    --color never -- --print native-static-libs 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
private=$(printf '%s\n' "$said" | sed -n 's/^note: native-static-libs: //p' | tail -1)
if [ -z "$private" ]; then
    echo "install-c-api.sh: the compiler does not say what the static library needs" >&2
    exit 1
fi
version=$(cargo metadata --format-version 1 --no-deps --offline | sed 's/.*"name":"fctl-capi","version":"\([^"]*\)".*/\1/')
case $profile in dev | test) folder=debug ;; *) folder=$profile ;; esac
target=${CARGO_TARGET_DIR:-target}/$folder
case $version in 0.*) soname=libfctl.so.${version%.*} ;; *) soname=libfctl.so.${version%%.*} ;; esac

into=${DESTDIR:-}$prefix
install -d "$into/lib/pkgconfig" "$into/include/fctl"
install -m 644 "$target/libfctl.a" "$into/lib/"
install -m 755 "$target/libfctl.so" "$into/lib/libfctl.so.$version"
ln -sf "libfctl.so.$version" "$into/lib/$soname"
ln -sf "$soname" "$into/lib/libfctl.so"
install -m 644 "$capi/include/fctl.h" ringabi/include/*.h "$into/include/fctl/"
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" -e "s|@PRIVATE@|$private|" "$capi/fctl.pc.in" >"$into/lib/pkgconfig/fctl.pc"
echo "install-c-api.sh: libfctl $version is in $into/lib, its headers are in $into/include/fctl"
