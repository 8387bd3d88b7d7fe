//! What the leader changes, decided from what is there and what time it is.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::{
    authority,
    material::Material,
    x509::{Certificate, Pair},
};

/// How long a CA is trusted before it signs. Every API server has learned of it by then, also one
/// that was cut off for a while.
pub const PROPAGATION: Duration = Duration::from_secs(60 * 60);

/// A change to the certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A CA ended.
    Forgot,
    /// A CA was made that signs at once, because nothing is there that clients could trust.
    Began,
    /// A CA was made that clients learn to trust first.
    Announced,
    /// That CA signs from now on.
    Promoted,
    /// A serving certificate was made.
    Issued,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forgot => "a CA has ended and is no longer trusted",
            Self::Began => "made a CA",
            Self::Announced => "made the next CA, to be trusted before it signs",
            Self::Promoted => "the next CA signs from now on",
            Self::Issued => "made a serving certificate",
        })
    }
}

/// Does what is due.
///
/// `next_is_trusted` says that clients have had the time to learn of the next CA. No step takes a
/// CA out before its end, and none shows a certificate that clients of the last bundle refuse,
/// unless they would refuse everything that is there.
///
/// # Errors
/// When a key or a certificate cannot be made.
pub(super) fn advance(
    mut material: Material,
    names: &[String],
    next_is_trusted: bool,
    now: SystemTime,
) -> Result<(Material, Vec<Step>), rcgen::Error> {
    let mut steps = Vec::new();
    forget(&mut material, now, &mut steps);
    let is_named = |pair: &Pair| names.iter().all(|name| pair.certificate.is_for(name));
    let is_lost = !material.serves_at(now);
    if is_lost {
        material.serving = None;
    }

    if material.next.is_none()
        && material
            .signer
            .as_ref()
            .is_none_or(|signer| signer.certificate.is_due_at(now))
        && !(is_lost && material.signer.is_none())
    {
        material.next = Some(trust(&mut material.trusted, authority::make(now)?));
        steps.push(Step::Announced);
    }
    if material.next.is_some() && (next_is_trusted || (is_lost && material.signer.is_none())) {
        material.signer = material.next.take();
        steps.push(Step::Promoted);
    }
    if is_lost && material.signer.is_none() {
        material.signer = Some(trust(&mut material.trusted, authority::make(now)?));
        steps.push(Step::Began);
    }
    if let Some(signer) = &material.signer {
        let is_good = |serving: &Pair| {
            let certificate = &serving.certificate;
            // A new one by a CA that is about to end would end no later.
            let would_gain = certificate.not_after < signer.certificate.not_after;
            !(certificate.is_due_at(now) && would_gain)
                && is_named(serving)
                && certificate.is_trusted_by([&signer.certificate], now)
        };
        if !material.serving.as_ref().is_some_and(is_good) {
            material.serving = Some(authority::issue(signer, names, now)?);
            steps.push(Step::Issued);
        }
    }
    Ok((material, steps))
}

/// Takes out what has ended.
fn forget(material: &mut Material, now: SystemTime, steps: &mut Vec<Step>) {
    let counts = |pair: &Pair| pair.certificate.is_valid_at(now);
    material.signer = material.signer.take().filter(counts);
    material.next = material.next.take().filter(counts);
    let before = material.trusted.len();
    material.trusted.retain(|ca| now < ca.not_after);
    if material.trusted.len() < before {
        steps.push(Step::Forgot);
    }
}

fn trust(trusted: &mut Vec<Certificate>, ca: Pair) -> Pair {
    trusted.push(ca.certificate.clone());
    ca
}
