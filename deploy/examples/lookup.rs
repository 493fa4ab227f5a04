//! Looks a project up. `cargo run --example lookup PROJECT`
//!
//! Elsewhere `v1` is what tonic-prost-build makes of `proto/`. tonic has no retries of its own; its
//! channel reconnects.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::{env, error::Error, time::Duration};

use evenkeel::proto::v1::{GetConfigRequest, Served, config_service_client::ConfigServiceClient};
use tonic::{Request, transport::Endpoint};

const WINDOW: u32 = 2 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::var("EVENKEEL_ADDRESS").unwrap_or("127.0.0.1:7400".to_owned());
    let uri = match address.strip_prefix("unix:") {
        Some(_) => address,
        None => format!("http://{address}"),
    };
    let channel = Endpoint::from_shared(uri)?
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .connect_lazy();
    let mut client = ConfigServiceClient::new(channel).max_decoding_message_size(33 << 20);

    let mut request = Request::new(GetConfigRequest {
        project: env::args().nth(1).ok_or("which project?")?,
        ..GetConfigRequest::default()
    });
    request.set_timeout(Duration::from_secs(5));
    let answer = client.get_config(request).await?.into_inner();
    if answer.served() == Served::Outdated {
        let reason = answer.not_refreshed().as_str_name();
        let after = Duration::try_from(answer.retry_after.unwrap_or_default())?;
        eprintln!(
            "outdated: {reason}, retry after {:.1} s",
            after.as_secs_f64()
        );
    }
    println!("{}", String::from_utf8_lossy(&answer.payload));
    Ok(())
}
