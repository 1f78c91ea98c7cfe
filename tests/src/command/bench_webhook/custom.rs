//! The webhook with custom checks against the same without.

use anyhow::{Result, ensure};
use e2e::Service;
use serde_json::{Value, json};

use super::load::Load;
use super::loopback::{ROUND_OF_MANY, fake, judges, never_doubted, rate_ratio};
use super::{Bench, review};

/// As authors write them: fields, labels, each container, texts, and the labels of the namespace.
const EXPRESSIONS: [&str; 10] = [
    "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
    "!has(object.spec.hostPID) && !has(object.spec.hostIPC)",
    "'app.kubernetes.io/name' in object.metadata.labels",
    "object.spec.containers.all(c, c.image.startsWith('registry.example.com/'))",
    "object.spec.containers.all(c, has(c.resources.limits) && 'memory' in c.resources.limits)",
    "object.spec.containers.all(c, c.securityContext.readOnlyRootFilesystem)",
    "object.spec.volumes.all(v, !has(v.hostPath))",
    "object.spec.containers.all(c, c.ports.all(p, p.containerPort > 1024))",
    "object.spec.containers.all(c, c.image.matches(':v[0-9]+[.][0-9]+[.][0-9]+$'))",
    "object.spec.securityContext.runAsNonRoot && object.spec.serviceAccountName != 'default'",
];

fn spec(last: &str) -> Value {
    let checks = EXPRESSIONS.iter().take(9).chain([&last]).enumerate();
    let checks = checks.map(|(number, text)| {
        json!({ "name": format!("check-{number}"), "expression": text, "severity": "high" })
    });
    json!({ "custom": checks.collect::<Vec<_>>() })
}

/// Requests per second with a policy of ten custom checks, against those without.
pub(super) fn ratio(bench: &Bench, load: &Load, without: &Service<'_>) -> Result<f64> {
    let api = fake(1)?;
    api.add_policy("custom", &spec(EXPRESSIONS[9]));
    let with = bench.webhook("webhook-custom", &api.kubeconfig(bench.testbed.folder())?)?;
    judges(&with)?;
    let ratio = rate_ratio(load, [&with, without], 32, ROUND_OF_MANY)?;
    never_doubted(&with)?;
    applies(bench)?;
    Ok(ratio)
}

/// Checks that the checks are judged: an eleventh of them denies the same pod.
fn applies(bench: &Bench) -> Result<()> {
    let api = fake(1)?;
    api.add_policy("custom", &spec("false"));
    let denying = bench.webhook("webhook-denying", &api.kubeconfig(bench.testbed.folder())?)?;
    let (status, answer) = denying.post("/validate", &review::allowed("team-0"))?;
    ensure!(status == 200 && answer.contains("custom/check-9, high"), "{status} {answer}");
    Ok(())
}
