//! What hostile clients do. The tests say what comes of it, `benches/hostile` what it costs others.

pub mod http1;
pub mod http2;
pub mod requests;
pub mod tls;
