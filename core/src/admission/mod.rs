//! Admission: AdmissionReview bytes in, AdmissionReview bytes out.
//!
//! [`admit`] parses a review once and decides once. If the pod should get a claim of a pool, it
//! returns [`Admission::NeedsClaim`]: the caller leases a claim, and [`Pending::with_lease`] finishes
//! the same admission. If the answer is "no" because of a namespace snapshot that may be outdated, it
//! returns [`Admission::InDoubt`]: the caller looks the namespace up.

mod admit;
mod answer;
mod line;
mod managed_fields;
pub mod review;

pub use admit::{Admission, Doubt, Draft, Evaluation, Pending, admit, evaluate};
pub use answer::{Answer, LeftAlone, Owner, Record};
pub use managed_fields::empty_managed_fields;
