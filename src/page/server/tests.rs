use std::sync::Mutex;

use axum::{
    body::{Body, to_bytes},
    http::{self, header::ALLOW},
};
use futures_util::{StreamExt as _, future::BoxFuture};
use tokio::time::sleep;
use tower::ServiceExt as _;

use super::*;
use crate::{
    page::{Button, PERIOD},
    status::{Fleet, Status},
    verdict::Facts,
};

/// Remembers which buttons were pressed.
#[derive(Debug, Default)]
struct Remembers(Mutex<Vec<&'static str>>);

impl Buttons for Remembers {
    fn heading(&self) -> &'static str {
        "Break it"
    }

    fn says(&self) -> String {
        String::new()
    }

    fn buttons(&self) -> Vec<Button> {
        ["slow", "stuck"]
            .map(|name| Button {
                name,
                label: name,
                says: "",
                is_pressed: false,
            })
            .to_vec()
    }

    fn press(&self, name: &'static str) -> BoxFuture<'static, Result<(), String>> {
        self.0.lock().unwrap().push(name);
        let pressed = match name {
            "stuck" => Err("it is stuck".to_owned()),
            _ => Ok(()),
        };
        Box::pin(async { pressed })
    }
}

/// A page of one sidecar that holds more and more.
fn page(buttons: Option<Arc<dyn Buttons>>) -> Router {
    let watch = SidecarWatch::new();
    let asking = Arc::clone(&watch);
    tokio::spawn(async move {
        let asked = Mutex::new(0);
        let ask = || {
            let fresh = {
                let mut asked = asked.lock().unwrap();
                *asked += 1;
                *asked
            };
            let facts = Facts {
                sidecars: 1,
                rate: 1.0,
                rate_in_force: 1.0,
                fresh,
                ..Facts::default()
            };
            let status = Status::of(Status::default(), facts);
            let fleet = Fleet::new([("10.0.0.1:7402".to_owned(), Ok(status))]);
            async { fleet }
        };
        asking.ask(ask).await;
    });
    let page = Page {
        names: vec!["shop".to_owned()],
        hosts: vec!["page.shop.svc".to_owned()],
        buttons,
    };
    routes(page, watch)
}

fn request(method: &str, path: &str) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    request.header(HOST, "127.0.0.1:7403")
}

async fn answer(routes: &Router, request: http::request::Builder) -> Response {
    send(routes, request, "").await
}

async fn send(routes: &Router, request: http::request::Builder, body: &str) -> Response {
    let request = request.body(Body::from(body.to_owned())).unwrap();
    routes.clone().oneshot(request).await.unwrap()
}

