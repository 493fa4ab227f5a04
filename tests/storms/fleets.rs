//! A fleet as its operator sees it: fifty real sidecars, of which three differ, and an address that
//! is silent.

use std::{net::SocketAddr, process::Command};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinSet, spawn_blocking},
};

use super::support::{HUNG, StormRenderer, StormSidecar, http, millis, sample, until};

/// How many sidecars there are.
const SIDECARS: usize = 50;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "fifty sidecars start once")]
async fn a_fleet_of_fifty_says_who_differs_who_is_silent_and_when_a_release_is_over() {
    let renderer = StormRenderer::start(sample(23, millis(1))).await;
    let mut sidecars = fifty(&renderer).await;
    let project = renderer.projects()[0].clone();
    hold(&sidecars, &project).await;

    // One has other settings, one is asked for projects that do not exist, one is of another
    // version.
    let settings = hash(&sidecars[0]).await;
    sidecars[7].edit(json!({ "lookup": { "patience": "60ms" } }));
    let (edited, before) = (&sidecars[7], settings.clone());
    let is_in_force = async || hash(edited).await != before;
    until("the settings are in force", HUNG, is_in_force).await;
    let other = hash(edited).await;
    for typo in 0..6 {
        let failed = sidecars[8].get(&format!("typo-{typo}")).await;
        failed.expect_err("there is no such project");
    }
    let older = as_of_version(sidecars[9].telemetry(), "0.0.0").await;
    // It takes connections, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();

    let mut fleet: Vec<_> = sidecars.iter().map(StormSidecar::telemetry).collect();
    fleet[9] = older;
    let with_silent: Vec<_> = fleet.iter().copied().chain([silent]).collect();

    let (code, screen, _) = status(&with_silent, &[]).await;
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        "50 of 51 sidecars answered".to_owned(),
        format!("silent   {silent}: no answer within 1s"),
        format!("settings {settings} (49), {other} (1)"),
        format!("version  {version} (49), 0.0.0 (1)"),
        "target   rollout 1 (50)".to_owned(),
    ] {
        assert!(
            screen.lines().any(|found| found == line),
            "{line}\n{screen}"
        );
    }
    let says = "Of the last 7 renders 6 found no such project";
    assert!(
        screen.contains(&format!("\nUNKNOWN_NAMES {says}")),
        "{screen}"
    );
    let differs: Vec<_> = screen
        .lines()
        .filter(|line| line.starts_with("differs"))
        .collect();
    let named = |address: SocketAddr, how: &str| {
        let mut lines = differs.iter();
        let address = format!("({address})");
        let found = lines.any(|line| line.contains(&address) && line.contains(how));
        assert!(found, "{address} {how}\n{screen}");
    };
    named(fleet[7], &format!("settings {other}"));
    named(fleet[8], "UNKNOWN_NAMES");
    named(older, "version 0.0.0");
    assert_eq!((code, differs.len()), (0, 3), "{screen}");

    let (code, line, _) = status(&with_silent, &["--output", "json"]).await;
    let json: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((code, json["asked"].as_u64()), (0, Some(51)));
    assert_eq!(json["sidecars"].as_array().map(Vec::len), Some(SIDECARS));
    assert_eq!(json["facts"]["sidecars"], 50);
    assert_eq!(json["facts"]["fresh"], 50);
    assert_eq!(json["settings"], json!({ &settings: 49, &other: 1 }));
    assert_eq!(json["versions"], json!({ version: 49, "0.0.0": 1 }));
    assert_eq!(json["silent"][0]["address"], silent.to_string());

    // The gate of a pipeline: not before every sidecar has released, and not while one is silent.
    let wait = ["--wait", "--rollout", "2", "--within"];
    let (code, _, said) = status(&fleet, &[&wait[..], &["0s"]].concat()).await;
    assert_eq!(code, 75, "{said}");
    assert!(said.contains("rollout 2 is not released in every sidecar"));
    renderer.release(2);
    for sidecar in &mut sidecars[1..] {
        sidecar.edit(json!({ "rollout": 2 }));
    }
    until("all but one have heard", HUNG, async || {
        let (_, screen, _) = status(&fleet, &[]).await;
        screen.contains("target   rollout 2 (49), rollout 1 (1)\n")
    })
    .await;
    hold(&sidecars, &project).await;
    let (code, screen, _) = status(&fleet, &[&wait[..], &["0s"]].concat()).await;
    assert_eq!(code, 75, "one has not heard\n{screen}");
    let waiting = tokio::spawn(async move {
        let arguments = [&wait[..], &["20s"]].concat();
        (status(&fleet, &arguments).await, fleet)
    });
    sidecars[0].release(2).await;
    sidecars[0].hold(&[project]).await;
    let ((code, screen, said), fleet) = waiting.await.unwrap();
    assert_eq!((code, &*said), (0, ""), "{screen}");
    let (code, ..) = status(
        &[&fleet[..], &[silent]].concat(),
        &[&wait[..], &["0s"]].concat(),
    )
    .await;
    assert_eq!(code, 75, "one is silent");
    let (code, ..) = status(&[silent], &[&wait[..], &["0s"]].concat()).await;
    assert_eq!(code, 69, "none answers");
}

async fn fifty(renderer: &StormRenderer) -> Vec<StormSidecar> {
    let mut sidecars = Vec::new();
    for _ in 0..SIDECARS {
        sidecars.push(StormSidecar::start(renderer, json!({})).await);
    }
    sidecars
}

/// Has every sidecar hold a project, fresh by its target.
async fn hold(sidecars: &[StormSidecar], project: &str) {
    for sidecar in sidecars {
        sidecar.get_all(&[project.to_owned()]).await;
        sidecar.until_fresh(1, HUNG).await;
    }
}

async fn hash(sidecar: &StormSidecar) -> String {
    let (code, page) = http(sidecar.telemetry(), "/status")
        .await
        .expect("it answers");
    assert_eq!(code, 200);
    let settings = page.lines().find_map(|line| line.strip_prefix("settings "));
    let hash = settings.and_then(|words| words.split(' ').next());
    hash.expect("the hash is shown").to_owned()
}

/// Runs `evenkeel status` on these addresses: exit code, stdout and stderr.
async fn status(addresses: &[SocketAddr], arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command.arg("status").args(arguments);
    command.args(addresses.iter().map(SocketAddr::to_string));
    let output = spawn_blocking(move || command.output()).await;
    let output = output.expect("no panic").expect("it is built");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("it exits");
    (code, text(output.stdout), text(output.stderr))
}

/// Passes a sidecar's answers on as if it were of another version, which is as long as its own.
async fn as_of_version(sidecar: SocketAddr, version: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut passing = JoinSet::new();
        while let Ok((mut asking, _)) = listener.accept().await {
            passing.spawn(async move {
                let mut request = vec![0; 4096];
                let read = asking.read(&mut request).await.expect("a request");
                let mut sidecar = TcpStream::connect(sidecar).await.expect("it listens");
                sidecar.write_all(&request[..read]).await.expect("it reads");
                let mut answer = String::new();
                sidecar
                    .read_to_string(&mut answer)
                    .await
                    .expect("it answers");
                let own = concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\"");
                let others = format!("\"version\":\"{version}\"");
                assert!(
                    answer.contains(own) && own.len() == others.len(),
                    "{answer}"
                );
                let answer = answer.replace(own, &others);
                asking.write_all(answer.as_bytes()).await.expect("it waits");
            });
        }
    });
    address
}
