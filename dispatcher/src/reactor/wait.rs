// SPDX-License-Identifier: MIT OR Apache-2.0
//! The waiting policy: spin, then yield, then sleep.

use std::time::Duration;

/// How a reactor waits when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitPolicy {
    /// The longest time to poll after the last productive turn before going to sleep. What is really used adapts
    /// between zero and this: polling that did not pay is given up.
    pub most_polling: Duration,
}

impl WaitPolicy {
    /// Polls for at most `most_polling` after the last productive turn.
    pub const fn polling(most_polling: Duration) -> Self {
        Self { most_polling }
    }

    /// Sleeps at once.
    pub const fn sleeping() -> Self {
        Self { most_polling: Duration::ZERO }
    }

    /// Never sleeps: for measurements, and for a CPU that has nothing else to do.
    pub const fn busy() -> Self {
        Self { most_polling: Duration::MAX }
    }
}

impl Default for WaitPolicy {
    /// 50 microseconds: about the price of a sleep and a wake-up.
    fn default() -> Self {
        Self::polling(Duration::from_micros(50))
    }
}

/// What to do after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Look again at once.
    Poll,
    /// Let others run, then look again.
    Yield,
    /// Sleep.
    Sleep,
}

/// Turns without work that are made before the clock is read, since reading it costs as much as a turn.
const TURNS_BETWEEN_LOOKS: u32 = 16;

/// The state of waiting.
#[derive(Debug)]
pub(super) struct Waiting {
    most: u64,
    /// Polling time that is used now.
    limit: u64,
    idle_turns: u32,
    idle_since: u64,
    /// Another thread needs this CPU while we poll: there is only one.
    alone: bool,
}

impl Waiting {
    pub(super) fn new(policy: WaitPolicy, alone: bool) -> Self {
        let most = u64::try_from(policy.most_polling.as_nanos()).unwrap_or(u64::MAX);
        // With one CPU, the guest runs only while this thread does not: polling can only delay it.
        let most = if alone && most != u64::MAX { 0 } else { most };
        Self { most, limit: most, idle_turns: 0, idle_since: 0, alone }
    }

    /// Something was done.
    #[inline]
    pub(super) fn productive(&mut self) {
        self.idle_turns = 0;
    }

    /// Nothing was done; `now` is called only now and then.
    #[inline]
    pub(super) fn idle(&mut self, now: impl FnOnce() -> u64) -> Next {
        if self.most == u64::MAX {
            return if self.alone { Next::Yield } else { Next::Poll };
        }
        if self.limit == 0 {
            return Next::Sleep;
        }
        self.idle_turns += 1;
        if self.idle_turns == 1 {
            self.idle_since = now();
        } else if self.idle_turns % TURNS_BETWEEN_LOOKS == 0 && now().saturating_sub(self.idle_since) >= self.limit {
            return Next::Sleep;
        }
        Next::Poll
    }

    /// A sleep is over; it lasted `slept` nanoseconds.
    pub(super) fn slept(&mut self, slept: u64) {
        self.idle_turns = 0;
        if self.most == u64::MAX {
            return;
        }
        // A sleep that was shorter than the polling we allow would have been better spent polling, and the other way round.
        self.limit =
            if slept <= self.most { self.limit.saturating_mul(2).max(self.most / 8) } else { self.limit / 2 }.min(self.most);
        if self.limit < self.most / 64 {
            self.limit = self.most / 64;
        }
    }
}
