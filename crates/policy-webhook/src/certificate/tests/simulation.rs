//! Several replicas over months: with crashes, with reads that are stale by the time of the write,
//! and with API servers that observe a change late.
//!
//! In whatever order they act, all API servers trust every valid certificate that is served. The
//! exceptions are the first one, which cannot wait, and the successor of one that expired because no
//! replica ran for a third of its lifetime.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::certificate::next_action::{NextAction, PublishedSince, next_action};

const REPLICAS: usize = 3;
/// An API server may use a `caBundle` that was published so many seconds ago.
const LAG: i64 = 30;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Time goes by.
    Wait(i64),
    /// A replica reads the configuration, and then the Secret.
    ReadConfiguration(usize),
    ReadSecret(usize),
    /// It acts on what it has read, however long ago.
    Act(usize),
    /// It restarts.
    Crash(usize),
    /// All replicas run so many rounds without a fault.
    Calm(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let replica = 0..REPLICAS;
    let event = prop_oneof![
        4 => (1..20_i64).prop_map(Event::Wait),
        1 => (1..20 * DAY).prop_map(Event::Wait),
        5 => replica.clone().prop_map(Event::ReadConfiguration),
        5 => replica.clone().prop_map(Event::ReadSecret),
        7 => replica.clone().prop_map(Event::Act),
        1 => replica.prop_map(Event::Crash),
        2 => (1..8_u8).prop_map(Event::Calm),
    ];
    prop::collection::vec(event, 1..80)
}

/// An object with its version.
struct Stored<T> {
    version: u64,
    value: T,
}

impl<T: Clone> Stored<T> {
    fn read(&self) -> (u64, T) {
        (self.version, self.value.clone())
    }

    /// Accepts a write that is based on the present version.
    fn write(&mut self, version: u64, value: T) -> bool {
        let is_taken = self.version == version;
        if is_taken {
            *self = Self { version: version + 1, value };
        }
        is_taken
    }
}

#[derive(Default)]
struct Replica {
    served: Option<Pem>,
    published: Option<(u64, String)>,
    /// The Secret, and when it was read: the decision is made then.
    seen: Option<(u64, Data, Time)>,
    published_since: PublishedSince,
}

/// A certificate with its expiry.
#[derive(Clone)]
struct Pem {
    text: String,
    not_after: Time,
}

struct World {
    start: Instant,
    now: Time,
    days: i64,
    secret: Stored<Data>,
    published: Stored<String>,
    /// What was published before, each until that time.
    published_before: VecDeque<(String, Time)>,
    replicas: [Replica; REPLICAS],
    /// The CA of each certificate.
    authorities: BTreeMap<String, String>,
    /// There was no certificate before the stored one, and not every API server knows its CA yet.
    is_new: bool,
    /// How often each action was executed.
    issues: usize,
    rotations: usize,
    promotions: usize,
}

impl World {
    fn new(days: i64) -> Self {
        Self {
            start: Instant::now(),
            now: START,
            days,
            secret: Stored { version: 1, value: Data::new() },
            published: Stored { version: 1, value: String::new() },
            published_before: VecDeque::new(),
            replicas: Default::default(),
            authorities: BTreeMap::new(),
            is_new: true,
            issues: 0,
            rotations: 0,
            promotions: 0,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wait(seconds) => self.wait(seconds),
            Event::ReadConfiguration(who) => {
                self.replicas[who].published = Some(self.published.read());
                self.replicas[who].seen = None;
            }
            Event::ReadSecret(who) if self.replicas[who].published.is_some() => {
                let (version, data) = self.secret.read();
                self.replicas[who].seen = Some((version, data, self.now));
            }
            Event::ReadSecret(_) => {}
            Event::Act(who) => self.act(who),
            Event::Crash(who) => self.replicas[who] = Replica::default(),
            Event::Calm(rounds) => (0..rounds).for_each(|_| self.round()),
        }
    }

    fn round(&mut self) {
        (0..REPLICAS).for_each(|who| self.replica_round(who));
        self.wait(10);
    }

    /// A round of one replica without interruption.
    fn replica_round(&mut self, who: usize) {
        self.happen(Event::ReadConfiguration(who));
        self.happen(Event::ReadSecret(who));
        self.happen(Event::Act(who));
        self.check();
    }

    /// A twentieth of a lifetime, then a few rounds of one replica, in which it observes for long
    /// enough that the published CAs equal the stored ones.
    fn idle_then_rounds(&mut self, who: usize) {
        self.wait(self.days * DAY / 20);
        for _ in 0..4 {
            self.replica_round(who);
            self.wait(70);
        }
    }

    /// No replica acts for so long, so only the last moment matters.
    fn wait(&mut self, seconds: i64) {
        self.now = later(self.now, seconds);
        let now = self.now;
        self.published_before.retain(|(_, until)| later(*until, LAG) >= now);
    }

