//! Admission: AdmissionReview bytes in, AdmissionReview bytes out.
//!
//! [`admit`] parses a review once and decides once. If the pod should get a claim of a pool, it
//! returns [`Admission::NeedsClaim`]: the caller leases a claim, and [`Pending::with_lease`] finishes
//! the same admission.

mod admit;
mod answer;
mod line;
pub mod review;

pub use admit::{Admission, Draft, Evaluation, Pending, admit, evaluate};
pub use answer::{Answer, LeftAlone, Owner, Record};
