//! A world in virtual time: candidates with clocks of their own that stand still at times, a
//! network that delays and loses, a server with optimistic concurrency.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::timing::Timing;
use crate::lease::tracker::{Claim, LeaseState, NextRelease, NextRequest, Tracker};

/// Microseconds of true time.
pub(super) type Time = u64;

pub(super) const SECOND: Time = 1_000_000;

/// One replica's fate. All times are true ones.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) timing: Timing,
    pub(super) start: Time,
    /// How far its clock is from the others', and how wrong it runs, in parts per million.
    pub(super) offset: Time,
    pub(super) rate: i64,
    /// In percent of the largest, in turn.
    pub(super) jitter: Vec<u8>,
    /// When nothing of it runs, as after SIGSTOP, and how long.
    pub(super) pauses: Vec<(Time, Time)>,
    /// When it stops, to start again as another candidate.
    pub(super) stops: Vec<Time>,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    /// From the decision to the moment that counts as sent.
    pub(super) idle: Time,
    pub(super) before: Time,
    pub(super) after: Time,
    pub(super) is_request_lost: bool,
    pub(super) is_reply_lost: bool,
}

#[derive(Clone, Debug)]
enum Request {
    Get,
    Claim { claim: Claim, identity: Arc<str>, duration: Duration },
    Release { version: Option<Arc<str>> },
}

#[derive(Clone, Debug)]
enum Answer {
    Found(Option<LeaseState>),
    Wrote(LeaseState),
    Conflict,
    Failed,
}

/// What happens to a candidate; `number` is that of its life, so that news of an earlier one is
/// not taken for its own.
#[derive(Clone, Debug)]
enum Event {
    Begin,
    Send { request: Request, by: Instant },
    Answer(u64, Answer),
    Stop,
    Restart,
}

#[derive(Debug)]
struct Candidate {
    plan: Plan,
    base: Instant,
    tracker: Tracker,
    identity: Arc<str>,
    life: u64,
    rounds: usize,
    /// The request that is waited for, and when it was sent.
    waits: Option<(u64, Instant)>,
    release_tries: Option<u32>,
}

#[derive(Debug)]
pub(super) struct World {
    now: Time,
    count: u64,
    events: BTreeMap<(Time, u8, u64), (usize, u64, Event)>,
    arrivals: BTreeMap<(Time, u64), (usize, u64, Request, Fate)>,
    candidates: Vec<Candidate>,
    fates: Vec<Fate>,
    outages: Vec<(Time, Time)>,
    /// From then on nothing is delayed or lost.
    quiet: Time,
    store: Option<LeaseState>,
    version: u64,
    /// The last leader and its term.
    led: Option<(Arc<str>, u32)>,
}

impl Candidate {
    fn at(&self, now: Time) -> Instant {
        let ticks = i128::from(now) * i128::from(1_000_000 + self.plan.rate) / 1_000_000;
        let ticks = Time::try_from(ticks).unwrap() + self.plan.offset;
        self.base + Duration::from_micros(ticks)
    }

    /// When its clock shows that, at the earliest.
    fn when(&self, local: Instant) -> Time {
        let ticks = local.duration_since(self.base).as_micros() - u128::from(self.plan.offset);
        let rate = u128::try_from(1_000_000 + self.plan.rate).unwrap();
        Time::try_from((ticks * 1_000_000).div_ceil(rate)).unwrap() + 1
    }

    fn paused_until(&self, now: Time) -> Option<Time> {
        let ends = self.plan.pauses.iter();
        ends.filter(|(start, length)| (*start..start + length).contains(&now))
            .map(|(start, length)| start + length)
            .max()
    }
}

