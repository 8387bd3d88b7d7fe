//! The cluster as this replica sees it: watches, the state they fill, events, and the leader election.

pub mod call;
pub mod events;
pub mod leader;
pub mod lookup;
pub mod state;
pub mod watch;
