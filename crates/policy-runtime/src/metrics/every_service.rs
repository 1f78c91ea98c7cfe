//! The metrics that several services export.

use super::Kind::{Counter, Gauge};
use super::Metric;
use super::process;

const KIND: &[(&str, &str)] = &[("kind", "the kind that is watched")];

pub(crate) const BUILD_INFO: Metric =
    Metric::new(Gauge, "kube_devops_build_info", "Version of this service; always 1.")
        .with(&[("service", ""), ("version", "")]);

pub(crate) const CERTIFICATE_EXPIRY: Metric = Metric::new(
    Gauge,
    "tls_certificate_expiry_timestamp_seconds",
    "When the served certificate expires, in seconds since 1970; of a service with TLS.",
);

pub(crate) const LEADER: Metric = Metric::new(
    Gauge,
    "leader",
    "Whether this replica is the leader: 1 or 0; of a service with leader election.",
);

pub(crate) const WATCH_ERRORS: Metric =
    Metric::new(Counter, "watch_errors_total", "Watch requests that failed.").with(KIND);

pub(crate) const WATCH_RESTARTS: Metric =
    Metric::new(Counter, "watch_restarts_total", "Complete lists after the first one (relists).")
        .with(KIND);

pub(crate) const WATCH_UNDECODABLE: Metric =
    Metric::new(Counter, "watch_undecodable_total", "Objects that could not be decoded.")
        .with(KIND);

pub(crate) const WATCH_LAST_EVENT: Metric = Metric::new(
    Gauge,
    "watch_last_event_timestamp_seconds",
    "When the server last sent anything, in seconds since 1970.",
)
.with(KIND);

pub(crate) const DROPPED: Metric =
    Metric::new(Counter, "dropped_total", "What was left out or refused, by what it was.")
        .with(&[("what", "see the page of the service")]);

/// The metrics that services have in common: of the process, of what it watches, of its leader
/// election and its certificate.
pub const EVERY_SERVICE: &[&Metric] = &[
    &BUILD_INFO,
    &CERTIFICATE_EXPIRY,
    &DROPPED,
    &LEADER,
    &WATCH_ERRORS,
    &WATCH_LAST_EVENT,
    &WATCH_RESTARTS,
    &WATCH_UNDECODABLE,
    &process::CPU,
    &process::OPEN_FILES,
    &process::MAX_FILES,
    &process::THREADS,
    &process::RESIDENT,
    &process::VIRTUAL,
    &process::MAX_VIRTUAL,
    &process::START,
];
