// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds and runs the C programs in `tests/c` of a crate, with this crate's headers.
//!
//! The compiler is `cc`, or what `FCTL_CC` says (words, separated by blanks); programs are run directly, or by `FCTL_CC_RUNNER`. So the same
//! tests run the C side on a big-endian machine:
//! `FCTL_CC="s390x-linux-gnu-gcc -static" FCTL_CC_RUNNER=qemu-s390x cargo test --test c_guest --test c_vectors`

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A program, as long as it is kept.
pub struct Program(PathBuf);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn words(name: &str, default: &str) -> Vec<String> {
    std::env::var(name).unwrap_or_else(|_| default.into()).split_whitespace().map(String::from).collect()
}

/// Builds `tests/c/NAME.c`. Fails the test, by name, when there is no compiler.
pub fn build(name: &str) -> Program {
    static BUILT: AtomicU32 = AtomicU32::new(0);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = here.join("tests/c").join(format!("{name}.c"));
    let file = format!("{name}-{}-{}", std::process::id(), BUILT.fetch_add(1, Ordering::Relaxed));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    let compiler = words("FCTL_CC", "cc");
    let (compiler, options) = compiler.split_first().expect("FCTL_CC names a compiler");
    let output = Command::new(compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-I"])
        .arg(here.join("../ringabi/include"))
        .args(options)
        .arg("-o")
        .args([&program, &source])
        .output()
        .unwrap_or_else(|error| panic!("{} could not be tested: C compiler `{compiler}`: {error}", source.display()));
    assert!(output.status.success(), "{} does not compile:\n{}", source.display(), String::from_utf8_lossy(&output.stderr));
    Program(program)
}

impl Program {
    /// The command that runs it.
    pub fn command(&self) -> Command {
        let mut line: Vec<OsString> = words("FCTL_CC_RUNNER", "").into_iter().map(OsString::from).collect();
        line.push(self.0.clone().into());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        command
    }
}
