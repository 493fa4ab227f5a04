//! `evenkeel renderer`: the embedded renderer alone.

use std::{
    fmt::Display,
    net::{AddrParseError, SocketAddr},
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;
use tokio::{net::TcpListener, runtime};

use super::{
    BAD_SETTINGS,
    terminal::{complain, say},
};
use crate::{
    drain::Signals,
    log::{self, Format},
    renderer::{Cost, FaultOrder, Renderer, RendererOptions},
    serve::listener::bind_tcp_all,
};

/// How long renders that run may go on after the signal to end: less than the 30 s that Kubernetes
/// gives a pod.
const GRACE: Duration = Duration::from_secs(10);

/// The most renders that may run at once.
const MOST_WORKERS: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

/// Arguments of `evenkeel renderer`.
#[derive(Debug, clap::Args)]
pub(super) struct RendererArgs {
    /// Where to serve RenderService, health and reflection; may be repeated; [::]:7070 is every
    /// address, of IPv6 and IPv4
    #[arg(long, value_name = "ADDRESS", default_values = ["127.0.0.1:7070", "[::1]:7070"])]
    listen: Vec<SocketAddr>,
    /// Where to accept commands over plain HTTP: GET, POST and DELETE /fault, GET and POST
    /// /rollout, GET /renders, GET /projects; loopback only
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    control: Option<SocketAddr>,
    /// Folder with the settings of each project, PROJECT.yaml; watched
    #[arg(long, value_name = "FOLDER", default_value = "deploy/demo/projects")]
    projects: PathBuf,
    /// Template of the configuration; read once
    #[arg(
        long,
        value_name = "FILE",
        default_value = "deploy/demo/template.json.j2"
    )]
    template: PathBuf,
    /// Add this many derived projects: NAME-1, NAME-2 … of each in turn
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = |text: &str| within(text, 0_usize, 1_000_000))]
    generate: usize,
    /// Renders that run at once
    #[arg(long, value_name = "N", default_value = "8", value_parser = |text: &str| within(text, NonZeroUsize::MIN, MOST_WORKERS))]
    workers: NonZeroUsize,
    /// Renders that wait for a worker; above that, RESOURCE_EXHAUSTED with a pushback
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = |text: &str| within(text, 0_usize, 1_000_000))]
    queue: usize,
    /// How long a render takes: 200ms, or a range such as 100ms..300ms
    #[arg(long, value_name = "TIME", default_value = "200ms")]
    cost: Cost,
    /// The rollout to render, whatever is asked for; POST /rollout raises it
    #[arg(long, value_name = "N", default_value = "1")]
    rollout: NonZeroU64,
    /// Store nothing: Fetch is UNIMPLEMENTED
    #[arg(long)]
    no_store: bool,
    /// Pad payloads to at least this size, such as 15MiB
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = |text: &str| within(text, ByteSize::b(0), ByteSize::gib(1)))]
    pad: ByteSize,
    /// Start with a fault: slow, dead, hang, flap, behind, garbage or busy
    #[arg(long, value_name = "NAME[,for=TIME]")]
    fault: Option<FaultOrder>,
}

/// Runs it until SIGINT or SIGTERM, and on until the renders that run have ended; a second signal
/// breaks them off.
pub(super) fn run(args: RendererArgs) -> anyhow::Result<ExitCode> {
    let _log = log::install(Format::Text, "info".parse()?)?;
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(args))
}

async fn serve(args: RendererArgs) -> anyhow::Result<ExitCode> {
    let (listen, control) = (args.listen.clone(), args.control);
    let mut stop = Signals::install()?;
    let fault = args.fault;
    let renderer = match Renderer::new(args.into()) {
        Ok(renderer) => renderer,
        Err(error) => {
            complain(format_args!("evenkeel: {:#}", anyhow::Error::from(error)));
            return Ok(BAD_SETTINGS.into());
        }
    };
    if let Some(fault) = fault {
        renderer.faults().set(fault);
    }
    let renderer = renderer.serve(bind(listen)?)?;
    let addresses = renderer.addresses().iter().map(ToString::to_string);
    let addresses: Vec<_> = addresses.collect();
    let mut ready = format!("renderer listening on {}", addresses.join(" and "));
    if let Some(control) = control {
        for listener in bind([control])? {
            ready += &format!(", control on http://{}", listener.local_addr()?);
            renderer.serve_controls(listener);
        }
    }
    say(format_args!(
        "{ready}, {} projects",
        renderer.projects().len()
    ))?;

    stop.next().await;
    tokio::select! {
        () = renderer.drain(GRACE) => {}
        () = stop.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn bind(addresses: impl IntoIterator<Item = SocketAddr>) -> anyhow::Result<Vec<TcpListener>> {
    let listeners = bind_tcp_all(addresses)?.into_iter();
    Ok(listeners
        .map(TcpListener::from_std)
        .collect::<Result<_, _>>()?)
}

/// Reads a number within bounds.
///
/// # Errors
/// When it is none, or beyond them.
fn within<T>(text: &str, low: T, high: T) -> Result<T, String>
where
    T: Copy + FromStr + PartialOrd + Display,
{
    let read = text.parse().ok();
    read.filter(|read| (&low..=&high).contains(&read))
        .ok_or_else(|| format!("expected {low} to {high}"))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|error: AddrParseError| error.to_string())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("every client of it can switch faults: use a loopback address".to_owned())
    }
}

impl From<RendererArgs> for RendererOptions {
    fn from(args: RendererArgs) -> Self {
        Self {
            projects: args.projects,
            template: args.template,
            generate: args.generate,
            workers: args.workers,
            queue: args.queue,
            cost: args.cost,
            rollout: args.rollout,
            stores: !args.no_store,
            pad: usize::try_from(args.pad.as_u64()).unwrap_or(usize::MAX),
        }
    }
}