impl World {
    pub(super) fn new(
        plans: Vec<Plan>,
        fates: Vec<Fate>,
        outages: Vec<(Time, Time)>,
        quiet: Time,
    ) -> Self {
        let base = Instant::now();
        let mut world = Self {
            now: 0,
            count: 0,
            events: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            candidates: Vec::new(),
            fates,
            outages,
            quiet,
            store: None,
            version: 0,
            led: None,
        };
        for (index, plan) in plans.into_iter().enumerate() {
            let identity: Arc<str> = format!("{index}-0").into();
            let tracker = Tracker::new(Arc::clone(&identity), plan.timing, base);
            world.plan(plan.start, index, 0, Event::Begin);
            for stop in &plan.stops {
                world.plan(*stop, index, 0, Event::Stop);
            }
            let candidate = Candidate {
                plan,
                base,
                tracker,
                identity,
                life: 0,
                rounds: 0,
                waits: None,
                release_tries: None,
            };
            world.candidates.push(candidate);
        }
        world
    }

    /// Lets time pass. The error tells of two leaders.
    pub(super) fn run(&mut self, end: Time) -> Result<(), String> {
        loop {
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let arrival = self.arrivals.first_key_value().map(|(key, _)| key.0);
            let Some(next) = event.into_iter().chain(arrival).min().filter(|next| *next <= end)
            else {
                return Ok(());
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                self.arrive();
            } else {
                self.happen();
            }
            self.check()?;
        }
    }

    /// Those whose gate is open, each by its own clock, whether it runs or not.
    pub(super) fn leaders(&self) -> Vec<(Arc<str>, u32)> {
        let leads = self.candidates.iter().filter_map(|candidate| {
            let lead = candidate.tracker.leadership(candidate.at(self.now))?;
            Some((Arc::clone(&candidate.identity), lead.term))
        });
        leads.collect()
    }

    /// Gates open only when something happens, so between two events there is nothing to look at.
    fn check(&mut self) -> Result<(), String> {
        let leaders = self.leaders();
        if leaders.len() > 1 {
            return Err(format!("at {} us these lead: {leaders:?}", self.now));
        }
        let Some(leader) = leaders.into_iter().next() else { return Ok(()) };
        if let Some(before) = self.led.replace(leader.clone())
            && before.0 != leader.0
            && before.1 >= leader.1
        {
            return Err(format!("{leader:?} follows {before:?}"));
        }
        Ok(())
    }

    fn plan(&mut self, when: Time, index: usize, life: u64, event: Event) {
        self.count += 1;
        // An answer that came during a pause is found before the timeout that also did.
        let rank = match event {
            Event::Answer(_, Answer::Failed) => 1,
            _ => 0,
        };
        self.events.insert((when, rank, self.count), (index, life, event));
    }

    fn happen(&mut self) {
        let Some((_, (index, life, event))) = self.events.pop_first() else { return };
        let candidate = &self.candidates[index];
        if let Some(end) = candidate.paused_until(self.now) {
            return self.plan(end, index, life, event);
        }
        let is_stop = matches!(event, Event::Stop);
        if life != candidate.life && !is_stop {
            return;
        }
        match event {
            Event::Begin => self.begin(index),
            Event::Send { request, by } => self.send(index, request, by),
            Event::Answer(request, answer) => self.answer(index, request, answer),
            Event::Stop => self.stop(index),
            Event::Restart => self.restart(index),
        }
    }

    fn begin(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        candidate.rounds += 1;
        let percent = candidate.plan.jitter[candidate.rounds % candidate.plan.jitter.len()];
        let jitter = candidate.plan.timing.retry / 5 * u32::from(percent) / 100;
        let now = candidate.at(self.now);
        candidate.tracker.begin(now, jitter);
        self.step(index);
    }

    fn step(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        let now = candidate.at(self.now);
        let by = candidate.tracker.deadline(now);
        let request = match candidate.tracker.next_request(now) {
            NextRequest::Read => Request::Get,
            NextRequest::Write(claim) => Request::Claim {
                claim,
                identity: Arc::clone(&candidate.identity),
                duration: candidate.plan.timing.duration,
            },
            NextRequest::NotBefore(next) => {
                let (when, life) = (candidate.when(next).max(self.now), candidate.life);
                return self.plan(when, index, life, Event::Begin);
            }
        };
        self.depart(index, request, by);
    }

    fn fate(&self) -> Fate {
        if self.now >= self.quiet || self.fates.is_empty() {
            return Fate { before: 2_000, after: 2_000, ..Fate::default() };
        }
        self.fates[usize::try_from(self.count).unwrap() % self.fates.len()]
    }

