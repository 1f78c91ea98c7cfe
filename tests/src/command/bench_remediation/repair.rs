//! The repair of Deployments on a real API server: its writes, and its time against `kubectl patch`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use e2e::{Parts, Service, Signal, Testbed, released_program, say};
use serde_json::{Value, json};

use super::super::bench_webhook::PLATFORM;
use super::super::measure::{wait, wait_ready};

/// What is repaired: probes and requests.
pub(super) const SPEC: &str = r#"{"enforcementMode": "enforce", "requireLivenessProbe": true,
    "requireReadinessProbe": true, "defaultProbe": {"tcpPort": 8080},
    "defaultResources": {"cpuRequest": "1m", "memoryRequest": "1Mi"},
    "admission": {"mode": "off"}}"#;
const ACCOUNT: &str = "policy-operator";
/// The Deployments of a namespace.
const EACH: usize = 100;
/// The namespaces whose repair is timed, and those that kubectl repairs.
const TIMED: usize = 5;
/// All namespaces that the operator repairs.
const REPAIRED: usize = 10;
/// Calls of kubectl at a time.
const AT_A_TIME: usize = 8;
/// Everything is created and rolled out within that time.
const SETUP: Duration = Duration::from_secs(900);

pub(super) struct Repair {
    pub(super) writes_per_workload: f64,
    pub(super) ratio: f64,
}

pub(super) fn measure() -> Result<Repair> {
    let program = released_program("policy-operator")?;
    let testbed = Testbed::start(&Parts::new("repair").with_controllers().with_nodes(20))?;
    testbed.install_definitions()?;
    testbed.install_base()?;
    let by_operator: Vec<String> = (0..REPAIRED).map(|number| format!("team-{number}")).collect();
    let by_kubectl: Vec<String> = (0..TIMED).map(|number| format!("hand-{number}")).collect();
    for namespace in by_operator.iter().chain(&by_kubectl) {
        // Not by server-side apply, whose owner would be locked out by a patch.
        let create = ["create", "-f", "-"];
        testbed.kubectl_stdin(&create, &deployments(namespace).to_string())?.succeeded()?;
    }
    wait_until_rolled_out(&testbed, (REPAIRED + TIMED) * EACH)?;
    testbed.install_operator_remediation()?;
    testbed.install_empty_mutating_configuration()?;
    // The writes alone are measured, not the rollouts that they cause.
    testbed.signal_controllers(Signal::Stop)?;
    let kubeconfig = testbed.account_kubeconfig(PLATFORM, ACCOUNT)?;
    let operator = testbed
        .service("operator", &program)
        .kubeconfig(&kubeconfig)
        .variable("GOV_REMEDIATION__MAX_CONCURRENT_PER_POLICY", "10000")
        .variable("GOV_REMEDIATION__MAX_CONCURRENT", "10000")
        .variable("GOV_REMEDIATION__MAX_STARTED", "10000")
        .variable("GOV_REMEDIATION__CANARY", "false")
        .start()?;
    wait_ready(&operator)?;
    let fixed = repair(&testbed, &operator, &by_operator[..TIMED], TIMED * EACH)?;
    let patched = kubectl_patches(&testbed, &by_kubectl)?;
    say(&format!("500 Deployments: {fixed:.1?}, with kubectl patch, 8 at a time {patched:.1?}"));
    repair(&testbed, &operator, &by_operator[TIMED..], REPAIRED * EACH)?;
    let writes = writes(&testbed)?;
    say(&format!("{} Deployments: {writes:?}", REPAIRED * EACH));
    let sent = writes.get("deployments").copied().unwrap_or_default();
    ensure!(sent >= REPAIRED * EACH, "only {sent} patches of Deployments were sent");
    let sum: usize = writes.values().sum();
    Ok(Repair {
        writes_per_workload: sum as f64 / (REPAIRED * EACH) as f64,
        ratio: fixed.as_secs_f64() / patched.as_secs_f64(),
    })
}

fn deployments(namespace: &str) -> Value {
    let deployment = |number| {
        let labels = json!({ "app": format!("web-{number}") });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": format!("web-{number}"), "namespace": namespace },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [{
                    "name": "web", "image": "nginx:1.27", "ports": [{ "containerPort": 8080 }],
                }] } },
            },
        })
    };
    let mut items: Vec<Value> = (0..EACH).map(deployment).collect();
    items.insert(
        0,
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }),
    );
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

fn wait_until_rolled_out(testbed: &Testbed, number: usize) -> Result<()> {
    let start = Instant::now();
    loop {
        let path = "jsonpath={range .items[?(@.status.readyReplicas==1)]}x{end}";
        let get = ["get", "deployments", "-A", "-o", path];
        let ready = testbed.kubectl(&get)?.succeeded()?.matches('x').count();
        if ready >= number {
            return Ok(());
        }
        ensure!(start.elapsed() < SETUP, "{ready} of {number} Deployments are ready");
        thread::sleep(Duration::from_secs(2));
    }
}

/// Creates the policies of these namespaces, and returns the time until as many Deployments are
/// patched.
fn repair(
    testbed: &Testbed,
    operator: &Service<'_>,
    namespaces: &[String],
    number: usize,
) -> Result<Duration> {
    let spec: Value = serde_json::from_str(SPEC)?;
    let policies: Vec<Value> = namespaces
        .iter()
        .map(|namespace| {
            json!({ "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
                "metadata": { "name": "strict", "namespace": namespace }, "spec": spec })
        })
        .collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": policies });
    let start = Instant::now();
    testbed.apply(&list.to_string())?;
    wait(|| {
        let applied = operator.metrics()?.value("enforcement_remediations_applied_total", &[]);
        thread::sleep(Duration::from_millis(20));
        Ok(applied.unwrap_or_default() >= number as f64)
    })?;
    Ok(start.elapsed())
}

/// Patches the Deployments of these namespaces as people do, and returns the time that takes.
fn kubectl_patches(testbed: &Testbed, namespaces: &[String]) -> Result<Duration> {
    let probe = json!({ "tcpSocket": { "port": 8080 }, "initialDelaySeconds": 5 });
    let patch = json!({ "spec": { "template": { "spec": { "containers": [{
        "name": "web", "readinessProbe": probe, "livenessProbe": probe,
        "resources": { "requests": { "cpu": "1m", "memory": "1Mi" } },
    }] } } } })
    .to_string();
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        let patches = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(namespace) = namespaces.get(number / EACH) else { return Ok(()) };
                let name = format!("web-{}", number % EACH);
                let arguments = ["patch", "deployment", &name, "-n", namespace, "-p", &patch];
                testbed.kubectl(&arguments)?.succeeded()?;
            }
        };
        let threads: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(patches)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow!("a thread of kubectl panicked"))?
        })
    })?;
    Ok(start.elapsed())
}

/// What the operator wrote, by resource. A dry run writes nothing.
fn writes(testbed: &Testbed) -> Result<BTreeMap<String, usize>> {
    let mut writes = BTreeMap::new();
    for call in testbed.audit(&format!("system:serviceaccount:{PLATFORM}:{ACCOUNT}"))? {
        let is_write = matches!(&*call.verb, "create" | "update" | "patch" | "delete");
        if is_write && !call.url.contains("dryRun=") && call.resource != "leases" {
            *writes.entry(call.resource).or_default() += 1;
        }
    }
    Ok(writes)
}
