use std::{fs, path::PathBuf, time::Duration};

use clap::{Args as _, FromArgMatches as _};
use tempfile::TempDir;

use super::*;

/// Loads files of these contents, called `0.yaml`, `1.yaml` and so on, beneath these variables.
fn load_all(contents: &[&str], environment: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let folder = TempDir::new().unwrap();
    let place = |(number, content): (usize, &&str)| -> PathBuf {
        let path = folder.path().join(format!("{number}.yaml"));
        fs::write(&path, content).unwrap();
        path
    };
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let sources = Sources {
        files: contents.iter().enumerate().map(place).collect(),
        environment: environment.iter().map(owned).collect(),
        flags: Vec::new(),
    };
    let folder = format!("{}/", folder.path().display());
    let shown = |problem: &Problem| problem.to_string().replace(&folder, "");
    load(&sources).map_err(|invalid| invalid.problems.iter().map(shown).collect())
}

fn load_one(content: &str) -> Result<Settings, Vec<String>> {
    load_all(&[content], &[]).map(|loaded| loaded.settings)
}

#[test]
fn defaults_are_those_of_the_sample_which_names_every_field() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/settings.yaml");
    let sources = Sources {
        files: vec![sample.into()],
        ..Sources::default()
    };
    assert_eq!(load(&sources).unwrap().settings, Settings::default());
    let sample = fs::read_to_string(sample).unwrap();
    for field in Settings::fields() {
        if field.path.starts_with("otlp.") {
            continue; // the images that the sample is for have no such fields
        }
        let name = field.path.rsplit('.').next().unwrap();
        assert!(sample.contains(&format!("{name}:")), "{}", field.path);
    }
}

#[test]
fn without_any_source_the_defaults_hold() {
    let loaded = load(&Sources::default()).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    let settings = loaded.settings;
    assert_eq!(settings.rollout.get(), 1);
    assert_eq!(settings.upstream.url.to_string(), "http://127.0.0.1:7070/");
    assert_eq!(settings.upstream.max_payload.bytes(), 16 << 20);
    assert_eq!(settings.lookup.patience, Duration::from_millis(50));
    assert_eq!(settings.lookup.max_age, None);
    assert_eq!(settings.admission.rate(), 5.0);
    assert_eq!(settings.admin.listen, None);
}

#[test]
fn hot_are_the_rollout_the_patiences_admission_and_the_log_level() {
    let fields = Settings::fields();
    let hot: Vec<_> = fields.iter().filter(|field| field.is_hot).collect();
    for field in &hot {
        let is_meant = ["rollout", "lookup.", "admission.", "log.level"];
        assert!(is_meant.iter().any(|start| field.path.starts_with(start)));
    }
    let lookup = hot.iter().filter(|field| field.path.starts_with("lookup."));
    assert_eq!((hot.len(), lookup.count()), (15, 6));
}

#[test]
fn refuses_what_yaml_would_make_something_of() {
    for (content, shown) in [
        ("admission: {rate: -1}", "admission.rate = -1"),
        ("admission: {rate: .nan}", "admission.rate = .nan"),
        ("admission: {rate: .inf}", "admission.rate = .inf"),
        ("admission: {rate: 1e999}", "admission.rate = 1e999"),
        ("admission: {rate: '5'}", "admission.rate = '5'"),
        ("admission: {rate: null}", "admission.rate = null"),
        ("admission: {burst: \"3\"}", "admission.burst = \"3\""),
        ("admission: {burst: 1_000}", "admission.burst = 1_000"),
        ("admission: {burst: 0x10}", "admission.burst = 0x10"),
        ("admission: {burst: 3.0}", "admission.burst = 3.0"),
        ("admission: {burst: !!int '3'}", "admission.burst = '3'"),
        ("admission: {burst: 0}", "admission.burst = 0"),
        ("admission: {fleet_size: 0}", "admission.fleet_size = 0"),
        ("rollout: 0", "rollout = 0"),
        ("component: true", "component = true"),
        ("component: 7", "component = 7"),
        ("component: ''", "component = ''"),
        ("component:", "component = null"),
        ("upstream: {deadline: 30}", "upstream.deadline = 30"),
        ("upstream: {deadline: 0s}", "upstream.deadline = 0s"),
        ("upstream: {max_payload: 1}", "upstream.max_payload = 1"),
        (
            "upstream: {max_payload: -1MiB}",
            "upstream.max_payload = -1MiB",
        ),
        ("lookup: {threads: 65}", "lookup.threads = 65"),
        ("log: {level: Loud}", "log.level = Loud"),
        ("drain:", "drain = null"),
        ("drain: 10s", "drain = 10s"),
        ("upstream: {fetch: []}", "upstream.fetch = []"),
        ("upstream: {url: {host: a}}", "upstream.url = {…}"),
    ] {
        let problems = load_one(content).unwrap_err();
        assert_eq!(problems.len(), 1, "{content}: {problems:?}");
        let expected = format!("  {shown}: must be ");
        assert!(problems[0].contains(&expected), "{content}: {problems:?}");
    }
}

