//! Admission: AdmissionReview bytes in, AdmissionReview bytes out.

mod admit;
pub mod review;

pub use admit::{Answer, Evaluation, LeftAlone, Owner, Record, admit, evaluate};
