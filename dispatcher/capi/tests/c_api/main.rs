// SPDX-License-Identifier: MIT OR Apache-2.0
//! C programs that use the installed library, as a C programmer would: static, shared, and by pkg-config. Bad input from C is in `bad_input.c`.

mod installed;

use installed::{Installed, Linking};
use std::process::Command;

fn volume(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// Blocks that differ, and the last channel program is a short one.
fn example_volume() -> tempfile::NamedTempFile {
    let bytes: Vec<u8> = (0..1000 * 512_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    volume(&bytes)
}

fn assert_example_reads(linking: Linking) {
    let installed = Installed::get();
    let example = installed.build("../../examples/read_volume.c", linking);
    let file = example_volume();
    let text = installed.run(&example, &[file.path().as_os_str()]);
    assert!(text.starts_with("1000 blocks read by 16 starts, median ") && text.ends_with(" ns, 0 wrong bytes\n"), "{text}");
}

#[test]
fn the_example_reads_a_volume_with_the_static_library() {
    assert_example_reads(Linking::Static);
}

#[test]
fn the_example_reads_a_volume_with_the_shared_library() {
    assert_example_reads(Linking::Shared);
}

/// Says so; in the gate (`.ci/run`), where all that the tests need is installed, it fails.
fn not_run(test: &str, why: &str) {
    println!("{test}: not run: {why}");
    assert_ne!(std::env::var("FCTL_GATE").as_deref(), Ok("1"), "{test}: not run: {why}");
}

#[test]
fn the_example_is_built_by_pkg_config() {
    match Command::new("pkg-config").arg("--version").output() {
        Ok(output) if output.status.success() => {}
        _ => return not_run("the_example_is_built_by_pkg_config", "no pkg-config"),
    }
    assert_example_reads(Linking::PkgConfig);
    assert_example_reads(Linking::PkgConfigStatic);
}

#[test]
fn bad_input_is_an_error_code_with_a_message() {
    for linking in [Linking::Static, Linking::Shared] {
        let program = Installed::get().build("bad_input.c", linking);
        assert_eq!(Installed::get().run(&program, &[]), "PASS\n");
    }
}

/// Runs a program on a volume with known bytes.
fn assert_passes_with_a_volume(source: &str) {
    let file = volume(&(0..64 * 512_u32).map(|at| ((at * 7 + 1) & 0xFF) as u8).collect::<Vec<u8>>());
    let program = Installed::get().build(source, Linking::Shared);
    assert_eq!(Installed::get().run(&program, &[file.path().as_os_str()]), "PASS\n");
}

#[test]
fn memory_is_stored_into_marked_and_released_as_asked() {
    assert_passes_with_a_volume("lifecycle.c");
}

#[test]
fn memory_is_replaced_while_the_guest_runs() {
    assert_passes_with_a_volume("replace.c");
}

#[test]
fn a_host_posts_for_its_guest() {
    let program = Installed::get().build("host.c", Linking::Shared);
    assert_eq!(Installed::get().run(&program, &[]), "PASS\n");
}

#[test]
fn a_volume_that_cannot_be_opened_ends_the_example_with_its_reason() {
    let program = Installed::get().build("../../examples/read_volume.c", Linking::Shared);
    let output = Installed::get().command(&program).arg("/nowhere/at/all").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains(r#"open the volume: volume "/nowhere/at/all" does not exist"#), "{text}");
}

#[test]
fn the_header_is_good_for_cpp_too() {
    let installed = Installed::get();
    let source = installed.place().join("header.cpp");
    std::fs::write(&source, "#include <fctl/fctl.h>\nint main() { return fctl_api_version() != FCTL_API_VERSION; }\n").unwrap();
    let line = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"];
    match Command::new("c++").args(line).arg(installed.place().join("include")).arg(&source).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => not_run("the_header_is_good_for_cpp_too", &format!("no c++ ({error})")),
    }
}