async fn text(answer: Response) -> String {
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn known_paths_are_served_and_others_are_not_found() {
    let routes = page(None);
    for (method, path, status) in [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/pod/10.0.0.1:7402", 200),
        ("GET", "/pod/10.0.0.1%3A7402", 200),
        ("GET", "/pod/10.0.0.2:7402", 404),
        ("GET", "/pod/..%2f..%2fpasswd", 404),
        ("GET", "/page.css", 200),
        ("GET", "/page.js", 200),
        ("GET", "/icon/bad.svg", 200),
        ("GET", "/icon/else.svg", 404),
        ("GET", "/healthz", 200),
        ("GET", "/else", 404),
        ("POST", "/", 405),
        ("DELETE", "/pod/10.0.0.1:7402", 405),
        ("POST", "/press", 404),
    ] {
        let answer = answer(&routes, request(method, path)).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        if status == 405 {
            assert_eq!(answer.headers()[ALLOW], "GET,HEAD", "{path}");
        }
        for (name, value) in GUARDS {
            assert_eq!(answer.headers()[&name], value, "{method} {path}");
        }
    }
    let html = text(answer(&routes, request("GET", "/")).await).await;
    assert!(html.contains("<h1>All that is wanted is fresh: "), "{html}");
}

/// DNS rebinding: the site of a stranger, whose name leads here.
#[tokio::test(start_paused = true)]
async fn a_request_by_another_name_is_turned_away_from_every_path() {
    let routes = page(Some(Arc::new(Remembers::default())));
    for path in [
        "/",
        "/events",
        "/pod/10.0.0.1:7402",
        "/page.js",
        "/press",
        "/else",
    ] {
        let by = |host| Request::builder().uri(path).header(HOST, host);
        assert_eq!(
            answer(&routes, by("evil.example:7403")).await.status(),
            421,
            "{path}"
        );
        assert_eq!(
            answer(&routes, Request::builder().uri(path)).await.status(),
            400,
            "{path}"
        );
        assert_ne!(
            answer(&routes, by("page.shop.svc")).await.status(),
            421,
            "{path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_live_is_told_at_each_round_and_asks_again_in_time() {
    let routes = page(None);
    let events = answer(&routes, request("GET", "/events")).await;
    assert_eq!(events.headers()[CONTENT_TYPE], "text/event-stream");
    let began = Instant::now();
    let mut events = events.into_body().into_data_stream();
    let mut rounds = 0;
    while let Some(event) = events.next().await {
        rounds += 1;
        let event = String::from_utf8(event.unwrap().to_vec()).unwrap();
        let held = format!("fresh: {rounds} of {rounds} held");
        assert!(
            event.contains(&held) && event.contains("\"severity\":\"good\""),
            "{event}"
        );
    }
    assert_eq!(began.elapsed(), TOLD);
    let expected = TOLD.as_secs() / PERIOD.as_secs();
    assert!((expected - 1..=expected + 1).contains(&rounds), "{rounds}");
}

#[tokio::test(start_paused = true)]
async fn live_pages_are_bounded_and_a_closed_page_makes_room() {
    let routes = page(None);
    let mut live = Vec::new();
    for _ in 0..LIVE {
        live.push(answer(&routes, request("GET", "/events")).await);
    }
    assert!(live.iter().all(|answer| answer.status() == 200));
    let refused = answer(&routes, request("GET", "/events/pod/10.0.0.1:7402")).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()[RETRY_AFTER]),
        (503, &HeaderValue::from_static("10"))
    );
    assert_eq!(answer(&routes, request("GET", "/")).await.status(), 200);
    live.pop();
    assert_eq!(
        answer(&routes, request("GET", "/events")).await.status(),
        200
    );
}

/// A page that does not read must not make the server keep what it is told.
#[tokio::test(start_paused = true)]
async fn a_page_that_does_not_read_gets_the_newest_only() {
    let routes = page(None);
    let events = answer(&routes, request("GET", "/events")).await;
    sleep(20 * PERIOD).await;
    let mut events = events.into_body().into_data_stream();
    let event = events.next().await.unwrap().unwrap();
    let event = String::from_utf8(event.to_vec()).unwrap();
    let newest = (19..=21).any(|round| event.contains(&format!("fresh: {round} of")));
    assert!(newest, "{event}");
}

#[tokio::test(start_paused = true)]
async fn a_button_is_pressed_on_its_own_page_alone() {
    let buttons = Arc::new(Remembers::default());
    let routes = page(Some(Arc::<Remembers>::clone(&buttons)));
    let pressed = |origin: &'static str| request("POST", "/press").header(ORIGIN, origin);
    let (ours, long) = (
        "http://127.0.0.1:7403",
        format!("press={}", "x".repeat(300)),
    );
    for (request, body, status) in [
        (request("POST", "/press"), "press=slow", 403),
        (pressed("http://evil.example"), "press=slow", 403),
        (pressed("https://127.0.0.1:7403"), "press=slow", 403),
        (pressed("http://127.0.0.1:7404"), "press=slow", 403),
        (pressed("null"), "press=slow", 403),
        (pressed(ours), "press=else", 400),
        (pressed(ours), "", 400),
        (pressed(ours), long.as_str(), 413),
        (pressed(ours), "press=stuck", 409),
        (pressed(ours), "press=slow", 303),
    ] {
        assert_eq!(
            send(&routes, request, body).await.status(),
            status,
            "{body}"
        );
    }
    assert_eq!(*buttons.0.lock().unwrap(), ["stuck", "slow"]);
    assert_eq!(
        answer(&routes, request("GET", "/press")).await.status(),
        405
    );
}
