//! The settings of the command line: where files are, and the common fields as flags.

use std::{ffi::OsString, path::PathBuf};

use super::load::{Flag, Sources};

/// The flags, and the field that each sets.
pub(super) const FIELDS: [(&str, &str); 12] = [
    ("--rollout", "rollout"),
    ("--component", "component"),
    ("--upstream-url", "upstream.url"),
    ("--listen", "lookup.listen"),
    ("--rate", "admission.rate"),
    ("--burst", "admission.burst"),
    ("--concurrency", "admission.concurrency"),
    ("--patience", "lookup.patience"),
    ("--telemetry-listen", "telemetry.listen"),
    ("--admin-listen", "admin.listen"),
    ("--log-level", "log.level"),
    ("--log-format", "log.format"),
];

/// Flags of a command that runs with settings. A flag is above the environment, which is above the
/// files.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// A file of settings, `-` for standard input; given several times, each section stands in one
    /// of them.
    #[arg(long, value_name = "PATH")]
    pub config: Vec<PathBuf>,
    /// Set `rollout`.
    #[arg(long, value_name = "NUMBER")]
    pub rollout: Option<String>,
    /// Set `component`.
    #[arg(long, value_name = "NAME")]
    pub component: Option<String>,
    /// Set `upstream.url`.
    #[arg(long, value_name = "URL")]
    pub upstream_url: Option<String>,
    /// Set `lookup.listen`; given several times, all of them.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Set `admission.rate`.
    #[arg(long, value_name = "RENDERS/S")]
    pub rate: Option<String>,
    /// Set `admission.burst`.
    #[arg(long, value_name = "RENDERS")]
    pub burst: Option<String>,
    /// Set `admission.concurrency`.
    #[arg(long, value_name = "RENDERS")]
    pub concurrency: Option<String>,
    /// Set `lookup.patience`.
    #[arg(long, value_name = "DURATION")]
    pub patience: Option<String>,
    /// Set `telemetry.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub telemetry_listen: Option<String>,
    /// Set `admin.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Set `log.level`.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Set `log.format`.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl Flags {
    /// These flags, the files that they name, and the environment of the process.
    pub fn sources(self) -> Sources {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        let environment = environment.collect();
        self.with_environment(environment)
    }

    /// These flags, the files that they name, and the environment given.
    pub fn with_environment(self, environment: Vec<(String, String)>) -> Sources {
        let listen = (!self.listen.is_empty()).then(|| self.listen.join(","));
        let given = [
            self.rollout,
            self.component,
            self.upstream_url,
            listen,
            self.rate,
            self.burst,
            self.concurrency,
            self.patience,
            self.telemetry_listen,
            self.admin_listen,
            self.log_level,
            self.log_format,
        ];
        let flag = |((name, field), value): (_, Option<String>)| {
            let value = value?;
            Some(Flag { name, field, value })
        };
        Sources {
            files: self.config,
            environment,
            flags: FIELDS.into_iter().zip(given).filter_map(flag).collect(),
        }
    }
}
