//! What a sidecar says of itself.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::HUNG;

/// A page of metrics.
pub(crate) struct MetricsPage(String);

impl MetricsPage {
    /// Sums the samples of a metric that have these labels, each written as in `state="fresh"`.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let samples = self.0.lines().filter_map(|line| {
            let (series, value) = line
                .strip_prefix("evenkeel_")?
                .strip_prefix(name)?
                .rsplit_once(' ')?;
            let is_meant = (series.is_empty() || series.starts_with('{'))
                && labels.iter().all(|label| series.contains(label));
            is_meant.then(|| value.parse::<f64>().ok()).flatten()
        });
        samples.sum()
    }

    /// How many lookups took longer than the patience of 50 ms and 50 ms more, and how many there
    /// were.
    pub(crate) fn late_lookups(&self) -> [f64; 2] {
        let in_time = self.sum("lookup_duration_seconds_bucket", &["le=\"0.1\""]);
        let all = self.sum("lookup_duration_seconds_count", &[]);
        [all - in_time, all]
    }
}

/// Asks a listener for telemetry; nothing when there is no answer.
pub(crate) async fn http(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    timeout(HUNG, get(address, path)).await.ok().flatten()
}

async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await.ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Reads the metrics.
pub(crate) async fn scrape(address: SocketAddr) -> MetricsPage {
    let page = http(address, "/metrics").await;
    MetricsPage(page.map_or_else(String::new, |(_, body)| body))
}
