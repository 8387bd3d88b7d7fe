//! Attacks. The tests check their effect; `benches/hostile` measures their cost for other clients.

pub mod http1;
pub mod http2;
pub mod requests;
pub mod tls;
