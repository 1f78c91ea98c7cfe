//! What a candidate concludes from what it reads.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::timing::Timing;
use crate::lease::tracker::{Claim, LeaseState, NextRelease, NextRequest, Tracker};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn state(holder: &str, version: u64, transitions: u32) -> LeaseState {
    LeaseState {
        holder: Some(holder.into()).filter(|holder: &Arc<str>| !holder.is_empty()),
        version: Some(version.to_string().into()),
        duration: seconds(15),
        transitions,
    }
}

struct Test {
    tracker: Tracker,
    start: Instant,
}

impl Test {
    fn new() -> Self {
        let start = Instant::now();
        Self { tracker: Tracker::new("us".into(), Timing::default(), start), start }
    }

    /// One round in which the Lease reads as given; the claim that follows, if any.
    fn round(&mut self, at: u64, found: Option<LeaseState>) -> Option<Claim> {
        let now = self.start + seconds(at);
        self.tracker.begin(now, Duration::ZERO);
        assert_eq!(self.tracker.next_request(now), NextRequest::Read);
        self.tracker.read(found, now);
        match self.tracker.next_request(now) {
            NextRequest::Write(claim) => Some(claim),
            _ => None,
        }
    }

    fn lead(&mut self, at: u64, record: LeaseState) {
        let now = self.start + seconds(at);
        self.tracker.wrote(record, now, now);
        assert!(self.leads(at));
    }

    fn leads(&self, at: u64) -> bool {
        self.tracker.leadership(self.start + seconds(at)).is_some()
    }
}

#[test]
fn a_missing_or_free_lease_is_acquired_at_once() {
    let claim = Test::new().round(0, None).unwrap();
    assert_eq!(claim, Claim { version: None, transitions: 1, is_takeover: true });
    let claim = Test::new().round(0, Some(state("", 7, 4))).unwrap();
    assert_eq!(claim, Claim { version: Some("7".into()), transitions: 5, is_takeover: true });
}

#[test]
fn the_wait_for_a_holder_starts_at_the_last_observed_change() {
    let mut test = Test::new();
    assert_eq!(test.round(0, Some(state("other", 7, 4))), None);
    assert_eq!(test.round(14, Some(state("other", 8, 4))), None);
    assert_eq!(test.round(28, Some(state("other", 8, 4))), None);
    assert_eq!(
        test.tracker.next_request(test.start + seconds(28)),
        NextRequest::NotBefore(test.start + seconds(29))
    );
    assert_eq!(test.round(29, Some(state("other", 8, 4))).unwrap().transitions, 5);
}

#[test]
fn the_longer_duration_counts() {
    let mut test = Test::new();
    let long = LeaseState { duration: seconds(40), ..state("other", 7, 4) };
    assert_eq!(test.round(0, Some(long.clone())), None);
    assert_eq!(test.round(39, Some(long.clone())), None);
    assert!(test.round(40, Some(long)).is_some());
    let mut test = Test::new();
    let short = LeaseState { duration: seconds(1), ..state("other", 7, 4) };
    assert_eq!(test.round(0, Some(short.clone())), None);
    assert_eq!(test.round(14, Some(short.clone())), None);
    assert!(test.round(15, Some(short)).is_some());
}

#[test]
fn an_absurd_duration_does_not_keep_the_service_without_a_leader() {
    let mut test = Test::new();
    let for_ever = LeaseState { duration: seconds(i32::MAX as u64), ..state("other", 7, 4) };
    assert_eq!(test.round(0, Some(for_ever.clone())), None);
    assert_eq!(test.round(299, Some(for_ever.clone())), None);
    assert!(test.round(300, Some(for_ever.clone())).is_some());
    // A deleted Lease as well, whose holder may still lead.
    let mut test = Test::new();
    assert_eq!(test.round(0, Some(for_ever)), None);
    assert_eq!(test.round(2, None), None);
    assert!(test.round(302, None).is_some());
}

