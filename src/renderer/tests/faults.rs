use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::renderer::fault::Port;

/// Connects until that is accepted or refused, as wanted.
pub(super) async fn until_port(address: SocketAddr, wanted: Port) {
    let tried = async {
        loop {
            let port = match TcpStream::connect(address).await {
                Ok(_) => Some(Port::Open),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    Some(Port::Closed)
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
                Err(error) => panic!("{error}"),
            };
            if port == Some(wanted) {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), tried).await.unwrap();
}

#[tokio::test]
async fn a_slow_renderer_takes_ten_times_as_long() {
    let (running, mut client) = start(RendererOptions {
        cost: Cost::fixed(Duration::from_millis(20)),
        ..quick()
    })
    .await;
    running.faults().set(Fault::Slow);
    let start = Instant::now();
    render(&mut client, "brewbird", 1).await;
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_dead_renderer_refuses_connections_and_comes_back_on_the_same_port() {
    let (running, mut client) = start(RendererOptions {
        cost: Cost::fixed(Duration::from_secs(600)),
        ..quick()
    })
    .await;
    let mut asking = client.clone();
    let call = tokio::spawn(async move { asking.render(ask("brewbird", 1)).await });
    until(&running, |renders| renders.in_flight == 1).await;

    running.faults().set(Fault::Dead);
    assert!(call.await.unwrap().is_err());
    until(&running, |renders| renders.count(CallState::Abandoned) == 1).await;
    for _ in 0..3 {
        running.faults().set(Fault::Dead);
        until_port(address(&running), Port::Closed).await;
        running.faults().clear();
        until_port(address(&running), Port::Open).await;
    }
    let status = client.fetch(fetch("brewbird")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn not_one_call_is_answered_once_a_renderer_is_dead() {
    let (running, mut client) = start(quick()).await;
    for _ in 0..20 {
        render(&mut client, "brewbird", 1).await;
        running.faults().set(Fault::Dead);
        assert!(client.render(ask("brewbird", 1)).await.is_err());
        running.faults().clear();
        until_port(address(&running), Port::Open).await;
        client = connect(&running).await;
    }
}

#[tokio::test]
async fn a_fault_closes_all_ports_and_its_end_opens_them() {
    let ipv4 = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Where the machine has IPv6.
    let ipv6 = TcpListener::bind("[::1]:0").await.ok();
    let listeners = [ipv4].into_iter().chain(ipv6);
    let running = Renderer::new(quick()).unwrap().serve(listeners).unwrap();
    let addresses = running.addresses().to_vec();
    running.faults().set(Fault::Dead);
    for address in &addresses {
        until_port(*address, Port::Closed).await;
    }
    running.faults().clear();
    for address in addresses {
        until_port(address, Port::Open).await;
        let client = RendererClient::connect(format!("http://{address}")).await;
        render(&mut client.unwrap(), "brewbird", 1).await;
    }
}

#[tokio::test]
async fn a_renderer_can_start_dead_and_rise() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let renderer = Renderer::new(quick()).unwrap();
    renderer.faults().set(FaultOrder {
        fault: Fault::Dead,
        lasts: Some(Duration::from_millis(300)),
    });
    let running = renderer.serve([listener]).unwrap();
    until_port(address(&running), Port::Closed).await;
    until_port(address(&running), Port::Open).await;
    render(&mut connect(&running).await, "brewbird", 1).await;
}

#[tokio::test]
async fn a_hanging_renderer_accepts_and_never_answers() {
    let (running, client) = start(quick()).await;
    render(&mut client.clone(), "brewbird", 1).await;
    running.faults().set(Fault::Hang);
    let mut fresh = connect(&running).await;
    let mut asking = client.clone();
    let hung = tokio::spawn(async move { asking.render(ask("brewbird", 1)).await });
    let fetched = tokio::spawn(async move { fresh.fetch(fetch("brewbird")).await });
    until(&running, |renders| {
        renders.in_flight == 1 && renders.fetched == 1
    })
    .await;
    running.faults().clear();
    render(&mut client.clone(), "brewbird", 1).await;
    assert!(!hung.is_finished() && !fetched.is_finished());
    assert_eq!(running.renders().count(CallState::Open), 1);
}

#[tokio::test]
async fn a_renderer_that_is_behind_answers_with_the_rollout_before() {
    let (running, mut client) = start(quick()).await;
    running.faults().set(Fault::Behind);
    for (raised, answered) in [(1, 1), (2, 1), (5, 4)] {
        raise(&running, raised);
        let response = render(&mut client, "brewbird", raised).await;
        assert_eq!(response.revision.unwrap().rollout, answered);
    }
    running.faults().clear();
    let response = render(&mut client, "brewbird", 5).await;
    assert_eq!(response.revision.unwrap().rollout, 5);
}

#[tokio::test]
async fn garbage_comes_in_every_kind_and_is_not_stored() {
    let (running, mut client) = start(quick()).await;
    running.faults().set(Fault::Garbage);
    for garbage in Garbage::ALL.into_iter().chain(Garbage::ALL) {
        let response = render(&mut client, "brewbird", 1).await;
        let revision = response.revision.unwrap();
        let digest = Digest::of(&response.payload).to_string();
        match garbage {
            Garbage::Empty => assert!(response.payload.is_empty() && !response.not_modified),
            Garbage::Oversized => assert!(response.payload.len() > 16 * 1024 * 1024),
            Garbage::OtherProject => assert_ne!(revision.project, "brewbird"),
            Garbage::WrongDigest => assert_ne!(revision.digest, digest),
        }
    }
    let fetched = client.fetch(fetch("brewbird")).await.unwrap().into_inner();
    let digest = Digest::of(&fetched.payload).to_string();
    assert_eq!(fetched.revision.unwrap().digest, digest);
}

#[tokio::test]
async fn a_busy_renderer_pushes_back_for_three_seconds_and_still_fetches() {
    let (running, mut client) = start(quick()).await;
    render(&mut client, "brewbird", 1).await;
    running.faults().set(Fault::Busy);
    let status = client.render(ask("brewbird", 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.metadata().get("grpc-retry-pushback-ms").unwrap(),
        "3000"
    );
    assert!(client.fetch(fetch("brewbird")).await.is_ok());
}

#[tokio::test]
async fn faults_are_switched_and_renders_read_over_plain_http() {
    let (running, mut client) = start(quick()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let controls = listener.local_addr().unwrap();
    running.serve_controls(listener);
    let request = async |request: &str, body: &str| {
        let mut stream = TcpStream::connect(controls).await.unwrap();
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };

    assert!(
        request("POST /fault", "busy,for=1m")
            .await
            .contains("busy,for=1m")
    );
    assert_eq!(running.faults().in_force().unwrap().fault, Fault::Busy);
    assert!(
        request("POST /fault", "tired")
            .await
            .contains("400 Bad Request")
    );
    assert!(request("DELETE /fault", "").await.contains("200 OK"));
    assert!(request("GET /fault", "").await.ends_with("none\n"));

    assert!(request("GET /rollout", "").await.ends_with("\r\n\r\n1\n"));
    assert!(request("POST /rollout", "3\n").await.contains("200 OK"));
    for (body, status) in [("2", "409 Conflict"), ("0", "400 Bad"), ("v4", "400 Bad")] {
        let answer = request("POST /rollout", body).await;
        assert!(answer.contains(status), "{answer}");
    }
    assert_eq!(running.rollout(), 3);

    render(&mut client, "brewbird", 1).await;
    let answer = request("GET /renders", "").await;
    let (_, json) = answer.split_once("\r\n\r\n").unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["rendered"], 1);
    assert_eq!(json["projects"]["brewbird"]["asked"], 1);
    assert_eq!(json["arrived_ms"].as_array().unwrap().len(), 1);
    assert!(request("GET /projects", "").await.contains("\"brewbird\""));
}
