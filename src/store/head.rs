//! What last landed of a project: when, which order, which payload.
//!
//! Orders are written as 40 decimal digits, because Lua compares strings as the server's locale
//! does, and digits alone compare the same in every locale and beyond 2⁵³.

use super::{StoreTime, reply::number};
use crate::revision::{Digest, Order};

/// Digits of an order: 20 of the rollout, 20 of the number.
pub const ORDER_DIGITS: usize = 40;
const TIME_DIGITS: usize = 13;
const HEAD_BYTES: usize = TIME_DIGITS + ORDER_DIGITS + 32;

/// What last landed of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredHead {
    /// When, in whole milliseconds of the store's clock.
    pub at: StoreTime,
    /// What.
    pub stamp: Stamp,
}

/// Which payload a project has, and where that stands among its revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Where it stands.
    pub order: Order,
    /// The digest of the payload, as it is served.
    pub digest: Digest,
}

/// The bytes of a head as they stand in the store, whatever they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawHead(pub Vec<u8>);

impl RawHead {
    /// Reads the head; none when another than a sidecar wrote it.
    pub fn read(&self) -> Option<StoredHead> {
        if self.0.len() != HEAD_BYTES {
            return None;
        }
        let (at, rest) = self.0.split_at(TIME_DIGITS);
        let at = StoreTime::from_millis(digits(at)?);
        let stamp = Stamp::read(rest)?;
        Some(StoredHead { at, stamp })
    }
}

impl StoredHead {
    /// The bytes in the store.
    pub fn raw(&self) -> RawHead {
        let mut bytes = format!("{:013}", self.at.as_millis()).into_bytes();
        bytes.extend(self.stamp.bytes());
        RawHead(bytes)
    }
}

impl Stamp {
    /// The order's digits and the digest: 72 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = written(self.order).into_bytes();
        bytes.extend_from_slice(self.digest.as_bytes());
        bytes
    }

    /// Reads 72 bytes.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (order, digest) = bytes.split_at_checked(ORDER_DIGITS)?;
        let digest: [u8; 32] = digest.try_into().ok()?;
        Some(Self {
            order: order_of(order)?,
            digest: Digest::from(digest),
        })
    }
}

/// An order as 40 digits.
pub fn written(order: Order) -> String {
    format!("{:020}{:020}", order.rollout, order.number)
}

/// Reads an order of 40 digits.
pub fn order_of(bytes: &[u8]) -> Option<Order> {
    if bytes.len() != ORDER_DIGITS {
        return None;
    }
    let (rollout, number) = bytes.split_at(ORDER_DIGITS / 2);
    Some(Order::new(digits(rollout)?, digits(number)?))
}

/// Reads digits, and nothing but digits.
pub(super) fn digits(bytes: &[u8]) -> Option<u64> {
    let is_number = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    if is_number { number(bytes) } else { None }
}