#[test]
fn the_leadership_counts_from_the_request() {
    let mut test = Test::new();
    let (sent, answered) = (test.start, test.start + seconds(4));
    test.tracker.wrote(state("us", 1, 3), sent, answered);
    assert!(test.leads(9) && !test.leads(10));
    assert_eq!(test.tracker.leadership(sent).unwrap().term, 3);
    // Too late to be of use.
    test.tracker.wrote(state("us", 2, 3), sent + seconds(10), sent + seconds(21));
    assert!(!test.leads(21));
}

#[test]
fn the_own_identity_alone_is_no_leadership() {
    let mut test = Test::new();
    assert_eq!(test.round(0, Some(state("us", 7, 4))), None);
    assert!(!test.leads(0));
    let claim = test.round(15, Some(state("us", 7, 4))).unwrap();
    assert_eq!((claim.transitions, claim.is_takeover), (5, true));
}

#[test]
fn a_lost_reply_is_found_again() {
    let mut test = Test::new();
    assert!(test.round(0, None).is_some());
    test.tracker.failed();
    let claim = test.round(3, Some(state("us", 1, 1))).unwrap();
    assert_eq!(claim, Claim { version: Some("1".into()), transitions: 1, is_takeover: false });
    assert!(!test.leads(3));
}

#[test]
fn a_lapsed_leadership_continues_where_nobody_took_over() {
    let mut test = Test::new();
    test.lead(0, state("us", 1, 1));
    let claim = test.round(12, Some(state("us", 1, 1))).unwrap();
    assert_eq!((claim.transitions, claim.is_takeover), (1, false));
}

#[test]
fn another_holder_ends_the_leadership() {
    let mut test = Test::new();
    test.lead(0, state("us", 1, 1));
    test.tracker.refused();
    assert_eq!(test.round(1, Some(state("other", 2, 2))), None);
    assert!(!test.leads(1));
    assert_eq!(test.tracker.holder().map(AsRef::as_ref), Some("other"));
}

#[test]
fn an_edit_by_another_client_does_not_end_the_leadership() {
    let mut test = Test::new();
    test.lead(0, state("us", 1, 1));
    test.tracker.refused();
    let claim = test.round(1, Some(state("us", 2, 1))).unwrap();
    assert!(!claim.is_takeover && test.leads(1));
}

#[test]
fn another_holder_in_the_answer_is_no_leadership() {
    let mut test = Test::new();
    test.tracker.wrote(state("other", 1, 1), test.start, test.start);
    assert!(!test.leads(0));
}

#[test]
fn a_deleted_lease_is_not_taken_before_the_last_holder_expires() {
    let mut test = Test::new();
    assert_eq!(test.round(0, Some(state("other", 7, 4))), None);
    assert_eq!(test.round(2, None), None);
    assert_eq!(test.round(16, None), None);
    let claim = test.round(17, None).unwrap();
    assert_eq!(claim, Claim { version: None, transitions: 5, is_takeover: true });
    let mut test = Test::new();
    test.lead(0, state("us", 1, 1));
    test.tracker.refused();
    let claim = test.round(1, None).unwrap();
    assert_eq!(claim, Claim { version: None, transitions: 1, is_takeover: false });
}

#[test]
fn only_what_is_ours_is_released() {
    let mut test = Test::new();
    test.lead(0, state("us", 1, 1));
    test.tracker.resign();
    assert!(!test.leads(0));
    assert_eq!(test.tracker.next_release(), NextRelease::Write { version: Some("1".into()) });
    test.tracker.refused();
    assert_eq!(test.tracker.next_release(), NextRelease::Read);
    test.tracker.read(Some(state("other", 2, 2)), test.start);
    assert_eq!(test.tracker.next_release(), NextRelease::Done);
    // A write that may have succeeded when the stop came.
    let mut test = Test::new();
    assert!(test.round(0, None).is_some());
    test.tracker.resign();
    assert_eq!(test.tracker.next_release(), NextRelease::Read);
    test.tracker.read(Some(state("us", 1, 1)), test.start);
    assert_eq!(test.tracker.next_release(), NextRelease::Write { version: Some("1".into()) });
}
