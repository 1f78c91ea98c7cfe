//! `cargo xtask bench core`: the engine, the index, decoding, and policyctl on files.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use policy_core::Timestamp;
use policy_core::evaluate::{Evaluation, evaluate};
use policy_core::facts::{ImageFact, PodFacts, ResourceGap, RunFacts};
use policy_core::index::{Index, ScoredPod};
use policy_core::policy::CompiledPolicy;
use policy_core::view::PodView;
use serde::de::IgnoredAny;

use super::manifests;
use super::measure::{Goal, Measured, nanoseconds_each, print, ratio};
use super::sample::{pod_json, pod_name};
use crate::cargo;

const PODS: usize = 100_000;

pub(super) fn run(json: bool) -> Result<()> {
    let policyctl = cargo::build("policyctl", &["--release"])?;
    let results = [
        Measured {
            key: "evaluate_ns_per_pod",
            value: evaluate_nanoseconds()?,
            goal: Goal::AtMost(200.0),
            what: "2 containers, seven checks",
        },
        Measured {
            key: "decode_ratio",
            value: decode_ratio()?,
            goal: Goal::AtMost(1.6),
            what: "14.5 KB pod to facts / IgnoredAny",
        },
        Measured {
            key: "index_bytes_per_pod",
            value: index_bytes_in_own_process()?,
            goal: Goal::AtMost(200.0),
            what: "resident, 100 000 pods",
        },
        Measured {
            key: "index_apply_ns",
            value: index_apply_nanoseconds()?,
            goal: Goal::AtMost(500.0),
            what: "a changed pod among 100 000",
        },
        Measured {
            key: "analyze_ratio",
            value: manifests::analyze_ratio(&policyctl)?,
            goal: Goal::AtMost(0.7),
            what: "100 MB: policyctl / parsing, 1 thread",
        },
        Measured {
            key: "fix_ratio",
            value: manifests::fix_ratio(&policyctl)?,
            goal: Goal::AtMost(1.6),
            what: "100 MB: policyctl fix / analyze, processor time",
        },
        Measured {
            key: "policyctl_cold_ms",
            value: manifests::cold_milliseconds(&policyctl)?,
            goal: Goal::AtMost(15.0),
            what: "whole process, a small file",
        },
    ];
    print(&results, json)
}

fn pod() -> Result<PodFacts> {
    let view: PodView = serde_json::from_str(&pod_json())?;
    let mut facts = PodFacts::of_pod(&view, "default");
    // The init container only adds to the size of the JSON.
    facts.checked.containers = facts.checked.containers.iter().take(2).cloned().collect();
    Ok(facts)
}

/// Pods without findings, with some, and with all.
fn pods() -> Result<[PodFacts; 3]> {
    let healthy = pod()?;
    let mut some = healthy.clone();
    Arc::make_mut(&mut some.checked.containers)[1].has_liveness_probe = false;
    let mut all = healthy.clone();
    for container in Arc::make_mut(&mut all.checked.containers) {
        container.image = ImageFact::NotPinned("nginx".into());
        container.has_liveness_probe = false;
        container.has_readiness_probe = false;
        container.missing_resources.memory_limit = ResourceGap::Missing;
    }
    let run = |container| RunFacts { container, restarts: 9, ..RunFacts::default() };
    all.checked.runs = [0, 1].map(run).into_iter().collect();
    Ok([healthy, some, all])
}

fn evaluate_nanoseconds() -> Result<f64> {
    const ROUNDS: usize = 200_000;
    let (policy, pods) = (CompiledPolicy::default_profile(), pods()?);
    let now = Timestamp::now();
    Ok(nanoseconds_each(9, ROUNDS * pods.len(), || {
        for _ in 0..ROUNDS {
            for pod in &pods {
                std::hint::black_box(evaluate(std::hint::black_box(pod), &policy, now));
            }
        }
    }))
}

fn decode_ratio() -> Result<f64> {
    const ROUNDS: usize = 2000;
    let text = pod_json();
    pod().context("the sample is not a pod")?;
    let decode = || {
        for _ in 0..ROUNDS {
            let view = serde_json::from_str::<PodView>(std::hint::black_box(&text));
            let facts = view.map(|view| PodFacts::of_pod(&view, "default"));
            std::hint::black_box(facts.is_ok());
        }
    };
    let skip = || {
        for _ in 0..ROUNDS {
            std::hint::black_box(
                serde_json::from_str::<IgnoredAny>(std::hint::black_box(&text)).is_ok(),
            );
        }
    };
    Ok(ratio(15, decode, skip))
}

fn evaluations() -> Result<[Evaluation; 3]> {
    let (policy, now) = (CompiledPolicy::default_profile(), Timestamp::now());
    Ok(pods()?.map(|pod| evaluate(&pod, &policy, now)))
}

fn filled(evaluations: &[Evaluation]) -> Index<ScoredPod> {
    let mut index = Index::default();
    for number in 0..PODS {
        let (namespace, name) = pod_name(number);
        let record = ScoredPod::of(&name, &evaluations[number % evaluations.len()]);
        index.set(&namespace, &name, record);
    }
    index
}

fn index_apply_nanoseconds() -> Result<f64> {
    let evaluations = evaluations()?;
    let mut index = filled(&evaluations);
    // Far apart in memory, so that processor caches help no more than in production.
    let names: Vec<_> = (0..PODS).map(|i| pod_name(i * 7919 % PODS)).collect();
    let mut round = 0;
    Ok(nanoseconds_each(9, PODS, || {
        round += 1;
        for (i, (namespace, name)) in names.iter().enumerate() {
            let record = ScoredPod::of(name, &evaluations[(i + round) % evaluations.len()]);
            std::hint::black_box(index.set(namespace, name, record));
        }
    }))
}

/// The growth of resident memory for each pod in the index.
#[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^52")]
pub(super) fn index_bytes_per_pod() -> Result<f64> {
    let evaluations = evaluations()?;
    let before = resident_bytes()?;
    let index = filled(&evaluations);
    let grown = resident_bytes()?.saturating_sub(before);
    Ok(grown as f64 / index.len() as f64)
}

/// Measures in a new process, as memory that another measurement freed would hide the growth.
fn index_bytes_in_own_process() -> Result<f64> {
    let output = Command::new(std::env::current_exe()?).args(["bench", "index-memory"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().with_context(|| format!("not a number of bytes: {text:?}"))
}

/// The resident set size in /proc/self/status, on Linux only.
fn resident_bytes() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")
        .context("resident memory is read from /proc, which Linux has")?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = kilobytes.and_then(|rest| rest.split_whitespace().next());
    Ok(number.context("no VmRSS in /proc/self/status")?.parse::<usize>()? * 1024)
}
