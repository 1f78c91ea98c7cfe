//! What enforce mode would do: reads the workloads of a namespace, and what limits them.

use std::collections::BTreeMap;

use http::Request;
use policy_core::api::{DevOpsPolicy, RemediatedWorkload};
use policy_core::facts::PodFacts;
use policy_core::installation::WEBHOOK_CONFIGURATION;
use policy_core::policy::{CompiledPolicy, PolicyAge};
use policy_core::remediation::{
    Autoscaler, LimitRange, MemoryPeaks, NamespaceFacts, NamespaceRules, OptIn, PlanInput, Target,
    WorkloadPeaks, plan,
};
use policy_core::report::{PlannedWorkload, RemediationPreview};
use policy_core::workload::Workload;
use serde_json::Value;

use crate::cluster::namespaced::Event;
use crate::cluster::pages::{self, Page};
use crate::cluster::{Cluster, ClusterError, ErrorKind};
use crate::policies::PolicyApi;

/// The kinds that are patched.
const KINDS: [(&str, &str); 3] =
    [("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")];

/// Reads a namespace for planning.
struct Reader<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    /// What could not be read.
    assumptions: Vec<String>,
}

/// What the policy `name` would do with the workloads of the namespace, beside the other enforce
/// policies there; `None` in audit mode.
pub(super) async fn preview(
    cluster: &Cluster,
    (namespace, pods): (&str, &[PodFacts]),
    name: &str,
    policy: &CompiledPolicy,
) -> anyhow::Result<Option<RemediationPreview>> {
    if policy.remediation().is_none() {
        return Ok(None);
    }
    let mut reader = Reader { cluster, namespace, assumptions: Vec::new() };
    let (policies, memory) = reader.policies(name, policy).await?;
    let rules =
        policies.iter().filter_map(|(age, policy)| Some((&**age.name(), policy.remediation()?)));
    let rules = NamespaceRules::of(rules);
    let facts = reader.facts().await;
    let peaks = reader.peaks(pods).await;
    let mut workloads = Vec::new();
    for (kind, plural) in KINDS {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{plural}");
        for mut object in reader.list(&path, plural).await.unwrap_or_default() {
            // The members of a list have no type of their own.
            object["apiVersion"] = "apps/v1".into();
            object["kind"] = kind.into();
            let Ok(target) = Target::read(&object) else { continue };
            let workload =
                Workload { group: "apps".into(), kind: kind.into(), name: (&*target.name).into() };
            let label = target.label();
            let memory = memory.iter().find(|found| found.workload == label);
            let input = PlanInput {
                rules: &rules,
                namespace: &facts,
                target: &target,
                peaks: peaks.as_ref().and_then(|peaks| peaks.get(&workload)),
                memory,
            };
            let planned = plan(&input);
            if planned.policy.as_deref().is_none_or(|by| by == name) {
                let full_name = format!("{namespace}/{name}");
                workloads.extend(PlannedWorkload::of(&target, &object, planned.plan, &full_name));
            }
        }
    }
    Ok(Some(RemediationPreview::of(workloads, reader.assumptions)))
}

