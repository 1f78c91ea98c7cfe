//! Whatever happens, there are never two leaders; and when nothing happens any more, there is one.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::world::{Fate, Plan, SECOND, Time, World};
use crate::lease::timing::Timing;

/// When the trouble ends, and when somebody has to lead.
const QUIET: Time = 150 * SECOND;
const END: Time = 220 * SECOND;

fn timing() -> impl Strategy<Value = Timing> {
    let choice = prop_oneof![
        4 => Just((15, 10, 2)),
        1 => Just((5, 4, 1)),
        1 => Just((10, 8, 3)),
        1 => Just((30, 24, 5)),
    ];
    choice.prop_map(|(duration, renew_deadline, retry)| {
        let [duration, renew_deadline, retry] =
            [duration, renew_deadline, retry].map(Duration::from_secs);
        Timing::new(duration, renew_deadline, retry).unwrap()
    })
}

fn delay() -> impl Strategy<Value = Time> {
    prop_oneof![
        12 => 0..SECOND / 10,
        2 => 0..4 * SECOND,
        1 => 0..20 * SECOND,
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    let idle = prop_oneof![8 => Just(0), 1 => 0..SECOND / 5, 1 => 0..20 * SECOND];
    let is_lost = || prop::bool::weighted(0.08);
    (idle, delay(), delay(), is_lost(), is_lost()).prop_map(
        |(idle, before, after, is_request_lost, is_reply_lost)| Fate {
            idle,
            before,
            after,
            is_request_lost,
            is_reply_lost,
        },
    )
}

fn gaps(count: usize) -> impl Strategy<Value = Vec<(Time, Time)>> {
    let length = prop_oneof![0..3 * SECOND, 0..30 * SECOND];
    vec((0..QUIET - 30 * SECOND, length), 0..count)
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        timing(),
        0..5 * SECOND,
        0..100_000 * SECOND,
        -50_000..50_000_i64,
        vec(0..=100_u8, 1..8),
        gaps(6),
        vec(0..QUIET - 30 * SECOND, 0..3),
    )
        .prop_map(|(timing, start, offset, rate, jitter, pauses, stops)| Plan {
            timing,
            start,
            offset,
            rate,
            jitter,
            pauses,
            stops,
        })
}

proptest! {
    #[test]
    fn there_are_never_two_leaders_and_finally_one(
        plans in vec(plan(), 2..=3),
        fates in vec(fate(), 1..60),
        outages in gaps(3),
    ) {
        let mut world = World::new(plans, fates, outages, QUIET);
        world.run(END).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.leaders().len(), 1);
    }

    #[test]
    fn without_faults_there_is_one_leader(plans in vec(plan(), 3)) {
        let calm = |plan: Plan| Plan { pauses: Vec::new(), stops: Vec::new(), start: 0, ..plan };
        let plans = plans.into_iter().map(calm).collect();
        let mut world = World::new(plans, Vec::new(), Vec::new(), 0);
        world.run(SECOND).map_err(TestCaseError::fail)?;
        let first = world.leaders();
        prop_assert_eq!(first.len(), 1);
        world.run(END).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.leaders(), first);
    }
}
