//! Reading a Secret that anybody may have written to.

use super::*;
use crate::certificate::kept::Fault;

fn faults(data: &Data, now: Time) -> Vec<String> {
    let (_, faults) = Kept::read(data, now);
    faults.iter().map(Fault::to_string).collect()
}

#[test]
fn a_new_secret_holds_nothing_and_nothing_is_wrong_with_it() {
    let kept = read(&Data::new(), START);
    assert!(kept.served.is_none() && kept.next.is_none() && kept.is_tidy());
    assert_eq!(kept.bundle(), "");
}

#[test]
fn what_was_issued_is_read_again() {
    let (now, all) = (START, first(START, 90));
    assert_eq!(keys(&all), ["ca.crt", "tls.crt", "tls.key"]);
    let kept = read(&all, now);
    let served = kept.served.as_ref().unwrap();
    assert_eq!((served.not_before, served.not_after), (later(now, -3600), later(now, 90 * DAY)));
    assert!(served.is_for(&names()) && kept.is_tidy());
    assert_eq!(kept.bundle(), text(&all, "ca.crt"));
    let mut more = names();
    more.ips.push("10.0.0.7".parse().unwrap());
    assert!(!served.is_for(&more));
    let all = data(kept.issued(&issued_for(&more, now, 90), now));
    assert!(read(&all, now).served.unwrap().is_for(&more));
}

#[test]
fn what_was_tampered_with_counts_for_nothing_and_is_named() {
    let (now, whole) = (START, first(START, 90));
    let other = issued(now, 90);
    let changed = |key: &str, text: &str| {
        let mut changed = whole.clone();
        set(&mut changed, key, text);
        changed
    };
    let without = |key: &str| {
        let mut changed = whole.clone();
        changed.remove(key);
        changed
    };
    let certificate = text(&whole, "tls.crt");
    let not_ca = "ca.crt holds something else than certificates of authorities, each once";
    let unsigned = "no valid authority of ca.crt has signed tls.crt";
    for (data, expected) in [
        (changed("tls.crt", "hello"), vec!["tls.crt is not one certificate"]),
        (changed("tls.crt", &certificate[..200]), vec!["tls.crt is not one certificate"]),
        (changed("tls.crt", &certificate.repeat(2)), vec!["tls.crt is not one certificate"]),
        (changed("tls.crt", &text(&whole, "tls.key")), vec!["tls.crt is not one certificate"]),
        (changed("tls.key", "hello"), vec!["tls.key is not the key of tls.crt"]),
        (changed("tls.key", &other.server.key), vec!["tls.key is not the key of tls.crt"]),
        (without("tls.key"), vec!["tls.key is missing"]),
        (without("tls.crt"), vec!["tls.crt is missing"]),
        (changed("ca.crt", &other.authority.certificate), vec![unsigned]),
        (without("ca.crt"), vec![unsigned]),
        (changed("ca.crt", "hello"), vec![not_ca, unsigned]),
        // A certificate is no authority because it says so at another place.
        (changed("ca.crt", &certificate), vec![not_ca, unsigned]),
    ] {
        assert!(Kept::read(&data, now).0.served.is_none(), "{expected:?}");
        assert_eq!(faults(&data, now), expected);
    }
    let late = faults(&whole, later(now, 90 * DAY + 1));
    assert_eq!(late, ["tls.crt expired at 2027-04-15T08:00:00Z"]);
    let early = faults(&whole, later(now, -3601));
    assert_eq!(early, ["tls.crt is not valid before 2027-01-15T07:00:00Z"]);
    let mut binary = whole.clone();
    binary.insert("tls.key".to_owned(), ByteString(vec![0xff; 8]));
    assert_eq!(faults(&binary, now), ["tls.key is not the key of tls.crt"]);
}

#[test]
fn what_is_wrong_is_told_without_a_word_of_a_key() {
    let now = START;
    let mut broken = first(now, 90);
    let key = text(&broken, "tls.key");
    set(&mut broken, "tls.crt", &key);
    set(&mut broken, "ca.crt", &key);
    let told = faults(&broken, now).concat();
    let secret = key.lines().nth(1).unwrap();
    assert!(!told.contains(secret) && !told.contains("PRIVATE"), "{told}");
}

