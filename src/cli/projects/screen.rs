//! The list of projects as people read it.

use std::time::Duration;

use crate::{
    charts::columns,
    client::admin::{AskedFilter, ProjectReply, ProjectsReply},
    moment::spoken,
    printable::printable,
};

/// The most bytes that are shown of a text that another process sent.
const MAX_SAID: usize = 300;

const NONE: &str = "-";

/// Lays a list out.
pub(super) fn screen(told: &ProjectsReply, filter: AskedFilter) -> String {
    let shown = told.projects.len();
    let kind = match filter {
        AskedFilter::All => "projects",
        AskedFilter::Failing => "failing",
        AskedFilter::Outdated => "outdated",
        AskedFilter::Missing => "missing",
    };
    let sum = format!("{shown} of {} {kind}", told.total);
    if shown == 0 {
        return sum;
    }
    let header = [
        "PROJECT",
        "HELD",
        "OUTDATED",
        "STOPPED BY",
        "NEXT",
        "LAST FAILURE",
    ];
    let header = header.map(str::to_owned);
    let rows = told.projects.iter().map(row);
    format!("{}\n{sum}", columns([header].into_iter().chain(rows)))
}

fn row(project: &ProjectReply) -> [String; 6] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let said = |text: &str| printable(text, MAX_SAID);
    let is_unknown = project.held.is_none() && project.not_refreshed.is_none();
    let stopped_by = match &project.not_refreshed {
        _ if project.in_flight => Some("in flight".to_owned()),
        None if is_unknown => Some("unknown to the renderer".to_owned()),
        reason => reason.as_deref().map(said),
    };
    let failure = project.last_failure.as_deref().map(|failure| {
        let times = project.failures_in_a_row;
        format!("{times} × {}", said(failure))
    });
    [
        said(&project.project),
        or_none(project.held.as_ref().map(|held| held.order.to_string())),
        or_none(project.outdated_for.map(spoken)),
        or_none(stopped_by),
        or_none(project.retry_after.map(next)),
        or_none(failure),
    ]
}

fn next(after: Duration) -> String {
    format!("in {}", spoken(after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::admin::HeldReply, revision::Order};

    fn project(name: &str) -> ProjectReply {
        ProjectReply {
            project: name.to_owned(),
            held: Some(HeldReply {
                order: Order::new(1, 1_795_721_113_905),
                rendered_at: None,
                bytes: 3_174,
                validated_ago: Duration::from_secs(401),
            }),
            outdated_for: Some(Duration::from_secs(41)),
            in_flight: false,
            not_refreshed: Some("COOLING_DOWN".to_owned()),
            retry_after: Some(Duration::from_secs(18)),
            last_failure: Some(r"the render failed with INTERNAL: line 1\nand \u{1b}[31m".into()),
            failures_in_a_row: 3,
            turn: None,
        }
    }

    #[test]
    fn the_screen_of_projects_stays_as_operators_know_it() {
        let flying = ProjectReply {
            in_flight: true,
            not_refreshed: Some("TIMED_OUT".to_owned()),
            last_failure: None,
            failures_in_a_row: 0,
            retry_after: Some(Duration::from_millis(200)),
            ..project("paperboy")
        };
        let typo = ProjectReply {
            held: None,
            outdated_for: None,
            not_refreshed: None,
            last_failure: None,
            failures_in_a_row: 0,
            ..project("tpyo")
        };
        let told = ProjectsReply {
            projects: vec![project("kiosk-sued"), flying, typo],
            total: 7,
        };
        assert_eq!(
            screen(&told, AskedFilter::All),
            r"
PROJECT     HELD             OUTDATED  STOPPED BY               NEXT     LAST FAILURE
kiosk-sued  1/1795721113905  41s       COOLING_DOWN             in 18s   3 × the render failed with INTERNAL: line 1\nand \u{1b}[31m
paperboy    1/1795721113905  41s       in flight                in 0.2s  -
tpyo        -                -         unknown to the renderer  in 18s   -
3 of 7 projects"
                .trim_start()
        );
        let none = ProjectsReply {
            projects: vec![],
            total: 0,
        };
        assert_eq!(screen(&none, AskedFilter::Failing), "0 of 0 failing");
    }

    #[test]
    fn nothing_that_a_sidecar_sends_is_obeyed_by_a_terminal() {
        let hostile = ProjectReply {
            project: "a\x1b[2Jb".to_owned(),
            not_refreshed: Some("\x07".to_owned()),
            last_failure: Some("one\ntwo\x1b[31m".to_owned()),
            ..project("")
        };
        let told = ProjectsReply {
            projects: vec![hostile],
            total: 1,
        };
        let shown = screen(&told, AskedFilter::Failing);
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(
            !shown.contains('\x1b') && !shown.contains('\x07'),
            "{shown}"
        );
    }
}