impl Reader<'_> {
    /// The policies of the namespace with the previewed one, the oldest first, and what their
    /// status says of workloads.
    async fn policies(
        &self,
        name: &str,
        policy: &CompiledPolicy,
    ) -> Result<(Vec<(PolicyAge, CompiledPolicy)>, Vec<RemediatedWorkload>), ClusterError> {
        let (mut found, mut failed) = (Vec::new(), None);
        if let Some(api) = PolicyApi::find(self.cluster).await? {
            api.read(Some(self.namespace), &mut |event: Event<Value>| match event {
                Event::Page(page) => found.extend(page.objects),
                Event::NotRead { error, .. } => failed = Some(error),
            })
            .await;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let (mut policies, mut memory) = (Vec::new(), Vec::new());
        let mut own = PolicyAge::of(&kube::api::ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        });
        for object in found {
            let Ok(found) = serde_json::from_value::<DevOpsPolicy>(object) else { continue };
            let age = PolicyAge::of(&found.metadata);
            let status = found.status.and_then(|status| status.remediation).unwrap_or_default();
            memory.extend(status.workloads);
            if found.metadata.name.as_deref() == Some(name) {
                own = age;
            } else if let Ok(compiled) = CompiledPolicy::compile(&found.spec) {
                policies.push((age, compiled));
            }
        }
        policies.push((own, policy.clone()));
        policies.sort_by(|a, b| a.0.cmp(&b.0));
        Ok((policies, memory))
    }

    async fn facts(&mut self) -> NamespaceFacts {
        let namespace = self.namespace;
        let object = self.get(&format!("/api/v1/namespaces/{namespace}")).await;
        let opt_in = match object {
            Ok(object) => object.as_ref().map(OptIn::of).unwrap_or_default(),
            Err(error) => {
                self.assume("the namespace has no annotation about remediation", &error);
                OptIn::Unset
            }
        };
        let in_namespace =
            |group: &str, kind: &str| format!("/apis/{group}/namespaces/{namespace}/{kind}");
        let limits = format!("/api/v1/namespaces/{namespace}/limitranges");
        let limit_ranges = self.list(&limits, "LimitRanges").await.unwrap_or_default();
        let horizontal = in_namespace("autoscaling/v2", "horizontalpodautoscalers");
        let horizontal = self.list(&horizontal, "HorizontalPodAutoscalers").await;
        let vertical = in_namespace("autoscaling.k8s.io/v1", "verticalpodautoscalers");
        let vertical = self.list(&vertical, "VerticalPodAutoscalers").await;
        let horizontal = horizontal.unwrap_or_default();
        let vertical = vertical.unwrap_or_default();
        let autoscalers = horizontal.iter().map(Autoscaler::horizontal);
        let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
        let webhook = self.get(&format!("{configurations}/{WEBHOOK_CONFIGURATION}")).await;
        let has_mutating_webhook = match webhook {
            Ok(found) => found.is_some(),
            Err(error) => {
                self.assume("the mutating webhook is installed", &error);
                true
            }
        };
        NamespaceFacts {
            is_excluded: false,
            opt_in,
            limit_ranges: limit_ranges.iter().map(LimitRange::read).collect(),
            autoscalers: autoscalers.chain(vertical.iter().map(Autoscaler::vertical)).collect(),
            has_mutating_webhook,
        }
    }

    /// The memory use of each workload; `None` where metrics.k8s.io does not answer.
    async fn peaks(&mut self, pods: &[PodFacts]) -> Option<BTreeMap<Workload, MemoryPeaks>> {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", self.namespace);
        let mut peaks = WorkloadPeaks::new(pods);
        match self.get(&path).await {
            Ok(list) => {
                let list = list.unwrap_or_default();
                let metrics = list["items"].as_array().into_iter().flatten();
                metrics.for_each(|metrics| peaks.observe(metrics));
            }
            Err(error) => {
                self.assume("metrics.k8s.io does not answer, so no memory limit is safe", &error);
            }
        }
        peaks.finish()
    }

    /// The objects of a list, none where their kind is not served.
    async fn list(&mut self, path: &str, plural: &str) -> Option<Vec<Value>> {
        let operation = format!("cannot list the {plural} of namespace {}", self.namespace);
        let mut objects = Vec::new();
        let client = self.cluster.client();
        let read = pages::read(&client, path, &operation, |page: Page<Value>| {
            objects.extend(page.objects);
        });
        match read.await {
            Ok(()) => Some(objects),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => {
                self.assume(&format!("there are no {plural}"), &error);
                None
            }
        }
    }

    async fn get(&self, path: &str) -> Result<Option<Value>, ClusterError> {
        let operation = format!("cannot read {path}");
        let request = Request::get(path).body(Vec::new());
        let request = request
            .map_err(|error| ClusterError::configuration(operation.clone(), error.to_string()))?;
        let client = self.cluster.client();
        match self.cluster.call(&operation, client.request(request)).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    fn assume(&mut self, assumption: &str, error: &ClusterError) {
        self.assumptions.push(format!("{assumption} ({})", error.reason()));
    }
}
