//! The grid: one cell a sidecar, shaded by the part that is fresh, with an edge where it differs from most, hollow where it is
//! silent. Of a large fleet a cell stands for several, and only those that stand out are links, so that a page stays small.

use std::net::SocketAddr;

use serde::Serialize;

use super::{
    clip::{clip, takes},
    flow::percent,
};
use crate::{
    status::{Fleet, Status, Usual},
    verdict::Facts,
};

/// The most sidecars whose cells have names.
const NAMED: usize = 24;
/// The most sidecars of which each has a cell that is a link.
const LINKED: usize = 150;
/// The most cells.
const CELLS: usize = 1_000;
/// What all cells may take of a page, in bytes.
const BYTES: usize = 31_000;
/// What a cell takes that is no link.
const PLAIN: usize = 28;
/// What a link takes beside its texts.
const LINK: usize = 80;
/// How many shades there are, from nothing fresh to all.
const SHADES: f64 = 10.0;
/// The most that is shown of a name, in bytes.
const NAME: usize = 48;

/// The cells, and what they look like.
#[derive(Debug, Serialize)]
pub(super) struct Cells {
    /// `named`, `large` or `small`.
    pub(super) size: &'static str,
    /// How many sidecars a cell stands for.
    pub(super) each: usize,
    pub(super) cells: Vec<Cell>,
}

/// One cell.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    /// The classes of its shade and edge.
    pub(super) class: String,
    /// Where its link leads; none if it is no link.
    pub(super) href: Option<String>,
    /// What is said of it.
    pub(super) label: String,
    /// What it is called.
    pub(super) name: String,
    /// The part that is fresh.
    pub(super) part: String,
}

/// A sidecar of the grid.
struct Item<'a> {
    address: &'a str,
    said: Result<&'a Status, &'a str>,
    stands_out: bool,
}

impl Cells {
    pub(super) fn of(fleet: &Fleet, usual: &Usual) -> Self {
        let answered = fleet.answered().iter().map(|(address, status)| Item {
            address,
            said: Ok(status),
            stands_out: usual.differs(status).is_some(),
        });
        let silent = fleet.silent().iter().map(|(address, why)| Item {
            address,
            said: Err(why),
            stands_out: true,
        });
        let mut items: Vec<_> = answered.chain(silent).collect();
        items.sort_by_cached_key(|item| (item.address.parse::<SocketAddr>().ok(), item.address));
        let each = items.len().div_ceil(CELLS).max(1);
        let mut left = BYTES.saturating_sub(PLAIN * items.len().div_ceil(each));
        let all_are_links = items.len() <= LINKED;
        let cells = match each {
            1 => items
                .iter()
                .map(|item| item.cell(all_are_links, &mut left))
                .collect(),
            _ => items.chunks(each).map(together).collect(),
        };
        let size = match items.len() {
            0..=NAMED => "named",
            count if count <= LINKED => "large",
            _ => "small",
        };
        Self { size, each, cells }
    }
}

impl Item<'_> {
    /// As a cell. It is a link if it is to be one, or stands out, and there are bytes left.
    fn cell(&self, is_link: bool, left: &mut usize) -> Cell {
        let (class, label, name, part) = match self.said {
            Err(why) => {
                let label = format!("{}: silent, {}", self.address, clip(why, 80));
                (
                    "silent".to_owned(),
                    label,
                    self.address,
                    "silent".to_owned(),
                )
            }
            Ok(status) => {
                let (part, name) = (part(&status.facts), &*status.name);
                let label = format!(
                    "{} ({}): {} fresh, {}",
                    clip(name, NAME),
                    self.address,
                    percent(part),
                    clip(&status.code, NAME)
                );
                let name = if name.is_empty() { self.address } else { name };
                (shade(part, self.stands_out), label, name, percent(part))
            }
        };
        let mut cell = Cell {
            class,
            href: Some(path(self.address)),
            label,
            name: clip(name, NAME),
            part,
        };
        let takes = LINK + cell.bytes();
        if (is_link || self.stands_out) && takes <= *left {
            *left -= takes;
        } else {
            cell.href = None;
            cell.label.clear();
            cell.name.clear();
        }
        cell
    }
}

impl Cell {
    /// What its texts take.
    fn bytes(&self) -> usize {
        let href = self.href.as_ref().map_or(0, String::len);
        href + takes(&self.label) + takes(&self.name)
    }
}

/// Several sidecars as one cell.
fn together(items: &[Item<'_>]) -> Cell {
    let facts = items.iter().filter_map(|item| item.said.ok());
    let facts = Facts::sum(facts.map(|status| &status.facts));
    let class = match facts.sidecars {
        0 => "silent".to_owned(),
        _ => shade(part(&facts), items.iter().any(|item| item.stands_out)),
    };
    Cell {
        class,
        href: None,
        label: String::new(),
        name: String::new(),
        part: percent(part(&facts)),
    }
}

/// The part of the held projects that is fresh; all of nothing is.
pub(super) fn part(facts: &Facts) -> f64 {
    match facts.fresh.saturating_add(facts.outdated) {
        0 => 1.0,
        held => f64::from(facts.fresh) / f64::from(held),
    }
}

fn shade(part: f64, stands_out: bool) -> String {
    let shade = (part * SHADES).floor();
    let edge = if stands_out { " differs" } else { "" };
    format!("s{shade}{edge}")
}

/// The path of a sidecar's own page. What is no letter or digit is escaped, so that it stays one segment.
pub(super) fn path(address: &str) -> String {
    let mut path = "/pod/".to_owned();
    for byte in address.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b':' => {
                path.push(char::from(byte));
            }
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}
