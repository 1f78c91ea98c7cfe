//! The webhook against the baseline, by requests without an API server.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Service, say};

use super::super::fake_api::{FakeApi, Shape};
use super::super::measure::median;
use super::super::process;
use super::load::{Load, in_turn};
use super::{Bench, custom, review};

/// The policies in each namespace.
const POLICIES: [&str; 3] = ["baseline", "strict", "team"];
const MANY: usize = 1_000;
/// Repeats of each ratio, after one that warms up.
const PAIRS: usize = 60;
/// Requests of a round, which takes some tenths of a second: the speed of a shared machine changes
/// within seconds, and both sides of a pair need the same speed.
const ROUND: usize = 4_000;
pub(super) const ROUND_OF_MANY: usize = 8_000;
/// Linux counts processor time in hundredths of a second. These requests take about two seconds.
const ROUND_OF_COSTS: usize = 60_000;
const COST_PAIRS: usize = 7;
const MILLION: f64 = 1e6;

pub(super) struct Loopback {
    pub(super) floor_ratio_1: f64,
    pub(super) floor_ratio_32: f64,
    pub(super) webhook_cpu_us: f64,
    pub(super) p99_ms: f64,
    pub(super) cost_growth: f64,
    pub(super) custom_ratio: f64,
    pub(super) rss_mib: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Loopback> {
    let (pod, whole) = review::sizes();
    say(&format!("a pod of {pod} bytes without violations, in a review of {whole} bytes"));
    let (few, many) = (fake(1)?, fake(MANY)?);
    let floor = bench.floor()?;
    let webhook = bench.webhook("webhook", &few.kubeconfig(bench.testbed.folder())?)?;
    judges(&webhook)?;
    let load = Load::new(bench.certificates.client()?, 1);
    let sides = [&webhook, &floor];
    let floor_ratio_1 = rate_ratio(&load, sides, 1, ROUND)?;
    let floor_ratio_32 = rate_ratio(&load, sides, 32, ROUND_OF_MANY)?;
    let webhook_cpu_us = webhook_cpu_us(&load, sides)?;
    let p99_ms = p99_ms(&load, sides)?;
    let large = bench.webhook("webhook-large", &many.kubeconfig(bench.testbed.folder())?)?;
    judges(&large)?;
    let load_of_many = Load::new(bench.certificates.client()?, MANY);
    let cost_growth = cost_growth([(&load_of_many, &large), (&load, &webhook)])?;
    let custom_ratio = custom::ratio(bench, &load, &webhook)?;
    let rss_mib = rss_mib(&load, &webhook)?;
    let (large_rss, _) = large.memory_mib()?;
    say(&format!("with {} policies {large_rss:.1} MiB", MANY * POLICIES.len()));
    for webhook in [&webhook, &large] {
        judges(webhook)?;
        never_doubted(webhook)?;
    }
    Ok(Loopback {
        floor_ratio_1,
        floor_ratio_32,
        webhook_cpu_us,
        p99_ms,
        cost_growth,
        custom_ratio,
        rss_mib,
    })
}

pub(super) fn fake(namespaces: usize) -> Result<FakeApi> {
    FakeApi::with_policies(Shape::even(0, namespaces), &POLICIES)
}

/// Requests per second of the webhook, against the baseline.
pub(super) fn rate_ratio(
    load: &Load,
    sides: [&Service<'_>; 2],
    connections: usize,
    requests: usize,
) -> Result<f64> {
    let (mut ratios, mut own) = (Vec::new(), [0.0; 2]);
    for pair in 0..=PAIRS {
        let round = |side: usize| {
            let before = process::own_cpu()?;
            let rate = load.round(sides[side], connections, requests)?.rate;
            own[side] += process::own_cpu()? - before;
            Ok(rate)
        };
        let [webhook, floor] = in_turn(pair, round)?;
        let ratio = webhook / floor;
        say(&format!(
            "{connections} connections: {webhook:.0} requests a second, floor {floor:.0}: {ratio:.3}"
        ));
        if pair > 0 {
            ratios.push(ratio);
        }
    }
    let [webhook, floor] = own.map(|own| own * 1e6 / ((PAIRS + 1) * requests) as f64);
    say(&format!(
        "the client takes {webhook:.1} µs beside the webhook, {floor:.1} beside the floor"
    ));
    Ok(median(ratios))
}

/// The 99th percentile of the webhook's latencies, in milliseconds.
fn p99_ms(load: &Load, sides: [&Service<'_>; 2]) -> Result<f64> {
    const CONNECTIONS: usize = 8;
    let mut latencies = [Vec::new(), Vec::new()];
    for pair in 0..=PAIRS {
        let round = |side: usize| load.round(sides[side], CONNECTIONS, ROUND_OF_MANY);
        for (all, round) in latencies.iter_mut().zip(in_turn(pair, round)?) {
            if pair > 0 {
                all.extend(round.latencies);
            }
        }
    }
    let [webhook, floor] = latencies.map(|mut latencies| {
        latencies.sort_unstable();
        let at = |part: usize| ms(latencies[latencies.len() * part / 1000]);
        [at(500), at(990), at(999)]
    });
    say(&format!(
        "{CONNECTIONS} connections: 50, 99, 99.9 of 100 within {webhook:.3?} ms, floor {floor:.3?} ms"
    ));
    Ok(webhook[1])
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Processor time of a request with 32 connections beyond that of the baseline, in microseconds.
fn webhook_cpu_us(load: &Load, sides: [&Service<'_>; 2]) -> Result<f64> {
    let mut beyond = Vec::new();
    for pair in 0..=COST_PAIRS {
        let [webhook, floor] = in_turn(pair, |side| cpu_us(load, sides[side], 32))?;
        say(&format!("32 connections: {webhook:.1} µs each, floor {floor:.1} µs"));
        if pair > 0 {
            beyond.push(webhook - floor);
        }
    }
    Ok(median(beyond))
}

/// Processor time of a request with many policies, against one with few.
fn cost_growth(clusters: [(&Load, &Service<'_>); 2]) -> Result<f64> {
    let mut ratios = Vec::new();
    for pair in 0..=COST_PAIRS {
        let [many, few] = in_turn(pair, |side| {
            let (load, webhook) = clusters[side];
            cpu_us(load, webhook, 8)
        })?;
        say(&format!("{many:.1} µs each with {MANY} namespaces, {few:.1} µs with one"));
        if pair > 0 {
            ratios.push(many / few);
        }
    }
    Ok(median(ratios))
}

/// Processor time of a server for each request, in microseconds.
fn cpu_us(load: &Load, server: &Service<'_>, connections: usize) -> Result<f64> {
    let before = process::cpu(server)?;
    load.round(server, connections, ROUND_OF_COSTS)?;
    Ok((process::cpu(server)? - before) * 1e6 / ROUND_OF_COSTS as f64)
}

/// Resident memory after a million requests. The peak is printed as well.
fn rss_mib(load: &Load, webhook: &Service<'_>) -> Result<f64> {
    let answered = || {
        let allowed = [("operation", "create"), ("decision", "allowed")];
        anyhow::Ok(webhook.metrics()?.value("webhook_requests_total", &allowed).unwrap_or_default())
    };
    while answered()? < MILLION {
        load.round(webhook, 32, ROUND_OF_COSTS)?;
    }
    let (now, peak) = webhook.memory_mib()?;
    say(&format!("{} requests: {now:.1} MiB resident, {peak:.1} at most", answered()?));
    Ok(now)
}

/// Checks that all policies of the namespace apply: each denies an image that is not pinned.
pub(super) fn judges(webhook: &Service<'_>) -> Result<()> {
    let (status, answer) = webhook.post("/validate", &review::denied("team-0"))?;
    let named = POLICIES
        .iter()
        .filter(|policy| answer.contains(&format!("denied by policy team-0/{policy}: ")));
    ensure!(status == 200 && named.count() == POLICIES.len(), "{status} {answer}");
    Ok(())
}

/// Checks that no request was allowed by fail-open.
pub(super) fn never_doubted(webhook: &Service<'_>) -> Result<()> {
    let metrics = webhook.metrics()?;
    let doubts = metrics.iter().filter(|(series, _)| series.name == "webhook_failopen_total");
    let doubts: f64 = doubts.map(|(_, count)| count).sum();
    ensure!(doubts == 0.0, "{doubts} requests were allowed by fail-open");
    Ok(())
}
