// SPDX-License-Identifier: MIT OR Apache-2.0
//! Declares blocks whose bytes are fixed by a document: each field stands with the byte offset the document gives it,
//! and the compiler checks that list against the type.
//!
//! Every field type has alignment 1, so a block has no padding, may lie at any address, and is converted field by field
//! without `unsafe`. After inlining that is a handful of (byte-swapping) loads and stores.

use zerocopy::byteorder::{ByteOrder, U16, U32, U64};

/// A type that may stand as a field of a [`wire!`] block: alignment 1, and every bit pattern is a value.
///
/// Callers pass slices of exactly `LEN` bytes. Offsets and lengths are constants from the declarations, never taken from
/// guest bytes, so the bounds checks fold away and cannot fail at run time.
pub(crate) trait Field: Copy {
    /// Length in bytes.
    const LEN: usize;

    /// Copies the field out of its bytes.
    fn load(bytes: &[u8]) -> Self;

    /// Copies the field into its bytes.
    fn store(&self, bytes: &mut [u8]);
}

impl Field for u8 {
    const LEN: usize = 1;

    #[inline]
    fn load(bytes: &[u8]) -> Self {
        bytes[0]
    }

    #[inline]
    fn store(&self, bytes: &mut [u8]) {
        bytes[0] = *self;
    }
}

impl<const N: usize> Field for [u8; N] {
    const LEN: usize = N;

    #[inline]
    fn load(bytes: &[u8]) -> Self {
        let mut field = [0; N];
        field.copy_from_slice(bytes);
        field
    }

    #[inline]
    fn store(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(self);
    }
}

macro_rules! integer_field {
    ($($integer:ident: $len:literal),*) => {$(
        impl<O: ByteOrder> Field for $integer<O> {
            const LEN: usize = $len;

            #[inline]
            fn load(bytes: &[u8]) -> Self {
                Self::from_bytes(Field::load(bytes))
            }

            #[inline]
            fn store(&self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_bytes());
            }
        }
    )*};
}

integer_field!(U16: 2, U32: 4, U64: 8);

/// Declares one block: its name, its size in bytes, and `offset => field: type` for every field.
///
/// Generates `SIZE`, `from_bytes`, `to_bytes`, `Default` (all zero) and the compile-time proof of size, offsets and
/// alignment. Gaps do not compile: reserved bytes are fields too, so that they survive a round trip.
macro_rules! wire {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident: $size:literal {
            $($(#[$field_meta:meta])* $offset:literal => $field_vis:vis $field:ident: $type:ty),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)+
        }

        const _: () = {
            assert!(::core::mem::size_of::<$name>() == $size);
            assert!(::core::mem::align_of::<$name>() == 1);
            $(assert!(::core::mem::offset_of!($name, $field) == $offset);)+
            $(assert!(::core::mem::size_of::<$type>() == <$type as $crate::wire::Field>::LEN);)+
        };

        #[allow(dead_code, reason = "not every block is used in both directions")]
        #[allow(clippy::wrong_self_convention, reason = "blocks may be as long as a header: by reference")]
        impl $name {
            /// Length of the block in bytes.
            pub const SIZE: usize = $size;

            /// Takes the block from its bytes as they stand in storage. Every bit pattern is accepted.
            #[inline]
            #[must_use]
            pub fn from_bytes(bytes: &[u8; $size]) -> Self {
                $crate::wire::Field::load(bytes)
            }

            /// The block's bytes as they stand in storage.
            #[inline]
            #[must_use]
            pub fn to_bytes(&self) -> [u8; $size] {
                let mut bytes = [0; $size];
                $crate::wire::Field::store(self, &mut bytes);
                bytes
            }
        }

        impl ::core::default::Default for $name {
            // Not derived: arrays longer than 32 bytes have no Default.
            #[inline]
            fn default() -> Self {
                Self::from_bytes(&[0; $size])
            }
        }

        impl $crate::wire::Field for $name {
            const LEN: usize = $size;

            #[inline]
            fn load(bytes: &[u8]) -> Self {
                Self {
                    $($field: $crate::wire::Field::load(
                        &bytes[$offset..$offset + <$type as $crate::wire::Field>::LEN],
                    ),)+
                }
            }

            #[inline]
            fn store(&self, bytes: &mut [u8]) {
                $($crate::wire::Field::store(
                    &self.$field,
                    &mut bytes[$offset..$offset + <$type as $crate::wire::Field>::LEN],
                );)+
            }
        }
    };
}

pub(crate) use wire;

#[cfg(test)]
mod tests {
    use zerocopy::byteorder::{BE, LE, U16, U32, U64};

    wire! {
        /// Both byte orders, a nested block and reserved bytes.
        struct Outer: 60 {
            0 => little: U32<LE>,
            4 => big: U32<BE>,
            8 => inner: Inner,
            19 => byte: u8,
            20 => reserved: [u8; 40],
        }
    }

    wire! {
        struct Inner: 11 {
            0 => half: U16<LE>,
            2 => double: U64<BE>,
            10 => tail: [u8; 1],
        }
    }

    #[test]
    fn every_field_lies_at_its_offset_in_its_byte_order() {
        let mut bytes = [0u8; Outer::SIZE];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(at).unwrap();
        }
        let outer = Outer::from_bytes(&bytes);
        assert_eq!(outer.little.get(), 0x0302_0100);
        assert_eq!(outer.big.get(), 0x0405_0607);
        assert_eq!(outer.inner.half.get(), 0x0908);
        assert_eq!(outer.inner.double.get(), 0x0A0B_0C0D_0E0F_1011);
        assert_eq!(outer.inner.tail, [18]);
        assert_eq!(outer.byte, 19);
        assert_eq!(outer.reserved[39], 59);
        assert_eq!(outer.to_bytes(), bytes);
    }

    #[test]
    fn default_is_all_zero() {
        assert_eq!(Outer::default().to_bytes(), [0; Outer::SIZE]);
    }
}
