// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three bit sets of SCSW word 0 (reference §1.5), with the masks of its right half, so that a set can be compared
//! with a stored image by eye.

use core::fmt;

macro_rules! bit_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $mask:literal $short:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(u16);

        impl $name {
            /// No bit.
            pub const NONE: Self = Self(0);
            /// Every bit of this field.
            pub const ALL: Self = Self($($mask)|+);
            $($(#[$bit_doc])* pub const $bit: Self = Self($mask);)+

            /// The bits as they stand in the right half of SCSW word 0.
            #[must_use]
            pub const fn bits(self) -> u16 {
                self.0
            }

            /// The field taken out of the right half of SCSW word 0; bits of other fields are dropped.
            #[must_use]
            pub const fn from_ctrl(ctrl: u16) -> Self {
                Self(ctrl & Self::ALL.0)
            }

            /// Whether no bit is on.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Whether all bits of `other` are on.
            #[must_use]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether at least one bit of `other` is on.
            #[must_use]
            pub const fn any(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// These bits and those of `other`.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// These bits without those of `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Exactly these bits and no other.
            #[must_use]
            pub const fn is(self, other: Self) -> bool {
                self.0 == other.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.is_empty() {
                    return f.write_str("0");
                }
                let mut between = "";
                $(if self.has(Self::$bit) {
                    f.write_str(between)?;
                    f.write_str($short)?;
                    between = "+";
                })+
                let _ = between;
                Ok(())
            }
        }
    };
}

bit_set! {
    /// Function control: which functions are in progress.
    Fctl {
        /// Start function (bit 17).
        START = 0x4000 "S",
        /// Halt function (bit 18).
        HALT = 0x2000 "H",
        /// Clear function (bit 19).
        CLEAR = 0x1000 "C",
    }
}

bit_set! {
    /// Activity control: how far the functions have come.
    Actl {
        /// Resume pending (bit 20).
        RESUME_PENDING = 0x0800 "RP",
        /// Start pending (bit 21).
        START_PENDING = 0x0400 "SP",
        /// Halt pending (bit 22).
        HALT_PENDING = 0x0200 "HP",
        /// Clear pending (bit 23).
        CLEAR_PENDING = 0x0100 "CP",
        /// Subchannel active (bit 24).
        SUBCHANNEL_ACTIVE = 0x0080 "SchA",
        /// Device active (bit 25).
        DEVICE_ACTIVE = 0x0040 "DevA",
        /// Suspended (bit 26).
        SUSPENDED = 0x0020 "SUSP",
    }
}

bit_set! {
    /// Status control: which status is there for TEST SUBCHANNEL to take.
    Stctl {
        /// Alert (bit 27).
        ALERT = 0x0010 "A",
        /// Intermediate (bit 28).
        INTERMEDIATE = 0x0008 "I",
        /// Primary (bit 29).
        PRIMARY = 0x0004 "P",
        /// Secondary (bit 30).
        SECONDARY = 0x0002 "2",
        /// Status pending (bit 31).
        PENDING = 0x0001 "X",
    }
}

/// What a table cell does to one of the sets: first `off` goes, then `on` comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change<T> {
    /// Bits turned off.
    pub off: T,
    /// Bits turned on, after that.
    pub on: T,
}

impl Change<Fctl> {
    /// The set after this change.
    #[must_use]
    pub const fn of(self, before: Fctl) -> Fctl {
        before.without(self.off).with(self.on)
    }
}

impl Change<Actl> {
    /// The set after this change.
    #[must_use]
    pub const fn of(self, before: Actl) -> Actl {
        before.without(self.off).with(self.on)
    }
}

impl Change<Stctl> {
    /// The set after this change.
    #[must_use]
    pub const fn of(self, before: Stctl) -> Stctl {
        before.without(self.off).with(self.on)
    }
}

/// Device status bytes the model presents (reference §1.5).
pub mod device_status {
    /// Attention.
    pub const ATTENTION: u8 = 0x80;
    /// Busy.
    pub const BUSY: u8 = 0x10;
    /// Channel end.
    pub const CHANNEL_END: u8 = 0x08;
    /// Device end.
    pub const DEVICE_END: u8 = 0x04;
    /// Unit check.
    pub const UNIT_CHECK: u8 = 0x02;
}

/// Subchannel status bytes the model presents (reference §1.5).
pub mod subchannel_status {
    /// Program-controlled interruption.
    pub const PCI: u8 = 0x80;
    /// Program check.
    pub const PROGRAM_CHECK: u8 = 0x20;
}