#[test]
fn refuses_addresses_that_are_not_safe_yet() {
    for url in [
        "https://renderer:443",
        "renderer:7070",
        "http://",
        "http://user@renderer",
        "http://renderer/path",
        "unix:/a",
    ] {
        let problems = load_one(&format!("upstream: {{url: '{url}'}}")).unwrap_err();
        assert!(
            problems[0].contains("until the sidecar speaks TLS"),
            "{url}"
        );
    }
    for listen in [
        "0.0.0.0:7400",
        "10.0.0.1:7400",
        "[::]:7400",
        "localhost:7400",
        "unix:a",
        "",
    ] {
        let content = format!("lookup: {{listen: ['127.0.0.1:0', '{listen}']}}");
        load_one(&content).unwrap_err();
    }
    load_one("lookup: {listen: []}").unwrap_err();
    load_one("admin: {listen: '0.0.0.0:1'}").unwrap_err();
}

/// Such ports were dialled as 80, a fragment was dropped, and a password was echoed.
#[test]
fn the_url_of_the_renderer_is_a_host_and_a_port_that_there_is() {
    for url in [
        "http://renderer:70700",
        "http://renderer:65536",
        "http://renderer:-1",
        "http://renderer:+80",
        "http://renderer:0",
        "http://renderer:",
        "http://renderer:80:80",
        "http://[::1]:",
        "http://[::1]:70700",
        "http://renderer#fragment",
        "http://renderer:7070/#",
        "http://renderer?query",
        "http://:7070",
        "http://user:secret@renderer:7070",
    ] {
        let problems = load_one(&format!("upstream: {{url: '{url}'}}")).unwrap_err();
        let expected = "upstream.url = 'http://";
        assert!(problems[0].contains(expected), "{url}: {problems:?}");
        assert!(problems[0].contains("a port from 1 to 65535"), "{url}");
        assert!(!problems[0].contains("secret"), "{problems:?}");
    }
    for url in [
        "http://renderer",
        "http://renderer:7070",
        "http://renderer:65535/",
        "http://[::1]:7070",
        "http://[::1]",
        "http://10.0.0.1:1",
    ] {
        load_one(&format!("upstream: {{url: '{url}'}}")).unwrap();
    }
}

/// `check` said ok, and `serve` exited with 1.
#[test]
fn no_listener_stands_in_anothers_way() {
    for (content, refused) in [
        (
            "lookup: {listen: ['127.0.0.1:1', '127.0.0.1:1']}",
            "lookup.listen",
        ),
        ("lookup: {listen: ['unix:/a', 'unix://a']}", "lookup.listen"),
        ("lookup: {listen: ['127.0.0.1:7402']}", "lookup.listen"),
        (
            "lookup: {listen: ['[::1]:1']}\ntelemetry: {listen: '[::]:1'}",
            "telemetry.listen",
        ),
        (
            "lookup: {listen: ['127.0.0.1:1']}\ntelemetry: {listen: '0.0.0.0:1'}",
            "telemetry.listen",
        ),
        ("admin: {listen: '127.0.0.1:7400'}", "admin.listen"),
        (
            "lookup: {listen: ['unix:/a']}\nadmin: {listen: 'unix:/a'}",
            "admin.listen",
        ),
    ] {
        let problems = load_one(content).unwrap_err();
        let expected = format!("  {refused} = ");
        assert!(problems[0].contains(&expected), "{content}: {problems:?}");
        assert!(problems[0].contains("another address than"), "{content}");
        assert!(
            problems[0].starts_with("0.yaml:"),
            "{content}: {problems:?}"
        );
    }
    for content in [
        "lookup: {listen: ['127.0.0.1:0', '127.0.0.1:0', '[::1]:0']}",
        "lookup: {listen: ['127.0.0.1:1', '[::1]:1', '127.0.0.2:1', 'unix:/a', 'unix:/b']}",
        "lookup: {listen: ['[::1]:1']}\ntelemetry: {listen: '0.0.0.0:1'}",
    ] {
        load_one(content).unwrap();
    }
}

