// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers for things that the dispatcher knows. None is used twice, and 0 is none, so what was forgotten or is gone is found out.

use super::error::{Done, Failure, FCTL_E_NOT_FOUND};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Things by number.
#[derive(Debug)]
pub(crate) struct Table<T> {
    what: &'static str,
    entries: Mutex<(u64, BTreeMap<u64, T>)>,
}

impl<T: Clone> Table<T> {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, entries: Mutex::new((0, BTreeMap::new())) }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, T>)> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a thing, and gives its number.
    pub(crate) fn add(&self, thing: T) -> u64 {
        let mut entries = self.lock();
        entries.0 += 1;
        let number = entries.0;
        entries.1.insert(number, thing);
        number
    }

    /// The thing with this number.
    pub(crate) fn get(&self, number: u64) -> Done<T> {
        let found = self.lock().1.get(&number).cloned();
        found.ok_or_else(|| Failure::new(FCTL_E_NOT_FOUND, format!("{} {number} is not attached", self.what)))
    }

    /// Forgets the thing with this number. It is dropped by the caller, when nothing is locked.
    pub(crate) fn remove(&self, number: u64) -> Option<T> {
        self.lock().1.remove(&number)
    }
}
