//! The network watch: notices that this device's network changed, by a cable, a Wi-Fi or a lease.

use std::net::IpAddr;
use std::time::Duration;

use super::shared::Shared;
use super::sync::report::Report;
use crate::interface;

/// How often the routes are looked at, and which address they give. They are two small files that the kernel writes
/// for the asking.
const EVERY: Duration = Duration::from_secs(3);
const ROUTES: [&str; 2] = ["/proc/net/route", "/proc/net/ipv6_route"];

/// Runs for as long as the task lives.
pub(super) async fn run(shared: Shared) {
    let mut known = look();
    loop {
        tokio::time::sleep(EVERY).await;
        let now = look();
        if now != known {
            known = now;
            shared.report(Report::NetworkChanged).await;
        }
    }
}

fn look() -> (Vec<String>, IpAddr) {
    (routes(), interface::look())
}

/// Destination, gateway and interface of each route; the use counts beside them change all the time.
fn routes() -> Vec<String> {
    let lines = ROUTES.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    lines
        .flat_map(|table| {
            let rows = table.lines().map(|line| {
                let cells: Vec<&str> = line.split_whitespace().collect();
                let device = if cells.len() == 10 { cells.last() } else { cells.first() };
                let start = cells.iter().take(3).skip(1).copied().collect::<Vec<_>>().join(" ");
                format!("{} {start}", device.copied().unwrap_or_default())
            });
            rows.collect::<Vec<_>>()
        })
        .collect()
}
