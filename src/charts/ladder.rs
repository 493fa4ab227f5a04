//! The ladder: what is asked for, what is wanted, the gates that it has to pass one after the
//! other, and who does the work.
//!
//! The gate that stops most is filled and narrow; behind it the stream is as thin as its opening.
//! It is drawn from left to right for wide pages and from top to bottom for narrow ones. What the
//! gates are called is the caller's business.

use super::picture::{Anchor, Picture};

/// From where to where it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From left to right.
    Wide,
    /// From top to bottom.
    Tall,
}

/// A gate, and the part of the time in which it was the one that stopped what was wanted, from 0 to
/// 1.
#[derive(Clone, Copy, Debug)]
pub struct GatePart<'a> {
    /// Its name.
    pub name: &'a str,
    /// That part.
    pub part: f64,
}

/// A part of what was asked for, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct AskedPart<'a> {
    /// The class that it is drawn with.
    pub class: &'a str,
    /// What is said of it.
    pub name: &'a str,
    /// That part.
    pub part: f64,
}

/// What flows, and through which gates.
#[derive(Clone, Debug)]
pub struct LadderPicture<'a> {
    /// How much is asked for, and what it is called.
    pub asked: (&'a str, &'a str),
    /// How it was answered.
    pub shares: &'a [AskedPart<'a>],
    /// How much is wanted, and what it is called.
    pub wanted: (&'a str, &'a str),
    /// The gates in the order of asking.
    pub gates: &'a [GatePart<'a>],
    /// How much comes through.
    pub through: &'a str,
    /// Work in progress, and the most of it.
    pub busy: (u32, u32),
    /// What is said of the worker: its name, and how long it takes.
    pub worker: (&'a str, &'a str),
    /// Whether something waits.
    pub waits: bool,
    /// Whether something comes through.
    pub flows: bool,
}

/// The pipe's thickness.
const PIPE: f64 = 26.0;
/// The least opening of a gate.
const NARROW: f64 = 5.0;
/// Half the length of a gate's jaws and the pipe between them.
const HALF: f64 = 40.0;
/// A part of the time below which a gate is drawn open.
const SELDOM: f64 = 0.005;
/// A part of the time from which on a gate binds.
const OFTEN: f64 = 0.1;
/// How wide a letter of a name is, more or less.
const LETTER: f64 = 7.4;
/// The most workers that are drawn.
const WORKERS: u32 = 24;

