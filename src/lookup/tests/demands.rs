//! Callers that ask for more than is held.

use super::*;

async fn get_at_least(
    core: &Core,
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
    let core = Core::new().await;
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
    let core = Core::new().await;
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
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    for _ in 0..20 {
        let answer = get_at_least(&core, &shop, 1, 9).await;
        let newest = Order::new(1, 1);
        assert_eq!(answer.unwrap_err(), Failure::BelowMinRevision { newest });
        assert_eq!(core.get(&shop).await.unwrap().served, Served::Fresh);
    }
    assert!(
        core.renders() <= 3,
        "an impatient demand does not spend the budget"
    );
}

#[tokio::test(start_paused = true)]
async fn a_demand_that_a_gate_refuses_fails_with_its_reason() {
    let core = Core::new().await;
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
    let core = Core::new().await;
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
    let core = Core::new().await;
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
