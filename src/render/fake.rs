//! A renderer for tests: it answers, stalls, fails or is behind, as it is told, and keeps a log of
//! what it was asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Answered, Ask, Call, Confirmation, Fetch, Offer, Render, RenderError, Rendered};
use crate::{
    admission::{FetchPermit, Permit},
    revision::{Digest, Order, Project},
    trace::{TraceContext, TraceSpan},
};

/// What the renderer does with a render.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Answers with the rollout asked for.
    Answers,
    /// Answers with this rollout, whatever is asked for.
    AnswersWith(u64),
    /// Answers that what is held is right.
    Vouches,
    /// Never answers.
    Stalls,
    /// Fails.
    Fails(RenderError),
    /// Answers with what this makes of a proper answer.
    Garbles(fn(&mut Offer)),
    /// Panics.
    Panics,
}

/// A scripted renderer. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct FakeRenderer {
    state: Arc<Mutex<FakeState>>,
}

#[derive(Debug)]
struct FakeState {
    behaviour: Behaviour,
    particular: HashMap<Project, Behaviour>,
    cost: Duration,
    number: u64,
    connection: u64,
    stored: HashMap<Project, Offer>,
    offers_fetch: bool,
    fetch_cost: Duration,
    changed: HashMap<Project, Order>,
    confirms: Vec<(Instant, Project)>,
    fetch_failure: Option<RenderError>,
    renders: Vec<(Instant, Ask)>,
    fetches: Vec<Project>,
    fetch_traces: Vec<TraceContext>,
    redials: Vec<u64>,
    in_flight: usize,
    most_in_flight: usize,
}

impl FakeRenderer {
    /// A renderer that answers at once, and stores nothing.
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::new(Mutex::new(FakeState {
                behaviour: Behaviour::Answers,
                particular: HashMap::new(),
                cost: Duration::ZERO,
                number: 1,
                connection: 1,
                stored: HashMap::new(),
                offers_fetch: true,
                fetch_cost: Duration::ZERO,
                changed: HashMap::new(),
                confirms: Vec::new(),
                fetch_failure: None,
                renders: Vec::new(),
                fetches: Vec::new(),
                fetch_traces: Vec::new(),
                redials: Vec::new(),
                in_flight: 0,
                most_in_flight: 0,
            })),
        }
    }

    pub(crate) fn behaves(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
    }

    pub(crate) fn behaves_for(&self, project: &Project, behaviour: Behaviour) {
        self.lock().particular.insert(project.clone(), behaviour);
    }

    pub(crate) fn costs(&self, cost: Duration) {
        self.lock().cost = cost;
    }

    /// The number that revisions have from now on.
    pub(crate) fn numbers(&self, number: u64) {
        self.lock().number = number;
    }

    /// Answers over another connection from now on.
    pub(crate) fn is_redialled(&self) {
        self.lock().connection += 1;
    }

    pub(crate) fn stores(&self, project: &Project, order: Order) {
        self.lock()
            .stored
            .insert(project.clone(), offer(project, order));
    }

    /// Says so when it is asked about what is held.
    pub(crate) fn knows_of_change(&self, project: &Project, order: Order) {
        self.lock().changed.insert(project.clone(), order);
    }

    /// Fails when it is asked about what is held; none to answer again.
    pub(crate) fn fails_to_confirm(&self, error: Option<RenderError>) {
        self.lock().fetch_failure = error;
    }

    /// What was asked about, and when.
    pub(crate) fn confirms(&self) -> Vec<(Instant, Project)> {
        self.lock().confirms.clone()
    }

    pub(crate) fn offers_no_fetch(&self) {
        self.lock().offers_fetch = false;
    }

    /// How long a fetch takes.
    pub(crate) fn fetch_costs(&self, cost: Duration) {
        self.lock().fetch_cost = cost;
    }

    /// What was asked for, in order.
    pub(crate) fn renders(&self) -> Vec<Ask> {
        self.lock()
            .renders
            .iter()
            .map(|(_, ask)| ask.clone())
            .collect()
    }

    /// When renders arrived.
    pub(crate) fn arrivals(&self) -> Vec<Instant> {
        self.lock().renders.iter().map(|(at, _)| *at).collect()
    }

    pub(crate) fn renders_of(&self, project: &Project) -> usize {
        self.lock()
            .renders
            .iter()
            .filter(|(_, ask)| ask.project == *project)
            .count()
    }

    pub(crate) fn fetches(&self) -> Vec<Project> {
        self.lock().fetches.clone()
    }

    /// The traces that fetches belonged to, in order.
    pub(crate) fn fetch_traces(&self) -> Vec<TraceContext> {
        self.lock().fetch_traces.clone()
    }

    /// Which connections were to be replaced.
    pub(crate) fn redials(&self) -> Vec<u64> {
        self.lock().redials.clone()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.lock().most_in_flight
    }

    fn lock(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap()
    }

    fn arrives(&self, ask: &Ask) -> (Behaviour, Duration, u64, u64) {
        let mut state = self.lock();
        state.renders.push((Instant::now(), ask.clone()));
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        let behaviour = state
            .particular
            .get(&ask.project)
            .unwrap_or(&state.behaviour);
        (
            behaviour.clone(),
            state.cost,
            state.number,
            state.connection,
        )
    }
}

