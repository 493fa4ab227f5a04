//! Callers at a steady rate: they look many projects up in turn, without patience, and say how long
//! it took.
//!
//! h2load sends one body again and again; a release storm needs lookups of many projects. No caller
//! waits for another, so that a slow answer hides nothing.

mod contract;

use std::{env, time::Duration};

use contract::{GetConfigRequest, Served, config_service_client::ConfigServiceClient};
use tokio::{
    sync::mpsc,
    time::{Instant, interval},
};
use tonic::transport::Endpoint;

const CONNECTIONS: usize = 8;

/// What became of a lookup: how it was served, or nothing when it failed.
struct Call {
    took: Duration,
    served: Option<Served>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, prefix, projects, per_millisecond, seconds] = arguments.as_slice() else {
        return Err(
            "usage: callers ADDRESS PREFIX PROJECTS LOOKUPS_PER_MILLISECOND SECONDS".into(),
        );
    };
    let projects: usize = projects.parse()?;
    let per_millisecond: usize = per_millisecond.parse()?;
    let end = Duration::from_secs_f64(seconds.parse()?);

    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let endpoint = Endpoint::try_from(format!("http://{address}"))?;
        clients.push(ConfigServiceClient::new(endpoint.connect().await?));
    }
    let (landed, mut landings) = mpsc::unbounded_channel();
    let mut ticks = interval(Duration::from_millis(1));
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < end {
        ticks.tick().await;
        for _ in 0..per_millisecond {
            let mut client = clients[count % CONNECTIONS].clone();
            let request = GetConfigRequest {
                project: format!("{prefix}-{}", 1 + count % projects),
                patience: Some(prost_types::Duration::default()),
                ..Default::default()
            };
            let landed = landed.clone();
            tokio::spawn(async move {
                let asked = Instant::now();
                let answer = client.get_config(request).await;
                // The receiver is gone only after a failure of the whole.
                let _ = landed.send(Call {
                    took: asked.elapsed(),
                    served: answer.ok().map(|answer| answer.into_inner().served()),
                });
            });
            count += 1;
        }
    }
    drop(landed);
    let mut calls = Vec::new();
    while let Some(call) = landings.recv().await {
        calls.push(call);
    }
    report(&calls);
    Ok(())
}

/// Prints one JSON object.
fn report(calls: &[Call]) {
    let mut took: Vec<_> = calls.iter().map(|call| call.took).collect();
    took.sort();
    let outdated = calls
        .iter()
        .filter(|call| call.served == Some(Served::Outdated));
    let mut took_outdated: Vec<_> = outdated.map(|call| call.took).collect();
    took_outdated.sort();
    let count = |served| calls.iter().filter(|call| call.served == served).count();
    println!(
        r#"{{"lookups": {}, "failed": {}, "outdated": {}, "p50": {:e}, "p99": {:e}, "outdated_p99": {:e}, "outdated_longest": {:e}}}"#,
        calls.len(),
        count(None),
        count(Some(Served::Outdated)),
        quantile(&took, 0.5),
        quantile(&took, 0.99),
        quantile(&took_outdated, 0.99),
        quantile(&took_outdated, 1.0),
    );
}

/// Seconds, of what is sorted; 0 of nothing.
fn quantile(took: &[Duration], q: f64) -> f64 {
    let last = took.len().saturating_sub(1);
    let found = took.get((last as f64 * q) as usize);
    found.map_or(0.0, Duration::as_secs_f64)
}