    fn depart(&mut self, index: usize, request: Request, by: Instant) {
        let when = self.now + self.fate().idle;
        let life = self.candidates[index].life;
        self.plan(when, index, life, Event::Send { request, by });
    }

    fn send(&mut self, index: usize, request: Request, by: Instant) {
        let fate = self.fate();
        self.count += 1;
        let number = self.count;
        let candidate = &mut self.candidates[index];
        candidate.waits = Some((number, candidate.at(self.now)));
        let (timeout, life) = (candidate.when(by).max(self.now), candidate.life);
        self.plan(timeout, index, life, Event::Answer(number, Answer::Failed));
        if !fate.is_request_lost {
            let when = self.now + fate.before;
            self.arrivals.insert((when, number), (index, life, request, fate));
        }
    }

    fn arrive(&mut self) {
        let Some(((_, number), (index, life, request, fate))) = self.arrivals.pop_first() else {
            return;
        };
        let is_out = |outage: &(Time, Time)| (outage.0..outage.0 + outage.1).contains(&self.now);
        let answer =
            if self.outages.iter().any(is_out) { Answer::Failed } else { self.serve(request) };
        if !fate.is_reply_lost {
            self.plan(self.now + fate.after, index, life, Event::Answer(number, answer));
        }
    }

    fn serve(&mut self, request: Request) -> Answer {
        let (version, mut record) = match request {
            Request::Get => return Answer::Found(self.store.clone()),
            Request::Claim { claim, identity, duration } => {
                let transitions = claim.transitions;
                let holder = Some(identity);
                (claim.version, LeaseState { holder, version: None, duration, transitions })
            }
            Request::Release { version } => {
                let transitions = self.store.as_ref().map_or(0, |record| record.transitions);
                let duration = Duration::from_secs(1);
                (version, LeaseState { holder: None, version: None, duration, transitions })
            }
        };
        if self.store.as_ref().and_then(|record| record.version.clone()) != version {
            return Answer::Conflict;
        }
        self.version += 1;
        record.version = Some(self.version.to_string().into());
        self.store = Some(record.clone());
        Answer::Wrote(record)
    }

    fn answer(&mut self, index: usize, request: u64, answer: Answer) {
        let candidate = &mut self.candidates[index];
        let Some((_, sent)) = candidate.waits.take_if(|(waits, _)| *waits == request) else {
            return;
        };
        let now = candidate.at(self.now);
        match answer {
            Answer::Found(record) => candidate.tracker.read(record, now),
            Answer::Wrote(record) if candidate.release_tries.is_none() => {
                candidate.tracker.wrote(record, sent, now);
            }
            Answer::Wrote(_) => return self.leave(index),
            Answer::Conflict => candidate.tracker.refused(),
            Answer::Failed => candidate.tracker.failed(),
        }
        if candidate.release_tries.is_some() {
            self.release(index);
        } else {
            self.step(index);
        }
    }

    fn stop(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        if candidate.release_tries.is_some() {
            return;
        }
        candidate.life += 1;
        candidate.waits = None;
        candidate.tracker.resign();
        candidate.release_tries = Some(4);
        self.release(index);
    }

    fn release(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        let by = candidate.at(self.now) + Duration::from_secs(1);
        let tries = candidate.release_tries.unwrap_or_default();
        candidate.release_tries = Some(tries.saturating_sub(1));
        match candidate.tracker.next_release() {
            _ if tries == 0 => self.leave(index),
            NextRelease::Done => self.leave(index),
            NextRelease::Read => self.depart(index, Request::Get, by),
            NextRelease::Write { version } => self.depart(index, Request::Release { version }, by),
        }
    }

    fn leave(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        candidate.life += 1;
        let life = candidate.life;
        self.plan(self.now + 3 * SECOND, index, life, Event::Restart);
    }

    fn restart(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        candidate.identity = format!("{index}-{}", candidate.life).into();
        let now = candidate.at(self.now);
        candidate.tracker =
            Tracker::new(Arc::clone(&candidate.identity), candidate.plan.timing, now);
        candidate.release_tries = None;
        self.begin(index);
    }
}
