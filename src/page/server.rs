//! The page over HTTP/1: for reading only, but for the buttons of a demo, and within bounds.
//!
//! A browser that shows it runs nothing that did not come from here, and no other site may read it,
//! frame it or press a button.

use std::{convert::Infallible, io, num::NonZeroUsize, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, ORIGIN,
            REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use futures_util::stream;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    buttons::{Buttons, Pressed},
    clip::clip,
    hosts::{Hosts, refusal},
    html::{Html, SCRIPT, STYLE, Sections, ShownView, icon},
    view::{Focus, Scene, View},
    watch::{SidecarWatch, SidecarsSeen, Viewer},
};
use crate::{
    metrics::Metrics,
    serve::{Accepting, Calls, Connections, RoleState, listener::Listener, telemetry},
    status::ask_names,
};

/// The most connections. Another one takes the place of the one that was unused for longest.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(64).expect("it is not zero");
/// The most pages that are live at once.
const LIVE: usize = 32;
/// How long a page is told of changes over one request: less than a connection may go without one.
/// Its browser asks again.
const TOLD: Duration = Duration::from_secs(100);
/// How long a browser waits before it asks again.
const AGAIN: Duration = Duration::from_secs(1);
/// How many bytes a pressed button may take.
const PRESSED: usize = 256;
/// The most that is shown of the names of those that are asked, in bytes.
const NAME: usize = 64;

/// The most of them that a command is shown with, in bytes.
const COMMAND: usize = 120;

const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What every answer says beside its own.
const GUARDS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// What is shown, and to whom.
#[derive(Debug, Default)]
pub struct Page {
    /// Where the sidecars serve telemetry: `HOST` or `HOST:PORT`, each of which may have many
    /// addresses.
    pub names: Vec<String>,
    /// Names that the page may be asked by, beside addresses and `localhost`.
    pub hosts: Vec<String>,
    /// What it may be told to do.
    pub buttons: Option<Arc<dyn Buttons>>,
}

/// Everything that an answer needs.
#[derive(Debug)]
struct PageSite {
    watch: Arc<SidecarWatch>,
    html: Html,
    name: String,
    asked: String,
    hosts: Hosts,
    buttons: Option<Arc<dyn Buttons>>,
    live: Arc<Semaphore>,
}

/// One page that is live, until it is closed.
struct LivePage {
    site: Arc<PageSite>,
    pod: Option<String>,
    seen: watch::Receiver<SidecarsSeen>,
    ends: Instant,
    _viewer: Viewer,
    _place: tokio::sync::OwnedSemaphorePermit,
}

/// Serves a page until it is cancelled. The sidecars are asked on the current runtime.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(listener: Listener, page: Page, closing: CancellationToken) -> io::Result<()> {
    let watch = SidecarWatch::new();
    let (asking, names) = (Arc::clone(&watch), Arc::<[String]>::from(&*page.names));
    let ask = move || {
        let names = Arc::clone(&names);
        async move { ask_names(&names).await }
    };
    let asking = tokio::spawn(async move { asking.ask(ask).await });
    let _asking = AbortOnDropHandle::new(asking);
    let role_state = RoleState {
        connections: Connections::at_most(CONNECTIONS),
        closing,
        accepting: Accepting::new(Metrics::new()),
        max_streams: std::num::NonZeroU32::MIN,
        calls: Calls::at_most(CONNECTIONS),
    };
    telemetry::serve(listener, routes(page, watch), role_state).await
}

fn routes(page: Page, watch: Arc<SidecarWatch>) -> Router {
    let site = Arc::new(PageSite {
        watch,
        html: Html::new(),
        name: clip(&named(&page.names), NAME),
        asked: clip(&page.names.join(" "), COMMAND),
        hosts: Hosts::new(&page.hosts),
        buttons: page.buttons,
        live: Arc::new(Semaphore::new(LIVE)),
    });
    let mut routes = Router::new()
        .route("/", get(all))
        .route("/pod/{address}", get(pod))
        .route("/events", get(events_of_all))
        .route("/events/pod/{address}", get(events_of_pod))
        .route(
            "/page.css",
            get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)),
        )
        .route(
            "/page.js",
            get(async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)),
        )
        .route("/icon/{name}", get(icon_of))
        .route("/healthz", get(async || "alive\n"));
    if site.buttons.is_some() {
        routes = routes.route("/press", post(press).layer(DefaultBodyLimit::max(PRESSED)));
    }
    routes
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "There is no such page: `/` has all sidecars.\n",
            )
        })
        .layer(from_fn_with_state(Arc::clone(&site), guard))
        .with_state(site)
}

/// What those that are asked are called.
fn named(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [name] => name.clone(),
        [name, rest @ ..] => format!("{name} and {} more", rest.len()),
    }
}

