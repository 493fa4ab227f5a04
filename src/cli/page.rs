//! `evenkeel page`: a web page that shows what holds a sidecar or a whole fleet up.

use std::{net::SocketAddr, process::ExitCode};

use tokio_util::sync::CancellationToken;

use super::terminal::say;
use crate::{
    drain::Signals,
    page::{self, Page},
    serve::listener::{Access, ListenAddress, Listener},
};

const EXIT_CODES: &str = "\
The page shows what `evenkeel status` says, and asks the sidecars only while someone looks at it. It
changes nothing. It answers requests that name an address or localhost as their host, so that no web site
can read it; --host adds a name.

Exit codes:
   0  ended by SIGINT or SIGTERM
   1  failed, as when the address cannot be listened on
   2  wrong usage";

/// Arguments of `evenkeel page`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct PageArgs {
    /// Where sidecars serve telemetry, HOST or HOST:PORT; a name may have many addresses
    #[arg(value_name = "ADDRESS", default_value = "127.0.0.1:7402")]
    addresses: Vec<String>,

    /// Where to serve the page
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7403")]
    listen: SocketAddr,

    /// A name by which browsers may ask for the page, beside addresses and localhost; may be
    /// repeated
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

/// Serves it until SIGINT or SIGTERM.
///
/// # Errors
/// If the address cannot be listened on.
pub(super) fn run(args: PageArgs) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(args))
}

async fn serve(args: PageArgs) -> anyhow::Result<ExitCode> {
    let mut stop = Signals::install()?;
    let listener = Listener::bind(&ListenAddress::Tcp(args.listen), Access::Everyone)?;
    say(format_args!("page on http://{}/", listener.address()))?;
    let page = Page {
        names: args.addresses,
        hosts: args.host,
        buttons: None,
    };
    tokio::select! {
        served = page::serve(listener, page, CancellationToken::new()) => served?,
        () = stop.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}
