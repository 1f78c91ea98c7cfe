//! Each action when it is due, and not before.

use std::time::Instant;

use super::*;
use crate::certificate::next_action::{NextAction, PublishedSince, next_action};

const MINUTE: Duration = Duration::from_secs(60);

/// The next action where the stored CAs have been published for so long.
fn action(data: &Data, published_for: Duration, now: Time) -> NextAction {
    let (stored, _) = StoredCertificates::read(data, now);
    next_action(&stored, Some(stored.ca_bundle().as_bytes()), published_for, &names(), now)
}

#[test]
fn from_the_first_certificate_to_the_second() {
    let mut all = Data::new();
    assert_eq!(action(&all, MINUTE, START), NextAction::Issue);
    all = first(START, 90);
    let stored = read(&all, START);
    for published in ["", "something else"] {
        let next = next_action(&stored, Some(published.as_bytes()), MINUTE, &names(), START);
        assert_eq!(next, NextAction::PublishCaBundle);
    }
    assert_eq!(next_action(&stored, None, Duration::ZERO, &names(), START), NextAction::None);
    assert_eq!(action(&all, MINUTE, START), NextAction::None);
    // A third of the lifetime, which includes the hour before, is twenty minutes more.
    let due = later(START, 60 * DAY - 20 * 60);
    assert_eq!(action(&all, MINUTE, later(due, -1)), NextAction::None);
    assert_eq!(action(&all, MINUTE, due), NextAction::Rotate);
    let stored = read(&all, due);
    let next = next_action(&stored, None, Duration::ZERO, &names(), due);
    assert_eq!(next, NextAction::Rotate, "also while the caBundle is unknown");
    stored.with_next(&issued(due, 90), due).write(&mut all);
    let next = next_action(&read(&all, due), Some(b"old"), MINUTE, &names(), due);
    assert_eq!(next, NextAction::PublishCaBundle);
    assert_eq!(action(&all, Duration::from_millis(59_999), due), NextAction::None);
    assert_eq!(action(&all, MINUTE, due), NextAction::Promote);
    let next = next_action(&read(&all, due), None, MINUTE, &names(), due);
    assert_eq!(next, NextAction::None, "not while the caBundle is unknown");
    read(&all, due).promoted(due).write(&mut all);
    assert_eq!(action(&all, MINUTE, due), NextAction::None);
    let over = later(START, 90 * DAY + 1);
    assert_eq!(action(&all, MINUTE, over), NextAction::Prune);
    read(&all, over).pruned(over).write(&mut all);
    assert_eq!(action(&all, MINUTE, over), NextAction::None);
}

#[test]
fn a_new_name_needs_a_new_certificate_and_a_removed_one_does_not() {
    let mut all = first(START, 90);
    let with = |names: &CertificateNames, all: &Data| {
        let stored = read(all, START);
        next_action(&stored, Some(stored.ca_bundle().as_bytes()), MINUTE, names, START)
    };
    let mut more = names();
    more.ips.push("10.0.0.7".parse().unwrap());
    assert_eq!(with(&more, &all), NextAction::Rotate);
    let less = CertificateNames { dns: names().dns[1..].to_vec(), ips: Vec::new() };
    assert_eq!(with(&less, &all), NextAction::None);
    read(&all, START).with_next(&issued_for(&more, START, 90), START).write(&mut all);
    assert_eq!(with(&more, &all), NextAction::Promote);
    // A third set of names waits until the second one is served.
    let mut other = names();
    other.dns.push("other".to_owned());
    assert_eq!(with(&other, &all), NextAction::Promote);
    read(&all, START).promoted(START).write(&mut all);
    assert_eq!(with(&more, &all), NextAction::None);
    assert_eq!(with(&other, &all), NextAction::Rotate);
}