#[test]
fn a_socket_has_a_path_that_a_file_can_have_and_an_address_is_one_of_a_host() {
    for content in [
        "lookup: {listen: [\"unix:/a\\0b\"]}",
        "lookup: {listen: ['unix:/run/']}",
        "lookup: {listen: ['unix:/run/..']}",
        "lookup: {listen: ['unix:/']}",
        "admin: {listen: \"unix:/a\\0b\"}",
        "telemetry: {listen: '224.0.0.1:1'}",
        "telemetry: {listen: '255.255.255.255:1'}",
        "telemetry: {listen: '[ff02::1]:1'}",
        "telemetry: {listen: '[fe80::1]:1'}",
    ] {
        let problems = load_one(content).unwrap_err();
        assert!(!problems[0].contains('\0'), "{problems:?}");
    }
}

#[test]
fn a_bare_number_is_bytes() {
    let variable = [("EVENKEEL_CACHE__MAX_BYTES", "67108864")];
    let from_environment = load_all(&[], &variable).unwrap().settings;
    let from_file = load_one("cache: {max_bytes: 67108864}").unwrap();
    for settings in [from_environment, from_file] {
        assert_eq!(settings.cache.max_bytes.bytes(), 64 << 20);
    }
    for refused in [
        "-1",
        "1_000_000",
        "1e9",
        "67108864.0",
        "99999999999999999999",
    ] {
        load_one(&format!("cache: {{max_bytes: {refused}}}")).unwrap_err();
    }
    let cache = &schema()["properties"]["cache"]["properties"]["max_bytes"];
    assert_eq!(cache["type"], serde_json::json!(["string", "integer"]));
}

#[test]
fn many_problems_are_listed_in_part_and_a_huge_one_in_short() {
    let content: String = (0..5_000).map(|number| format!("x{number}: 1\n")).collect();
    let sources = |content: &str| {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("settings.yaml");
        fs::write(&file, content).unwrap();
        let files = vec![file];
        let sources = Sources {
            files,
            ..Sources::default()
        };
        load(&sources).unwrap_err()
    };
    let invalid = sources(&content);
    let listed = invalid.to_string();
    assert_eq!(listed.lines().count(), 51);
    assert!(listed.ends_with("and 4950 more problems"));
    assert_eq!(invalid.in_one_line().lines().count(), 1);

    let huge = sources(&format!("component: '{}'\n", "x".repeat(3 << 20)));
    assert!(huge.to_string().len() < 1_000);
    assert!(huge.to_string().contains("… (3145730 bytes)"), "{huge}");
}

#[test]
fn listens_on_loopback_and_on_unix_sockets() {
    let content = "lookup: {listen: ['[::1]:0', 'unix:/run/lookup.sock']}\nadmin: {listen: 'unix:/run/admin.sock'}";
    let settings = load_one(content).unwrap();
    let [Listen::Tcp(address), Listen::Unix(path)] = settings.lookup.listen.as_slice() else {
        panic!("{:?}", settings.lookup.listen);
    };
    assert_eq!(address.to_string(), "[::1]:0");
    assert_eq!(path.to_str(), Some("/run/lookup.sock"));
    let admin = settings.admin.listen.unwrap();
    assert_eq!(admin.to_string(), "unix:/run/admin.sock");
}

#[test]
fn reports_every_problem_at_once_with_its_place() {
    let content = "\
lookup:
  patience: 1m
  max_patience: 10s
  patince: 1s
admission: {rate: no, burst: 0}
uptream: {}
";
    let problems = load_all(&[content], &[("EVENKEEL_LOG__LEVEL", "loud")]).unwrap_err();
    let expected = [
        "0.yaml:4:3  lookup.patince: there is no such field; is it lookup.patience?",
        "0.yaml:6:1  uptream: there is no such field; is it upstream?",
        "0.yaml:5:19  admission.rate = no: must be a number, from 0 to 1000000",
        "0.yaml:5:30  admission.burst = 0: must be a whole number, from 1 to 1000000",
        "EVENKEEL_LOG__LEVEL  log.level = loud: must be error, warn, info, debug or trace",
        "0.yaml:2:13  lookup.patience = 1m: must be at most lookup.max_patience, 10s",
    ];
    assert_eq!(problems, expected);
}

