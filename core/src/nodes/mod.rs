//! The nodes of a cluster: which of them could run a pod, and what their runtimes have in common.
//!
//! A pod has no node yet when it is created, so a decision has to hold on every node that the
//! scheduler could choose. Checking 100,000 nodes for each pod would take too long. Most of them are
//! alike, so groups are checked instead:
//!
//! 1. An [`Inventory`] follows the cluster's nodes. Of each node it keeps the labels, the taints,
//!    whether it is cordoned, and its [`RuntimeFacts`]. Nodes that are equal in all of these form
//!    one [`Group`]; a fleet has about one group for each of its node pools.
//! 2. Labels that tell nearly every node apart, such as `kubernetes.io/hostname`, would leave each
//!    node in a group of its own. These *individual labels* are kept with the node, outside of its
//!    group, and indexed by value.
//! 3. A [`Snapshot`] is the immutable state that requests read. It shares its parts with the
//!    inventory, so publishing one after every change is cheap.
//! 4. [`Snapshot::candidates`] applies the scheduler's filters to each group. The few nodes that a
//!    pod names, directly or by the value of an individual label, are then checked one by one.
//! 5. The [`Candidates`] say what those nodes agree on.
//!
//! A lookup therefore costs the same with 10 nodes as with 100,000, unless a pod compares
//! an individual label with something other than a list of values (`Exists`, `Gt`, …): then
//! every node is checked.

mod candidates;
mod declared_pool;
mod group;
mod individual_labels;
mod inventory;
mod node_object;
mod node_pools;
mod pool_labels;
mod runtime_facts;
mod runtime_summary;
mod scheduling;
mod sharded_map;
mod snapshot;

pub use candidates::{Agreement, Candidates, Pin};
pub use declared_pool::DeclaredPool;
pub use inventory::Inventory;
pub use node_object::{NodeInfo, NodeMetadata, NodeObject, NodeSpec, NodeStatus, Taint};
pub use node_pools::{NodeCount, PoolLabel, PoolRuntime};
pub use runtime_facts::{RUNTIME_LABEL, Restriction, RuntimeFacts, RuntimeKind};
pub use runtime_summary::RuntimeSummary;
pub use snapshot::Snapshot;
