//! The cluster as this replica sees it: watches, the state they fill, events, and who leads.

pub mod events;
pub mod leader;
pub mod state;
pub mod watch;
