//! The metrics that several services export.

#![expect(missing_docs, reason = "the help text of a metric is its documentation")]

use crate::Kind::{Counter, Gauge};
use crate::Metric;

const KIND: &[(&str, &str)] = &[("kind", "the kind that is watched")];

pub const BUILD_INFO: Metric =
    Metric::new(Gauge, "kube_devops_build_info", "Version of this service; always 1.")
        .with(&[("service", ""), ("version", "")]);

pub const CERTIFICATE_EXPIRY: Metric = Metric::new(
    Gauge,
    "tls_certificate_expiry_timestamp_seconds",
    "When the served certificate expires, in seconds since 1970; of a service with TLS.",
);

pub const CERTIFICATE_NOT_BEFORE: Metric = Metric::new(
    Gauge,
    "tls_certificate_not_before_timestamp_seconds",
    "Since when the served certificate is valid, in seconds since 1970; of a service with TLS.",
);

pub const LEADER: Metric = Metric::new(
    Gauge,
    "leader",
    "Whether this replica is the leader: 1 or 0; of a service with leader election.",
);

pub const WATCH_ERRORS: Metric =
    Metric::new(Counter, "watch_errors_total", "Watch requests that failed.").with(KIND);

pub const WATCH_RESTARTS: Metric =
    Metric::new(Counter, "watch_restarts_total", "Complete lists after the first one (relists).")
        .with(KIND);

pub const WATCH_UNDECODABLE: Metric =
    Metric::new(Counter, "watch_undecodable_total", "Objects that could not be decoded.")
        .with(KIND);

pub const WATCH_LAST_EVENT: Metric = Metric::new(
    Gauge,
    "watch_last_event_timestamp_seconds",
    "When the server last sent anything, in seconds since 1970.",
)
.with(KIND);

pub const DROPPED: Metric =
    Metric::new(Counter, "dropped_total", "What was left out or refused, by what it was.")
        .with(&[("what", "see the page of the service")]);

pub const CPU: Metric = Metric::new(
    Counter,
    "process_cpu_seconds_total",
    "User and system CPU time spent, in seconds.",
);
pub const OPEN_FILES: Metric = Metric::new(Gauge, "process_open_fds", "Open file descriptors.");
pub const MAX_FILES: Metric =
    Metric::new(Gauge, "process_max_fds", "File descriptors that may be open; 0: no limit.");
pub const THREADS: Metric =
    Metric::new(Gauge, "process_threads", "Threads of the operating system.");
pub const RESIDENT: Metric =
    Metric::new(Gauge, "process_resident_memory_bytes", "Resident memory, in bytes.");
pub const VIRTUAL: Metric =
    Metric::new(Gauge, "process_virtual_memory_bytes", "Virtual memory, in bytes.");
pub const MAX_VIRTUAL: Metric = Metric::new(
    Gauge,
    "process_virtual_memory_max_bytes",
    "Virtual memory that may be used, in bytes; 0: no limit.",
);
pub const START: Metric = Metric::new(
    Gauge,
    "process_start_time_seconds",
    "When the process started, in seconds since 1970.",
);

/// The metrics that services have in common: of the process, of what it watches, of its leader
/// election and its certificate.
pub const METRICS: &[&Metric] = &[
    &BUILD_INFO,
    &CERTIFICATE_EXPIRY,
    &CERTIFICATE_NOT_BEFORE,
    &DROPPED,
    &LEADER,
    &WATCH_ERRORS,
    &WATCH_LAST_EVENT,
    &WATCH_RESTARTS,
    &WATCH_UNDECODABLE,
    &CPU,
    &OPEN_FILES,
    &MAX_FILES,
    &THREADS,
    &RESIDENT,
    &VIRTUAL,
    &MAX_VIRTUAL,
    &START,
];
