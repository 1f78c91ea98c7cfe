//! Which step is next: a pure function of what is there.
//!
//! ```text
//! (nothing usable) ─ Issue ─► served ─ two thirds of its time, or a new name ─ Rotate ─► served, next
//!                               ▲                                                          │
//!                               └── Promote, once the API server knew both for a minute ◄──┘
//! ```
//!
//! In between, `PutBundle` tells the API server whatever the Secret trusts, and `Prune` takes out
//! authorities whose time is over: with it that of the only certificate they signed, so nobody can
//! be serving by them any more.

use std::time::{Duration, Instant};

use policy_kube::certificate::CertificateNames;
use policy_runtime::tls::Time;

use super::kept::{Kept, Leaf};

/// So long the API server has to have been told of an authority before its certificate is served.
/// It hears of a change within a second or so, each of several servers by itself.
const SETTLED: Duration = Duration::from_secs(60);

/// What is to be written next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is nothing to serve: a new certificate takes the place.
    Issue,
    /// The API server is told of the authorities in the Secret.
    PutBundle,
    /// A new certificate is laid beside the one that is served.
    Rotate,
    /// The new certificate is served from now on.
    Promote,
    /// What is of no use any more is taken out.
    Prune,
    /// All is well.
    Nothing,
}

/// The next step, by what the Secret holds, what the API server is told (`None` where that is not
/// known), and for how long the two have been seen to be the same.
pub(crate) fn next_step(
    kept: &Kept,
    told: Option<&[u8]>,
    told_for: Duration,
    names: &CertificateNames,
    now: Time,
) -> Step {
    let Some(served) = &kept.served else {
        // That one is known for longer than a new one would be.
        return if kept.next.is_some() { Step::Promote } else { Step::Issue };
    };
    // Before the API server is told, so that it need not be told twice.
    if !kept.is_tidy() {
        return Step::Prune;
    }
    if told.is_some_and(|told| told != kept.bundle().as_bytes()) {
        return Step::PutBundle;
    }
    match &kept.next {
        None if kept.is_next_early => Step::Nothing,
        None if is_old(served, now) || !served.is_for(names) => Step::Rotate,
        // It waited for too long. Not by its names: two replicas that do not agree on them would
        // take it from each other before anybody served it.
        Some(next) if is_old(next, now) => Step::Rotate,
        Some(_) if told.is_some() && told_for >= SETTLED => Step::Promote,
        _ => Step::Nothing,
    }
}

/// Whether no more than a third of its time is left.
fn is_old(leaf: &Leaf, now: Time) -> bool {
    let life = leaf.not_after.0.saturating_sub(leaf.not_before.0);
    now.0 >= leaf.not_after.0.saturating_sub(life / 3)
}

/// For how long a replica has seen the API server be told what the Secret holds.
#[derive(Default)]
pub(crate) struct Sighting {
    bundle: Vec<u8>,
    since: Option<Instant>,
}

impl Sighting {
    /// Takes in one more look at both, and gives the time since they are the same.
    pub(crate) fn look(&mut self, told: Option<&[u8]>, bundle: &str, now: Instant) -> Duration {
        if told != Some(bundle.as_bytes()) {
            self.since = None;
        } else if self.since.is_none() || self.bundle != bundle.as_bytes() {
            self.since = Some(now);
            self.bundle = bundle.as_bytes().to_vec();
        }
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}