/// A proper offer of a revision.
pub(crate) fn offer(project: &Project, order: Order) -> Offer {
    Offer {
        project: project.to_string(),
        order,
        content_type: "application/json".into(),
        payload: format!("{{\"project\":\"{project}\",\"order\":\"{order}\"}}").into(),
        ..Offer::default()
    }
}

/// Leaves the renderer, also when the call is dropped.
struct LeavesFake(FakeRenderer);

impl Drop for LeavesFake {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

impl Render for FakeRenderer {
    fn render(&self, _: Permit, ask: Ask, _: Duration) -> Call<Rendered> {
        let (behaviour, cost, number, connection) = self.arrives(&ask);
        let leaves = LeavesFake(self.clone());
        Box::pin(async move {
            let _leaves = leaves;
            sleep(cost).await;
            let order = Order::new(ask.rollout, number);
            let result = match behaviour {
                Behaviour::Answers => Ok(Rendered::Revision(offer(&ask.project, order))),
                Behaviour::AnswersWith(rollout) => Ok(Rendered::Revision(offer(
                    &ask.project,
                    Order::new(rollout, number),
                ))),
                Behaviour::Vouches => Ok(Rendered::NotModified {
                    project: ask.project.to_string(),
                    order,
                }),
                Behaviour::Stalls => std::future::pending().await,
                Behaviour::Fails(error) => Err(error),
                Behaviour::Garbles(garble) => {
                    let mut offer = offer(&ask.project, order);
                    garble(&mut offer);
                    Ok(Rendered::Revision(offer))
                }
                Behaviour::Panics => panic!("the fake renderer was told to"),
            };
            Answered {
                connection: Some(connection),
                result,
            }
        })
    }

    fn redial(&self, connection: u64) {
        self.lock().redials.push(connection);
    }
}

impl Fetch for FakeRenderer {
    fn fetch(&self, _: FetchPermit, project: Project, span: TraceSpan, _: Duration) -> Call<Offer> {
        let mut state = self.lock();
        state.fetches.push(project.clone());
        state.fetch_traces.push(span.context());
        let result = match state.stored.get(&project) {
            _ if !state.offers_fetch => Err(RenderError::Unimplemented),
            Some(offer) => Ok(offer.clone()),
            None => Err(RenderError::NotFound),
        };
        let (connection, cost) = (Some(state.connection), state.fetch_cost);
        Box::pin(async move {
            if !cost.is_zero() {
                sleep(cost).await;
            }
            Answered { connection, result }
        })
    }

    fn confirm(
        &self,
        _: FetchPermit,
        project: Project,
        held: (Order, Digest),
        _: Duration,
    ) -> Call<Confirmation> {
        let mut state = self.lock();
        state.confirms.push((Instant::now(), project.clone()));
        let (order, _) = held;
        let changed = state
            .changed
            .get(&project)
            .filter(|change| **change > order);
        let stored = state.stored.get(&project);
        let name = project.to_string();
        let result = if let Some(error) = &state.fetch_failure {
            Err(error.clone())
        } else if !state.offers_fetch {
            Err(RenderError::Unimplemented)
        } else if let Some(stored) = stored.filter(|stored| stored.order > order) {
            Ok(Confirmation::Stored(stored.clone()))
        } else if let Some(&order) = changed {
            Ok(Confirmation::Changed {
                project: name,
                order,
            })
        } else if stored.is_some() {
            Ok(Confirmation::NotModified {
                project: name,
                order,
            })
        } else {
            Err(RenderError::NotFound)
        };
        let connection = Some(state.connection);
        Box::pin(async move { Answered { connection, result } })
    }
}
