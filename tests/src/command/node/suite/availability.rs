//! What happens to nodes and pods in the life of a cluster.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use e2e::{NODES, Testbed};
use serde_json::json;

use super::super::chart::NAMESPACE;
use super::{load, pods};

const WEBHOOK: &str = "policy-webhook";

/// While no node takes pods, the first of two pods can be evicted and the second cannot.
pub(super) fn last_replica(testbed: &Testbed) -> Result<String> {
    let pods = pods::wait_until_ready(testbed)?;
    testbed.kubectl(&[&["cordon"][..], &NODES].concat())?.succeeded()?;
    let result = pods::COMPONENTS.iter().try_for_each(|component| {
        let mut of = pods.iter().filter(|pod| pod.component == *component);
        let (first, last) = of.next().zip(of.next()).context("a pod is missing")?;
        evict(testbed, &first.name)?.succeeded()?;
        // The controller of disruption budgets counts the pods a moment later; the API server has
        // counted this eviction itself.
        let run = evict(testbed, &last.name)?;
        ensure!(
            run.stderr.contains("would violate the pod's disruption budget"),
            "{} was evicted: {}{}",
            last.name,
            run.stdout,
            run.stderr
        );
        Ok(())
    });
    testbed.kubectl(&[&["uncordon"][..], &NODES].concat())?.succeeded()?;
    result?;
    pods::wait_until_ready(testbed)?;
    Ok("the budget of each component refuses it".to_owned())
}

fn evict(testbed: &Testbed, pod: &str) -> Result<e2e::Run> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction");
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": { "name": pod, "namespace": NAMESPACE } });
    testbed.kubectl_stdin(&["create", "--raw", &path, "-f", "-"], &eviction.to_string())
}

pub(super) fn restart(testbed: &Testbed) -> Result<String> {
    load::during(testbed, 0, || {
        let rollout = |verb: &str| {
            let webhook = ["deployment", WEBHOOK, "--namespace", NAMESPACE];
            testbed.kubectl(&[&["rollout", verb][..], &webhook].concat())?.succeeded()
        };
        rollout("restart")?;
        rollout("status")?;
        pods::wait_until_ready(testbed)?;
        Ok(())
    })
}

/// Drains the node with most of the webhook's pods.
pub(super) fn drain(testbed: &Testbed) -> Result<String> {
    let mut count = BTreeMap::from(NODES.map(|node| (node, 0)));
    for pod in pods::wait_until_ready(testbed)?.iter().filter(|pod| pod.component == WEBHOOK) {
        *count.get_mut(&*pod.node).context("an unknown node")? += 1;
    }
    let (&node, &pods) = count.iter().max_by_key(|&(_, &count)| count).context("no node")?;
    let answers = load::during(testbed, 0, || {
        testbed.kubectl(&["drain", node, "--timeout=120s"])?.succeeded()?;
        pods::wait_until_ready(testbed)?;
        Ok(())
    });
    testbed.kubectl(&["uncordon", node])?.succeeded()?;
    Ok(format!("{} ({pods} pod(s) of the webhook moved)", answers?))
}
