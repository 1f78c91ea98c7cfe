//! Each step at its time, and none before.

use std::time::Instant;

use super::*;
use crate::certificate::step::{Sighting, Step, next_step};

const MINUTE: Duration = Duration::from_secs(60);

/// The step where the API server is told what the Secret holds, for so long.
fn step(data: &Data, told_for: Duration, now: Time) -> Step {
    let (kept, _) = Kept::read(data, now);
    next_step(&kept, Some(kept.bundle().as_bytes()), told_for, &names(), now)
}

#[test]
fn a_life_from_the_first_certificate_to_the_second() {
    let mut all = Data::new();
    assert_eq!(step(&all, MINUTE, START), Step::Issue);
    all = first(START, 90);
    let kept = read(&all, START);
    for told in ["", "something else"] {
        let next = next_step(&kept, Some(told.as_bytes()), MINUTE, &names(), START);
        assert_eq!(next, Step::PutBundle);
    }
    assert_eq!(next_step(&kept, None, Duration::ZERO, &names(), START), Step::Nothing);
    assert_eq!(step(&all, MINUTE, START), Step::Nothing);
    // A third of its time, with the hour that it is dated back, is twenty minutes more.
    let due = later(START, 60 * DAY - 20 * 60);
    assert_eq!(step(&all, MINUTE, later(due, -1)), Step::Nothing);
    assert_eq!(step(&all, MINUTE, due), Step::Rotate);
    let kept = read(&all, due);
    let next = next_step(&kept, None, Duration::ZERO, &names(), due);
    assert_eq!(next, Step::Rotate, "also where nobody can be told yet");
    kept.with_next(&issued(due, 90), due).write(&mut all);
    let next = next_step(&read(&all, due), Some(b"old"), MINUTE, &names(), due);
    assert_eq!(next, Step::PutBundle);
    assert_eq!(step(&all, Duration::from_millis(59_999), due), Step::Nothing);
    assert_eq!(step(&all, MINUTE, due), Step::Promote);
    let next = next_step(&read(&all, due), None, MINUTE, &names(), due);
    assert_eq!(next, Step::Nothing, "who does not know what is told promotes nothing");
    read(&all, due).promoted(due).write(&mut all);
    assert_eq!(step(&all, MINUTE, due), Step::Nothing);
    let over = later(START, 90 * DAY + 1);
    assert_eq!(step(&all, MINUTE, over), Step::Prune);
    read(&all, over).pruned(over).write(&mut all);
    assert_eq!(step(&all, MINUTE, over), Step::Nothing);
}

#[test]
fn a_name_that_is_new_needs_a_new_certificate_and_one_that_is_gone_does_not() {
    let mut all = first(START, 90);
    let with = |names: &CertificateNames, all: &Data| {
        let kept = read(all, START);
        next_step(&kept, Some(kept.bundle().as_bytes()), MINUTE, names, START)
    };
    let mut more = names();
    more.ips.push("10.0.0.7".parse().unwrap());
    assert_eq!(with(&more, &all), Step::Rotate);
    let less = CertificateNames { dns: names().dns[1..].to_vec(), ips: Vec::new() };
    assert_eq!(with(&less, &all), Step::Nothing);
    read(&all, START).with_next(&issued_for(&more, START, 90), START).write(&mut all);
    assert_eq!(with(&more, &all), Step::Promote);
    // A third opinion waits until the second one is served.
    let mut other = names();
    other.dns.push("other".to_owned());
    assert_eq!(with(&other, &all), Step::Promote);
    read(&all, START).promoted(START).write(&mut all);
    assert_eq!(with(&more, &all), Step::Nothing);
    assert_eq!(with(&other, &all), Step::Rotate);
}

