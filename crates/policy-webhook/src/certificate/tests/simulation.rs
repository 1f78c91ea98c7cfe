//! Several replicas over months: with crashes, with looks that are old by the time of the write,
//! and with API servers that hear of a change late.
//!
//! Whatever they do in whatever order, a certificate that is served and valid is one that all API
//! servers trust at that moment; but for the first one, which cannot wait, and the one that takes
//! the place of one that expired because nobody looked for a third of its time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::certificate::step::{Sighting, Step, next_step};

const REPLICAS: usize = 3;
/// An API server may go by what it was told so many seconds ago.
const LAG: i64 = 30;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Time goes by.
    Wait(i64),
    /// A replica reads the configuration, and then the Secret.
    ReadConfiguration(usize),
    ReadSecret(usize),
    /// It acts by what it has read, however long ago that was.
    Act(usize),
    /// It ends, and starts again.
    Crash(usize),
    /// All replicas look and act for so many times, as they do where nothing is wrong.
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

/// An object, by the number of its state.
struct Stored<T> {
    version: u64,
    value: T,
}

impl<T: Clone> Stored<T> {
    fn read(&self) -> (u64, T) {
        (self.version, self.value.clone())
    }

    /// Takes a write by who has seen the present state.
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
    told: Option<(u64, String)>,
    /// The Secret, and when it was read: what is decided is decided then.
    seen: Option<(u64, Data, Time)>,
    sighting: Sighting,
}

/// A certificate with the end of its time.
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
    told: Stored<String>,
    /// What was told before, each until then.
    told_before: VecDeque<(String, Time)>,
    replicas: [Replica; REPLICAS],
    /// Who has signed which certificate.
    authorities: BTreeMap<String, String>,
    /// A certificate was put in the place of nothing, and not everybody knows its authority yet.
    is_new: bool,
    /// How often each step was made.
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
            told: Stored { version: 1, value: String::new() },
            told_before: VecDeque::new(),
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
                self.replicas[who].told = Some(self.told.read());
                self.replicas[who].seen = None;
            }
            Event::ReadSecret(who) if self.replicas[who].told.is_some() => {
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
        (0..REPLICAS).for_each(|who| self.look(who));
        self.wait(10);
    }

    /// A look without anything in between.
    fn look(&mut self, who: usize) {
        self.happen(Event::ReadConfiguration(who));
        self.happen(Event::ReadSecret(who));
        self.happen(Event::Act(who));
        self.check();
    }

    /// A twentieth of a certificate's time with a few looks of one replica at its end: it sees both
    /// objects be the same, and that they still are.
    fn go_on(&mut self, who: usize) {
        self.wait(self.days * DAY / 20);
        for _ in 0..4 {
            self.look(who);
            self.wait(70);
        }
    }

    /// Nobody looks for so long, so at most one moment in between matters: the last.
    fn wait(&mut self, seconds: i64) {
        self.now = later(self.now, seconds);
        let now = self.now;
        self.told_before.retain(|(_, until)| later(*until, LAG) >= now);
    }

    fn act(&mut self, who: usize) {
        let replica = &mut self.replicas[who];
        let (told, seen) = (replica.told.take(), replica.seen.take());
        let (Some((version, told)), Some((seen, all, now))) = (told, seen) else { return };
        let (kept, _) = Kept::read(&all, now);
        let clock = self.start + Duration::from_secs((now.0 - START.0).unsigned_abs());
        let told_for = replica.sighting.look(Some(told.as_bytes()), &kept.bundle(), clock);
        let step = next_step(&kept, Some(told.as_bytes()), told_for, &names(), now);
        let contents = match step {
            Step::Nothing => None,
            Step::PutBundle => {
                let before = (self.told.value.clone(), self.now);
                if self.told.write(version, kept.bundle()) {
                    self.told_before.push_back(before);
                }
                None
            }
            Step::Issue => Some(kept.issued(&self.issue(now), now)),
            Step::Rotate => Some(kept.with_next(&self.issue(now), now)),
            Step::Promote => Some(kept.promoted(now)),
            Step::Prune => Some(kept.pruned(now)),
        };
        if let Some(contents) = contents {
            let mut new = all.clone();
            contents.write(&mut new);
            if self.secret.write(seen, new) {
                self.is_new |= kept.served.is_none();
                self.issues += usize::from(step == Step::Issue);
                self.rotations += usize::from(step == Step::Rotate);
                self.promotions += usize::from(step == Step::Promote);
            }
        }
        if let Some(leaf) = kept.served {
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

    /// Whether every API server trusts that certificate, whenever it has last heard.
    fn is_trusted(&self, certificate: &str) -> bool {
        let authority = &self.authorities[certificate];
        let mut told = self.told_before.iter().map(|(told, _)| told).chain([&self.told.value]);
        told.all(|told| told.contains(authority))
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
fn who_stood_still_between_look_and_write_brings_nothing_back() {
    let mut world = World::new(90);
    (0..8).for_each(|_| world.round());
    while world.rotations == 0 {
        world.wait(DAY);
        world.look(1);
    }
    // The API server is to be told of the new authority, by somebody who then stands still.
    world.happen(Event::ReadConfiguration(0));
    world.happen(Event::ReadSecret(0));
    let seen = world.replicas[0].seen.clone();
    assert_ne!(text(&seen.unwrap().1, "ca.crt"), world.told.value);
    while world.promotions < 3 {
        world.go_on(1);
    }
    let told = world.told.value.clone();
    world.happen(Event::Act(0));
    world.check();
    assert_eq!(world.told.value, told);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_served_is_trusted_at_every_moment(events in events(), days in 1..100_i64) {
        let mut world = World::new(days);
        (0..8).for_each(|_| world.round());
        prop_assert!(!world.is_new, "everybody knows the first authority");
        for event in events {
            world.happen(event);
            world.check();
        }
    }

    #[test]
    fn nothing_expires_where_one_replica_looks_now_and_then(
        order in prop::collection::vec(0..REPLICAS, 60),
        days in 2..100_i64,
    ) {
        let mut world = World::new(days);
        (0..8).for_each(|_| world.round());
        for who in order {
            world.go_on(who);
            (0..REPLICAS).for_each(|other| world.look(other));
            let now = world.now;
            for replica in &world.replicas {
                prop_assert!(replica.served.as_ref().is_some_and(|pem| pem.not_after > now));
            }
        }
        prop_assert_eq!(world.issues, 1);
        // Three lives of a certificate, of which two thirds are used each time.
        prop_assert!((3..=5).contains(&world.rotations), "{}", world.rotations);
        prop_assert_eq!(world.promotions, world.rotations, "each step by one replica");
        let authorities = text(&world.secret.value, "ca.crt").matches("BEGIN").count();
        prop_assert!(authorities <= 3, "{authorities}");
    }
}
