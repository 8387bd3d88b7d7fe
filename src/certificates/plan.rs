//! Plans what the leader changes, from what exists and the time. Pure, except that it makes keys.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::{
    authority,
    material::Material,
    x509::{Certificate, Pair},
};

/// How long a CA is trusted before it signs. By then every API server knows it, even one that was cut
/// off for a while.
pub const PROPAGATION: Duration = Duration::from_secs(60 * 60);

/// A change to the certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// An expired CA was removed.
    Removed,
    /// A CA was made that signs at once, because clients trust nothing that exists.
    Started,
    /// The next CA was made, which clients must trust before it signs.
    Announced,
    /// The next CA became the one that signs.
    Promoted,
    /// A serving certificate was issued.
    Issued,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed => "removed an expired CA",
            Self::Started => "made a CA",
            Self::Announced => "made the next CA, to be trusted before it signs",
            Self::Promoted => "the next CA now signs",
            Self::Issued => "issued a serving certificate",
        })
    }
}

/// Takes all steps that are due.
///
/// `next_is_trusted` says that clients have had time to learn about the next CA. No step removes a CA
/// before it expires, and none serves a certificate that clients with the last bundle would refuse,
/// unless they would refuse everything that exists.
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
    remove_expired(&mut material, now, &mut steps);
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
        steps.push(Step::Started);
    }
    if let Some(signer) = &material.signer {
        let is_good = |serving: &Pair| {
            let certificate = &serving.certificate;
            // A CA that is about to expire cannot issue a certificate that lasts longer.
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

/// Removes expired CAs.
fn remove_expired(material: &mut Material, now: SystemTime, steps: &mut Vec<Step>) {
    let is_valid = |pair: &Pair| pair.certificate.is_valid_at(now);
    material.signer = material.signer.take().filter(is_valid);
    material.next = material.next.take().filter(is_valid);
    let before = material.trusted.len();
    material.trusted.retain(|ca| now < ca.not_after);
    if material.trusted.len() < before {
        steps.push(Step::Removed);
    }
}

/// Adds a new CA to the trusted ones.
fn trust(trusted: &mut Vec<Certificate>, ca: Pair) -> Pair {
    trusted.push(ca.certificate.clone());
    ca
}
