//! What the operating system says about the process.

use std::fmt::Display;

use metrics_process::collector;

use super::Kind::{Counter, Gauge};
use super::{Exposition, Metric};

pub(super) const CPU: Metric = Metric::new(
    Counter,
    "process_cpu_seconds_total",
    "User and system CPU time spent, in seconds.",
);
pub(super) const OPEN_FILES: Metric =
    Metric::new(Gauge, "process_open_fds", "Open file descriptors.");
pub(super) const MAX_FILES: Metric =
    Metric::new(Gauge, "process_max_fds", "File descriptors that may be open; 0: no limit.");
pub(super) const THREADS: Metric =
    Metric::new(Gauge, "process_threads", "Threads of the operating system.");
pub(super) const RESIDENT: Metric =
    Metric::new(Gauge, "process_resident_memory_bytes", "Resident memory, in bytes.");
pub(super) const VIRTUAL: Metric =
    Metric::new(Gauge, "process_virtual_memory_bytes", "Virtual memory, in bytes.");
pub(super) const MAX_VIRTUAL: Metric = Metric::new(
    Gauge,
    "process_virtual_memory_max_bytes",
    "Virtual memory that may be used, in bytes; 0: no limit.",
);
pub(super) const START: Metric = Metric::new(
    Gauge,
    "process_start_time_seconds",
    "When the process started, in seconds since 1970.",
);

/// Writes the standard process metrics
/// (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).
///
/// Not through the crate's own `Collector`: a counter of the crate `metrics` is an integer, so
/// processor time would move in steps of one second.
pub(super) fn write(to: &mut Exposition) {
    write_collected(&collector::collect(), to);
}

fn write_collected(process: &collector::Metrics, to: &mut Exposition) {
    let mut write = |metric: &Metric, value: Option<&dyn Display>| {
        if let Some(value) = value {
            to.family(metric).series(&[], value);
        }
    };
    write(&CPU, process.cpu_seconds_total.as_ref().map(|value| value as _));
    let gauges = [
        (&OPEN_FILES, &process.open_fds),
        (&MAX_FILES, &process.max_fds),
        (&THREADS, &process.threads),
        (&RESIDENT, &process.resident_memory_bytes),
        (&VIRTUAL, &process.virtual_memory_bytes),
        (&MAX_VIRTUAL, &process.virtual_memory_max_bytes),
        (&START, &process.start_time_seconds),
    ];
    for (metric, value) in gauges {
        write(metric, value.as_ref().map(|value| value as _));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_given_in_fractions_of_a_second() {
        let process = collector::Metrics {
            cpu_seconds_total: Some(1.25),
            open_fds: Some(9),
            ..collector::Metrics::default()
        };
        let mut to = Exposition::default();
        write_collected(&process, &mut to);
        assert_eq!(
            to.finish(),
            "# HELP process_cpu_seconds_total User and system CPU time spent, in seconds.\n\
             # TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.25\n\
             # HELP process_open_fds Open file descriptors.\n\
             # TYPE process_open_fds gauge\nprocess_open_fds 9\n"
        );
    }
}
