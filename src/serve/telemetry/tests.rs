use std::sync::atomic::{AtomicBool, Ordering};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::{
    metrics::{Metrics, Snapshot},
    serve::listener::{Access, Address},
};

async fn get(address: &Address, path: &str) -> String {
    let Address::Tcp(address) = address else {
        panic!("{address}")
    };
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
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
        move || match is_ready.load(Ordering::Relaxed) {
            true => vec![],
            false => vec!["first contact with the renderer"],
        }
    };
    let metrics = Metrics::new();
    let routes = routes(move || metrics.text(Snapshot::default()), pending);
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), Access::Everyone).unwrap();
    let address = listener.address().clone();
    let serving = tokio::spawn(serve(listener, routes));

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

    let response = get(&address, "/metrics").await;
    assert!(
        response.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{response}"
    );
    assert!(response.ends_with("# EOF\n"), "{response}");
    assert!(
        get(&address, "/elsewhere")
            .await
            .starts_with("HTTP/1.1 404")
    );
    serving.abort();
}
