use super::*;
use crate::disk::DiskNumbers;
use crate::reason::{FailureReason, NotRefreshed};

fn page(metrics: &Metrics) -> String {
    page_as(metrics, Exposition::OpenMetrics)
}

fn page_as(metrics: &Metrics, exposition: Exposition) -> String {
    let gauges = Gauges {
        disk: Some(DiskNumbers::default()),
        rate: 0.5,
        burst: 10,
        target_rollout: 7,
        target_raised_at: Some(1_795_721_113.5),
        fleet_rate: Some(20.0),
        fleet_size: Some(98),
        max_waiting: 4096,
        settings_hash: "abc".to_owned(),
        fleet: Some(Default::default()),
        ready: true,
        process: ProcessNumbers {
            cpu_time: Duration::from_millis(1500),
            max_descriptors: 1024,
            ..ProcessNumbers::default()
        },
        ..Gauges::default()
    };
    metrics.text(gauges, exposition)
}

#[track_caller]
fn assert_has(page: &str, line: &str) {
    assert!(page.lines().any(|has| has == line), "no {line} in\n{page}");
}

#[test]
fn counts_lookups_by_how_they_were_served_and_why() {
    let metrics = Metrics::new();
    let took = Duration::from_millis(60);
    metrics.looked_up(LookupResult::Fresh, Duration::from_micros(3));
    metrics.looked_up(LookupResult::Outdated(NotRefreshed::Throttled), took);
    metrics.looked_up(LookupResult::Outdated(NotRefreshed::Throttled), took);
    metrics.looked_up(LookupResult::Failed(FailureReason::DemandNotMet), took);
    let page = page(&metrics);
    assert_has(
        &page,
        r#"evenkeel_lookups_total{served="fresh",reason=""} 1"#,
    );
    assert_has(
        &page,
        r#"evenkeel_lookups_total{served="outdated",reason="THROTTLED"} 2"#,
    );
    assert_has(
        &page,
        r#"evenkeel_lookups_total{served="failed",reason="DEMAND_NOT_MET"} 1"#,
    );
    assert_has(
        &page,
        r#"evenkeel_lookups_total{served="failed",reason="THROTTLED"} 0"#,
    );
}

