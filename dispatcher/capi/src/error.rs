// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors: a code for the program, a message for people, and the wall that no panic passes.

use fctl_dispatcher::{AttachError, ControlError};
use std::cell::RefCell;
use std::error::Error;
use std::ffi::{c_char, c_int, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// An argument: null, misaligned, or a value that is not accepted.
pub const FCTL_E_ARGUMENT: c_int = -1;
/// A struct or program of another version of this interface.
pub const FCTL_E_VERSION: c_int = -2;
/// The dispatcher has stopped, or serves this ring no more.
pub const FCTL_E_STOPPED: c_int = -3;
/// No guest, ring or subchannel has this number (any more).
pub const FCTL_E_NOT_FOUND: c_int = -4;
/// It is in use, exists already, or is going.
pub const FCTL_E_BUSY: c_int = -5;
/// The deadline came first.
pub const FCTL_E_DEADLINE: c_int = -6;
/// The kernel refused something.
pub const FCTL_E_SYSTEM: c_int = -7;
/// The volume cannot be opened.
pub const FCTL_E_VOLUME: c_int = -8;
/// The memory, or the ring in it, is not as it must be.
pub const FCTL_E_MEMORY: c_int = -9;
/// Called from a callback: only the library's own thread is there to answer.
pub const FCTL_E_THREAD: c_int = -10;
/// A fault of the library. Free what you have and report it.
pub const FCTL_E_PANIC: c_int = -11;
/// There is no room: completions must be taken first.
pub const FCTL_E_FULL: c_int = -12;
/// The instruction was refused: it would have ended with a program interruption, or is none.
pub const FCTL_E_REFUSED: c_int = -13;

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// What went wrong in the last call of this thread that failed; empty if none has. Valid until the next call that fails, on this thread.
#[no_mangle]
pub extern "C" fn fctl_last_error() -> *const c_char {
    LAST.try_with(|last| last.try_borrow().map_or(c"".as_ptr(), |last| last.as_ptr())).unwrap_or(c"".as_ptr())
}

/// A code and its message.
#[derive(Debug)]
pub(crate) struct Failure {
    code: c_int,
    message: String,
}

pub(crate) type Done<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: c_int, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An error and all its sources.
    pub(crate) fn of(code: c_int, error: &dyn Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some errors repeat their source in their own text.
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            source = error.source();
        }
        Self { code, message }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let code = match &error {
            ControlError::Stopped | ControlError::Attach(AttachError::Stopping) => FCTL_E_STOPPED,
            ControlError::Deadline(_) => FCTL_E_DEADLINE,
            // The numbers in the texts of these are the dispatcher's own, which nobody sees here.
            ControlError::Attach(AttachError::NoGuest(_)) => return Self::new(FCTL_E_NOT_FOUND, "the guest is not attached"),
            ControlError::Attach(AttachError::NoRing(_)) => return Self::new(FCTL_E_NOT_FOUND, "the ring is not attached"),
            ControlError::Attach(AttachError::NotServing(_)) => {
                return Self::new(
                    FCTL_E_BUSY,
                    "the ring is being drained or detached, or is fenced: only a served ring takes subchannels",
                )
            }
            ControlError::Attach(AttachError::Busy(_)) => {
                return Self::new(FCTL_E_BUSY, "the ring is being drained or detached already")
            }
            ControlError::Attach(AttachError::GuestHasRings { rings, .. }) => {
                return Self::new(FCTL_E_BUSY, format!("the guest still has {rings} rings: detach them first"))
            }
            ControlError::Attach(AttachError::NoSubchannel(_)) => FCTL_E_NOT_FOUND,
            ControlError::Attach(AttachError::SubchannelExists(_)) => FCTL_E_BUSY,
            ControlError::Attach(AttachError::Header(_)) => FCTL_E_MEMORY,
            _ => FCTL_E_ARGUMENT,
        };
        Self::of(code, &error)
    }
}

/// Does what a function has to do: its result, or the code of its failure, whose message is kept.
pub(crate) fn guarded(act: impl FnOnce() -> Done<c_int>) -> c_int {
    let failure = match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(result)) => return result,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            Failure::new(FCTL_E_PANIC, format!("a fault of the library: {}", text.unwrap_or("without a message")))
        }
    };
    let mut bytes = failure.message.into_bytes();
    bytes.retain(|&byte| byte != 0);
    // Fails only where the thread is at its end already; then the code must do.
    let _ = LAST.try_with(|last| *last.borrow_mut() = CString::new(bytes).unwrap_or_default());
    failure.code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_code_with_its_message() {
        let code = guarded(|| panic!("as {} expected", "nobody"));
        // SAFETY: the message is valid until the next failing call of this thread.
        let message = unsafe { std::ffi::CStr::from_ptr(fctl_last_error()) };
        assert_eq!((code, message.to_str().unwrap()), (FCTL_E_PANIC, "a fault of the library: as nobody expected"));
    }
}