/// Guards against an operator who looks for a misspelling where the build lacks a feature.
#[cfg(not(feature = "otlp"))]
#[test]
fn a_section_of_a_feature_that_is_not_built_says_which_feature_has_it() {
    let content = "otlp:\n  endpoint: http://127.0.0.1:4317\n";
    let variable = ("EVENKEEL_OTLP__QUEUE", "7");
    let has_it = "there is no such field in this build: build evenkeel with the cargo feature `otlp` to have it";
    assert_eq!(
        load_all(&[content], &[variable]).unwrap_err(),
        [
            format!("0.yaml:1:1  otlp: {has_it}"),
            format!("EVENKEEL_OTLP__QUEUE  otlp.queue: {has_it}"),
        ]
    );
}

#[test]
fn a_structural_problem_ends_the_reading_of_its_file_only() {
    let contents = [
        "rollout: 1\nrollout: 2\nlog: {level: x}",
        "drain: {grace: 1}",
    ];
    let problems = load_all(&contents, &[]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].starts_with("0.yaml:2:1  duplicate"),
        "{problems:?}"
    );
    assert!(
        problems[1].starts_with("1.yaml:1:16  drain.grace = 1"),
        "{problems:?}"
    );
}

#[test]
fn an_empty_missing_or_unparsable_file_is_never_a_set_of_defaults() {
    for content in [
        "",
        " \n",
        "# all commented out\n",
        "---\n",
        "null",
        "- 1",
        "5",
        "a: [",
        "\0\0\0",
    ] {
        let problems = load_one(content).unwrap_err();
        assert_eq!(problems.len(), 1, "{content:?}: {problems:?}");
    }
    let sources = Sources {
        files: vec!["/nowhere/settings.yaml".into()],
        ..Sources::default()
    };
    let problems = load(&sources).unwrap_err().to_string();
    assert!(problems.contains("cannot be read"), "{problems}");
}

#[test]
fn a_section_stands_in_one_file_only() {
    let loaded = load_all(&["rollout: 7", "log: {level: warn}"], &[]).unwrap();
    assert_eq!(loaded.settings.rollout.get(), 7);
    assert_eq!(loaded.settings.log.level, LogLevel::Warn);
    let problems = load_all(&["log: {level: warn}", "log: {format: json}"], &[]).unwrap_err();
    assert_eq!(
        problems,
        ["1.yaml:1:1  log: stands in 0.yaml:1:1 too: a section stands in one file only"]
    );
}

#[test]
fn flag_stands_over_environment_over_file_over_default() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("settings.yaml");
    fs::write(&file, "admission: {rate: 1, burst: 11, concurrency: 2}").unwrap();
    let arguments = [
        "evenkeel",
        "--config",
        file.to_str().unwrap(),
        "--rate",
        "3",
    ];
    let command = Flags::augment_args(clap::Command::new("evenkeel"));
    let flags = Flags::from_arg_matches(&command.get_matches_from(arguments)).unwrap();
    let variables = [("ADMISSION__RATE", "2"), ("ADMISSION__BURST", "12")];
    let environment = variables.map(|(name, value)| (format!("EVENKEEL_{name}"), value.into()));
    let loaded = load(&flags.with_environment(environment.into())).unwrap();
    let admission = &loaded.settings.admission;
    assert_eq!(admission.rate(), 3.0);
    assert_eq!(admission.burst.get(), 12);
    assert_eq!(admission.concurrency.get(), 2);
    assert_eq!(admission.queue.get(), 512);
    let notes = loaded.notes();
    assert_eq!(
        notes[1],
        "admission.rate is pinned by --rate: 1 in the file is ignored"
    );
    assert_eq!(
        notes[2],
        "admission.burst is pinned by EVENKEEL_ADMISSION__BURST: 11 in the file is ignored"
    );
}

#[test]
fn every_field_is_a_variable() {
    for field in Settings::fields() {
        let variable = field.variable();
        let loaded = load_all(&[], &[(&variable, field.default)]).unwrap();
        assert_eq!(loaded.settings, Settings::default(), "{variable}");
    }
    let listen = ("EVENKEEL_LOOKUP__LISTEN", "127.0.0.1:1, unix:/a");
    let loaded = load_all(&[], &[listen]).unwrap();
    assert_eq!(loaded.settings.lookup.listen.len(), 2);
}