    fn act(&mut self, who: usize) {
        let replica = &mut self.replicas[who];
        let (published, seen) = (replica.published.take(), replica.seen.take());
        let (Some((version, published)), Some((seen, all, now))) = (published, seen) else {
            return;
        };
        let (stored, _) = StoredCertificates::read(&all, now);
        let clock = self.start + Duration::from_secs((now.0 - START.0).unsigned_abs());
        let published_for =
            replica.published_since.observe(Some(published.as_bytes()), &stored.ca_bundle(), clock);
        let action = next_action(&stored, Some(published.as_bytes()), published_for, &names(), now);
        let contents = match action {
            NextAction::None => None,
            NextAction::PublishCaBundle => {
                let before = (self.published.value.clone(), self.now);
                if self.published.write(version, stored.ca_bundle()) {
                    self.published_before.push_back(before);
                }
                None
            }
            NextAction::Issue => Some(stored.issued(&self.issue(now), now)),
            NextAction::Rotate => Some(stored.with_next(&self.issue(now), now)),
            NextAction::Promote => Some(stored.promoted(now)),
            NextAction::Prune => Some(stored.pruned(now)),
        };
        if let Some(contents) = contents {
            let mut new = all.clone();
            contents.write(&mut new);
            if self.secret.write(seen, new) {
                self.is_new |= stored.served.is_none();
                self.issues += usize::from(action == NextAction::Issue);
                self.rotations += usize::from(action == NextAction::Rotate);
                self.promotions += usize::from(action == NextAction::Promote);
            }
        }
        if let Some(leaf) = stored.served {
            let served = Pem { text: leaf.pair.certificate, not_after: leaf.not_after };
            self.replicas[who].served = Some(served);
        }
    }

    fn issue(&mut self, now: Time) -> IssuedCertificate {
        let issued = issued(now, self.days);
        let authority = issued.authority.certificate.clone();
        self.authorities.insert(issued.server.certificate.clone(), authority);
        issued
    }

    /// Whether every API server trusts the certificate, whichever `caBundle` it uses.
    fn is_trusted(&self, certificate: &str) -> bool {
        let authority = &self.authorities[certificate];
        let mut published = self
            .published_before
            .iter()
            .map(|(published, _)| published)
            .chain([&self.published.value]);
        published.all(|published| published.contains(authority))
    }

    fn check(&mut self) {
        let all = &self.secret.value;
        assert!(all.get("ca.crt").is_none_or(|ca| ca.0.len() < 8 << 10));
        let valid = |pem: &&Pem| pem.not_after >= self.now;
        let mut served = self.replicas.iter().filter_map(|one| one.served.as_ref()).filter(valid);
        let is_trusted = served.all(|pem| self.is_trusted(&pem.text));
        assert!(is_trusted || self.is_new, "{} s after the start", self.now.0 - START.0);
        self.is_new &= all.is_empty() || !self.is_trusted(&text(all, "tls.crt"));
    }
}

#[test]
fn a_replica_suspended_between_read_and_write_restores_nothing() {
    let mut world = World::new(90);
    (0..8).for_each(|_| world.round());
    while world.rotations == 0 {
        world.wait(DAY);
        world.replica_round(1);
    }
    // A replica is about to publish the new CA, and is suspended.
    world.happen(Event::ReadConfiguration(0));
    world.happen(Event::ReadSecret(0));
    let seen = world.replicas[0].seen.clone();
    assert_ne!(text(&seen.unwrap().1, "ca.crt"), world.published.value);
    while world.promotions < 3 {
        world.idle_then_rounds(1);
    }
    let published = world.published.value.clone();
    world.happen(Event::Act(0));
    world.check();
    assert_eq!(world.published.value, published);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_served_is_trusted_at_every_moment(events in events(), days in 1..100_i64) {
        let mut world = World::new(days);
        (0..8).for_each(|_| world.round());
        prop_assert!(!world.is_new, "every API server knows the first CA");
        for event in events {
            world.happen(event);
            world.check();
        }
    }

    #[test]
    fn nothing_expires_where_one_replica_runs_now_and_then(
        order in prop::collection::vec(0..REPLICAS, 60),
        days in 2..100_i64,
    ) {
        let mut world = World::new(days);
        (0..8).for_each(|_| world.round());
        for who in order {
            world.idle_then_rounds(who);
            (0..REPLICAS).for_each(|other| world.replica_round(other));
            let now = world.now;
            for replica in &world.replicas {
                prop_assert!(replica.served.as_ref().is_some_and(|pem| pem.not_after > now));
            }
        }
        prop_assert_eq!(world.issues, 1);
        // Three lifetimes, of which two thirds are used each time.
        prop_assert!((3..=5).contains(&world.rotations), "{}", world.rotations);
        prop_assert_eq!(world.promotions, world.rotations, "each action by one replica");
        let authorities = text(&world.secret.value, "ca.crt").matches("BEGIN").count();
        prop_assert!(authorities <= 3, "{authorities}");
    }
}
