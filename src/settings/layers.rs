//! The layers of settings, files under environment under flags, and the checks of one value and of
//! several together.

use std::{collections::BTreeMap, num::NonZeroU32};

use super::{
    Listen, Settings,
    problem::{Problem, ValueOrigin},
    section::Field,
    setting::{Setting, Written},
    shown::shown,
};

/// What a layer says of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerEntry {
    /// What is to be read.
    pub(super) written: Written,
    /// What is shown of it.
    pub(super) shown: String,
    /// Where it stands.
    pub(super) place: ValueOrigin,
}

/// What a variable or a flag says.
pub(super) fn untyped(value: &str, place: ValueOrigin) -> LayerEntry {
    LayerEntry {
        written: Written::untyped(value),
        shown: if value.is_empty() {
            "\"\"".to_owned()
        } else {
            shown(value)
        },
        place,
    }
}

/// What a layer says, by the field's path.
pub(super) type Layer = BTreeMap<&'static str, LayerEntry>;

/// All layers, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The files.
    pub(super) files: Layer,
    /// The environment.
    pub(super) environment: Layer,
    /// The flags.
    pub(super) flags: Layer,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    refused: Vec<&'static str>,
}

impl Layers {
    /// What the topmost layer says of a field.
    pub(super) fn find(&self, path: &str) -> Option<&LayerEntry> {
        let layers = [&self.flags, &self.environment, &self.files];
        layers.into_iter().find_map(|layer| layer.get(path))
    }

    /// The variable or flag that decides on a field.
    pub(super) fn pin(&self, path: &str) -> Option<&ValueOrigin> {
        let layers = [&self.flags, &self.environment];
        let entry = layers.into_iter().find_map(|layer| layer.get(path));
        entry.map(|entry| &entry.place)
    }

    /// How high the layer is that decides on a field.
    fn height(&self, path: &str) -> Option<usize> {
        let layers = [&self.files, &self.environment, &self.flags];
        layers.iter().rposition(|layer| layer.contains_key(path))
    }

    /// Reads a field, or its default when no layer has it or what is said is refused.
    pub(super) fn read<T: Setting>(
        &mut self,
        field: &'static Field,
        is_within: impl Fn(&T) -> bool,
    ) -> T {
        let default = || {
            let written = Written::untyped(field.default);
            T::read(&written).expect("BUG: a default is not accepted")
        };
        let Some(entry) = self.find(field.path) else {
            return default();
        };
        let read =
            T::read(&entry.written).filter(|read| T::is_absent(&entry.written) || is_within(read));
        read.unwrap_or_else(|| {
            self.refuse(field.path, field.accepted());
            default()
        })
    }

    fn refuse(&mut self, path: &'static str, accepted: String) {
        let (place, value) = self.find(path).map_or_else(
            || (ValueOrigin::Default, default_of(path)),
            |entry| (entry.place.clone(), entry.shown.clone()),
        );
        self.refused.push(path);
        self.problems.push(Problem::Refused {
            place,
            field: path.to_owned(),
            value,
            accepted,
        });
    }