#[test]
fn words_between_authorities_are_taken_out_and_not_passed_on() {
    let now = START;
    let mut odd = first(now, 90);
    let clean = text(&odd, "ca.crt");
    for with_words in [
        format!("by hand\n{clean}"),
        format!("{clean}# by hand\n"),
        format!("{clean}# by hand\n{clean}"),
        format!("{clean}{clean}"),
    ] {
        set(&mut odd, "ca.crt", &with_words);
        let (kept, _) = Kept::read(&odd, now);
        assert!(kept.served.is_some() && !kept.is_tidy());
        assert_eq!(kept.bundle(), clean);
        assert_eq!(text(&data(kept.pruned(now)), "ca.crt"), clean);
    }
}

#[test]
fn who_adds_an_authority_has_both_and_who_told_of_another_is_noticed() {
    let now = START;
    let mut all = first(now, 90);
    let ours = text(&all, "ca.crt");
    let other = issued(now, 30).authority.certificate;
    let kept = read(&all, now);
    let told = format!("{ours}{other}");
    assert_eq!(kept.unknown_of(told.as_bytes(), now), 1);
    assert_eq!(kept.unknown_of(told.as_bytes(), later(now, 31 * DAY)), 0, "nobody misses it");
    assert_eq!(kept.unknown_of(b"no text", now), 0);
    set(&mut all, "ca.crt", &format!("{ours}# of the company\n{other}"));
    let (kept, _) = Kept::read(&all, now);
    assert!(kept.served.is_some());
    assert_eq!(kept.bundle(), told);
    assert_eq!(kept.unknown_of(told.as_bytes(), now), 0);
}

#[test]
fn a_rotation_keeps_the_old_authority_until_its_time_is_over() {
    let now = START;
    let mut all = first(now, 90);
    set(&mut all, "notes", "of somebody else");
    let [old, old_key] = ["tls.crt", "tls.key"].map(|key| text(&all, key));
    let turn = later(now, 60 * DAY);
    let new = issued(turn, 90);
    read(&all, turn).with_next(&new, turn).write(&mut all);
    assert_eq!(keys(&all), ["ca.crt", "next.crt", "next.key", "notes", "tls.crt", "tls.key"]);
    assert_eq!([text(&all, "tls.crt"), text(&all, "tls.key")], [old, old_key]);
    assert!(text(&all, "ca.crt").ends_with(&new.authority.certificate));
    let both = text(&all, "ca.crt");
    read(&all, turn).promoted(turn).write(&mut all);
    assert_eq!(keys(&all), ["ca.crt", "notes", "tls.crt", "tls.key"]);
    assert_eq!(text(&all, "tls.crt"), new.server.certificate);
    assert_eq!(text(&all, "ca.crt"), both);
    let end = later(now, 90 * DAY);
    assert!(read(&all, end).is_tidy(), "in its last second");
    let kept = read(&all, later(end, 1));
    assert!(!kept.is_tidy());
    assert_eq!(kept.bundle(), both, "told until the Secret says otherwise");
    kept.pruned(later(end, 1)).write(&mut all);
    assert_eq!(text(&all, "ca.crt"), new.authority.certificate);
}

#[test]
fn authorities_do_not_grow_without_end() {
    let now = START;
    let mut all = first(now, 90);
    read(&all, now).with_next(&issued(now, 90), now).write(&mut all);
    let [served, next] = ["tls.crt", "next.crt"].map(|key| text(&all, key));
    // Somebody has filled it.
    let more: String = (0..20).map(|_| issued(now, 90).authority.certificate).collect();
    let filled = text(&all, "ca.crt") + &more;
    set(&mut all, "ca.crt", &filled);
    read(&all, now).pruned(now).write(&mut all);
    let kept = read(&all, now);
    assert_eq!(kept.bundle().matches("BEGIN").count(), 8);
    assert_eq!(kept.served.unwrap().pair.certificate, served);
    assert_eq!(kept.next.unwrap().pair.certificate, next);
    let kept = read(&all, now);
    for contents in [kept.issued(&issued(now, 90), now), kept.with_next(&issued(now, 90), now)] {
        let all = data(contents);
        assert_eq!(text(&all, "ca.crt").matches("BEGIN").count(), 8);
        assert!(read(&all, now).served.is_some());
    }
}
