//! Single cases, and whole lifetimes of several replicas in [`simulation`].

mod next_action;
mod rounds;
mod simulation;
mod stored;

use std::time::Duration;

use k8s_openapi::ByteString;
use policy_kube::certificate::{CertificateNames, IssuedCertificate, issue};
use policy_runtime::tls::Time;
use time::OffsetDateTime;

use super::stored::{Data, SecretContents, StoredCertificates};

const DAY: i64 = 24 * 60 * 60;

fn names() -> CertificateNames {
    CertificateNames::of_service("policy-webhook", "kube-devops")
}

/// A certificate that is valid for so many days from `at`, and for the hour before.
fn issued(at: Time, days: i64) -> IssuedCertificate {
    issued_for(&names(), at, days)
}

fn issued_for(names: &CertificateNames, at: Time, days: i64) -> IssuedCertificate {
    let lifetime = Duration::from_secs(u64::try_from(days * DAY).unwrap());
    issue(names, OffsetDateTime::from_unix_timestamp(at.0).unwrap(), lifetime).unwrap()
}

/// The data of a Secret with only these contents.
fn data(contents: SecretContents) -> Data {
    let mut data = Data::new();
    contents.write(&mut data);
    data
}

fn read(data: &Data, now: Time) -> StoredCertificates {
    let (stored, problems) = StoredCertificates::read(data, now);
    assert_eq!(problems, []);
    stored
}

/// The data right after the first certificate was issued.
fn first(at: Time, days: i64) -> Data {
    data(read(&Data::new(), at).issued(&issued(at, days), at))
}

fn later(time: Time, seconds: i64) -> Time {
    Time(time.0 + seconds)
}

fn set(data: &mut Data, key: &str, text: &str) {
    data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
}

fn text(data: &Data, key: &str) -> String {
    String::from_utf8(data[key].0.clone()).unwrap()
}

fn keys(data: &Data) -> Vec<&str> {
    data.keys().map(String::as_str).collect()
}

const START: Time = Time(1_800_000_000);
