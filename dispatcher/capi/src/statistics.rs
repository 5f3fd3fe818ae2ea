// SPDX-License-Identifier: MIT OR Apache-2.0
//! Statistics: counters and latencies.

use super::arguments::{object, place, taken_back, tell, Extensible};
use super::dispatcher::fctl;
use super::error::{guarded, Done, Failure, FCTL_E_ARGUMENT};
use fctl_dispatcher::metrics::{Latencies, Series, Stage};
use std::ffi::c_int;
use std::ptr;

/// Series: START SUBCHANNEL that ran.
pub const FCTL_SERIES_START: u32 = 0;
/// Series: START SUBCHANNEL that was overtaken.
pub const FCTL_SERIES_OVERTAKEN: u32 = 1;
/// Series: HALT SUBCHANNEL.
pub const FCTL_SERIES_HALT: u32 = 2;
/// Series: CLEAR SUBCHANNEL.
pub const FCTL_SERIES_CLEAR: u32 = 3;
/// Series: all that end at acceptance.
pub const FCTL_SERIES_IMMEDIATE: u32 = 4;

/// Stage: from posted until taken.
pub const FCTL_STAGE_POSTED: u32 = 0;
/// Stage: from taken until issued.
pub const FCTL_STAGE_TAKEN: u32 = 1;
/// Stage: from issued until the device had ended it.
pub const FCTL_STAGE_ISSUED: u32 = 2;
/// Stage: from ended until the completion was stored.
pub const FCTL_STAGE_COMPLETED: u32 = 3;
/// Stage: from posted until the completion was stored.
pub const FCTL_STAGE_TOTAL: u32 = 4;

/// What became of the descriptors, and what the dispatcher and its engine did.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fctl_counters {
    /// sizeof(struct fctl_counters).
    pub size: usize,
    /// Descriptors taken.
    pub taken: u64,
    /// Descriptors that came to their end.
    pub finals: u64,
    /// Of these, finals that could not be stored because their ring was fenced or gone.
    pub unstored: u64,
    /// Starts taken.
    pub starts: u64,
    /// Starts that ran.
    pub ran: u64,
    /// Starts merged away before issue by a halt or clear.
    pub merged_away: u64,
    /// Starts stopped by a halt or clear after issue.
    pub stopped_active: u64,
    /// Starts cancelled.
    pub cancelled: u64,
    /// Starts refused.
    pub refused: u64,
    /// Functions issued to devices.
    pub issued: u64,
    /// Other completions stored.
    pub others: u64,
    /// Times a ring had to wait because its guest owed itself more completions than fit.
    pub stalls: u64,
    /// Rings fenced.
    pub fenced: u64,
    /// Notifications sent.
    pub notifications: u64,
    /// Turns of the loop that did something.
    pub productive_turns: u64,
    /// Times the dispatcher slept.
    pub sleeps: u64,
    /// Operations given to the kernel.
    pub operations: u64,
    /// Operations in the kernel now.
    pub in_flight: u64,
    /// Volumes that do not answer now.
    pub stuck: u64,
}

// SAFETY: integers only, the first a usize.
unsafe impl Extensible for fctl_counters {
    const NAME: &'static str = "struct fctl_counters";
    const LEAST: usize = 160;
}

/// Latency histograms, as they were when they were taken.
pub struct fctl_latencies {
    latencies: Latencies,
}

/// Reads the counters.
///
/// # Safety
/// `dispatcher` is null or a dispatcher; `counters` is null or points to a struct with its size.
#[no_mangle]
pub unsafe extern "C" fn fctl_read_counters(dispatcher: *mut fctl, counters: *mut fctl_counters) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let handle = &unsafe { object(dispatcher, "dispatcher") }?.handle;
        let found = handle.counters()?;
        let told = fctl_counters {
            size: 0,
            taken: found.taken,
            finals: found.finals,
            unstored: found.unstored,
            starts: found.starts,
            ran: found.ran,
            merged_away: found.merged_away,
            stopped_active: found.stopped_active,
            cancelled: found.cancelled,
            refused: found.refused,
            issued: found.issued,
            others: found.others,
            stalls: found.stalls,
            fenced: found.fenced,
            notifications: found.notifications,
            productive_turns: found.productive_turns,
            sleeps: found.sleeps,
            operations: handle.engine_counters()?.operations,
            in_flight: handle.inventory()?.in_flight as u64,
            stuck: handle.stuck()?.len() as u64,
        };
        // SAFETY: as the caller says.
        unsafe { tell(counters, &told) }?;
        Ok(0)
    })
}

/// Takes the latencies since the last call. `*latencies` is the caller's, to be given to fctl_free_latencies; NULL if this fails.
///
/// # Safety
/// `dispatcher` is null or a dispatcher; `latencies` is null or may be written.
#[no_mangle]
pub unsafe extern "C" fn fctl_take_latencies(dispatcher: *mut fctl, latencies: *mut *mut fctl_latencies) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let latencies = unsafe { place(latencies, ptr::null_mut(), "latencies") }?;
        // SAFETY: as the caller says.
        let taken = unsafe { object(dispatcher, "dispatcher") }?.handle.latencies()?;
        *latencies = Box::into_raw(Box::new(fctl_latencies { latencies: taken }));
        Ok(0)
    })
}

fn chosen<T: Copy>(all: &[T], index: u32, name: &str) -> Done<T> {
    let found = all.get(index as usize).copied();
    found.ok_or_else(|| Failure::new(FCTL_E_ARGUMENT, format!("{name} is {index}: 0 to {} is accepted", all.len() - 1)))
}

/// Quantile (0 to 1; 1 is the greatest) of a series (FCTL_SERIES_*) and stage (FCTL_STAGE_*). `*nanoseconds` is 0 and `*count` 0 if there were none.
/// `count` may be NULL.
///
/// # Safety
/// `latencies` is null or latencies; `nanoseconds` and `count` are null or may be written.
#[no_mangle]
pub unsafe extern "C" fn fctl_latency(
    latencies: *const fctl_latencies,
    series: u32,
    stage: u32,
    quantile: f64,
    nanoseconds: *mut u64,
    count: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let nanoseconds = unsafe { place(nanoseconds, 0, "nanoseconds") }?;
        // SAFETY: as the caller says.
        let latencies = unsafe { object(latencies, "latencies") }?;
        if !(0.0..=1.0).contains(&quantile) {
            return Err(Failure::new(FCTL_E_ARGUMENT, format!("quantile is {quantile}: 0 to 1 is accepted")));
        }
        let (series, stage) = (chosen(&Series::ALL, series, "series")?, chosen(&Stage::ALL, stage, "stage")?);
        let histogram = latencies.latencies.get(series, stage);
        *nanoseconds = histogram.map_or(0, |histogram| histogram.value_at_quantile(quantile));
        if !count.is_null() {
            // SAFETY: as the caller says.
            *unsafe { place(count, 0, "count") }? = histogram.map_or(0, |histogram| histogram.len());
        }
        Ok(0)
    })
}

/// Gives latencies up. NULL is nothing to do.
///
/// # Safety
/// `latencies` is null or latencies, that nobody uses any more.
#[no_mangle]
pub unsafe extern "C" fn fctl_free_latencies(latencies: *mut fctl_latencies) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        drop(unsafe { taken_back(latencies, "latencies") }?);
        Ok(0)
    })
}