    /// Refuses a field for what others are, unless one of them was refused itself.
    fn refuse_together(&mut self, path: &'static str, others: &[&'static str], accepted: String) {
        let mut fields = others.iter().chain([&path]);
        if !fields.any(|field| self.refused.contains(field)) {
            self.refuse(path, accepted);
        }
    }

    /// Checks what is right or wrong only together, and lets the higher layer choose between a rate
    /// and a fleet's.
    pub(super) fn check(&mut self, settings: &mut Settings) {
        self.check_patience(settings);
        self.choose_rate(settings);
        self.check_least_rates(settings);
        self.check_refill(settings);
        self.check_listeners(settings);
        self.check_store(settings);
    }

    fn check_patience(&mut self, settings: &Settings) {
        let lookup = &settings.lookup;
        let longest = lookup.max_patience;
        for (path, patience) in [
            ("lookup.patience", lookup.patience),
            ("lookup.cold_patience", lookup.cold_patience),
        ] {
            if patience > longest && self.find(path).is_some() {
                let accepted = format!(
                    "at most lookup.max_patience, {}",
                    humantime::format_duration(longest)
                );
                self.refuse_together(path, &["lookup.max_patience"], accepted);
            }
        }
    }

    /// A store shares the rate of a fleet, under names that it can have.
    fn check_store(&mut self, settings: &Settings) {
        if settings.store.url.is_none() {
            return;
        }
        if settings.admission.fleet_rate.is_none() {
            let accepted =
                "given together with admission.fleet_rate and admission.fleet_size".to_owned();
            self.refuse_together(STORE_URL, &[FLEET_RATE, FLEET_SIZE], accepted);
        }
        for (path, name) in [
            ("store.namespace", &settings.store.namespace),
            ("component", &settings.component),
        ] {
            if name.len() > 128 || name.contains(':') {
                let accepted =
                    "1 to 128 characters of [A-Za-z0-9._/-] beside a store.url".to_owned();
                self.refuse_together(path, &[STORE_URL], accepted);
            }
        }
    }

    fn choose_rate(&mut self, settings: &mut Settings) {
        let admission = &mut settings.admission;
        if admission.fleet_rate.is_none() {
            return;
        }
        let height = self.height(RATE);
        if height > self.height(FLEET_RATE) {
            admission.fleet_rate = None;
        } else if height.is_some() && height == self.height(FLEET_RATE) {
            let rate = self.find(RATE).map(|entry| entry.place.to_string());
            let accepted = format!(
                "left out as long as admission.rate stands in {}",
                rate.unwrap_or_default()
            );
            self.refuse_together(FLEET_RATE, &[RATE], accepted);
        } else if admission.fleet_size.is_none() {
            let accepted = "given together with admission.fleet_size".to_owned();
            self.refuse_together(FLEET_RATE, &[FLEET_SIZE], accepted);
        }
    }

    /// Refuses rates so low that admission cannot tell them from none, as it would then launch
    /// nothing.
    fn check_least_rates(&mut self, settings: &Settings) {
        let admission = &settings.admission;
        if is_too_low(settings.upstream.fetch.rate) {
            self.refuse(FETCH_RATE, format!("0, or at least {LEAST_RATE}"));
        }
        if !is_too_low(admission.rate()) {
            return;
        }
        let Some(size) = admission
            .fleet_size
            .filter(|_| admission.fleet_rate.is_some())
        else {
            self.refuse(RATE, format!("0, or at least {LEAST_RATE}"));
            return;
        };
        let least = LEAST_RATE * f64::from(size.get());
        let accepted = format!(
            "0, or at least {least} for admission.fleet_size {size}: {LEAST_RATE} in each sidecar"
        );
        self.refuse_together(FLEET_RATE, &[FLEET_SIZE], accepted);
    }

    /// Checks that bursts refill in a time that a clock of nanoseconds can hold many times over.
    fn check_refill(&mut self, settings: &Settings) {
        let (admission, fetch) = (&settings.admission, &settings.upstream.fetch);
        let renders = longest_burst(admission.rate(), admission.burst);
        if let Some(accepted) = renders.map(|most| refills(admission.rate(), "renders", most)) {
            self.refuse_together("admission.burst", &[RATE, FLEET_RATE, FLEET_SIZE], accepted);
        }
        let fetches = longest_burst(fetch.rate, fetch.concurrency);
        if let Some(accepted) = fetches.map(|most| refills(fetch.rate, "fetches", most)) {
            self.refuse_together("upstream.fetch.concurrency", &[FETCH_RATE], accepted);
        }
    }
}

/// The lowest rate above 0, in events per second. Admission's bucket can still count a thousandth
/// of it.
pub(super) const LEAST_RATE: f64 = 0.000_001;
/// The longest that a full burst may take to refill, in seconds.
const LONGEST_REFILL: f64 = 30.0 * 86_400.0;

fn is_too_low(rate: f64) -> bool {
    rate > 0.0 && rate < LEAST_RATE
}

/// The largest burst that refills in time at a rate, when this one does not.
fn longest_burst(rate: f64, burst: NonZeroU32) -> Option<f64> {
    let is_too_long = rate > 0.0 && f64::from(burst.get()) / rate > LONGEST_REFILL;
    is_too_long.then(|| (rate * LONGEST_REFILL).floor())
}

fn refills(rate: f64, events: &str, most: f64) -> String {
    format!("such that it refills within 30 days: at {rate} {events}/s at most {most}")
}

impl Layers {
    /// Checks that no listener stands in another's way.
    fn check_listeners(&mut self, settings: &Settings) {
        let lookups = settings.lookup.listen.iter();
        let lookups = lookups.map(|listen| (LOOKUP_LISTEN, listen.clone()));
        let admin = settings.admin.listen.iter();
        let admin = admin.map(|listen| ("admin.listen", listen.clone()));
        let telemetry = Listen::Tcp(settings.telemetry.listen);
        let telemetry = [("telemetry.listen", telemetry)];
        let mut bound: Vec<(&'static str, Listen)> = Vec::new();
        for (path, listen) in lookups.chain(admin).chain(telemetry) {
            let other = bound
                .iter()
                .find(|(_, other)| listen.is_in_the_way_of(other));
            let Some((taken, other)) = other else {
                bound.push((path, listen));
                continue;
            };
            // What is said of a default helps less than what is said of the field that somebody
            // set.
            let is_default = self.find(path).is_none() && self.find(taken).is_some();
            let (refused, kept, stays) = if is_default {
                (*taken, path, &listen)
            } else {
                (path, *taken, other)
            };
            let accepted = format!("another address than {stays}, which {kept} has");
            self.refuse_together(refused, &[kept], accepted);
        }
    }
}

const LOOKUP_LISTEN: &str = "lookup.listen";
const RATE: &str = "admission.rate";
const FLEET_RATE: &str = "admission.fleet_rate";
const FLEET_SIZE: &str = "admission.fleet_size";
const STORE_URL: &str = "store.url";
const FETCH_RATE: &str = "upstream.fetch.rate";

/// The field that says the same in another way, so that a higher layer's decision on one overrules
/// the other.
pub(super) fn alternative(path: &str) -> Option<&'static str> {
    match path {
        RATE => Some(FLEET_RATE),
        FLEET_RATE => Some(RATE),
        _ => None,
    }
}

fn default_of(path: &str) -> String {
    let fields = Settings::fields();
    let field = fields.iter().find(|field| field.path == path);
    field.map_or_else(String::new, |field| field.default.to_owned())
}
