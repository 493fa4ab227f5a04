//! The variables of the environment: those that name a field, those that seem to be meant for one,
//! and those of others.
//!
//! Kubernetes sets variables in every pod beside a Service named `evenkeel` or `evenkeel-renderer`,
//! and people set theirs, so a strange name is no mistake by itself. A name with two underscores in
//! a row, or one like `rollout` or `component`, can only be meant for a field and is a problem when
//! it names none. Any other that is like a field's is said at start, and ignored.

use super::{
    Settings,
    flags::FIELDS,
    layers::{Layers, untyped},
    problem::{Problem, ValueOrigin, edits, nearest},
    section::{Field, variable},
    shown::shown,
};

/// What the names of all variables begin with.
const PREFIX: &str = "EVENKEEL_";

/// What others than a sidecar's settings read: `evenkeel get` and `watch`.
const OTHERS: [&str; 1] = ["ADDRESS"];

/// What people call the variable that would name the files.
const FILES: [&str; 5] = [
    "config",
    "configfile",
    "configpath",
    "settings",
    "settingsfile",
];

/// The longest name that is compared with those of the fields.
const LONGEST: usize = 64;

/// Reads the variables that name a field.
pub(super) fn read(layers: &mut Layers, environment: &[(String, String)]) {
    let fields = Settings::fields();
    for (name, value) in environment {
        let place = || ValueOrigin::Environment(name.clone());
        match Meaning::of(name, &fields) {
            Meaning::Field(field) => {
                layers
                    .environment
                    .insert(field.path, untyped(value, place()));
            }
            Meaning::Misspelt { path, nearest } => layers.problems.push(Problem::Unknown {
                place: place(),
                name: path,
                nearest,
            }),
            Meaning::Like(_) | Meaning::Strange => {}
        }
    }
}

/// Says of each variable that is ignored and whose name is like a field's which one may be meant, a
/// line each.
pub(super) fn hints(environment: &[(String, String)]) -> Vec<String> {
    let fields = Settings::fields();
    let hint = |(name, _): &(String, String)| match Meaning::of(name, &fields) {
        Meaning::Like(meant) => Some(format!(
            "{} is ignored: did you mean {}?",
            shown(name),
            meant.join(" or ")
        )),
        Meaning::Field(_) | Meaning::Misspelt { .. } | Meaning::Strange => None,
    };
    environment.iter().filter_map(hint).collect()
}

/// What the name of a variable means.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// It names a field.
    Field(&'static Field),
    /// It can only be meant for a field, and names none.
    Misspelt {
        path: String,
        nearest: Option<&'static str>,
    },
    /// It may be meant for one of these variables or flags.
    Like(Vec<String>),
    /// It is somebody else's.
    Strange,
}

impl Meaning {
    fn of(name: &str, fields: &[&'static Field]) -> Self {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            return Self::Strange;
        };
        if let Some(field) = fields.iter().find(|field| field.variable() == name) {
            return Self::Field(field);
        }
        let path = rest.replace("__", ".").to_ascii_lowercase();
        let nearest = nearest(&path, fields);
        let is_nested = rest.contains("__");
        if !is_nested && (OTHERS.contains(&rest) || is_of_a_service(rest)) {
            return Self::Strange;
        }
        let is_top = nearest.is_some_and(|nearest| {
            let mut fields = fields.iter();
            !nearest.contains('.') && fields.any(|field| field.path == nearest)
        });
        if is_nested || is_top {
            return Self::Misspelt { path, nearest };
        }
        match meant(rest, fields) {
            meant if meant.is_empty() => Self::Strange,
            meant => Self::Like(meant),
        }
    }
}

