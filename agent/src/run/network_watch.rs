//! The network watch: notices that this device's network changed, by a cable, a Wi-Fi or a lease. It is the process's,
//! and looks whether or not anything is synced: audit events name the address that it finds.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::interface;

/// How often the routes are looked at, and which address they give. They are two small files that the kernel writes
/// for the asking.
const EVERY: Duration = Duration::from_secs(3);
const ROUTES: [&str; 2] = ["/proc/net/route", "/proc/net/ipv6_route"];

/// Runs for as long as the task lives; whoever syncs hears of each change.
pub(super) async fn run(changed: Arc<Notify>) {
    let mut known = look();
    loop {
        tokio::time::sleep(EVERY).await;
        let now = look();
        if now != known {
            known = now;
            changed.notify_one();
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn an_address_that_was_found_too_early_is_found_anew_with_nothing_to_sync() {
        let early = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
        interface::found(early);
        // It looks as soon as it runs, and never ends.
        let ended = tokio::time::timeout(Duration::ZERO, run(Arc::new(Notify::new()))).await;
        assert!(ended.is_err() && interface::own_address() != early);
    }
}
