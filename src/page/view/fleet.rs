//! What a page says of several sidecars: which differ, which are silent, and what they have in
//! common.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Focus, LISTED, NAME};
use crate::{
    page::{
        cells::{part, path},
        clip::clip,
        flow::percent,
    },
    status::{Fleet, Status},
};

/// A sidecar that differs from most.
#[derive(Debug, Serialize)]
pub(in crate::page) struct Differing {
    pub(in crate::page) href: String,
    pub(in crate::page) name: String,
    pub(in crate::page) address: String,
    pub(in crate::page) part: String,
    pub(in crate::page) codes: String,
    pub(in crate::page) how: String,
}

/// A sidecar that did not answer.
#[derive(Debug, Serialize)]
pub(in crate::page) struct Silent {
    pub(in crate::page) address: String,
    pub(in crate::page) why: String,
}

/// What sidecars have in common, by count.
#[derive(Debug, Serialize)]
pub(in crate::page) struct CommonValues {
    pub(in crate::page) name: &'static str,
    pub(in crate::page) values: Vec<(String, usize)>,
    pub(in crate::page) more: usize,
}

impl Silent {
    pub(super) fn of((address, why): &(String, String)) -> Self {
        Self {
            address: clip(address, NAME),
            why: clip(why, 120),
        }
    }
}

/// Those that differ, the least fresh first, and how many others there are.
pub(super) fn differing(fleet: &Fleet) -> (Vec<Differing>, usize) {
    let usual = fleet.usual();
    let mut all: Vec<_> = fleet
        .answered()
        .iter()
        .filter_map(|(address, status)| Some((address, status, usual.differs(status)?)))
        .collect();
    all.sort_by(|(_, one, _), (_, other, _)| part(&one.facts).total_cmp(&part(&other.facts)));
    let more = all.len().saturating_sub(LISTED);
    let listed = all.into_iter().take(LISTED);
    let listed = listed.map(|(address, status, how)| {
        let codes = [&status.code].into_iter().chain(&status.beside);
        let codes: Vec<_> = codes.map(String::as_str).collect();
        Differing {
            href: path(address),
            name: clip(&status.name, NAME),
            address: clip(address, NAME),
            part: percent(part(&status.facts)),
            codes: clip(&codes.join(", "), NAME),
            how: clip(&how.join("; "), 200),
        }
    });
    (listed.collect(), more)
}

/// What they have in common, by count.
pub(super) fn counts(fleet: &Fleet, focus: Focus<'_>) -> Vec<CommonValues> {
    let only = |address: &str| match focus {
        Focus::All => true,
        Focus::Pod(pod) => pod == address,
    };
    let by = |name, what: fn(&Status) -> String| {
        let mut counts = BTreeMap::<_, usize>::new();
        for (_, status) in fleet.answered().iter().filter(|(address, _)| only(address)) {
            *counts.entry(clip(&what(status), NAME)).or_default() += 1;
        }
        let mut values: Vec<_> = counts.into_iter().collect();
        values.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let more = values.len().saturating_sub(LISTED);
        values.truncate(LISTED);
        CommonValues { name, values, more }
    };
    let all = [
        by("rollout", |status| status.target.to_string()),
        by("settings", |status| status.settings.clone()),
        by("version", |status| status.version.clone()),
    ];
    all.into_iter()
        .filter(|counts| !counts.values.is_empty())
        .collect()
}
