//! Many connections at once.

use slipway_testkit::{client::within, served::serve};

use super::{attacks::tls as attacks, neighbour::beside};

const CROWD: usize = 10_000;
/// File descriptors for the server's side and everything else.
const RESERVE: usize = 4_000;

/// Returns how many files this process may have open.
fn max_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    soft.unwrap_or(1024)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_leave_room_for_the_api_server() {
    let crowd = CROWD.min(max_files().saturating_sub(RESERVE));
    if crowd < CROWD {
        eprintln!(
            "only {crowd} connections: the limit of open files is {}",
            max_files()
        );
    }
    let limit = crowd / 10;
    let served = serve(|config| config.max_connections = limit);
    let open = "slipway_connections{port=\"webhook\"}";
    let held = beside(&served, attacks::crowd(&served, crowd)).await;
    assert_eq!(held.len(), crowd);
    let closed = "slipway_admission_problems_total{problem=\"connection-limit\"}";
    // Others ended without a request in time: how many depends on the machine.
    assert!(served.metric(closed).await > 0);
    // A connection that was told to close may still be open.
    within(async { while served.metric(open).await > limit as u64 {} }).await;
    drop(held);
    // The neighbour's kept connection is gone too.
    within(async { while served.metric(open).await > 0 {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_at_full_speed_block_no_other_client() {
    let served = serve(|_| {});
    beside(&served, attacks::handshakes(&served, 2_000)).await;
}