impl LadderPicture<'_> {
    /// The gate that stops most, if one stops often.
    pub fn binding(&self) -> Option<usize> {
        let gates = self.gates.iter().enumerate();
        let stops = gates.filter(|(_, gate)| gate.part >= OFTEN);
        let most = stops.max_by(|(_, one), (_, other)| one.part.total_cmp(&other.part));
        most.map(|(index, _)| index)
    }

    /// Draws it as part of a page. `id` differs from that of any other picture of the page.
    pub fn draw(&self, way: Direction, id: &str) -> String {
        let size = match way {
            Direction::Wide => (1200.0, 172.0),
            Direction::Tall => (360.0, 588.0),
        };
        let class = match way {
            Direction::Wide => "ladder wide",
            Direction::Tall => "ladder tall",
        };
        let description = self.description();
        let title = "What stops renders";
        let mut picture = Picture::inline(size, (id, class), title, &description);
        self.draw_asked(&mut picture, way);
        self.draw_pipe(&mut picture, way);
        for index in 0..self.gates.len() {
            self.draw_gate(&mut picture, way, index);
        }
        self.draw_worker(&mut picture, way);
        picture.finish()
    }

    fn description(&self) -> String {
        let shut: Vec<_> = self
            .gates
            .iter()
            .filter(|gate| gate.part >= SELDOM)
            .map(|gate| format!("{} {}", gate.name, percent(gate.part)))
            .collect();
        let stops = match shut.is_empty() {
            true => "no gate stops them".to_owned(),
            false => format!("gates that stop them: {}", shut.join(", ")),
        };
        let shares: Vec<_> = self.shares.iter().map(|share| share.name).collect();
        format!(
            "{} {}: {}. {} {}; {stops}. {} reach the {}.",
            self.asked.0,
            self.asked.1,
            shares.join(", "),
            self.wanted.0,
            self.wanted.1,
            self.through,
            self.worker.0
        )
    }

    /// What is asked for, and how it was answered.
    fn draw_asked(&self, picture: &mut Picture, way: Direction) {
        let (at, width) = match way {
            Direction::Wide => ((0.0, 22.0), 210.0),
            Direction::Tall => ((16.0, 22.0), 328.0),
        };
        let (asked, what) = self.asked;
        picture.label("small", Anchor::Start, at, what);
        picture.label("big", Anchor::Start, (at.0, at.1 + 32.0), asked);
        let top = at.1 + 46.0;
        picture.rect("rail", (at.0, top), (width, 14.0), 4.0);
        let mut left = at.0;
        for share in self.shares {
            let part = width * share.part.clamp(0.0, 1.0);
            if part > 0.0 {
                picture.rect(share.class, (left, top), (part, 14.0), 4.0);
            }
            left += part;
        }
        let mut left = at.0;
        for (index, share) in self.shares.iter().enumerate() {
            let (x, y) = match way {
                Direction::Wide => (at.0, top + 34.0 + 20.0 * index as f64),
                Direction::Tall => (left, top + 34.0),
            };
            left += 30.0 + LETTER * share.name.chars().count() as f64;
            picture.key(share.class, (x, y), share.name);
        }
    }

    /// The hopper, and the pipe up to the worker with what flows in it.
    fn draw_pipe(&self, picture: &mut Picture, way: Direction) {
        let (from, to) = (way.along(0), way.along(self.gates.len()));
        let binding = self.binding();
        let stops = binding.map_or(from - 14.0, |index| way.along(index) + way.length() / 2.0);
        let hopper = way.hopper();
        let class = if self.waits { "waits" } else { "pipe" };
        let mouth = [
            way.point(hopper, -HALF),
            way.point(from - 14.0, -PIPE / 2.0),
            way.point(from - 14.0, PIPE / 2.0),
            way.point(hopper, HALF),
        ];
        picture.polygon(class, &mouth);
        way.rect(picture, "pipe", (from - 14.0, to), PIPE);
        if self.waits {
            way.rect(picture, "waits", (from - 14.0, stops), PIPE);
        }
        if self.flows {
            let opening = binding.map_or(PIPE, |index| self.opening(index));
            way.rect(
                picture,
                "stream",
                (stops, to + 6.0),
                opening.min(PIPE * 0.6),
            );
            let (from, to) = (way.point(from - 8.0, 0.0), way.point(to + 6.0, 0.0));
            picture.stroke("drops", from, to);
        }
        let (wanted, what) = self.wanted;
        match way {
            Direction::Wide => {
                let x = hopper - 4.0;
                picture.label("small", Anchor::Start, (x, 22.0), what);
                picture.label("mid", Anchor::Start, (x, 42.0), wanted);
            }
            Direction::Tall => {
                picture.label("mid", Anchor::Start, (140.0, hopper + 18.0), wanted);
                picture.label("small", Anchor::Start, (140.0, hopper + 36.0), what);
            }
        }
    }

    fn opening(&self, index: usize) -> f64 {
        let part = self.gates.get(index).map_or(0.0, |gate| gate.part);
        (PIPE * (1.0 - part)).clamp(NARROW, PIPE)
    }

    fn draw_gate(&self, picture: &mut Picture, way: Direction, index: usize) {
        let gate = self.gates[index];
        let binds = self.binding() == Some(index);
        let stops = gate.part >= SELDOM;
        let class = match (binds, stops) {
            (true, _) => "gate binds",
            (false, true) => "gate stops",
            (false, false) => "gate",
        };
        let (begin, end) = (way.along(index), way.along(index) + way.length());
        let half = if stops {
            self.opening(index) / 2.0
        } else {
            PIPE / 2.0
        };
        way.jaw(picture, class, (begin, end), (-HALF, -half));
        way.jaw(picture, class, (begin, end), (half, HALF));
        let middle = f64::midpoint(begin, end);
        let name = if binds { "name binds" } else { "name" };
        let part = percent(gate.part);
        match way {
            Direction::Wide => {
                picture.label(name, Anchor::Middle, (middle, 38.0), gate.name);
                if stops {
                    picture.label(name, Anchor::Middle, (middle, 154.0), &part);
                }
            }
            Direction::Tall => {
                picture.label(name, Anchor::Start, (140.0, middle + 5.0), gate.name);
                if stops {
                    picture.label(name, Anchor::End, (344.0, middle + 5.0), &part);
                }
            }
        }
    }

    /// The worker, with one disc for each permit.
    fn draw_worker(&self, picture: &mut Picture, way: Direction) {
        let (at, size) = match way {
            Direction::Wide => ((1056.0, 52.0), (143.0, 84.0)),
            Direction::Tall => ((16.0, 512.0), (328.0, 68.0)),
        };
        picture.rect("worker", at, size, 10.0);
        let (name, takes) = self.worker;
        let (name_at, through_at) = match way {
            Direction::Wide => ((at.0, 22.0), (at.0, 42.0)),
            Direction::Tall => ((at.0 + 138.0, at.1 + 26.0), (at.0 + 138.0, at.1 + 48.0)),
        };
        let (first, columns, step) = match way {
            Direction::Wide => ((at.0 + 16.0, at.1 + 16.0), 8, 16.0),
            Direction::Tall => ((at.0 + 14.0, at.1 + 19.0), 8, 14.0),
        };
        let (busy, permits) = self.busy;
        let shown = permits.clamp(1, WORKERS);
        let busy = match permits <= WORKERS {
            true => busy,
            false => (f64::from(busy) / f64::from(permits) * f64::from(shown)).ceil() as u32,
        };
        for worker in 0..shown {
            let (row, column) = (f64::from(worker / columns), f64::from(worker % columns));
            let class = if worker < busy {
                "permit busy"
            } else {
                "permit"
            };
            let centre = (first.0 + step * column, first.1 + 15.0 * row);
            picture.disc(class, centre, 5.0);
        }
        picture.label("small", Anchor::Start, name_at, name);
        picture.label("mid", Anchor::Start, through_at, self.through);
        match way {
            Direction::Wide => {
                picture.label("small", Anchor::Start, (at.0 + 11.0, at.1 + 74.0), takes);
            }
            Direction::Tall => {
                picture.label("small", Anchor::End, (at.0 + 316.0, at.1 + 48.0), takes);
            }
        }
    }
}

