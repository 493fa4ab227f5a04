//! The figures below the pictures.

use std::time::Duration;

use serde::Serialize;

use super::Subject;
use crate::{
    moment::spoken,
    page::{
        cells::part,
        flow::{grouped, percent},
    },
    verdict::{figure, time},
};

/// A figure with its name.
#[derive(Debug, Serialize)]
pub(in crate::page) struct Tile {
    pub(in crate::page) name: &'static str,
    pub(in crate::page) figure: String,
    pub(in crate::page) note: String,
}

/// The figures below the pictures.
pub(super) fn tiles(subject: &Subject<'_>) -> Vec<Tile> {
    let facts = &subject.facts;
    if facts.sidecars == 0 {
        return Vec::new();
    }
    let held = facts.fresh.saturating_add(facts.outdated);
    let count = |count: u32| grouped(f64::from(count));
    let mut tiles = vec![
        Tile {
            name: "fresh",
            figure: percent(part(facts)),
            note: format!("{} of {} held", count(facts.fresh), count(held)),
        },
        Tile {
            name: "done in",
            figure: match (facts.left(), facts.done_in_seconds) {
                (0, _) => "done".to_owned(),
                (_, Some(seconds)) => time(seconds),
                (_, None) => "unknown".to_owned(),
            },
            note: match subject.raised {
                Some(seconds) => format!("raised {} ago", spoken(Duration::from_secs(seconds))),
                None => "no release yet".to_owned(),
            },
        },
        Tile {
            name: "renders",
            figure: format!("{}/s", figure(facts.renders_per_second)),
            note: format!(
                "of {}/s, {} in force",
                figure(facts.rate),
                figure(facts.rate_in_force)
            ),
        },
        Tile {
            name: "a render takes",
            figure: match facts.median_seconds {
                0.0 => "–".to_owned(),
                seconds => time(seconds),
            },
            note: format!("oldest {}", time(facts.oldest_seconds)),
        },
        Tile {
            name: "failing",
            figure: count(facts.failing),
            note: "projects".to_owned(),
        },
        Tile {
            name: "missing",
            figure: count(facts.wanted_missing),
            note: "wanted, nothing held".to_owned(),
        },
    ];
    if let Some((_, status)) = subject.status {
        tiles.push(Tile {
            name: "up",
            figure: spoken(Duration::from_secs(status.up)),
            note: if status.ready { "ready" } else { "not ready" }.to_owned(),
        });
    }
    tiles
}
