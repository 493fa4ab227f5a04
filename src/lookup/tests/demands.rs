//! Callers that ask for more than is held.

use super::*;

async fn get_at_least(
    core: &LookupCore,
    project: &Project,
    rollout: u64,
    number: u64,
) -> Result<Answer, Failure> {
    let min_revision = Some(Order::new(rollout, number));
    core.lookup
        .get(Query {
            min_revision,
            ..query(project)
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_demand_that_is_met_is_answered_from_memory() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    assert_eq!(
        get_at_least(&core, &shop, 1, 0).await.unwrap().served,
        Served::Fresh
    );
    assert_eq!(core.renders(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_demand_above_what_is_held_is_rendered_for() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.numbers(2);
    let answer = get_at_least(&core, &shop, 1, 2).await.unwrap();
    assert_eq!(
        (answer.served, answer.revision.order),
        (Served::Rendered, Order::new(1, 2))
    );
    assert_eq!(core.renderer.renders()[1].reason, RenderReason::Demanded);
}

#[tokio::test(start_paused = true)]
async fn a_demand_that_the_renderer_does_not_meet_fails_while_others_are_answered() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    for _ in 0..20 {
        let answer = get_at_least(&core, &shop, 1, 9).await;
        let unmet = Failure::BelowMinRevision {
            newest: Order::new(1, 1),
            retry_after: None,
        };
        assert_eq!(answer.unwrap_err(), unmet);
        assert_eq!(core.get(&shop).await.unwrap().served, Served::Fresh);
    }
    assert!(
        core.renders() <= 3,
        "an impatient demand does not spend the budget"
    );
}

#[tokio::test(start_paused = true)]
async fn a_demand_that_a_gate_refuses_fails_with_its_reason() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.refresh.set_limits(admission::Limits {
        rate: 0.0,
        ..limits()
    });
    assert_eq!(
        failure(&get_at_least(&core, &shop, 2, 0).await),
        NotRefreshed::Throttled
    );
}

#[tokio::test(start_paused = true)]
async fn a_bound_on_how_long_it_has_been_outdated_fails_only_beyond_it() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.behaves(Behaviour::Stalls);
    core.refresh.set_target(2);
    let within = |max| {
        let max_outdated = Some(max);
        core.lookup.get(Query {
            max_outdated,
            ..query(&shop)
        })
    };
    assert!(within(secs(10)).await.is_ok());
    sleep(secs(20)).await;
    let outdated = within(secs(10)).await.unwrap_err();
    assert!(
        matches!(outdated, Failure::BeyondMaxOutdated { .. }),
        "{outdated:?}"
    );
    assert!(within(secs(60)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_demand_bypasses_the_absence_of_a_project() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.renderer
        .behaves(Behaviour::Fails(RenderError::NotFound));
    assert!(core.get(&shop).await.is_err());
    core.renderer.behaves(Behaviour::Answers);
    assert!(matches!(
        core.get(&shop).await,
        Err(Failure::ProjectNotFound { .. })
    ));
    sleep(secs(15)).await;
    assert!(get_at_least(&core, &shop, 1, 0).await.is_ok());
}

/// The renderer was asked for the rollout that was demanded, and one that stamps what it is asked
/// for made that mistake last for ever.
#[tokio::test(start_paused = true)]
async fn the_renderer_is_never_asked_for_more_than_the_target() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    for rollout in [2, 17, 18, u64::MAX] {
        let unmet = get_at_least(&core, &shop, rollout, 0).await.unwrap_err();
        if rollout <= 17 {
            let Failure::BelowMinRevision { retry_after, .. } = unmet else {
                panic!("{rollout}: {unmet:?}");
            };
            assert!(retry_after.is_some_and(|after| after <= secs(30)));
        } else {
            assert!(matches!(unmet, Failure::BeyondReach { .. }), "{unmet:?}");
        }
    }
    assert_eq!(
        core.renders(),
        2,
        "one that is beyond reach costs no render"
    );
    assert!(core.renderer.renders().iter().all(|ask| ask.rollout == 1));
    core.refresh.set_target(3);
    core.converges(std::slice::from_ref(&shop), 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_demand_above_the_target_is_met_by_a_renderer_that_is_there_already() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.behaves(Behaviour::AnswersWith(2));
    let answer = get_at_least(&core, &shop, 2, 0).await.unwrap();
    assert_eq!(
        (answer.served, answer.revision.order),
        (Served::Rendered, Order::new(2, 1))
    );
    let ask = core.renderer.renders().pop().unwrap();
    assert_eq!((ask.rollout, ask.reason), (1, RenderReason::Demanded));
    let again = get_at_least(&core, &shop, 2, 0).await.unwrap();
    assert_eq!(again.served, Served::Fresh);
    assert!(
        matches!(
            get_at_least(&core, &shop, 18, 0).await,
            Err(Failure::BelowMinRevision { .. })
        ),
        "16 above what has landed may be on its way"
    );
}

#[tokio::test(start_paused = true)]
async fn a_demand_for_what_is_missing_is_bounded_by_the_target_too() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    let beyond = get_at_least(&core, &shop, u64::MAX, 0).await;
    assert!(matches!(beyond, Err(Failure::BeyondReach { .. })));
    assert_eq!(core.renders(), 0);
    let unmet = get_at_least(&core, &shop, 2, 0).await;
    assert!(matches!(unmet, Err(Failure::BelowMinRevision { .. })));
    assert_eq!(core.get(&shop).await.unwrap().served, Served::Fresh);
}

/// Others waited up to 22 s for a change, because a demand had been looped that could not be met.
#[tokio::test(start_paused = true)]
async fn a_demand_that_cannot_be_met_cools_down_alone_and_spends_no_budget() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    for second in 0..300 {
        for _ in 0..3 {
            let answer = get_at_least(&core, &shop, 1, 1_000).await;
            assert!(
                matches!(answer, Err(Failure::BelowMinRevision { .. })),
                "{answer:?}"
            );
        }
        if second % 60 == 59 {
            let number = 2 + second / 60;
            core.renderer.numbers(number);
            core.refresh.changed(&shop, Order::new(1, number));
            let answer = core.get(&shop).await.unwrap();
            assert_eq!(
                (answer.served, answer.revision.order.number),
                (Served::Rendered, number)
            );
        }
        sleep(secs(1)).await;
    }
    let spent = core.renders() - 6;
    assert!(spent <= 20, "{spent} renders for the demand");
}

#[tokio::test(start_paused = true)]
async fn a_demand_that_cannot_be_met_does_not_stand_in_the_way_of_a_lesser_one() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    assert!(get_at_least(&core, &shop, 1, 1_000).await.is_err());
    core.renderer.numbers(2);
    let answer = get_at_least(&core, &shop, 1, 2).await.unwrap();
    assert_eq!(answer.revision.order, Order::new(1, 2));
}