impl Direction {
    /// The begin of a gate, or of what comes after the last.
    fn along(self, gate: usize) -> f64 {
        let (first, step) = match self {
            Self::Wide => (348.0, 86.0),
            Self::Tall => (198.0, 38.0),
        };
        first + step * gate as f64
    }

    /// The length of a gate.
    const fn length(self) -> f64 {
        match self {
            Self::Wide => 60.0,
            Self::Tall => 26.0,
        }
    }

    /// The begin of the hopper.
    const fn hopper(self) -> f64 {
        match self {
            Self::Wide => 250.0,
            Self::Tall => 138.0,
        }
    }

    /// A point along the pipe and across it.
    const fn point(self, along: f64, across: f64) -> (f64, f64) {
        match self {
            Self::Wide => (along, 94.0 + across),
            Self::Tall => (72.0 + across, along),
        }
    }

    /// A piece of the pipe.
    fn rect(self, picture: &mut Picture, class: &str, (from, to): (f64, f64), thick: f64) {
        self.jaw(picture, class, (from, to), (-thick / 2.0, thick / 2.0));
    }

    fn jaw(
        self,
        picture: &mut Picture,
        class: &str,
        (from, to): (f64, f64),
        (near, far): (f64, f64),
    ) {
        let size = match self {
            Self::Wide => (to - from, far - near),
            Self::Tall => (far - near, to - from),
        };
        let radius = if class.starts_with("gate") { 4.0 } else { 0.0 };
        picture.rect(class, self.point(from, near), size, radius);
    }
}

fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder<'a>(gates: &'a [GatePart<'a>]) -> LadderPicture<'a> {
        LadderPicture {
            asked: ("39/s", "lookups"),
            shares: &[],
            wanted: ("7", "wanted"),
            gates,
            through: "2/s",
            busy: (3, 100),
            worker: ("renderer", "0.2s a render"),
            waits: true,
            flows: true,
        }
    }

    #[test]
    fn the_gate_that_stops_most_is_filled_and_the_narrowest() {
        let gate = |name, part| GatePart { name, part };
        let gates = [gate("queue", 0.1), gate("tokens", 0.9), gate("hold", 0.0)];
        let ladder = ladder(&gates);
        assert_eq!(ladder.binding(), Some(1));
        assert!(ladder.opening(1) < ladder.opening(0));
        for way in [Direction::Wide, Direction::Tall] {
            let svg = ladder.draw(way, "a");
            assert_eq!(svg.matches("gate binds").count(), 2, "two jaws: {svg}");
            assert_eq!(svg.matches("gate stops").count(), 2, "{svg}");
            assert!(svg.contains("queue 10 %, tokens 90 %"), "{svg}");
            assert_eq!(svg.matches("permit busy").count(), 1, "3 of 100: {svg}");
        }
    }

    #[test]
    fn a_ladder_without_a_gate_or_with_open_ones_binds_nowhere() {
        let open = [GatePart {
            name: "tokens",
            part: 0.001,
        }];
        for gates in [&open[..], &[]] {
            let ladder = ladder(gates);
            assert_eq!(ladder.binding(), None);
            let svg = ladder.draw(Direction::Wide, "a");
            assert!(!svg.contains("binds") && svg.contains("no gate stops them"));
        }
    }

    #[test]
    fn a_name_cannot_become_an_element() {
        let gates = [GatePart {
            name: "<script>",
            part: 1.0,
        }];
        for way in [Direction::Wide, Direction::Tall] {
            assert!(!ladder(&gates).draw(way, "a").contains("<script"));
        }
    }
}
