//! Reconciles policies without an API server, to measure what a reconcile costs where nothing is to
//! be written.

use policy_core::Timestamp;
use policy_core::api::FINALIZER;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::view::{PodView, PolicyView};
use policy_runtime::testing::{Script, open_gate};
use policy_runtime::watch::Sink as _;
use serde_json::{Value, json};

use crate::audit_queue::{WaitingResult, minute_of};
use crate::audit_result;
use crate::audit_store::AuditStore;
use crate::cluster::Namespaces;
use crate::drains::{BlockedWorkloads, Drains};
use crate::judgement::Judgement;
use crate::pods::{PodSink, Pods};
use crate::policies::{Policies, PolicySink};
use crate::policy_key::PolicyKey;
use crate::reconcile::Reconciler;
use crate::remediation::{Budgets, Executor};
use crate::rollouts::Rollouts;
use crate::status::status;
use crate::workload_labels::WorkloadLabels;
use crate::writer::Writer;

/// The leader's reconciler, over policies for which everything is written.
pub struct ReconcileBench {
    reconciler: Reconciler,
    pods: PodSink,
    policies: PolicySink,
    keys: Vec<PolicyKey>,
    script: Script,
}

impl ReconcileBench {
    /// One policy with that spec in each of so many namespaces, beside its pods.
    ///
    /// # Errors
    /// The spec or a pod cannot be decoded, or the policy is invalid.
    pub fn new<'a>(
        namespaces: usize,
        spec: &Value,
        pods_of: impl Fn(&str) -> Vec<Value> + 'a,
    ) -> anyhow::Result<Self> {
        let script = Script::default();
        let policies = Policies::default();
        let pods = Pods::new(ExcludedNamespaces::default(), policies.clone());
        let writer = Writer::new(script.client(), open_gate(), policies.queue.budget());
        let mut bench = Self {
            pods: pods.sink(),
            policies: policies.sink(),
            keys: Vec::new(),
            reconciler: Reconciler {
                pods,
                namespaces: Namespaces::new(ExcludedNamespaces::default(), policies.clone()),
                rollouts: Rollouts::new(ExcludedNamespaces::default(), policies.clone()),
                labels: WorkloadLabels::new(&ExcludedNamespaces::default(), &policies),
                drains: Drains::new(
                    ExcludedNamespaces::default(),
                    policies.clone(),
                    script.client(),
                ),
                executor: Executor::new(writer.clone(), Budgets::default()),
                writer,
                open_reports: None,
                policies,
                audit_store: AuditStore::default(),
                cluster_name: None,
                retention: 10,
                now: Box::new(Timestamp::now),
            },
            script,
        };
        let names: Vec<String> = (0..namespaces).map(|number| format!("team-{number}")).collect();
        bench.pods.list_begins();
        for pod in names.iter().flat_map(|namespace| pods_of(namespace)) {
            bench.pods.applied(serde_json::from_value::<PodView>(pod)?);
        }
        bench.pods.list_completes();
        for namespace in &names {
            bench.add_policy(namespace, spec)?;
        }
        Ok(bench)
    }

    /// Adds a policy whose status and audit result say what is found now.
    fn add_policy(&mut self, namespace: &str, spec: &Value) -> anyhow::Result<()> {
        let mut policy = json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "name": "strict", "namespace": namespace, "uid": format!("uid-{namespace}"),
                "generation": 1, "resourceVersion": "1", "finalizers": [FINALIZER] },
            "spec": spec,
        });
        let now = Timestamp::now();
        let view: PolicyView = serde_json::from_value(policy.clone())?;
        let judgement = self.reconciler.judge_namespace(&view, &BlockedWorkloads::new(), now);
        let Some(judgement @ Judgement::Judged(judged)) = &judgement else {
            anyhow::bail!("{judgement:?}")
        };
        let verdict = &judged.verdict;
        let minute = minute_of(now);
        let spec = audit_result::spec(&view, None, verdict, now);
        let written = WaitingResult { minute, fingerprint: verdict.fingerprint, spec };
        let result = audit_result::object(&view, namespace, &written);
        self.reconciler.audit_store.insert(&result.metadata, minute);
        policy["status"] = serde_json::to_value(status(judgement, Some(1), None, now))?;
        self.policies.applied(serde_json::from_value(policy)?);
        self.keys.push(PolicyKey::of(&view.metadata));
        Ok(())
    }

    /// Reconciles each policy once, and returns how many there are.
    ///
    /// # Errors
    /// A policy was not judged, or something was to be written.
    pub async fn reconcile_all(&self) -> anyhow::Result<usize> {
        for key in &self.keys {
            let outcome = self.reconciler.reconcile(key).await;
            anyhow::ensure!(outcome.requeue_after.is_some(), "{key} was not judged");
        }
        let calls = self.script.calls();
        anyhow::ensure!(calls.is_empty(), "there was something to write: {calls:?}");
        Ok(self.keys.len())
    }
}
