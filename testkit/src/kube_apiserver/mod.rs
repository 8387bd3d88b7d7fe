//! A real API server, and what the tests need around it.

mod api;
mod assets;
mod cluster;
mod endpoint;
pub mod guards;
mod helm;
mod load;
mod pki;
pub mod pods;
mod process;
mod release;
mod replica;
mod service;
pub mod webhook;

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};

pub use crate::workspace::yaml;
pub use api::{Api, Reply};
pub use cluster::Cluster;
pub use endpoint::Endpoint;
pub use load::{Attempt, Load};
pub use pki::old_authority;
pub use process::Signal;
pub use release::{ACCOUNT, Release, apply, rendered_webhook, say_ready};
pub use replica::Replica;
use service::Service;

/// Fails a test that hangs; nothing is measured against it.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The interval between two polls.
const POLL: Duration = Duration::from_millis(20);

/// Returns a free port, below the range from which the kernel takes ports for outgoing connections, so
/// that none of those can take it later.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    (0..COUNT)
        .map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("no free port")
}

/// Polls until there is a value.
///
/// # Panics
/// After [`PATIENCE`], with `what` in the message.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Encodes a value for the `data` of a Secret.
pub fn base64(text: &str) -> String {
    STANDARD.encode(text)
}
