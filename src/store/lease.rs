//! Who renders a project, or why it is left alone for a while. Both stand under the same key.
//!
//! A lease saves renders; it does not protect what is stored, which the order of revisions does.
//! Neither a lease nor a marker stands in the way of a higher order.

use super::{
    SidecarId, StoreTime,
    head::{ORDER_DIGITS, digits, order_of, written},
};
use crate::revision::Order;

/// The right to render one project to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLease {
    /// The least order that the render is to reach.
    pub order: Order,
    /// Who renders.
    pub holder: SidecarId,
    /// Which grant of the store it was.
    pub tick: u64,
}

impl StoreLease {
    /// The value in the store: `L`, 40 digits, `id~tick`.
    pub fn written(&self) -> String {
        format!("L{}{}~{}", written(self.order), self.holder, self.tick)
    }

    /// Reads a value in the store.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (order, owner) = bytes.strip_prefix(b"L")?.split_at_checked(ORDER_DIGITS)?;
        let (holder, tick) = owner_of(owner)?;
        Some(Self {
            order: order_of(order)?,
            holder,
            tick,
        })
    }
}

/// Reads `id~tick`.
pub(super) fn owner_of(bytes: &[u8]) -> Option<(SidecarId, u64)> {
    let (holder, tick) = std::str::from_utf8(bytes).ok()?.rsplit_once('~')?;
    Some((SidecarId::new(holder).ok()?, digits(tick.as_bytes())?))
}

/// Why a project is left alone for a while by the whole fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Until when, in whole milliseconds of the store's clock.
    pub until: StoreTime,
    /// What happened how often.
    pub cause: Cause,
}

/// What happened, and how many times in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// How many times.
    pub count: u64,
    /// What.
    pub why: Why,
}

/// What makes a fleet leave a project alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Its renders fail.
    Failing,
    /// The renderer knows no such project.
    Absent,
}

impl Cause {
    /// As it stands in the store: `count:why`.
    pub fn written(&self) -> String {
        let why = match self.why {
            Why::Failing => "failing",
            Why::Absent => "absent",
        };
        format!("{}:{why}", self.count)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let at = bytes.iter().position(|byte| *byte == b':')?;
        let why = match &bytes[at + 1..] {
            b"failing" => Why::Failing,
            b"absent" => Why::Absent,
            _ => return None,
        };
        let count = digits(&bytes[..at])?;
        Some(Self { count, why })
    }
}

impl Marker {
    /// Reads what stands after the order: 13 digits, `count:why`.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (until, cause) = bytes.split_at_checked(13)?;
        Some(Self {
            until: StoreTime::from_millis(digits(until)?),
            cause: Cause::read(cause)?,
        })
    }
}