#[test]
fn replicas_that_do_not_agree_on_names_agree_on_all_of_them() {
    let with = |name: &str| {
        let mut names = names();
        names.dns.push(name.to_owned());
        names
    };
    let (mut all, opinions, mut rotations) = (first(START, 90), ["old", "new"].map(with), 0);
    for turn in 0..10 {
        let wanted = &opinions[turn % 2];
        let kept = read(&all, START);
        let told = kept.bundle();
        let contents = match next_step(&kept, Some(told.as_bytes()), MINUTE, wanted, START) {
            Step::Rotate => {
                rotations += 1;
                let issued = issued_for(&kept.next_names(wanted), START, 90);
                kept.with_next(&issued, START)
            }
            Step::Promote => kept.promoted(START),
            step => {
                assert_eq!(step, Step::Nothing);
                continue;
            }
        };
        contents.write(&mut all);
    }
    assert_eq!(rotations, 2);
    let served = read(&all, START).served.unwrap();
    assert!(opinions.iter().all(|names| served.is_for(names)));
    // Once it is old, only what is wanted is asked for.
    let due = later(START, 61 * DAY);
    assert_eq!(read(&all, due).next_names(&opinions[0]), opinions[0]);
}

#[test]
fn who_is_behind_leaves_the_next_one_to_those_that_are_not() {
    let due = later(START, 60 * DAY);
    let mut all = first(START, 90);
    read(&all, due).with_next(&issued(due, 90), due).write(&mut all);
    let behind = later(due, -2 * 60 * 60);
    assert_eq!(step(&all, MINUTE, behind), Step::Nothing);
    assert_eq!(step(&all, MINUTE, later(due, -60 * 60)), Step::Promote);
}

#[test]
fn where_nothing_can_be_served_the_next_one_is_and_else_a_new_one() {
    let due = later(START, 60 * DAY);
    let mut all = first(START, 90);
    read(&all, due).with_next(&issued(due, 90), due).write(&mut all);
    all.remove("tls.key");
    assert_eq!(step(&all, Duration::ZERO, due), Step::Promote);
    all.remove("next.key");
    assert_eq!(step(&all, Duration::ZERO, due), Step::Issue);
    let (kept, _) = Kept::read(&all, due);
    let issued = data(kept.issued(&issued(due, 90), due));
    assert_eq!(keys(&issued), ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(text(&issued, "ca.crt").matches("BEGIN").count(), 3, "the old ones stay trusted");
}

#[test]
fn what_is_left_of_a_next_one_is_taken_out() {
    let mut all = first(START, 90);
    set(&mut all, "next.crt", "hello");
    assert_eq!(step(&all, MINUTE, START), Step::Prune);
    Kept::read(&all, START).0.pruned(START).write(&mut all);
    assert_eq!(keys(&all), ["ca.crt", "tls.crt", "tls.key"]);
}

#[test]
fn a_next_one_that_nobody_could_be_told_of_is_replaced_in_time() {
    let due = later(START, 60 * DAY);
    let mut all = first(START, 3650);
    read(&all, due).with_next(&issued(due, 90), due).write(&mut all);
    let old = later(due, 61 * DAY);
    let next = next_step(&read(&all, old), None, Duration::ZERO, &names(), old);
    assert_eq!(next, Step::Rotate);
}

#[test]
fn only_what_is_seen_without_a_break_counts() {
    let (mut sighting, start) = (Sighting::default(), Instant::now());
    let mut look = |told: Option<&str>, bundle: &str, seconds: u64| {
        let now = start + Duration::from_secs(seconds);
        sighting.look(told.map(str::as_bytes), bundle, now).as_secs()
    };
    assert_eq!(look(Some("a"), "a", 0), 0);
    assert_eq!(look(Some("a"), "a", 59), 59);
    assert_eq!(look(None, "a", 60), 0);
    assert_eq!(look(Some("a"), "a", 61), 0);
    assert_eq!(look(Some("b"), "a", 70), 0);
    assert_eq!(look(Some("a"), "a", 71), 0);
    assert_eq!(look(Some("a"), "a", 81), 10);
    assert_eq!(look(Some("b"), "b", 91), 0, "another one is new");
    assert_eq!(look(Some("b"), "b", 151), 60);
}
