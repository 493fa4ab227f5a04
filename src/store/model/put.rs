//! `scripts/put.lua`.

use super::{
    Model,
    lasting::{self, Expiring},
    part,
};
use crate::store::{
    StoreTime,
    put::{Put, StoreVerdict},
    time::millis,
    value::PREFIX_BYTES,
};

impl Model {
    /// A value is to be stored.
    pub fn put(&mut self, call: &Put, now: StoreTime) -> StoreVerdict {
        let new = call.value.bytes();
        let entry = lasting::entry(&mut self.values, &call.project, now);
        if let Some(entry) = entry {
            let old = part(entry.value(), 0, PREFIX_BYTES);
            let is_disowned = call.disowned.as_ref().is_some_and(|prefix| prefix == old);
            let (was, is) = (part(old, 2, 42), part(&new, 2, 42));
            if !old.is_empty() && !is_disowned {
                if was > is {
                    return StoreVerdict::Older;
                }
                if was == is {
                    if part(old, 42, PREFIX_BYTES) != part(&new, 42, PREFIX_BYTES) {
                        return StoreVerdict::Conflict;
                    }
                    entry.renew(millis(call.ttl), now);
                    return StoreVerdict::Validated;
                }
            }
        }
        let lasting = Expiring::new(new, millis(call.ttl), now);
        self.values.insert(call.project.clone(), lasting);
        StoreVerdict::Newer
    }
}
