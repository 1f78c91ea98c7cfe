//! Reading a Secret that anybody may have written.

use super::*;
use crate::certificate::stored::DataProblem;

fn problems(data: &Data, now: Time) -> Vec<String> {
    let (_, problems) = StoredCertificates::read(data, now);
    problems.iter().map(DataProblem::to_string).collect()
}

#[test]
fn a_new_secret_is_empty_and_has_no_problem() {
    let stored = read(&Data::new(), START);
    assert!(stored.served.is_none() && stored.next.is_none() && stored.is_clean());
    assert_eq!(stored.ca_bundle(), "");
}

#[test]
fn an_issued_certificate_is_read_again() {
    let (now, all) = (START, first(START, 90));
    assert_eq!(keys(&all), ["ca.crt", "tls.crt", "tls.key"]);
    let stored = read(&all, now);
    let served = stored.served.as_ref().unwrap();
    assert_eq!((served.not_before, served.not_after), (later(now, -3600), later(now, 90 * DAY)));
    assert!(served.is_for(&names()) && stored.is_clean());
    assert_eq!(stored.ca_bundle(), text(&all, "ca.crt"));
    let mut more = names();
    more.ips.push("10.0.0.7".parse().unwrap());
    assert!(!served.is_for(&more));
    let all = data(stored.issued(&issued_for(&more, now, 90), now));
    assert!(read(&all, now).served.unwrap().is_for(&more));
}

#[test]
fn modified_data_is_not_used_and_is_named() {
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
    let not_ca = "ca.crt holds something other than CA certificates, or one of them twice";
    let unsigned = "no valid CA of ca.crt has signed tls.crt";
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
        // A server certificate is not a CA, wherever it is stored.
        (changed("ca.crt", &certificate), vec![not_ca, unsigned]),
    ] {
        assert!(StoredCertificates::read(&data, now).0.served.is_none(), "{expected:?}");
        assert_eq!(problems(&data, now), expected);
    }
    let late = problems(&whole, later(now, 90 * DAY + 1));
    assert_eq!(late, ["tls.crt expired at 2027-04-15T08:00:00Z"]);
    let early = problems(&whole, later(now, -3601));
    assert_eq!(early, ["tls.crt is not valid before 2027-01-15T07:00:00Z"]);
    let mut binary = whole.clone();
    binary.insert("tls.key".to_owned(), ByteString(vec![0xff; 8]));
    assert_eq!(problems(&binary, now), ["tls.key is not the key of tls.crt"]);
}

#[test]
fn problems_do_not_quote_a_private_key() {
    let now = START;
    let mut broken = first(now, 90);
    let key = text(&broken, "tls.key");
    set(&mut broken, "tls.crt", &key);
    set(&mut broken, "ca.crt", &key);
    let published = problems(&broken, now).concat();
    let secret = key.lines().nth(1).unwrap();
    assert!(!published.contains(secret) && !published.contains("PRIVATE"), "{published}");
}

#[test]
fn text_between_ca_certificates_is_removed_and_not_published() {
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
        let (stored, _) = StoredCertificates::read(&odd, now);
        assert!(stored.served.is_some() && !stored.is_clean());
        assert_eq!(stored.ca_bundle(), clean);
        assert_eq!(text(&data(stored.pruned(now)), "ca.crt"), clean);
    }
}

#[test]
fn an_added_ca_is_trusted_and_an_unknown_published_one_is_counted() {
    let now = START;
    let mut all = first(now, 90);
    let ours = text(&all, "ca.crt");
    let other = issued(now, 30).authority.certificate;
    let stored = read(&all, now);
    let published = format!("{ours}{other}");
    assert_eq!(stored.missing_of(published.as_bytes(), now), 1);
    assert_eq!(stored.missing_of(published.as_bytes(), later(now, 31 * DAY)), 0, "it is expired");
    assert_eq!(stored.missing_of(b"no text", now), 0);
    set(&mut all, "ca.crt", &format!("{ours}# company CA\n{other}"));
    let (stored, _) = StoredCertificates::read(&all, now);
    assert!(stored.served.is_some());
    assert_eq!(stored.ca_bundle(), published);
    assert_eq!(stored.missing_of(published.as_bytes(), now), 0);
}

#[test]
fn a_rotation_keeps_the_old_ca_until_it_expires() {
    let now = START;
    let mut all = first(now, 90);
    set(&mut all, "notes", "by another program");
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
    assert!(read(&all, end).is_clean(), "in its last second");
    let stored = read(&all, later(end, 1));
    assert!(!stored.is_clean());
    assert_eq!(stored.ca_bundle(), both, "published until the Secret changes");
    stored.pruned(later(end, 1)).write(&mut all);
    assert_eq!(text(&all, "ca.crt"), new.authority.certificate);
}

#[test]
fn the_number_of_cas_is_bounded() {
    let now = START;
    let mut all = first(now, 90);
    read(&all, now).with_next(&issued(now, 90), now).write(&mut all);
    let [served, next] = ["tls.crt", "next.crt"].map(|key| text(&all, key));
    // Somebody has added many.
    let more: String = (0..20).map(|_| issued(now, 90).authority.certificate).collect();
    let filled = text(&all, "ca.crt") + &more;
    set(&mut all, "ca.crt", &filled);
    read(&all, now).pruned(now).write(&mut all);
    let stored = read(&all, now);
    assert_eq!(stored.ca_bundle().matches("BEGIN").count(), 8);
    assert_eq!(stored.served.unwrap().pair.certificate, served);
    assert_eq!(stored.next.unwrap().pair.certificate, next);
    let stored = read(&all, now);
    for contents in [stored.issued(&issued(now, 90), now), stored.with_next(&issued(now, 90), now)]
    {
        let all = data(contents);
        assert_eq!(text(&all, "ca.crt").matches("BEGIN").count(), 8);
        assert!(read(&all, now).served.is_some());
    }
}
