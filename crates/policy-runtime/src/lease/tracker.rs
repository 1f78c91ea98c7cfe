//! What a candidate knows of the Lease, and what it does next. Whoever drives it sends the
//! requests and tells it the time, so that tests can run years of elections in a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::gate::Lead;
use super::timing::Timing;

/// The longest that an answer is waited for.
const ATTEMPT: Duration = Duration::from_secs(3);

/// What a Lease says, as far as an election is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// `None`: it is free.
    pub(super) holder: Option<Arc<str>>,
    /// `None`: there is no Lease.
    pub(super) version: Option<Arc<str>>,
    pub(super) duration: Duration,
    pub(super) transitions: u32,
}

/// A write that makes or keeps this candidate the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The version that it replaces; without one the Lease is created.
    pub(super) version: Option<Arc<str>>,
    pub(super) transitions: u32,
    /// It was somebody else's, or nobody's.
    pub(super) is_takeover: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Read,
    Write(Claim),
    /// Nothing more in this round; the next one starts then.
    Rest(Instant),
}

/// What to do next to hand the Lease back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Release {
    Read,
    /// Name nobody in this version.
    Write {
        version: Option<Arc<str>>,
    },
    Done,
}

#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    /// When this candidate saw that it had changed: never before it did.
    since: Instant,
    /// It is known to come from a write of this very candidate, not only to bear its name.
    is_ours: bool,
}

#[derive(Debug)]
pub(super) struct Tracker {
    identity: Arc<str>,
    timing: Timing,
    seen: Option<Seen>,
    /// The server still had what was seen when it was asked last.
    is_current: bool,
    /// A write is on its way.
    is_writing: bool,
    /// The outcome of a write is not known: what is read next may come from it.
    is_unsure: bool,
    lead: Option<Lead>,
    round: Round,
}

/// At most one read and one write, so that two requests per retry period are the most.
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
            seen: None,
            is_current: false,
            is_writing: false,
            is_unsure: false,
            lead: None,
            round: Round { may_read: false, may_write: false, next: now },
        }
    }

    /// The lead, while it lasts.
    pub(super) fn lead(&self, now: Instant) -> Option<Lead> {
        self.lead.filter(|lead| now < lead.until)
    }

    pub(super) fn holder(&self) -> Option<&Arc<str>> {
        self.seen.as_ref()?.record.holder.as_ref()
    }

    /// Starts a round; the next one comes a retry period and `jitter` later.
    pub(super) fn begin(&mut self, now: Instant, jitter: Duration) {
        let next = now + self.timing.retry() + jitter;
        self.round = Round { may_read: true, may_write: true, next };
    }

    /// The next thing to do in this round. A leader renews what it wrote last, and reads only
    /// where that did not work; a candidate reads first.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        let is_blind = !self.is_current || self.lead(now).is_none();
        if self.round.may_read && is_blind {
            self.round.may_read = false;
            return Step::Read;
        }
        match self.claim(now).filter(|_| self.round.may_write) {
            Some(claim) => {
                self.round.may_write = false;
                self.is_writing = true;
                Step::Write(claim)
            }
            None => Step::Rest(self.rest(now)),
        }
    }

    /// Until when the answer to a request that is sent now is of use.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        let limit = now + ATTEMPT.min(self.timing.renew_deadline());
        self.lead(now).map_or(limit, |lead| limit.min(lead.until))
    }

    /// The server told what the Lease says; `None`: there is none. The time is that of the answer.
    pub(super) fn found(&mut self, record: Option<Record>, now: Instant) {
        let record = record.unwrap_or_else(|| self.missing());
        self.is_current = true;
        if self.seen.as_ref().is_some_and(|seen| seen.record.version == record.version) {
            return;
        }
        let names_us = record.holder.as_ref() == Some(&self.identity);
        let is_ours = names_us && (self.is_unsure || self.lead(now).is_some());
        // A write that was based on an older version cannot succeed any more.
        self.is_unsure = false;
        if !is_ours {
            self.lead = None;
        }
        self.seen = Some(Seen { record, since: now, is_ours });
    }

    /// A claim that left at `sent` succeeded. The lead counts from then: from that moment on the
    /// server may have shown it to others, who may take over when their wait is over.
    pub(super) fn wrote(&mut self, record: Record, sent: Instant, now: Instant) {
        self.is_writing = false;
        if record.holder.as_ref() != Some(&self.identity) {
            // Something between us and the store wrote another name.
            return self.found(Some(record), now);
        }
        let until = sent + self.timing.renew_deadline();
        self.lead = Some(Lead { term: record.transitions, until });
        self.seen = Some(Seen { record, since: now, is_ours: true });
        self.is_current = true;
        self.is_unsure = false;
    }

    /// The server refused a write: it has another version.
    pub(super) fn refused(&mut self) {
        self.is_writing = false;
        self.is_current = false;
    }

    /// A request failed. A write may have succeeded nevertheless, or may yet.
    pub(super) fn failed(&mut self) {
        self.is_unsure |= self.is_writing;
        self.is_writing = false;
        self.is_current = false;
        self.round.may_read = false;
        self.round.may_write = false;
    }

    /// Stops leading, for good.
    pub(super) fn resign(&mut self) {
        self.lead = None;
        if self.is_writing {
            self.failed();
        }
    }

    /// How to go on handing the Lease back, after [`Tracker::resign`].
    pub(super) fn release(&mut self) -> Release {
        let is_ours = self.seen.as_ref().is_some_and(|seen| seen.is_ours);
        match &self.seen {
            _ if !self.is_current && (is_ours || self.is_unsure) => Release::Read,
            Some(seen) if self.is_current && is_ours && seen.record.version.is_some() => {
                self.is_writing = true;
                Release::Write { version: seen.record.version.clone() }
            }
            _ => Release::Done,
        }
    }

    /// What stands for a Lease that is not there. Its last holder may still believe to lead, so
    /// where one is known it is waited for as if the Lease had changed.
    fn missing(&self) -> Record {
        let free = Record { holder: None, version: None, duration: Duration::ZERO, transitions: 0 };
        match &self.seen {
            Some(seen) => Record { version: None, ..seen.record.clone() },
            None => free,
        }
    }

    fn claim(&self, now: Instant) -> Option<Claim> {
        let seen = self.seen.as_ref().filter(|_| self.is_current)?;
        if self.expiry().is_some_and(|expiry| now < expiry) {
            return None;
        }
        let Record { version, transitions, .. } = &seen.record;
        let is_takeover = !seen.is_ours;
        let transitions = transitions.saturating_add(u32::from(is_takeover));
        Some(Claim { version: version.clone(), transitions, is_takeover })
    }

    /// When the Lease may be taken from its holder, if it has one that is not this candidate.
    fn expiry(&self) -> Option<Instant> {
        let seen = self.seen.as_ref().filter(|seen| !seen.is_ours)?;
        seen.record.holder.as_ref()?;
        Some(seen.since + seen.record.duration.max(self.timing.duration()))
    }

    /// When to try again: earlier where the time of the holder ends earlier, so that a take-over
    /// is not late, and neither is the news of a lost lead.
    fn rest(&self, now: Instant) -> Instant {
        let end = self.lead(now).map(|lead| lead.until).or_else(|| self.expiry());
        match end {
            Some(end) if end > now => end.min(self.round.next),
            _ => self.round.next,
        }
    }
}