/// Turns those away who ask by another name, and says of each answer what a browser may do with it.
async fn guard(State(site): State<Arc<PageSite>>, request: Request, next: Next) -> Response {
    let host = host(request.headers());
    let mut response = match host {
        Some(host) if site.hosts.admit(host) => next.run(request).await,
        Some(host) => (StatusCode::MISDIRECTED_REQUEST, refusal(host)).into_response(),
        None => (StatusCode::BAD_REQUEST, "A request names its host.\n").into_response(),
    };
    for (name, value) in GUARDS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST).and_then(|host| host.to_str().ok())
}

async fn all(State(site): State<Arc<PageSite>>) -> Response {
    let seen = site.watch.look().await;
    site.page(&seen, Focus::All)
}

async fn pod(State(site): State<Arc<PageSite>>, Path(address): Path<String>) -> Response {
    let seen = site.watch.look().await;
    if !seen.knows(&address) {
        let address = clip(&address, NAME);
        let says = format!("{address} is not among the sidecars that are asked.\n");
        return (StatusCode::NOT_FOUND, says).into_response();
    }
    site.page(&seen, Focus::Pod(&address))
}

async fn events_of_all(State(site): State<Arc<PageSite>>) -> Response {
    events(site, None)
}

async fn events_of_pod(State(site): State<Arc<PageSite>>, Path(address): Path<String>) -> Response {
    events(site, Some(address))
}

/// Tells a page of what changes. A page that does not read misses what came in between, and delays
/// no other.
fn events(site: Arc<PageSite>, pod: Option<String>) -> Response {
    let Ok(place) = Arc::clone(&site.live).try_acquire_owned() else {
        let says = "Too many pages are live.\n";
        let later = [(RETRY_AFTER, "10")];
        return (StatusCode::SERVICE_UNAVAILABLE, later, says).into_response();
    };
    let live = LivePage {
        pod,
        seen: site.watch.follow(),
        ends: Instant::now() + TOLD,
        _viewer: site.watch.enter(),
        _place: place,
        site,
    };
    let events = stream::unfold(live, async |mut live| {
        let event = live.next().await?;
        Some((Ok::<_, Infallible>(event), live))
    });
    Sse::new(events).into_response()
}

async fn icon_of(Path(name): Path<String>) -> Response {
    match name.strip_suffix(".svg").and_then(icon) {
        Some(svg) => ([(CONTENT_TYPE, "image/svg+xml")], svg).into_response(),
        None => (StatusCode::NOT_FOUND, "There is no such icon.\n").into_response(),
    }
}

/// Does what a button says, if it was pressed on a page of ours: a browser names the site that a
/// form was sent from.
async fn press(State(site): State<Arc<PageSite>>, headers: HeaderMap, body: String) -> Response {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let is_ours = origin
        .and_then(|origin| origin.strip_prefix("http://"))
        .is_some_and(|origin| Some(origin) == host(&headers));
    if !is_ours {
        return (
            StatusCode::FORBIDDEN,
            "A button is pressed on its own page.\n",
        )
            .into_response();
    }
    let buttons = site.buttons.as_ref().expect("BUG: routed without buttons");
    let name = body.strip_prefix("press=");
    let mut all = buttons.buttons().into_iter();
    let Some(button) = all.find(|button| Some(button.name) == name) else {
        return (StatusCode::BAD_REQUEST, "There is no such button.\n").into_response();
    };
    match buttons.press(button.name).await {
        Ok(()) => (StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response(),
        Err(why) => (StatusCode::CONFLICT, clip(&why, 400) + "\n").into_response(),
    }
}

impl PageSite {
    fn page(&self, seen: &SidecarsSeen, focus: Focus<'_>) -> Response {
        let page = self.html.page(&self.sections(seen, focus));
        ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
    }

    fn sections(&self, seen: &SidecarsSeen, focus: Focus<'_>) -> Sections {
        let view = View::of(
            &Scene {
                name: &self.name,
                asked: &self.asked,
                fleet: seen.at.map(|_| &*seen.fleet),
                history: &self.watch.history(),
                now: self.watch.now(),
            },
            focus,
        );
        let buttons = self.buttons.as_deref().map(Pressed::now);
        self.html.sections(&ShownView { view, buttons })
    }
}

impl LivePage {
    /// What to show next; none when the page is to ask again.
    async fn next(&mut self) -> Option<Event> {
        let changed = timeout_at(self.ends, self.seen.changed()).await;
        changed.ok()?.ok()?;
        let seen = self.seen.borrow_and_update().clone();
        let focus = self.pod.as_deref().map_or(Focus::All, Focus::Pod);
        let sections = self.site.sections(&seen, focus);
        let text = serde_json::to_string(&sections).expect("BUG: it has names alone");
        Some(Event::default().retry(AGAIN).data(text))
    }
}

#[cfg(test)]
mod tests;
