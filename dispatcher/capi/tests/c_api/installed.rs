// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library as `tools/install-c-api.sh` installs it, and programs built with it by the system's C compiler.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Far beyond anything but a program that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a program gets the library.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Linking {
    Static,
    Shared,
    PkgConfig,
    PkgConfigStatic,
}

/// A prefix with the library in it, for as long as the tests run.
pub struct Installed {
    prefix: PathBuf,
}

fn succeeded(what: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what} failed, {}:\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

impl Installed {
    /// Installs, the first time.
    pub fn get() -> &'static Self {
        static INSTALLED: OnceLock<Installed> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-api");
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/install-c-api.sh");
            let output = Command::new(&script).arg(&prefix).arg("dev").output().expect("the install script runs");
            succeeded("tools/install-c-api.sh", &output);
            Self { prefix }
        })
    }

    pub fn place(&self) -> &Path {
        &self.prefix
    }

    fn pkg_config(&self, arguments: &[&str]) -> Vec<String> {
        let folder = self.prefix.join("lib/pkgconfig");
        let output = Command::new("pkg-config").env("PKG_CONFIG_PATH", folder).args(arguments).arg("fctl").output().unwrap();
        succeeded("pkg-config", &output).split_whitespace().map(String::from).collect()
    }

    /// Builds a program of a source beside this file.
    pub fn build(&self, source: &str, linking: Linking) -> PathBuf {
        static BUILT: AtomicU32 = AtomicU32::new(0);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c_api").join(source);
        let program = self.prefix.join(format!("program-{}", BUILT.fetch_add(1, Ordering::Relaxed)));
        let (include, lib) = (self.prefix.join("include/fctl"), self.prefix.join("lib"));
        let mut command = Command::new("cc");
        command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-o"]).arg(&program).arg(&source);
        match linking {
            // What else a static library needs is in the pkg-config file; these are all there since glibc 2.34, or part of it.
            Linking::Static => {
                command.arg("-I").arg(include).arg(lib.join("libfctl.a")).args(["-lgcc_s", "-lpthread", "-lm", "-ldl"])
            }
            Linking::Shared => command.arg("-I").arg(include).arg("-L").arg(lib).arg("-lfctl"),
            Linking::PkgConfig => command.args(self.pkg_config(&["--cflags", "--libs"])),
            Linking::PkgConfigStatic => {
                let wanted = self.pkg_config(&["--static", "--cflags", "--libs"]);
                command.args(wanted.into_iter().map(|word| if word == "-lfctl" { "-l:libfctl.a".into() } else { word }))
            }
        };
        let output = command.output().expect("a C compiler, `cc`, is there");
        succeeded(&format!("building {} ({linking:?})", source.display()), &output);
        assert_eq!(self.needs_shared_library(&program), matches!(linking, Linking::Shared | Linking::PkgConfig), "{linking:?}");
        program
    }

    /// True if the program does not start without the shared library.
    fn needs_shared_library(&self, program: &Path) -> bool {
        let bytes = std::fs::read(program).unwrap();
        let name = b"libfctl.so.";
        bytes.windows(name.len()).any(|window| window == name)
    }

    /// The command that runs a program.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", self.prefix.join("lib")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a program to its good end; gives what it printed.
    pub fn run(&self, program: &Path, arguments: &[&OsStr]) -> String {
        let mut child = self.command(program).args(arguments).spawn().unwrap();
        wait(&mut child, program);
        succeeded(&program.display().to_string(), &child.wait_with_output().unwrap())
    }
}

fn wait(child: &mut Child, program: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            child.kill().unwrap();
            panic!("{} hangs", program.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
