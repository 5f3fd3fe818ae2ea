// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens when the library is loaded, before QEMU's `main`, and when the process ends.

use crate::adapter::{Adapter, ADAPTER};
use crate::config::{Configuration, CHECK, READY, VARIABLE};
use crate::qemu;
use fctl_dispatcher::affinity;
use std::ffi::{c_char, c_int, CStr};

#[used]
#[link_section = ".init_array"]
static ON_LOAD: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = on_load;

/// Run by the dynamic linker, on the only thread there is.
extern "C" fn on_load(arguments: c_int, values: *const *const c_char, _environment: *const *const c_char) {
    // SAFETY: the dynamic linker of the GNU C library passes what `main` will get: `arguments` strings.
    let program = (arguments > 0).then(|| unsafe { CStr::from_ptr(*values) });
    // A shell that starts QEMU, or a program that QEMU starts, is not what this is for.
    let is_qemu = program.is_some_and(|program| {
        let name = program.to_bytes().rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        name.windows(4).any(|part| part == b"qemu")
    });
    let Some(configuration) = std::env::var_os(VARIABLE).filter(|_| is_qemu) else {
        return;
    };
    let parsed: Result<Configuration, _> = serde_json::from_slice(configuration.as_encoded_bytes());
    let configuration = match parsed {
        Ok(configuration) => configuration,
        Err(error) => fail(&format!("the variable {VARIABLE} is not what `fctl qemu` writes: {error}")),
    };
    if std::env::var_os(CHECK).is_some() {
        check(&configuration);
    }
    // What QEMU starts is none of ours.
    forget_preload();
    if !qemu::can_write() {
        eprintln!(
            "fctl: this QEMU does not export address_space_write, address_space_memory and rcu_register_thread: guest memory is written \
             directly, and a guest may run stale translated code from pages that it reads anew"
        );
    }
    // Only this thread exists, so it is the first to set it.
    let _ = ADAPTER.set(Adapter::new(configuration));
    // SAFETY: a plain function that is in this library, which is never unloaded.
    unsafe { libc::atexit(on_exit) };
}

/// Tries everything that can be tried without a guest, says what came out, and ends the process.
fn check(configuration: &Configuration) -> ! {
    let allowed = affinity::allowed_cpus();
    if let Some(cpu) = configuration.cpu.filter(|cpu| !allowed.contains(cpu)) {
        fail(&format!("the dispatcher's thread cannot be on CPU {cpu}: {} are accepted", affinity::ranges(&allowed)));
    }
    for volume in &configuration.volumes {
        if let Err(error) = crate::device::open_volume(volume) {
            fail(&error.to_string());
        }
    }
    println!("{READY} {}", env!("CARGO_PKG_VERSION"));
    std::process::exit(0)
}

fn fail(text: &str) -> ! {
    eprintln!("fctl: {text}");
    std::process::exit(2)
}

fn forget_preload() {
    std::env::remove_var(VARIABLE);
    let rest: Vec<String> = std::env::var("LD_PRELOAD")
        .unwrap_or_default()
        .split([':', ' '])
        .filter(|path| !path.is_empty() && !path.ends_with("libfctl_qemu.so"))
        .map(str::to_owned)
        .collect();
    if rest.is_empty() {
        std::env::remove_var("LD_PRELOAD");
    } else {
        std::env::set_var("LD_PRELOAD", rest.join(":"));
    }
}

extern "C" fn on_exit() {
    if let Some(adapter) = ADAPTER.get() {
        adapter.report();
    }
}
