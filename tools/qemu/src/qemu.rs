// SPDX-License-Identifier: MIT OR Apache-2.0
//! What QEMU's program exports: the way into guest memory that also throws away stale translated code.

use std::ffi::{c_void, CStr};
use std::ptr::NonNull;
use std::sync::OnceLock;

/// `MemTxAttrs` with all attributes clear. It has four bytes in QEMU 7.2 and eight in later ones; both are passed in one register.
const NO_ATTRIBUTES: u64 = 0;

type WriteFunction = unsafe extern "C" fn(*mut c_void, u64, u64, *const c_void, u64) -> u32;
type ThreadFunction = unsafe extern "C" fn();

struct Exports {
    write: WriteFunction,
    memory: NonNull<c_void>,
    register_thread: ThreadFunction,
    unregister_thread: ThreadFunction,
}

// SAFETY: addresses of functions, and of an object of QEMU's that is only passed back to QEMU, whose function says that any registered thread may.
unsafe impl Send for Exports {}
// SAFETY: as above.
unsafe impl Sync for Exports {}

fn exports() -> Option<&'static Exports> {
    static EXPORTS: OnceLock<Option<Exports>> = OnceLock::new();
    EXPORTS
        .get_or_init(|| {
            let write = symbol(c"address_space_write")?;
            let memory = symbol(c"address_space_memory")?;
            let register = symbol(c"rcu_register_thread")?;
            let unregister = symbol(c"rcu_unregister_thread")?;
            // SAFETY: QEMU's functions of these names have these signatures (include/exec/memory.h, include/qemu/rcu.h).
            unsafe {
                Some(Exports {
                    write: std::mem::transmute::<*mut c_void, WriteFunction>(write.as_ptr()),
                    memory,
                    register_thread: std::mem::transmute::<*mut c_void, ThreadFunction>(register.as_ptr()),
                    unregister_thread: std::mem::transmute::<*mut c_void, ThreadFunction>(unregister.as_ptr()),
                })
            }
        })
        .as_ref()
}

fn symbol(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: a valid name; asking is harmless.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

/// Whether this QEMU exports what [`write`] needs.
pub fn can_write() -> bool {
    exports().is_some()
}

/// Writes guest memory from a private buffer; false if QEMU says that there is no memory. Only on a thread that has called [`register_thread`].
pub fn write(address: u64, bytes: &[u8]) -> bool {
    let Some(exports) = exports() else { return false };
    // SAFETY: the buffer is ours and as long as said; the thread is registered, which is all that RAM needs (rule of this function).
    let result =
        unsafe { (exports.write)(exports.memory.as_ptr(), address, NO_ATTRIBUTES, bytes.as_ptr().cast(), bytes.len() as u64) };
    result == 0
}

/// Makes the calling thread known to QEMU's RCU until the guard is dropped.
pub fn register_thread() -> impl Drop {
    struct Registered;
    impl Drop for Registered {
        fn drop(&mut self) {
            if let Some(exports) = exports() {
                // SAFETY: on the thread that was registered: the guard cannot be sent (it is a local of that thread's function).
                unsafe { (exports.unregister_thread)() };
            }
        }
    }
    if let Some(exports) = exports() {
        // SAFETY: once for this thread.
        unsafe { (exports.register_thread)() };
    }
    Registered
}
