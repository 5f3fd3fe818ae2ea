#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What stands in Cargo.lock, by what `cargo metadata` tells of it: every licence is one that deny.toml allows, everything comes from the
registry or this workspace, and no crate behind the libraries asks for a newer Rust than they promise.

That the libraries' own code keeps to that Rust is clippy's to see (`incompatible_msrv`). `cargo deny` reads the same deny.toml and looks at more, but
takes minutes to build."""
import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARIES = ["fctl-ringabi", "fctl-dispatcher", "fctl-capi"]
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def allowed(expression, accepted):
    """Whether an SPDX expression can be met with the licences accepted; `A/B` is how old manifests write `A OR B`."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def alternatives():
        met = together()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = together() or met
        return met

    def together():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() and met
        return met

    def one():
        token = tokens.pop(0)
        if token == "(":
            met = alternatives()
            tokens.pop(0)
            return met
        if tokens[:1] == ["WITH"]:
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return token in accepted

    met = alternatives()
    return met and not tokens


def version(text):
    return tuple(int(part) for part in (text + ".0.0").split(".")[:3])


def behind(metadata, name):
    """The packages that building a library takes: normal and build dependencies, of dependencies too."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [package["id"] for package in metadata["packages"] if package["name"] == name]
    found = set()
    while waiting:
        package = waiting.pop()
        if package not in found:
            found.add(package)
            waiting += [dep["pkg"] for dep in nodes[package]["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
    return found


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    accepted = tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]["allow"]
    wrong = []
    for package in packages.values():
        name = f"{package['name']} {package['version']}"
        if not package["license"]:
            wrong.append(f"{name} names no licence")
        elif not allowed(package["license"], accepted):
            wrong.append(f"{name} is under {package['license']}; deny.toml allows {', '.join(accepted)}")
        if package["source"] not in (REGISTRY, None):
            wrong.append(f"{name} comes from {package['source']}; the registry and this workspace are accepted")
    for library in LIBRARIES:
        crates = behind(metadata, library)
        promised = next(package["rust_version"] for package in packages.values() if package["name"] == library)
        for package in (packages[crate] for crate in crates):
            if package["rust_version"] and version(package["rust_version"]) > version(promised):
                wrong.append(f"{package['name']} {package['version']} needs Rust {package['rust_version']}; {library} promises {promised}")
        print(f"{library}: {len(crates) - 1} crates behind it on all platforms, against Rust {promised}")
    print("\n".join(wrong) or f"{len(packages)} packages: licences and sources as deny.toml allows, no library needs more Rust than it promises")
    sys.exit(1 if wrong else 0)


main()
