//! What a candidate knows of the Lease, and what it does next. The caller sends the requests and
//! passes in the time, so that tests can run years of elections in a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::gate::Leadership;
use super::timing::{LONGEST, Timing};

/// The longest deadline of a request.
const REQUEST: Duration = Duration::from_secs(3);

/// The fields of a Lease that matter to an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseState {
    /// `None` where nobody holds it.
    pub(super) holder: Option<Arc<str>>,
    /// `None` where there is no Lease.
    pub(super) version: Option<Arc<str>>,
    pub(super) duration: Duration,
    pub(super) transitions: u32,
}

/// A write that acquires or renews the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The resource version that it replaces; without one the Lease is created.
    pub(super) version: Option<Arc<str>>,
    pub(super) transitions: u32,
    /// Whether another candidate held the Lease before, or nobody.
    pub(super) is_takeover: bool,
}

/// The next request of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextRequest {
    Read,
    Write(Claim),
    /// None in this round; the next round starts at this time.
    NotBefore(Instant),
}

/// The next request to release the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextRelease {
    Read,
    /// Clear the holder in this version.
    Write {
        version: Option<Arc<str>>,
    },
    Done,
}

/// The Lease as it was last observed.
#[derive(Clone, Debug)]
struct Observed {
    state: LeaseState,
    /// When this candidate observed the change, which is never before the change.
    since: Instant,
    /// Whether it is known to be a write of this very candidate: the identity alone proves nothing.
    is_ours: bool,
}

#[derive(Debug)]
pub(super) struct Tracker {
    identity: Arc<str>,
    timing: Timing,
    observed: Option<Observed>,
    /// Whether the last answer of the server confirmed `observed`.
    is_current: bool,
    /// Whether a write is under way.
    is_writing: bool,
    /// Whether the outcome of a write is unknown, so that the next read may return that write.
    is_write_unknown: bool,
    leadership: Option<Leadership>,
    round: Round,
}

/// At most one read and one write, which bounds requests to two per retry period.
#[derive(Debug)]
struct Round {
    may_read: bool,
    may_write: bool,
    next: Instant,
}

impl Tracker {
    pub(super) fn new(identity: Arc<str>, timing: Timing, now: Instant) -> Self {
        Self {
            identity,
            timing,
            observed: None,
            is_current: false,
            is_writing: false,
            is_write_unknown: false,
            leadership: None,
            round: Round { may_read: false, may_write: false, next: now },
        }
    }

    /// The leadership, while it lasts.
    pub(super) fn leadership(&self, now: Instant) -> Option<Leadership> {
        self.leadership.filter(|leadership| now < leadership.until)
    }

    pub(super) fn holder(&self) -> Option<&Arc<str>> {
        self.observed.as_ref()?.state.holder.as_ref()
    }

    /// Starts a round; the next one is due a retry period and `jitter` later.
    pub(super) fn begin(&mut self, now: Instant, jitter: Duration) {
        let next = now + self.timing.retry + jitter;
        self.round = Round { may_read: true, may_write: true, next };
    }

    /// The next request of this round. A leader renews by the version that it wrote last, and reads
    /// only where that failed; any other candidate reads first.
    pub(super) fn next_request(&mut self, now: Instant) -> NextRequest {
        let needs_read = !self.is_current || self.leadership(now).is_none();
        if self.round.may_read && needs_read {
            self.round.may_read = false;
            return NextRequest::Read;
        }
        match self.claim(now).filter(|_| self.round.may_write) {
            Some(claim) => {
                self.round.may_write = false;
                self.is_writing = true;
                NextRequest::Write(claim)
            }
            None => NextRequest::NotBefore(self.next_round(now)),
        }
    }