#[test]
fn every_flag_sets_a_field() {
    let text = || Some("x".to_owned());
    let flags = Flags {
        config: Vec::new(),
        rollout: text(),
        component: text(),
        upstream_url: text(),
        listen: vec!["x".to_owned()],
        rate: text(),
        burst: text(),
        concurrency: text(),
        patience: text(),
        telemetry_listen: text(),
        admin_listen: text(),
        log_level: text(),
        log_format: text(),
    };
    let command = Flags::augment_args(clap::Command::new("evenkeel"));
    let known: Vec<_> = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .collect();
    let sources = flags.with_environment(Vec::new());
    assert_eq!(sources.flags.len(), known.len() - 1);
    for flag in &sources.flags {
        let mut fields = Settings::fields().into_iter();
        assert!(fields.any(|field| field.path == flag.field), "{flag:?}");
        assert!(known.contains(&&flag.name[2..]), "{flag:?}");
    }
}

#[test]
fn a_misspelt_variable_is_a_problem_and_a_strange_one_is_not() {
    let problems = load_all(
        &[],
        &[("EVENKEEL_ADMISION__RATE", "2"), ("EVENKEEL_ROLOUT", "2")],
    )
    .unwrap_err();
    assert_eq!(
        problems,
        [
            "EVENKEEL_ADMISION__RATE  admision.rate: there is no such field; did you mean EVENKEEL_ADMISSION__RATE?",
            "EVENKEEL_ROLOUT  rolout: there is no such field; did you mean EVENKEEL_ROLLOUT?",
        ]
    );
    let strange = [
        ("EVENKEEL_SERVICE_HOST", "10.0.0.1"),
        ("EVENKEEL_SERVICE_PORT_METRICS", "7402"),
        ("EVENKEEL_PORT_7402_TCP_ADDR", "10.0.0.1"),
        ("EVENKEEL_ADDRESS", "127.0.0.1:7400"),
        ("EVENKEELER", "1"),
    ];
    load_all(&[], &strange).unwrap();
}

#[test]
fn a_fleet_shares_its_rate() {
    let settings = load_one("admission: {fleet_rate: 600, fleet_size: 1000}").unwrap();
    assert_eq!(settings.admission.rate(), 0.6);
    assert_eq!(settings.admission.fleet_rate(), Some(600.0));
    let settings = load_one("admission: {rate: 0.5, fleet_size: 1000}").unwrap();
    assert_eq!(settings.admission.fleet_rate(), Some(500.0));
    assert_eq!(Settings::default().admission.fleet_rate(), None);
    load_one("admission: {fleet_rate: 600}").unwrap_err();
    load_one("admission: {fleet_rate: 600, fleet_size: 10, rate: 5}").unwrap_err();
}

#[test]
fn a_store_shares_the_rate_of_a_fleet_under_names_that_keys_can_have() {
    let with = |store: &str| {
        let fleet = "admission: {fleet_rate: 600, fleet_size: 1000}";
        load_one(&format!("{fleet}\nstore: {{{store}}}"))
    };
    let url = |text: &str| with(&format!("url: '{text}'")).map(|loaded| loaded.store.url);
    for (text, host, port) in [
        ("redis://valkey", "valkey", 6379),
        (
            "redis://valkey.evenkeel.svc:6380/",
            "valkey.evenkeel.svc",
            6380,
        ),
        ("redis://[::1]:7000", "::1", 7000),
    ] {
        let host = host.to_owned();
        assert_eq!(url(text).unwrap(), Some(StoreAddress { host, port }));
    }
    for text in [
        "valkey:6379",
        "rediss://valkey",
        "redis://user:word@valkey",
        "redis://valkey/0",
        "redis://valkey:0",
        "redis://",
    ] {
        assert!(url(text).is_err(), "{text}");
    }
    let problems = load_one("store: {url: 'redis://valkey'}").unwrap_err();
    assert!(
        problems[0].contains("given together with admission.fleet_rate"),
        "{problems:?}"
    );
    let problems = with("url: 'redis://valkey', namespace: 'a:b'").unwrap_err();
    assert!(problems[0].contains("store.namespace"), "{problems:?}");
    with("namespace: 'a:b'").expect("without a store it is no key");
}

