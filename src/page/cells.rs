//! The grid: one cell a sidecar, shaded by the part that is fresh, with an edge where it differs
//! from most, hollow where it is silent. Of a large fleet a cell stands for several, and only those
//! that stand out are links, so that a page stays small.

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
    edge: Edge,
}

/// Whether a cell stands out by its edge.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Usual,
    Differs,
}

impl Cells {
    pub(super) fn of(fleet: &Fleet, usual: &Usual) -> Self {
        let answered = fleet.answered().iter().map(|(address, status)| Item {
            address,
            said: Ok(status),
            edge: usual.differs(status).map_or(Edge::Usual, |_| Edge::Differs),
        });
        let silent = fleet.silent().iter().map(|(address, why)| Item {
            address,
            said: Err(why),
            edge: Edge::Differs,
        });
        let mut items: Vec<_> = answered.chain(silent).collect();
        items.sort_by_cached_key(|item| (item.address.parse::<SocketAddr>().ok(), item.address));
        let each = items.len().div_ceil(CELLS).max(1);
        let mut left = BYTES.saturating_sub(PLAIN * items.len().div_ceil(each));
        let all_are_links = items.len() <= LINKED;
        let cells = match each {
            1 => items
                .iter()
                .map(|item| {
                    let cell = item.cell();
                    let takes = LINK + cell.bytes();
                    let is_link = all_are_links || item.edge == Edge::Differs;
                    if is_link && takes <= left {
                        left -= takes;
                        cell
                    } else {
                        cell.without_link()
                    }
                })
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
    /// As a cell that is a link.
    fn cell(&self) -> Cell {
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
                (shade(part, self.edge), label, name, percent(part))
            }
        };
        Cell {
            class,
            href: Some(path(self.address)),
            label,
            name: clip(name, NAME),
            part,
        }
    }
}

impl Cell {
    /// What its texts take.
    fn bytes(&self) -> usize {
        let href = self.href.as_ref().map_or(0, String::len);
        href + takes(&self.label) + takes(&self.name)
    }

    fn without_link(self) -> Self {
        Self {
            href: None,
            label: String::new(),
            name: String::new(),
            ..self
        }
    }
}

/// Several sidecars as one cell.
fn together(items: &[Item<'_>]) -> Cell {
    let facts = items.iter().filter_map(|item| item.said.ok());
    let facts = Facts::sum(facts.map(|status| &status.facts));
    let class = match facts.sidecars {
        0 => "silent".to_owned(),
        _ => {
            let differs = items.iter().any(|item| item.edge == Edge::Differs);
            let edge = if differs { Edge::Differs } else { Edge::Usual };
            shade(part(&facts), edge)
        }
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

fn shade(part: f64, edge: Edge) -> String {
    let shade = (part * SHADES).floor();
    let edge = match edge {
        Edge::Usual => "",
        Edge::Differs => " differs",
    };
    format!("s{shade}{edge}")
}

/// The path of a sidecar's own page. What is no letter or digit is escaped, so that it stays one
/// segment.
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