    /// The deadline of a request that is sent now: an answer after the leadership's end is useless.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        let limit = now + REQUEST.min(self.timing.renew_deadline);
        self.leadership(now).map_or(limit, |leadership| limit.min(leadership.until))
    }

    /// The server answered a read at `now`; `None` where there is no Lease.
    pub(super) fn read(&mut self, state: Option<LeaseState>, now: Instant) {
        let state = state.unwrap_or_else(|| self.missing());
        self.is_current = true;
        if self.observed.as_ref().is_some_and(|observed| observed.state.version == state.version) {
            return;
        }
        let names_us = state.holder.as_ref() == Some(&self.identity);
        let is_ours = names_us && (self.is_write_unknown || self.leadership(now).is_some());
        // A write that was based on an older version can no longer succeed.
        self.is_write_unknown = false;
        if !is_ours {
            self.leadership = None;
        }
        self.observed = Some(Observed { state, since: now, is_ours });
    }

    /// A claim that was sent at `sent` succeeded. The leadership counts from `sent`: from then on
    /// other candidates may have observed the write, and take over when their wait is over.
    pub(super) fn wrote(&mut self, state: LeaseState, sent: Instant, now: Instant) {
        self.is_writing = false;
        if state.holder.as_ref() != Some(&self.identity) {
            // An admission webhook, say, wrote another holder.
            return self.read(Some(state), now);
        }
        let until = sent + self.timing.renew_deadline;
        self.leadership = Some(Leadership { term: state.transitions, until });
        self.observed = Some(Observed { state, since: now, is_ours: true });
        self.is_current = true;
        self.is_write_unknown = false;
    }

    /// The server refused a write by a conflict: it has another version.
    pub(super) fn refused(&mut self) {
        self.is_writing = false;
        self.is_current = false;
    }

    /// A request failed. A write may have succeeded nevertheless, or may still succeed.
    pub(super) fn failed(&mut self) {
        self.is_write_unknown |= self.is_writing;
        self.is_writing = false;
        self.is_current = false;
        self.round.may_read = false;
        self.round.may_write = false;
    }

    /// Gives up the leadership for good.
    pub(super) fn resign(&mut self) {
        self.leadership = None;
        if self.is_writing {
            self.failed();
        }
    }

    /// The next request to release the Lease, after [`Tracker::resign`].
    pub(super) fn next_release(&mut self) -> NextRelease {
        let is_ours = self.observed.as_ref().is_some_and(|observed| observed.is_ours);
        match &self.observed {
            _ if !self.is_current && (is_ours || self.is_write_unknown) => NextRelease::Read,
            Some(observed) if self.is_current && is_ours && observed.state.version.is_some() => {
                self.is_writing = true;
                NextRelease::Write { version: observed.state.version.clone() }
            }
            _ => NextRelease::Done,
        }
    }

    /// Stands for a Lease that does not exist. Its last holder may still lead, so a candidate that
    /// knows of one waits as it does after a change of the Lease.
    fn missing(&self) -> LeaseState {
        let free =
            LeaseState { holder: None, version: None, duration: Duration::ZERO, transitions: 0 };
        match &self.observed {
            Some(observed) => LeaseState { version: None, ..observed.state.clone() },
            None => free,
        }
    }

    fn claim(&self, now: Instant) -> Option<Claim> {
        let observed = self.observed.as_ref().filter(|_| self.is_current)?;
        if self.expiry().is_some_and(|expiry| now < expiry) {
            return None;
        }
        let LeaseState { version, transitions, .. } = &observed.state;
        let is_takeover = !observed.is_ours;
        let transitions = transitions.saturating_add(u32::from(is_takeover));
        Some(Claim { version: version.clone(), transitions, is_takeover })
    }

    /// When the lease of another holder expires.
    fn expiry(&self) -> Option<Instant> {
        let observed = self.observed.as_ref().filter(|observed| !observed.is_ours)?;
        observed.state.holder.as_ref()?;
        Some(observed.since + observed.state.duration.min(LONGEST).max(self.timing.duration))
    }

    /// When the next round starts: earlier where the holder's time ends earlier, so that neither a
    /// takeover nor the notification of a lost leadership is late.
    fn next_round(&self, now: Instant) -> Instant {
        let end = self.leadership(now).map(|leadership| leadership.until).or_else(|| self.expiry());
        match end {
            Some(end) if end > now => end.min(self.round.next),
            _ => self.round.next,
        }
    }
}
