//! Looks at policies without an API server, for measurements: what a look costs where nothing is
//! to be written.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy_core::Timestamp;
use policy_core::api::FINALIZER;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::view::{PodView, PolicyView};
use policy_runtime::testing::{Script, open_gate};
use policy_runtime::watch::Sink as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::audit::{self, Results};
use crate::judgement::{Judgement, status};
use crate::key::Key;
use crate::memory::PACE;
use crate::pods::{PodSink, Pods};
use crate::policies::{Policies, PolicySink};
use crate::reconcile::Reconciler;
use crate::trail::Pending;
use crate::write::Writer;

/// The leader's reconcile function, over policies of which all is written already.
pub struct Looks {
    reconciler: Reconciler,
    pods: PodSink,
    policies: PolicySink,
    looked_at: Vec<Arc<PolicyView>>,
    script: Script,
}

impl Looks {
    /// One policy with that spec in each of so many namespaces, beside its pods.
    ///
    /// # Errors
    /// Where the spec or a pod cannot be decoded, or a policy cannot be judged by.
    pub fn new<'a>(
        namespaces: usize,
        spec: &Value,
        pods: impl Fn(&str) -> Vec<Value> + 'a,
    ) -> anyhow::Result<Self> {
        let script = Script::default();
        let (known, policies) = Policies::new();
        let index = Pods::new(ExcludedNamespaces::default());
        let mut looks = Self {
            pods: index.sink(),
            policies,
            looked_at: Vec::new(),
            reconciler: Reconciler {
                pods: index,
                policies: known,
                results: Results::default(),
                writer: Writer::new(script.client(), open_gate()),
                cluster_name: None,
                retention: 10,
                now: Box::new(Timestamp::now),
            },
            script,
        };
        let names: Vec<String> = (0..namespaces).map(|number| format!("team-{number}")).collect();
        looks.pods.list_begins();
        for pod in names.iter().flat_map(|namespace| pods(namespace)) {
            looks.pods.applied(serde_json::from_value::<PodView>(pod)?);
        }
        looks.pods.list_completes();
        for namespace in &names {
            looks.settle(namespace, spec)?;
        }
        Ok(looks)
    }

    /// Adds a policy whose status and audit result say what is found now.
    fn settle(&mut self, namespace: &str, spec: &Value) -> anyhow::Result<()> {
        let mut policy = json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "name": "strict", "namespace": namespace, "uid": format!("uid-{namespace}"),
                "generation": 1, "resourceVersion": "1", "finalizers": [FINALIZER] },
            "spec": spec,
        });
        let now = Timestamp::now();
        let fresh: PolicyView = serde_json::from_value(policy.clone())?;
        let judgement = self.reconciler.judge(&fresh, now);
        let Some(judgement @ Judgement::Judged(..)) = judgement else {
            anyhow::bail!("{judgement:?}")
        };
        policy["status"] = serde_json::to_value(status(&judgement, Some(1), None, now))?;
        self.policies.applied(serde_json::from_value(policy)?);
        let Judgement::Judged(_, verdict) = judgement else { return Ok(()) };
        let minute = now.as_second() / 60;
        let spec = audit::spec("strict", None, &verdict, now);
        let pending = Pending { minute, fingerprint: verdict.fingerprint, spec };
        let metadata: &ObjectMeta = &fresh.metadata;
        self.reconciler.results.wrote(&audit::object(metadata, &pending).metadata, minute);
        let key = Key::of(metadata);
        if let Some(memory) = self.reconciler.policies.memory(&key) {
            let mut memory = memory.lock().map_err(|_| anyhow::anyhow!("a look panicked"))?;
            memory.herald.assume(Some(verdict.score.classification()));
        }
        self.looked_at.extend(self.reconciler.policies.store().get(&key.reference()));
        Ok(())
    }

    /// Judges each policy once, and gives how many there are. A policy is judged once a second at
    /// most: needs a tokio runtime whose clock is paused, and moved on by that before each call.
    ///
    /// # Errors
    /// Where a policy was not judged, or anything was to be written.
    pub async fn look_at_all(&self) -> anyhow::Result<usize> {
        for policy in &self.looked_at {
            self.reconciler.reconcile(policy).await?;
            let memory = self.reconciler.policies.memory(&Key::of(&policy.metadata));
            // Half of its second ago it would not have been its turn again, as it was judged now.
            let earlier = Instant::now() - PACE / 2;
            let rest = memory.and_then(|memory| memory.lock().ok()?.rest(Some(1), earlier));
            anyhow::ensure!(rest.is_some(), "a policy was not judged");
        }
        let calls = self.script.calls();
        anyhow::ensure!(calls.is_empty(), "there was something to write: {calls:?}");
        Ok(self.looked_at.len())
    }
}