#[test]
fn replicas_with_different_names_issue_one_certificate_for_all() {
    let with = |name: &str| {
        let mut names = names();
        names.dns.push(name.to_owned());
        names
    };
    let (mut all, variants, mut rotations) = (first(START, 90), ["old", "new"].map(with), 0);
    for round in 0..10 {
        let wanted = &variants[round % 2];
        let stored = read(&all, START);
        let published = stored.ca_bundle();
        let contents = match next_action(&stored, Some(published.as_bytes()), MINUTE, wanted, START)
        {
            NextAction::Rotate => {
                rotations += 1;
                let issued = issued_for(&stored.next_names(wanted), START, 90);
                stored.with_next(&issued, START)
            }
            NextAction::Promote => stored.promoted(START),
            action => {
                assert_eq!(action, NextAction::None);
                continue;
            }
        };
        contents.write(&mut all);
    }
    assert_eq!(rotations, 2);
    let served = read(&all, START).served.unwrap();
    assert!(variants.iter().all(|names| served.is_for(names)));
    // Once it is old, the next one has only the wanted names.
    let due = later(START, 61 * DAY);
    assert_eq!(read(&all, due).next_names(&variants[0]), variants[0]);
}

#[test]
fn a_replica_whose_clock_is_behind_keeps_the_next_certificate() {
    let due = later(START, 60 * DAY);
    let mut all = first(START, 90);
    read(&all, due).with_next(&issued(due, 90), due).write(&mut all);
    let behind = later(due, -2 * 60 * 60);
    assert_eq!(action(&all, MINUTE, behind), NextAction::None);
    assert_eq!(action(&all, MINUTE, later(due, -60 * 60)), NextAction::Promote);
}

#[test]
fn without_a_usable_certificate_the_next_one_is_served_or_a_new_one_issued() {
    let due = later(START, 60 * DAY);
    let mut all = first(START, 90);
    read(&all, due).with_next(&issued(due, 90), due).write(&mut all);
    all.remove("tls.key");
    assert_eq!(action(&all, Duration::ZERO, due), NextAction::Promote);
    all.remove("next.key");
    assert_eq!(action(&all, Duration::ZERO, due), NextAction::Issue);
    let (stored, _) = StoredCertificates::read(&all, due);
    let issued = data(stored.issued(&issued(due, 90), due));
    assert_eq!(keys(&issued), ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(text(&issued, "ca.crt").matches("BEGIN").count(), 3, "the old CAs stay trusted");
}

#[test]
fn unusable_data_of_a_next_certificate_is_removed() {
    let mut all = first(START, 90);
    set(&mut all, "next.crt", "hello");
    assert_eq!(action(&all, MINUTE, START), NextAction::Prune);
    StoredCertificates::read(&all, START).0.pruned(START).write(&mut all);
    assert_eq!(keys(&all), ["ca.crt", "tls.crt", "tls.key"]);
}

#[test]
fn a_next_certificate_that_could_not_be_published_is_replaced() {
    let due = later(START, 60 * DAY);
    let mut all = first(START, 3650);
    read(&all, due).with_next(&issued(due, 90), due).write(&mut all);
    let old = later(due, 61 * DAY);
    let next = next_action(&read(&all, old), None, Duration::ZERO, &names(), old);
    assert_eq!(next, NextAction::Rotate);
}

#[test]
fn only_an_uninterrupted_time_counts() {
    let (mut published_since, start) = (PublishedSince::default(), Instant::now());
    let mut observe = |published: Option<&str>, bundle: &str, seconds: u64| {
        let now = start + Duration::from_secs(seconds);
        published_since.observe(published.map(str::as_bytes), bundle, now).as_secs()
    };
    assert_eq!(observe(Some("a"), "a", 0), 0);
    assert_eq!(observe(Some("a"), "a", 59), 59);
    assert_eq!(observe(None, "a", 60), 0);
    assert_eq!(observe(Some("a"), "a", 61), 0);
    assert_eq!(observe(Some("b"), "a", 70), 0);
    assert_eq!(observe(Some("a"), "a", 71), 0);
    assert_eq!(observe(Some("a"), "a", 81), 10);
    assert_eq!(observe(Some("b"), "b", 91), 0, "another caBundle starts anew");
    assert_eq!(observe(Some("b"), "b", 151), 60);
}