#[test]
fn a_histogram_tells_a_lookup_within_its_patience_from_one_beyond() {
    let metrics = Metrics::new();
    let throttled = LookupResult::Outdated(NotRefreshed::Throttled);
    metrics.looked_up(throttled, Duration::from_millis(50));
    metrics.looked_up(throttled, Duration::from_millis(100));
    metrics.looked_up(throttled, Duration::from_millis(101));
    metrics.looked_up(throttled, Duration::from_secs(31));
    let page = page(&metrics);
    let name = r#"evenkeel_lookup_duration_seconds_bucket{le=""#;
    for (bound, up_to) in [
        ("0.025", 0),
        ("0.05", 1),
        ("0.1", 2),
        ("0.15", 3),
        ("30.0", 3),
        ("+Inf", 4),
    ] {
        assert_has(
            &page,
            &format!(r#"{name}{bound}",served="outdated"}} {up_to}"#),
        );
    }
    assert_has(
        &page,
        r#"evenkeel_lookup_duration_seconds_count{served="outdated"} 4"#,
    );
    assert_has(
        &page,
        r#"evenkeel_lookup_duration_seconds_sum{served="outdated"} 31.251"#,
    );
}

#[test]
fn shows_the_sum_of_what_threads_count_apart() {
    let metrics = Metrics::new();
    for metrics in [&metrics, &metrics.for_thread(), &metrics.for_thread()] {
        metrics.looked_up(LookupResult::Fresh, Duration::from_micros(60));
        metrics
            .clone()
            .looked_up(LookupResult::Fresh, Duration::from_secs(40));
    }
    let page = page(&metrics);
    for line in [
        r#"evenkeel_lookups_total{served="fresh",reason=""} 6"#,
        r#"evenkeel_lookup_duration_seconds_bucket{le="0.0001",served="fresh"} 3"#,
        r#"evenkeel_lookup_duration_seconds_count{served="fresh"} 6"#,
    ] {
        assert_has(&page, line);
    }
}

#[test]
fn counts_renders_fetches_and_refusals() {
    let metrics = Metrics::new();
    metrics.rendered(
        Class::Outdated,
        RenderResult::DeadlineExceeded,
        Duration::from_secs(2),
    );
    metrics.fetched(RenderResult::NotFound, Duration::ZERO);
    metrics.refused(Class::Missing, Gate::Tokens);
    let page = page(&metrics);
    assert_has(
        &page,
        r#"evenkeel_renders_total{class="outdated",result="deadline_exceeded"} 1"#,
    );
    assert_has(
        &page,
        r#"evenkeel_render_duration_seconds_bucket{le="2.5"} 1"#,
    );
    assert_has(&page, r#"evenkeel_fetches_total{result="not_found"} 1"#);
    assert_has(
        &page,
        r#"evenkeel_refusals_total{class="missing",gate="tokens"} 1"#,
    );
}

#[test]
fn shows_the_gauges() {
    let page = page(&Metrics::new());
    assert_has(&page, r#"evenkeel_limit{setting="rate"} 0.5"#);
    assert_has(&page, r#"evenkeel_limit{setting="burst"} 10.0"#);
    assert_has(&page, r#"evenkeel_limit{setting="max_waiting"} 4096.0"#);
    assert_has(&page, "evenkeel_target_rollout 7.0");
    assert_has(&page, "evenkeel_ready 1.0");
    assert_has(&page, "evenkeel_settings_valid 0.0");
    assert_has(&page, r#"evenkeel_settings_info{hash="abc"} 1"#);
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn every_metric_of_the_table_is_written_with_its_type_and_labels() {
    let page = page(&Metrics::new());
    for row in table() {
        let family = row
            .name
            .trim_end_matches("_total")
            .trim_end_matches("_info");
        assert_has(&page, &format!("# TYPE {family} {}", row.kind.as_str()));
        let sample = page
            .lines()
            .find(|line| line.starts_with(family))
            .unwrap_or_else(|| panic!("no sample of {}", row.name));
        for label in row.labels {
            assert!(
                sample.contains(&format!("{label}=\"")),
                "{label} in {sample}"
            );
        }
    }
    assert_eq!(page.matches("# TYPE ").count(), table().len());
}

/// `promtool check metrics` and classic parsers know no type `info`, no family of another name than
/// its samples', and no end.
#[test]
fn the_classic_text_has_the_same_samples_and_nothing_that_only_open_metrics_has() {
    let metrics = Metrics::new();
    let (open, classic) = (page(&metrics), page_as(&metrics, Exposition::Classic));
    let samples = |page: &str| -> Vec<String> {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.map(str::to_owned).collect()
    };
    assert_eq!(samples(&open), samples(&classic));
    assert!(!classic.contains("EOF"));
    for row in table() {
        let kind = match row.kind {
            MetricKind::Info => MetricKind::Gauge,
            kind @ (MetricKind::Counter | MetricKind::Gauge | MetricKind::Histogram) => kind,
        };
        assert_has(&classic, &format!("# TYPE {} {}", row.name, kind.as_str()));
        assert!(classic.contains(&format!("# HELP {} ", row.name)));
    }
}

#[test]
fn what_is_of_the_process_goes_by_the_names_that_every_program_has() {
    let page = page(&Metrics::new());
    assert_has(&page, "process_cpu_seconds_total 1.5");
    assert_has(&page, "process_max_fds 1024.0");
}

#[test]
fn every_result_has_a_place_of_its_own() {
    let indices: Vec<_> = LookupResult::all().map(LookupResult::index).collect();
    assert_eq!(indices, (0..LookupResult::COUNT).collect::<Vec<_>>());
}
