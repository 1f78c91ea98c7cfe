//! What enforce mode would do: reads the workloads of a namespace, and what limits them.

use std::time::Duration;

use policy_core::Timestamp;
use policy_core::api::{DevOpsPolicy, RemediatedWorkload};
use policy_core::facts::PodFacts;
use policy_core::policy::{CompiledPolicy, PolicyRank};
use policy_core::remediation::{
    Gathering, NamespaceRules, PlanInput, Source, Surroundings, Target, memory, plan,
};
use policy_core::report::{PlannedWorkload, RemediationPreview};
use policy_core::workload::Workload;
use policy_kube::objects;
use serde_json::Value;

use crate::cluster::namespaced::Event;
use crate::cluster::pages::{self, Page};
use crate::cluster::{Cluster, ClusterError, ErrorKind};
use crate::policies::PolicyApi;

/// The longest time of a call.
const DEADLINE: Duration = Duration::from_secs(30);
/// The kinds that are patched.
const KINDS: [(&str, &str); 3] =
    [("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")];

/// What a policy and the others of its namespace remember of workloads.
type Memories = (Vec<RemediatedWorkload>, Vec<RemediatedWorkload>);

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
    let (policies, (own, others)) = reader.policies(name, policy).await?;
    let rules =
        policies.iter().filter_map(|(age, policy)| Some((&**age.name(), policy.remediation()?)));
    let rules = NamespaceRules::of(rules, Timestamp::now());
    let surroundings = reader.surroundings(pods).await;
    let mut workloads = Vec::new();
    for (kind, plural) in KINDS {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{plural}");
        for mut object in reader.list(&path, plural).await.unwrap_or_default() {
            // The members of a list have no type of their own.
            object["apiVersion"] = "apps/v1".into();
            object["kind"] = kind.into();
            let Ok(target) = Target::read(&object) else { continue };
            let (group, kind) = ("apps".into(), kind.into());
            let workload = Workload { group, kind, name: target.name.as_str().into() };
            let input = PlanInput {
                rules: &rules,
                namespace: &surroundings.facts,
                target: &target,
                peaks: surroundings.peaks_of(&workload),
                memory: memory(&target, &own, &others),
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
    ) -> Result<(Vec<(PolicyRank, CompiledPolicy)>, Memories), ClusterError> {
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
        let (mut policies, mut memories) = (Vec::new(), Memories::default());
        let mut own = PolicyRank::of(&kube::api::ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        });
        for object in found {
            let Ok(found) = serde_json::from_value::<DevOpsPolicy>(object) else { continue };
            let age = PolicyRank::of(&found.metadata);
            let status = found.status.and_then(|status| status.remediation).unwrap_or_default();
            let is_deleted = found.metadata.deletion_timestamp.is_some();
            if found.metadata.name.as_deref() == Some(name) {
                (own, memories.0) = (age, status.workloads);
                continue;
            }
            memories.1.extend(status.workloads);
            if is_deleted {
                continue;
            }
            if let Ok(compiled) = CompiledPolicy::compile(&found.spec) {
                policies.push((age, compiled));
            }
        }
        policies.push((own, policy.clone()));
        policies.sort_by(|a, b| a.0.cmp(&b.0));
        Ok((policies, memories))
    }

    async fn surroundings(&mut self, pods: &[PodFacts]) -> Surroundings {
        let mut gathering = Gathering::of(pods);
        let client = self.cluster.client();
        for source in Source::ALL {
            let path = source.path(self.namespace);
            let read = if source.is_list() {
                let take = |object: &Value| gathering.take_in(source, object);
                objects::each(&client, &path, DEADLINE, take).await
            } else {
                objects::get(&client, &path, DEADLINE).await.map(|found| {
                    if let Some(object) = &found {
                        gathering.take_in(source, object);
                    }
                })
            };
            if let Err(error) = read {
                gathering.assume(source);
                self.assume(source.assumption(), &error);
            }
        }
        gathering.finish()
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

    fn assume(&mut self, assumption: &str, error: &ClusterError) {
        self.assumptions.push(format!("{assumption} ({})", error.reason()));
    }
}
