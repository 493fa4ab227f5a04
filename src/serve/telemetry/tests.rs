use std::sync::atomic::{AtomicBool, Ordering};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::{
    metrics::{Gauges, Metrics},
    serve::{
        fake::role_state,
        listener::{Access, ListenAddress},
    },
};

async fn get(address: &ListenAddress, path: &str) -> String {
    ask(address, &format!("GET {path}"), "").await
}

async fn ask(address: &ListenAddress, what: &str, headers: &str) -> String {
    let ListenAddress::Tcp(address) = address else {
        panic!("{address}")
    };
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("{what} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn answers_probes_and_scrapes() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let pending = {
        let is_ready = Arc::clone(&is_ready);
        let waits = ["first contact with the renderer"];
        move || waits[usize::from(is_ready.load(Ordering::Relaxed))..].to_vec()
    };
    let metrics = Metrics::new();
    let routes = routes(
        move |as_| metrics.text(Gauges::default(), as_),
        pending,
        shown,
    );
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), Access::Everyone).unwrap();
    let address = listener.address().clone();
    let role_state = role_state();
    let threads = start(listener, routes, role_state.clone()).unwrap();

    assert!(get(&address, "/livez").await.starts_with("HTTP/1.1 200"));
    let response = get(&address, "/readyz").await;
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    assert!(
        response.ends_with("pending:\nfirst contact with the renderer\n"),
        "{response}"
    );

    is_ready.store(true, Ordering::Relaxed);
    let response = get(&address, "/readyz").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");

    for (headers, media_type, ending) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", "\n"),
        (
            "accept: text/plain;version=0.0.4\r\n",
            "text/plain; version=0.0.4; charset=utf-8",
            "\n",
        ),
        (
            "accept: text/plain;q=0.5\r\naccept: application/openmetrics-text;version=1.0.0\r\n",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "\n# EOF\n",
        ),
    ] {
        let response = ask(&address, "GET /metrics", headers).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert!(
            response.contains(&format!("content-type: {media_type}\r\n")),
            "{response}"
        );
        assert!(response.contains("vary: accept\r\n"), "{response}");
        assert!(
            response.ends_with(ending) && response.contains("evenkeel_ready"),
            "{response}"
        );
        assert_eq!(response.contains("# EOF"), ending.contains("EOF"));

        let head = ask(&address, "HEAD /metrics", headers).await;
        assert!(
            head.contains(&format!("content-type: {media_type}\r\n")),
            "{head}"
        );
        assert!(
            head.ends_with("\r\n\r\n"),
            "nothing follows the headers: {head}"
        );
    }
    let response = ask(&address, "POST /metrics", "content-length: 0\r\n").await;
    assert!(
        response.starts_with("HTTP/1.1 405") && response.contains("allow: GET,HEAD"),
        "{response}"
    );

    let elsewhere = get(&address, "/elsewhere").await;
    assert!(elsewhere.starts_with("HTTP/1.1 404"));
    role_state.closing.cancel();
    threads.ended().await.unwrap();
}

fn shown(form: Form) -> String {
    match form {
        Form::Text => "FRESH\n".to_owned(),
        Form::Json => "{}".to_owned(),
    }
}

#[tokio::test]
async fn answers_with_the_status_as_its_reader_wants_it() {
    let routes = routes(|_| String::new(), Vec::<&str>::new, shown);
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), Access::Everyone).unwrap();
    let address = listener.address().clone();
    let role_state = role_state();
    let threads = start(listener, routes, role_state.clone()).unwrap();
    for (headers, media_type, body) in [
        ("", "text/plain; charset=utf-8", "FRESH\n"),
        ("accept: */*\r\n", "text/plain; charset=utf-8", "FRESH\n"),
        (
            "accept: application/json;q=0\r\n",
            "text/plain; charset=utf-8",
            "FRESH\n",
        ),
        ("accept: Application/JSON\r\n", "application/json", "{}"),
        (
            "accept: text/html, application/json;q=0.9\r\n",
            "application/json",
            "{}",
        ),
    ] {
        let response = ask(&address, "GET /status", headers).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        let described = format!("content-type: {media_type}\r\n");
        assert!(response.contains(&described), "{response}");
        assert!(response.ends_with(&format!("\r\n\r\n{body}")), "{response}");
    }
    role_state.closing.cancel();
    threads.ended().await.unwrap();
}
