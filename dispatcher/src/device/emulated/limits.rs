// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much of one program is done at once.

/// How much of one program is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of one operation: what a halt may have to wait for.
    pub stop_grain: u32,
    /// The most command-chained CCWs in one call.
    pub ccws_per_call: u32,
    /// The most CCWs, TICs among them, without any data moved; one more is a program check. It ends loops that would never end.
    pub ccws_without_data: u32,
}

impl Limits {
    /// With another [`stop_grain`](Self::stop_grain).
    #[must_use]
    pub const fn with_stop_grain(self, stop_grain: u32) -> Self {
        Self { stop_grain, ..self }
    }

    /// With another [`ccws_per_call`](Self::ccws_per_call).
    #[must_use]
    pub const fn with_ccws_per_call(self, ccws_per_call: u32) -> Self {
        Self { ccws_per_call, ..self }
    }

    /// With another [`ccws_without_data`](Self::ccws_without_data).
    #[must_use]
    pub const fn with_ccws_without_data(self, ccws_without_data: u32) -> Self {
        Self { ccws_without_data, ..self }
    }
}

impl Default for Limits {
    /// 256 KiB, 64 and 1024.
    fn default() -> Self {
        Self { stop_grain: 256 << 10, ccws_per_call: 64, ccws_without_data: 1024 }
    }
}
