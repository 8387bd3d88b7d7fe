//! The core of Slipway: from the bytes of an AdmissionReview to the bytes of its answer.
//!
//! Everything here is pure: no clock, no I/O, no async, no Kubernetes client. What is known of the
//! cluster comes in as immutable values, so the same input always gives the same answer.
//!
//! ```
//! use slipway_core::{
//!     admission::{Admission, admit},
//!     decide::{Cluster, Strategy},
//!     k8s::cluster_file,
//!     policy::Policy,
//! };
//!
//! let nodes = cluster_file::example_nodes()?;
//! let namespaces = cluster_file::example_namespaces()?;
//! let cluster = Cluster {
//!     nodes: Some(&nodes),
//!     namespaces: &namespaces,
//!     policy: &Policy::default(),
//!     dead_mirrors: &[],
//!     claims: None,
//! };
//! // What the API server sends when a runner pod of a scale set with dind is created.
//! let review = include_bytes!("../../examples/reviews/scale-set-dind.json");
//! let Admission::Done(answer) = admit(review, cluster)? else {
//!     unreachable!("the built-in policy has no claim pool");
//! };
//! assert_eq!(answer.record.strategy, Strategy::Dind);
//! assert_eq!(answer.record.reason, "pod-brings-dockerd");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Modules
//!
//! A request passes these, in this order:
//!
//! | module | purpose |
//! | --- | --- |
//! | [`admission`] | Parses the review, runs the steps below, and writes the answer with its log record |
//! | [`pod`] | The borrowed, read-only view of the pod, with limits on its size |
//! | [`recognise`] | Recognises runner pods: their CI system, and the role of each container |
//! | [`nodes`] | Finds the nodes that could run the pod, and what their runtimes have in common |
//! | [`decide`] | Chooses the build path, and gives a reason for each one that it rules out |
//! | [`inject`] | Turns the decision into a list of injections |
//! | [`patch`] | Turns the list into a JSON Patch against the raw pod |
//!
//! These are what they decide by and work with:
//!
//! | module | purpose |
//! | --- | --- |
//! | [`policy`] | The policy file: its types, its checks, its JSON Schema |
//! | [`k8s`] | Kubernetes' own terms: names, quantities, namespaces with their limits, cluster files |
//! | [`reason`] | Every reason for a decision, with its stable code |
//! | [`dockerd`] | The command line and the images of dockerd, and the wrapper that starts it |
//! | [`cache`] | Caches that outlive pods: their keys, and the claims that pods lease |
//!
//! And these show decisions to people, without a request:
//!
//! | module | purpose |
//! | --- | --- |
//! | [`manifest`] | Finds the pods in the manifests that people write |
//! | [`explain`] | Reports on the decision for each of them, and changes the manifest |

pub mod admission;
pub mod cache;
pub mod decide;
pub mod dockerd;
pub mod explain;
pub mod inject;
pub mod k8s;
pub mod manifest;
pub mod nodes;
pub mod patch;
pub mod pod;
pub mod policy;
pub mod reason;
pub mod recognise;
