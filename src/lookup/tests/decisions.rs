//! The decision table: what is held × what admission says × what the renderer does, every row of
//! it.

use super::*;

#[derive(Clone, Copy, Debug)]
enum HeldBefore {
    Nothing,
    Fresh,
    Outdated,
}

#[derive(Clone, Copy, Debug)]
enum Admitting {
    Admitted,
    Refused(NotRefreshed),
}

#[derive(Clone, Copy, Debug)]
enum Rendering {
    Ok,
    Slow,
    Failed,
    Dead,
    Rejected,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum DecisionRow {
    Fresh,
    Rendered,
    Outdated(NotRefreshed),
    Fails(NotRefreshed),
    /// No such row, and why.
    Impossible(&'static str),
}

const HOLDINGS: [HeldBefore; 3] = [HeldBefore::Nothing, HeldBefore::Fresh, HeldBefore::Outdated];
const RENDERINGS: [Rendering; 5] = [
    Rendering::Ok,
    Rendering::Slow,
    Rendering::Failed,
    Rendering::Dead,
    Rendering::Rejected,
];
const PATIENCE: Duration = millis(100);

fn row(holding: HeldBefore, admitting: Admitting, rendering: Rendering) -> DecisionRow {
    let why = match admitting {
        Admitting::Admitted => match rendering {
            Rendering::Ok => None,
            Rendering::Slow => Some(NotRefreshed::TimedOut),
            Rendering::Failed => Some(NotRefreshed::RenderFailed),
            Rendering::Dead => Some(NotRefreshed::Unreachable),
            Rendering::Rejected => Some(NotRefreshed::Rejected),
        },
        Admitting::Refused(reason) => match impossible(holding, reason) {
            Some(why) => return DecisionRow::Impossible(why),
            None => Some(reason),
        },
    };
    match (holding, why) {
        (HeldBefore::Fresh, _) => DecisionRow::Fresh,
        (HeldBefore::Nothing | HeldBefore::Outdated, None) => DecisionRow::Rendered,
        (HeldBefore::Nothing, Some(reason)) => DecisionRow::Fails(reason),
        (HeldBefore::Outdated, Some(reason)) => DecisionRow::Outdated(reason),
    }
}

/// Why admission never refuses with this reason, or not while this is held.
fn impossible(holding: HeldBefore, reason: NotRefreshed) -> Option<&'static str> {
    match (reason, holding) {
        (NotRefreshed::Scheduled, _) => {
            Some("it is told to those who would not wait; no gate says it")
        }
        (NotRefreshed::TimedOut, _) => {
            Some("it is told while a flight is under way; no gate says it")
        }
        (NotRefreshed::RenderFailed, _) => {
            Some("it is told when a flight lands; the gate then says COOLING_DOWN")
        }
        (_, HeldBefore::Fresh) => None,
        (NotRefreshed::QueueFull, HeldBefore::Outdated) => {
            Some("the queue is that of missing projects")
        }
        (NotRefreshed::ProjectGone, HeldBefore::Nothing) => Some("a missing project is NOT_FOUND"),
        (NotRefreshed::RendererBehind, HeldBefore::Nothing) => {
            Some("what a renderer behind brings is held")
        }
        (
            NotRefreshed::Throttled
            | NotRefreshed::ConcurrencyLimited
            | NotRefreshed::QueueFull
            | NotRefreshed::CoolingDown
            | NotRefreshed::BreakerOpen
            | NotRefreshed::PushedBack
            | NotRefreshed::Unreachable
            | NotRefreshed::RendererBehind
            | NotRefreshed::Rejected
            | NotRefreshed::ProjectGone
            | NotRefreshed::Draining
            | NotRefreshed::RenderingElsewhere
            | NotRefreshed::FleetUnreachable,
            HeldBefore::Nothing | HeldBefore::Outdated,
        ) => None,
    }
}

/// Makes admission refuse for this reason, by its real cause.
async fn refuse(core: &LookupCore, shop: &Project, reason: NotRefreshed) {
    let fails_once = |behaviour| async move {
        core.renderer.behaves_for(shop, behaviour);
        let _ = core.get_within(shop, PATIENCE).await;
    };
    match reason {
        NotRefreshed::Throttled => core.refresh.set_limits(admission::Limits {
            rate: 0.0,
            ..limits()
        }),
        NotRefreshed::ConcurrencyLimited => occupy(core, 1).await,
        NotRefreshed::QueueFull => {
            occupy(core, 1).await;
            let lookup = core.lookup.clone();
            let waiting = Query {
                patience: Some(secs(20)),
                ..query(&project("other/waiting"))
            };
            tokio::spawn(async move { lookup.get(waiting).await });
            sleep(millis(1)).await;
        }
        NotRefreshed::CoolingDown => fails_once(Behaviour::Fails(unavailable())).await,
        NotRefreshed::Rejected => {
            fails_once(Behaviour::Garbles(|offer| offer.project.clear())).await;
        }
        NotRefreshed::RendererBehind => fails_once(Behaviour::AnswersWith(1)).await,
        NotRefreshed::ProjectGone => fails_once(Behaviour::Fails(RenderError::NotFound)).await,
        NotRefreshed::Unreachable => {
            let retry_at = core.clock.now() + secs(10);
            core.refresh.set_link(Link::Down { retry_at });
        }
        NotRefreshed::Draining => core.refresh.drain(),
        NotRefreshed::FleetUnreachable => {
            let until = core.clock.now() + secs(10);
            core.refresh.set_fleet(FleetMode::Lost { until });
        }
        NotRefreshed::RenderingElsewhere => {
            core.refresh.set_fleet(FleetMode::Joined);
            let _ = core.get_within(shop, millis(1)).await;
            let look_again = core.clock.now() + secs(10);
            // Whichever ask it was.
            for ask in 0..100 {
                let answers = vec![Reserved::Elsewhere { look_again }];
                core.refresh.reserved(ask, answers);
            }
        }
        NotRefreshed::BreakerOpen => {
            for other in projects(5) {
                core.renderer
                    .behaves_for(&other, Behaviour::Fails(unavailable()));
                let _ = core.get_within(&other, PATIENCE).await;
            }
        }
        NotRefreshed::PushedBack => {
            let other = project("other/pushed-back");
            core.renderer.behaves_for(
                &other,
                Behaviour::Fails(exhausted(3, PushbackScope::Global)),
            );
            let _ = core.get_within(&other, PATIENCE).await;
        }
        NotRefreshed::Scheduled | NotRefreshed::TimedOut | NotRefreshed::RenderFailed => {
            unreachable!("no gate says {reason}")
        }
    }
}

/// Leaves room for one render, and takes it for ever.
async fn occupy(core: &LookupCore, queue: u32) {
    let one = admission::Limits {
        concurrency: count(1),
        queue: count(queue),
        ..limits()
    };
    core.refresh.set_limits(one);
    let other = project("other/stalled");
    core.renderer.behaves_for(&other, Behaviour::Stalls);
    let _ = core.get_within(&other, millis(1)).await;
}

async fn observed(holding: HeldBefore, admitting: Admitting, rendering: Rendering) -> DecisionRow {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    match holding {
        HeldBefore::Nothing => {}
        HeldBefore::Fresh => core.holds(std::slice::from_ref(&shop)).await,
        HeldBefore::Outdated => {
            core.holds(std::slice::from_ref(&shop)).await;
            core.refresh.set_target(2);
        }
    }
    if let Admitting::Refused(reason) = admitting {
        refuse(&core, &shop, reason).await;
    }
    core.renderer.behaves_for(
        &shop,
        match rendering {
            Rendering::Ok => Behaviour::Answers,
            Rendering::Slow => Behaviour::Stalls,
            Rendering::Failed => Behaviour::Fails(unavailable()),
            Rendering::Dead => Behaviour::Fails(RenderError::Unreachable),
            Rendering::Rejected => Behaviour::Garbles(|offer| offer.digest = "0".repeat(64)),
        },
    );
    let before = core.renderer.renders_of(&shop);
    let start = Instant::now();
    let answer = core.get_within(&shop, PATIENCE).await;
    assert!(start.elapsed() <= PATIENCE);
    if matches!(admitting, Admitting::Refused(_)) {
        assert_eq!(
            core.renderer.renders_of(&shop),
            before,
            "what is refused is not rendered"
        );
    }
    match answer {
        Ok(answer) => match answer.served {
            Served::Fresh => DecisionRow::Fresh,
            Served::Rendered => DecisionRow::Rendered,
            Served::Outdated(outdated) => {
                assert_eq!(answer.revision.order.rollout, 1);
                assert!(!outdated.refusal.retry_after.is_zero());
                DecisionRow::Outdated(outdated.refusal.reason)
            }
        },
        failed @ Err(_) => DecisionRow::Fails(failure(&failed)),
    }
}

#[tokio::test(start_paused = true)]
async fn every_row_of_the_decision_table_holds() {
    let refusals = NotRefreshed::ALL.map(Admitting::Refused);
    let mut rows = 0;
    for holding in HOLDINGS {
        for admitting in [Admitting::Admitted].into_iter().chain(refusals) {
            for rendering in RENDERINGS {
                let expected = row(holding, admitting, rendering);
                if !matches!(expected, DecisionRow::Impossible(_)) {
                    let observed = observed(holding, admitting, rendering).await;
                    assert_eq!(
                        observed, expected,
                        "{holding:?} × {admitting:?} × {rendering:?}"
                    );
                    rows += 1;
                }
            }
        }
    }
    assert_eq!(
        rows,
        5 * (1 + 11 + 1 + 13 + 1 + 12),
        "the table has lost rows"
    );
}