/// Whether Kubernetes sets it for a Service: `[NAME_]SERVICE_HOST`, `[NAME_]SERVICE_PORT[_PORT]`,
/// `[NAME_]PORT`, or `[NAME_]PORT_7402_TCP[_ADDR]`. See
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
fn is_of_a_service(rest: &str) -> bool {
    let name = format!("_{rest}");
    let is_address = |after: &str| {
        let mut parts = after.split('_');
        let is_number =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        parts.next().is_some_and(is_number)
            && parts
                .next()
                .is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
            && parts
                .next()
                .is_none_or(|part| ["ADDR", "PORT", "PROTO"].contains(&part))
            && parts.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT_")
        || name
            .match_indices("_PORT_")
            .any(|(at, part)| is_address(&name[at + part.len()..]))
}

/// The variables, and the flag for files, whose names are most like this one, or like the last
/// parts of their names.
fn meant(rest: &str, fields: &[&'static Field]) -> Vec<String> {
    let name = &plain(rest);
    if name.len() > LONGEST {
        return Vec::new();
    }
    if FILES.contains(&name.as_str()) {
        return vec!["the flag --config".to_owned()];
    }
    let mut flags = FIELDS.into_iter();
    if let Some((_, field)) = flags.find(|(flag, _)| plain(flag) == *name) {
        return vec![variable(field)];
    }
    let ends = fields.iter().flat_map(|field| {
        let dots = field.path.match_indices('.').map(|(dot, _)| dot);
        let ends = dots.clone().map(|dot| &field.path[dot + 1..]);
        let sections = dots.map(|dot| &field.path[..dot]);
        [field.path]
            .into_iter()
            .chain(ends)
            .chain(sections)
            .map(move |part| (edits(&plain(part), name), *field))
    });
    let allowed = usize::from(name.len() >= 5);
    let ends: Vec<_> = ends.filter(|(edits, _)| *edits <= allowed).collect();
    let fewest = ends.iter().map(|(edits, _)| *edits).min();
    let nearest = ends
        .iter()
        .filter(|(edits, _)| Some(*edits) == fewest)
        .map(|(_, field)| *field);
    let mut likely: Vec<_> = nearest.collect();
    likely.dedup_by_key(|field| field.path);
    likely
        .iter()
        .take(3)
        .map(|field| field.variable())
        .collect()
}

/// A name without what parts it.
fn plain(name: &str) -> String {
    name.replace(['_', '.', '-'], "").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(name: &str) -> Meaning {
        Meaning::of(name, &Settings::fields())
    }

    #[test]
    fn a_name_near_a_fields_is_hinted_at() {
        for (name, meant) in [
            ("EVENKEEL_RATE", "EVENKEEL_ADMISSION__RATE"),
            ("EVENKEEL_CONFIG", "the flag --config"),
            ("EVENKEEL_CONFIG_FILE", "the flag --config"),
            ("EVENKEEL_ADMISSION_RATE", "EVENKEEL_ADMISSION__RATE"),
            ("EVENKEEL_BURSTS", "EVENKEEL_ADMISSION__BURST"),
            ("EVENKEEL_LISTEN", "EVENKEEL_LOOKUP__LISTEN"),
            (
                "EVENKEEL_URL",
                "EVENKEEL_UPSTREAM__URL or EVENKEEL_STORE__URL",
            ),
            ("EVENKEEL_UPSTREAM_URL", "EVENKEEL_UPSTREAM__URL"),
            ("EVENKEEL_LOG_LEVEL", "EVENKEEL_LOG__LEVEL"),
            (
                "EVENKEEL_MAX_BYTES",
                "EVENKEEL_CACHE__MAX_BYTES or EVENKEEL_DISK__MAX_BYTES",
            ),
            ("EVENKEEL_CACHE", "EVENKEEL_CACHE__MAX_BYTES"),
            (
                "EVENKEEL_GRACE",
                "EVENKEEL_START__GRACE or EVENKEEL_DRAIN__GRACE",
            ),
        ] {
            let variable = (name.to_owned(), "1".to_owned());
            let expected = format!("{name} is ignored: did you mean {meant}?");
            assert_eq!(hints(&[variable]), [expected]);
        }
    }

    #[test]
    fn a_name_that_can_only_be_meant_for_a_field_is_a_problem() {
        for name in [
            "EVENKEEL_ADMISION__RATE",
            "EVENKEEL_UPSTREAM__PORT",
            "EVENKEEL_ROLOUT",
        ] {
            assert!(
                matches!(meaning(name), Meaning::Misspelt { .. }),
                "{name}: {:?}",
                meaning(name)
            );
        }
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_left_alone() {
        for name in [
            "EVENKEEL_SERVICE_HOST",
            "EVENKEEL_SERVICE_PORT",
            "EVENKEEL_SERVICE_PORT_METRICS",
            "EVENKEEL_PORT",
            "EVENKEEL_PORT_7402_TCP",
            "EVENKEEL_PORT_7402_TCP_ADDR",
            "EVENKEEL_PORT_7402_TCP_PROTO",
            "EVENKEEL_RENDERER_SERVICE_HOST",
            "EVENKEEL_RENDERER_SERVICE_PORT_GRPC",
            "EVENKEEL_RENDERER_PORT_7070_TCP_PORT",
            "EVENKEEL_ADMISSION_RATE_SERVICE_HOST",
            "EVENKEEL_ADDRESS",
            "EVENKEEL_IMAGE",
            "EVENKEELER",
            "PATH",
        ] {
            assert_eq!(meaning(name), Meaning::Strange, "{name}");
        }
    }
}
