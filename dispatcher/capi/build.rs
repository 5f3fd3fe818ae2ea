// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names the shared library: while the version is 0.x, each minor is another library.

fn main() {
    let part = |name| std::env::var(name).expect("cargo tells the version");
    let soname = match part("CARGO_PKG_VERSION_MAJOR").as_str() {
        "0" => format!("libfctl.so.0.{}", part("CARGO_PKG_VERSION_MINOR")),
        major => format!("libfctl.so.{major}"),
    };
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{soname}");
    println!("cargo::rerun-if-changed=build.rs");
}
