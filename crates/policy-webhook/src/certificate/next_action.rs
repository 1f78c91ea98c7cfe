//! The next action of a rotation, as a pure function of what is stored and published.
//!
//! ```text
//! (nothing usable) ─ Issue ─► served ─ a third of its time left, or a new name ─ Rotate ─► served, next
//!                               ▲                                                            │
//!                               └─── Promote, once both CAs were published for a minute ◄────┘
//! ```
//!
//! `PublishCaBundle` follows each change of the stored CA certificates. `Prune` removes expired
//! ones: the only certificate that such a CA has signed expired with it, so no replica serves it.

use std::time::{Duration, Instant};

use policy_kube::certificate::CertificateNames;
use policy_runtime::tls::Time;

use super::stored::{ServerCertificate, StoredCertificates};

/// How long a CA must be published before its certificate is served. An API server observes a
/// change within about a second; each replica of the API server does so by itself.
const PUBLISHED: Duration = Duration::from_secs(60);

/// What to write next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextAction {
    /// Issue a certificate, because there is none to serve.
    Issue,
    /// Publish the CA certificates of the Secret.
    PublishCaBundle,
    /// Issue the next certificate, while the present one is served.
    Rotate,
    /// Serve the next certificate from now on.
    Promote,
    /// Remove expired CA certificates and unusable data.
    Prune,
    None,
}

/// The next action. `published` is `None` where the `caBundle` is unknown; `published_for` is the
/// time for which it has been seen to equal what is stored.
pub(crate) fn next_action(
    stored: &StoredCertificates,
    published: Option<&[u8]>,
    published_for: Duration,
    names: &CertificateNames,
    now: Time,
) -> NextAction {
    let Some(served) = &stored.served else {
        // The next one has been published for longer than a new one would be.
        return if stored.next.is_some() { NextAction::Promote } else { NextAction::Issue };
    };
    // Before publishing, so that the caBundle changes once.
    if !stored.is_clean() {
        return NextAction::Prune;
    }
    if published.is_some_and(|published| published != stored.ca_bundle().as_bytes()) {
        return NextAction::PublishCaBundle;
    }
    match &stored.next {
        None if stored.is_next_early => NextAction::None,
        None if is_old(served, now) || !served.is_for(names) => NextAction::Rotate,
        // It waited too long to be published. Its names do not matter here: replicas with different
        // names would replace each other's before anybody serves it.
        Some(next) if is_old(next, now) => NextAction::Rotate,
        Some(_) if published.is_some() && published_for >= PUBLISHED => NextAction::Promote,
        _ => NextAction::None,
    }
}

/// Whether at most a third of its lifetime is left.
fn is_old(certificate: &ServerCertificate, now: Time) -> bool {
    let lifetime = certificate.not_after.0.saturating_sub(certificate.not_before.0);
    now.0 >= certificate.not_after.0.saturating_sub(lifetime / 3)
}

/// Since when a replica has seen the published `caBundle` equal what is stored.
#[derive(Default)]
pub(crate) struct PublishedSince {
    ca_bundle: Vec<u8>,
    since: Option<Instant>,
}

impl PublishedSince {
    /// Observes both once more. Returns the time for which they have been equal.
    pub(crate) fn observe(
        &mut self,
        published: Option<&[u8]>,
        stored: &str,
        now: Instant,
    ) -> Duration {
        if published != Some(stored.as_bytes()) {
            self.since = None;
        } else if self.since.is_none() || self.ca_bundle != stored.as_bytes() {
            self.since = Some(now);
            self.ca_bundle = stored.as_bytes().to_vec();
        }
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}
