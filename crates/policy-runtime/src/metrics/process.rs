//! What the operating system says about the process.

use std::fmt::Display;

use metrics_process::collector;
use policy_metrics::Metric;
use policy_metrics::every_service::{
    CPU, MAX_FILES, MAX_VIRTUAL, OPEN_FILES, RESIDENT, START, THREADS, VIRTUAL,
};

use super::Exposition;

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
