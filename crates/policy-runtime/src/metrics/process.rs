//! What the operating system says about the process.

use std::fmt::Display;

use metrics_process::collector;

use super::{Exposition, Kind};

/// Writes the standard process metrics
/// (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).
///
/// Not through the crate's own `Collector`: a counter of the crate `metrics` is an integer, so
/// processor time would move in steps of one second.
pub(super) fn write(to: &mut Exposition) {
    write_collected(&collector::collect(), to);
}

fn write_collected(process: &collector::Metrics, to: &mut Exposition) {
    let mut write = |name, kind, help, value: Option<&dyn Display>| {
        if let Some(value) = value {
            to.family(name, kind, help).series(&[], value);
        }
    };
    let cpu = process.cpu_seconds_total.as_ref();
    let help = "User and system CPU time spent, in seconds.";
    write("process_cpu_seconds_total", Kind::Counter, help, cpu.map(|value| value as _));
    let gauges = [
        ("process_open_fds", "Open file descriptors.", &process.open_fds),
        ("process_max_fds", "File descriptors that may be open; 0: no limit.", &process.max_fds),
        ("process_threads", "Threads of the operating system.", &process.threads),
        (
            "process_resident_memory_bytes",
            "Resident memory, in bytes.",
            &process.resident_memory_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory, in bytes.",
            &process.virtual_memory_bytes,
        ),
        (
            "process_virtual_memory_max_bytes",
            "Virtual memory that may be used, in bytes; 0: no limit.",
            &process.virtual_memory_max_bytes,
        ),
        (
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            &process.start_time_seconds,
        ),
    ];
    for (name, help, value) in gauges {
        write(name, Kind::Gauge, help, value.as_ref().map(|value| value as _));
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