#[test]
fn the_higher_layer_chooses_between_a_rate_and_a_fleets() {
    let fleet = "admission: {fleet_rate: 600, fleet_size: 1000}";
    let loaded = load_all(&[fleet], &[("EVENKEEL_ADMISSION__RATE", "2")]).unwrap();
    assert_eq!(loaded.settings.admission.rate(), 2.0);
    let pinned: Vec<_> = loaded.pinned.iter().map(|pin| pin.field).collect();
    assert_eq!(pinned, ["admission.rate", "admission.fleet_rate"]);
    let environment = [
        ("EVENKEEL_ADMISSION__FLEET_RATE", "10"),
        ("EVENKEEL_ADMISSION__FLEET_SIZE", "100"),
    ];
    let loaded = load_all(&["admission: {rate: 7}"], &environment).unwrap();
    assert_eq!(loaded.settings.admission.rate(), 0.1);
}

#[test]
fn a_burst_refills_within_a_month() {
    let problems = load_one("admission: {rate: 0.00001, burst: 100}").unwrap_err();
    assert!(
        problems[0].contains("at 0.00001 renders/s at most 25"),
        "{problems:?}"
    );
    load_one("admission: {rate: 0.00001, burst: 25}").unwrap();
    load_one("admission: {rate: 0, burst: 1000000}").unwrap();
}

/// A rate of 0.0000005 passed the check, and then nothing was rendered.
#[test]
fn a_rate_above_0_is_refused_where_it_would_be_taken_for_0() {
    let least = "must be 0, or at least 0.000001";
    for (content, field, accepted) in [
        (
            "admission: {rate: 0.0000005, burst: 1}",
            "admission.rate = 0.0000005",
            least,
        ),
        (
            "admission: {rate: 1e-300, burst: 1}",
            "admission.rate = 1e-300",
            least,
        ),
        (
            "upstream: {fetch: {rate: 5e-7, concurrency: 1}}",
            "upstream.fetch.rate = 5e-7",
            least,
        ),
        (
            "admission: {fleet_rate: 0.5, fleet_size: 1000000, burst: 1}",
            "admission.fleet_rate = 0.5",
            "must be 0, or at least 1 for admission.fleet_size 1000000: 0.000001 in each sidecar",
        ),
        (
            "upstream: {fetch: {rate: 0.000001, concurrency: 16}}",
            "upstream.fetch.concurrency = 16",
            "must be such that it refills within 30 days: at 0.000001 fetches/s at most 2",
        ),
    ] {
        let problems = load_one(content).unwrap_err();
        assert_eq!(problems.len(), 1, "{content}: {problems:?}");
        assert!(
            problems[0].contains(&format!("{field}: {accepted}")),
            "{problems:?}"
        );
    }
    for content in [
        "admission: {rate: 0.000001, burst: 1}",
        "admission: {rate: 0}",
        "admission: {fleet_rate: 1, fleet_size: 1000000, burst: 1}",
        "admission: {fleet_rate: 0, fleet_size: 1000000}",
        "upstream: {fetch: {rate: 0.000001, concurrency: 2}}",
    ] {
        load_one(content).unwrap();
    }
}

#[test]
fn notes_say_what_the_fleet_sends_upstream() {
    let note = |content| load_all(&[content], &[]).unwrap().notes()[0].clone();
    assert_eq!(
        note("admission: {rate: 0.5, fleet_size: 1000}"),
        "admission: 0.5 renders/s in this sidecar × fleet_size 1000 = 500 renders/s upstream"
    );
    assert!(note("{}").contains("set admission.fleet_size"));
}

#[test]
fn the_hash_is_that_of_sha256sum() {
    let loaded = load_all(&["rollout: 1\n", "drain: {}\n"], &[]).unwrap();
    // printf 'rollout: 1\ndrain: {}\n' | sha256sum
    assert_eq!(loaded.hash.as_str(), "9d0aff427ef7");
}

#[test]
fn the_schema_has_every_field_with_its_default() {
    let schema = schema();
    for field in Settings::fields() {
        let pointer = format!("/properties/{}", field.path.replace('.', "/properties/"));
        let value = schema.pointer(&pointer).unwrap();
        assert_eq!(value["x-hot"], field.is_hot, "{}", field.path);
        assert!(value.get("default").is_some(), "{}", field.path);
    }
    let listen = &schema["properties"]["lookup"]["properties"]["listen"];
    assert_eq!(
        listen["default"],
        serde_json::json!(["127.0.0.1:7400", "[::1]:7400"])
    );
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn the_table_has_a_row_a_field() {
    let table = markdown_table();
    assert_eq!(table.lines().count(), 2 + Settings::fields().len());
    assert!(table.contains("| `lookup.patience` | `50ms` | hot | How long a lookup waits"));
}
