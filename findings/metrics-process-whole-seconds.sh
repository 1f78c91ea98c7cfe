#!/usr/bin/env bash
# metrics-process 2.4.3: its counter process_cpu_seconds_total holds whole seconds only.
# Guess: as in the client libraries of Prometheus for Go and Python, whose counter of that name has a
# fraction, `rate(process_cpu_seconds_total[1m])` shows the load of a service that is mostly idle.
# Seen: `collect()` exports the seconds without their fraction, because counters of the crate
# `metrics` are u64. A process that has used 0.6 s exports 0; the library itself knows the fraction
# (`collector::collect()`). A service that uses 1 % of a core moves the counter once in 100 seconds.
# Needs: Rust 1.89 or newer, crates.io, Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
metrics = "=0.24.6"
metrics-process = "=2.4.3"
metrics-exporter-prometheus = { version = "=0.18.3", default-features = false }
TOML
cat > src/main.rs <<'RUST'
use std::fs;

/// User and system time of this process in hundredths of a second, from /proc/self/stat.
fn used() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<u64> =
        stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2).map(|f| f.parse().unwrap()).collect();
    fields.iter().sum()
}

fn main() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let collector = metrics_process::Collector::default();
    let mut sum = 0_u64;
    while used() < 60 {
        sum = (0..10_000).fold(sum, |sum, n| sum ^ std::hint::black_box(n));
    }
    metrics::with_local_recorder(&recorder, || collector.collect());
    let text = handle.render();
    let exported = text.lines().find(|line| line.starts_with("process_cpu_seconds_total")).unwrap();
    println!("used: {:.2} s ({sum})", used() as f64 / 100.0);
    println!("exported: {exported}");
}
RUST
seen=$(cargo run --quiet)
echo "metrics-process 2.4.3:"
echo "$seen"
grep -Eq '^used: 0\.[6-9][0-9] s' <<< "$seen"
grep -q '^exported: process_cpu_seconds_total 0$' <<< "$seen"
