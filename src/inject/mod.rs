//! `Plan -> injections`: what each strategy puts into a pod. Pure.

use std::fmt;

use crate::{decide::Plan, pod::Pod, reason::Reason};

/// One thing that is put into the pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Injection {}

impl fmt::Display for Injection {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// What is put into a pod, and what was not, with the reasons.
#[derive(Debug, Clone, Default)]
pub struct Injections {
    /// In the order of the patch.
    pub list: Vec<Injection>,
    /// What was left out or changed on the way.
    pub notes: Vec<Reason>,
}

/// The injections of a plan.
#[must_use]
pub fn inject(_pod: &Pod<'_>, _plan: &Plan<'_>) -> Injections {
    Injections::default()
}
