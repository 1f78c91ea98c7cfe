//! Policies in files and in clusters.

use std::collections::BTreeMap;

use anyhow::bail;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Resource as _};
use policy_core::api::{API_VERSION, DevOpsPolicy, DevOpsPolicySpec, GROUP, VERSION};
use policy_core::manifest::{DecodedPolicy, PolicyFile};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::{CompiledPolicy, InvalidField};
use policy_core::text::printable;
use serde_json::{Map, Value, json};

use crate::cluster::namespaced::{Event, Listed};
use crate::cluster::{Cluster, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::global::Global;
use crate::input::Inputs;
use crate::judgement::is_of_system;
use crate::limits::{Limits, NotJudged};
use crate::output;

/// The annotation in which `kubectl apply` keeps a copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const OPERATION: &str = "cannot use DevOpsPolicy";
/// The size limit of a policy file, in MiB.
const MAX_FILE_SIZE: u64 = 64;

/// A policy in the form to commit: without status and without fields that the server sets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) namespace: String,
    pub(crate) name: String,
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
    pub(crate) spec: Value,
}

/// A valid policy of a file.
pub(crate) struct FilePolicy {
    /// `policies.yaml:12`.
    pub(crate) place: String,
    pub(crate) policy: Policy,
    pub(crate) compiled: CompiledPolicy,
}

/// Namespace and name.
pub(crate) type PolicyName = (String, String);

/// The policies of files.
pub(crate) type FilePolicies = BTreeMap<PolicyName, FilePolicy>;

impl Policy {
    /// The part of an object that is to be committed.
    pub(crate) fn of(object: &Value, namespace: &str) -> Self {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().filter(|text| !text.is_empty());
        let map = |field: &str| metadata[field].as_object().cloned().unwrap_or_default();
        let mut annotations = map("annotations");
        annotations.remove(LAST_APPLIED);
        Self {
            namespace: text("namespace").unwrap_or(namespace).to_owned(),
            name: text("name").unwrap_or_default().to_owned(),
            labels: map("labels"),
            annotations,
            spec: object.get("spec").cloned().unwrap_or_else(|| json!({})),
        }
    }

    /// A policy of a cluster.
    pub(crate) fn of_live(object: &DynamicObject) -> Self {
        Self::of(&serde_json::to_value(object).unwrap_or_default(), "")
    }

    pub(crate) fn key(&self) -> PolicyName {
        (self.namespace.clone(), self.name.clone())
    }

    /// The name of a policy in every output.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// For people: [`Self::compiled`] failed.
    pub(crate) fn is_invalid(&self) -> String {
        format!("policy {} is invalid, so it has no score", self.full_name())
    }

    /// The object to commit or to apply.
    pub(crate) fn object(&self) -> Value {
        let mut metadata = json!({ "name": self.name, "namespace": self.namespace });
        for (field, map) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !map.is_empty() {
                metadata[field] = Value::Object(map.clone());
            }
        }
        json!({ "apiVersion": API_VERSION, "kind": "DevOpsPolicy", "metadata": metadata, "spec": self.spec })
    }

    /// Compiles a policy of a cluster. Unknown fields are ignored: the cluster's definition may be
    /// newer than this program.
    pub(crate) fn compiled(&self) -> Result<CompiledPolicy, Vec<InvalidField>> {
        let spec: DevOpsPolicySpec =
            serde_json::from_value(self.spec.clone()).map_err(|error| {
                vec![InvalidField { path: "spec".to_owned(), problem: error.to_string() }]
            })?;
        CompiledPolicy::compile(&spec)
    }

    /// The same in canonical form, to compare: with every default, as the API server fills them in,
    /// and with one spelling of equal values.
    pub(crate) fn canonical(mut self) -> Self {
        let typed = serde_json::from_value::<DevOpsPolicySpec>(self.spec.clone());
        if let Some(typed) = typed.ok().and_then(|spec| serde_json::to_value(spec).ok()) {
            overlay(&mut self.spec, typed);
        }
        self
    }

    /// The same with only the labels and annotations that `other` has: tools such as Argo CD add
    /// their own.
    pub(crate) fn with_marks_of(mut self, other: &Self) -> Self {
        self.labels.retain(|key, _| other.labels.contains_key(key));
        self.annotations.retain(|key, _| other.annotations.contains_key(key));
        self
    }
}

/// Sets the fields that the typed value has, and keeps all others.
fn overlay(value: &mut Value, typed: Value) {
    match (value, typed) {
        (Value::Object(fields), Value::Object(typed)) => {
            for (name, typed) in typed {
                overlay(fields.entry(name).or_insert(Value::Null), typed);
            }
        }
        (value, typed) => *value = typed,
    }
}

/// The fields, such as `spec.weights.pending`, that are in `a` and not in `b`.
pub(crate) fn fields_only_in(a: &Value, b: &Value, path: &str) -> Vec<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => a
            .iter()
            .flat_map(|(name, value)| {
                let path = format!("{path}.{name}");
                match b.get(name) {
                    Some(other) => fields_only_in(value, other, &path),
                    None => vec![path],
                }
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Reads the policies of files, folders, patterns or standard input. Those without a namespace
/// belong to that of `-n`, else to the context's.
///
/// # Errors
/// Everything that cannot be read or is invalid, after `failure`: half a folder is never used.
pub(crate) fn read_files(
    arguments: &[String],
    global: &Global,
    cluster: &Cluster,
    failure: &str,
) -> anyhow::Result<FilePolicies> {
    read_files_in(arguments, global, global.target.namespace_in(cluster), failure)
}

/// The same, where a policy without a namespace belongs to that one.
pub(crate) fn read_files_in(
    arguments: &[String],
    global: &Global,
    namespace: &str,
    failure: &str,
) -> anyhow::Result<FilePolicies> {
    let (mut read, mut problems, mut skipped) = (FilePolicies::new(), Vec::new(), 0_u64);
    let inputs = Inputs::find(arguments);
    problems.extend(inputs.problems());
    for input in &inputs.found {
        let Some(bytes) = input.read_or_add_to(&mut problems, MAX_FILE_SIZE) else {
            continue;
        };
        let PolicyFile { policies, others, failures } = PolicyFile::read(&bytes);
        let failures = failures.iter().filter(|f| f.is_manifest || input.is_explicit);
        problems.extend(failures.map(|failure| format!("{}:{failure}", input.name)));
        skipped += others;
        for DecodedPolicy { line, object, compiled, .. } in policies {
            let place = format!("{}:{line}", input.name);
            let policy = Policy::of(&object, namespace);
            match unusable(&policy, global, &read) {
                Some(problem) => problems.push(format!("{place}: {problem}")),
                None => _ = read.insert(policy.key(), FilePolicy { place, policy, compiled }),
            }
        }
    }
    if read.is_empty() && problems.is_empty() {
        problems.push(format!("{}: holds no DevOpsPolicy", arguments.join(", ")));
    }
    if !problems.is_empty() {
        return Err(output::problems(failure, &problems));
    }
    if skipped > 0 {
        global.console().note(format_args!("skipped {skipped} objects of other kinds"));
    }
    Ok(read)
}

/// Why a valid policy cannot be used beside those that were read before.
fn unusable(policy: &Policy, global: &Global, others: &FilePolicies) -> Option<String> {
    let namespace = printable(&policy.namespace);
    if policy.name.is_empty() {
        return Some("the policy has no name".to_owned());
    }
    let target = global.target.namespace.as_ref();
    if let Some(wanted) = target.filter(|name| **name != policy.namespace) {
        return Some(format!("the policy belongs to namespace {namespace}, not to {wanted}"));
    }
    if ExcludedNamespaces::default().contains(&policy.namespace) {
        return Some(is_of_system(&namespace));
    }
    let first = others.get(&policy.key())?;
    Some(format!("{} is already in {}", policy.full_name(), first.place))
}

/// The policies of a cluster, and the parts of it that could not be read.
#[derive(Default)]
pub(crate) struct ListedPolicies {
    pub(crate) policies: BTreeMap<PolicyName, Policy>,
    limits: Limits,
    not_read: Vec<(String, ClusterError)>,
}

impl ListedPolicies {
    /// Prints what could not be read, and gives the exit code for it.
    pub(crate) fn report_gaps(&self) -> Exit {
        for (part, error) in &self.not_read {
            output::error(format_args!("{part}: {}", error.reason()));
        }
        if self.not_read.is_empty() { Exit::Fine } else { Exit::Cluster }
    }

    /// The policies that are not judged because there are too many of something; `None` where not
    /// all could be read.
    pub(crate) fn not_judged(&self) -> Option<Vec<NotJudged>> {
        self.not_read.is_empty().then(|| self.limits.not_judged())
    }

    /// An error where anything could not be read.
    pub(crate) fn whole(self) -> Result<BTreeMap<PolicyName, Policy>, ClusterError> {
        match self.not_read.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(self.policies),
        }
    }
}

/// Access to the policies of a cluster.
pub(crate) struct PolicyApi<'a> {
    cluster: &'a Cluster,
    resource: ApiResource,
}

impl<'a> PolicyApi<'a> {
    /// An error where their definition is not installed.
    pub(crate) async fn of(cluster: &'a Cluster) -> Result<Self, ClusterError> {
        let absent = "the cluster does not have its definition; \
                      `policyctl crd install` installs it";
        Self::find(cluster).await?.ok_or_else(|| ClusterError::configuration(OPERATION, absent))
    }

    /// `None` where the definition is not installed, so that there can be no policy.
    pub(crate) async fn find(cluster: &'a Cluster) -> Result<Option<Self>, ClusterError> {
        let group = format!("{GROUP}/{VERSION}");
        let client = cluster.client();
        let served = client.list_api_group_resources(&group);
        match cluster.call(OPERATION, served).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            // A user without access to discovery may still have access to policies.
            Err(error) if error.kind != ErrorKind::Forbidden => Err(error),
            _ => Ok(Some(Self { cluster, resource: ApiResource::erase::<DevOpsPolicy>(&()) })),
        }
    }

    pub(crate) fn namespaced(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.client(), namespace, &self.resource)
    }

    /// The policies of a namespace, or of all that the user may read.
    pub(crate) async fn list(&self, namespace: Option<&str>) -> ListedPolicies {
        let mut listed = ListedPolicies::default();
        let mut take = |event: Event<Value>| match event {
            Event::Page(page) => listed.policies.extend(page.objects.iter().map(|object| {
                listed.limits.add(object);
                let policy = Policy::of(object, "");
                (policy.key(), policy)
            })),
            Event::NotRead { part, error } => listed.not_read.push((part, error)),
        };
        self.read(namespace, &mut take).await;
        listed
    }

    /// Reads the policies of a namespace, or of all that the user may read, whole.
    pub(crate) async fn read(&self, namespace: Option<&str>, take: &mut impl FnMut(Event<Value>)) {
        let policies =
            Listed { plural: "policies", path: |namespace| DevOpsPolicy::url_path(&(), namespace) };
        policies.read(self.cluster, namespace, None, take).await;
    }

    /// The policy of that name. The error names the policies that it may have been mistaken for.
    pub(crate) async fn get(&self, namespace: &str, name: &str) -> anyhow::Result<DynamicObject> {
        let operation = format!("cannot read policy {namespace}/{name}");
        let api = self.namespaced(namespace);
        if let Some(found) =
            crate::cluster::write::get(self.cluster, &api, name, &operation).await?
        {
            return Ok(found);
        }
        self.cluster.expect_namespace(namespace).await?;
        // Best effort: without the permission to list, the error is just shorter.
        let others = self.list(None).await.policies;
        let others = others.values().filter(|p| p.namespace == namespace || p.name == name);
        let others: Vec<String> = others.map(Policy::full_name).collect();
        if others.is_empty() {
            bail!("there is no policy {namespace}/{name}");
        }
        bail!("there is no policy {namespace}/{name}; there is {}", others.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_the_server_sets_are_not_committed() {
        let live = json!({
            "apiVersion": API_VERSION, "kind": "DevOpsPolicy",
            "metadata": { "name": "p", "namespace": "shop", "uid": "1", "resourceVersion": "2",
                "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"],
                "managedFields": [{}], "labels": { "team": "a" }, "annotations": { LAST_APPLIED: "{}" } },
            "spec": { "enforcementMode": "audit", "unknown": 1 }, "status": { "healthScore": 9 }
        });
        assert_eq!(
            Policy::of(&live, "").object(),
            json!({
                "apiVersion": API_VERSION, "kind": "DevOpsPolicy",
                "metadata": { "name": "p", "namespace": "shop", "labels": { "team": "a" } },
                "spec": { "enforcementMode": "audit", "unknown": 1 }
            })
        );
    }

    #[test]
    fn the_canonical_form_has_defaults_and_keeps_unknown_fields() {
        let spec = json!({ "defaultProbe": { "tcpPort": 80 }, "unknown": 1 });
        let policy = Policy::of(&json!({ "metadata": { "name": "p" }, "spec": spec }), "shop");
        assert_eq!(
            policy.canonical().spec,
            json!({ "enforcementMode": "audit", "unknown": 1,
                "defaultProbe": { "tcpPort": 80, "initialDelaySeconds": 5, "periodSeconds": 10 } })
        );
    }

    #[test]
    fn a_policy_of_a_cluster_compiles_in_spite_of_unknown_fields() {
        let of =
            |spec: Value| Policy::of(&json!({ "metadata": { "name": "p" }, "spec": spec }), "shop");
        let newer = of(json!({ "forbidLatestTag": true, "newer": 1 }));
        assert_eq!(newer.compiled().map(|policy| policy.enabled().count()), Ok(1));
        let wrong = of(json!({ "maxRestartCount": -1, "weights": { "pending": 101 } }));
        assert_eq!(wrong.compiled().map_err(|invalid| invalid.len()), Err(2));
        let odd = of(json!({ "maxRestartCount": "many" }));
        assert_eq!(
            odd.compiled().map_err(|invalid| invalid[0].path.clone()),
            Err("spec".to_owned())
        );
    }

    #[test]
    fn fields_that_only_one_side_has_are_named() {
        let a = json!({ "x": { "y": 1, "z": 2 }, "v": 1 });
        let b = json!({ "x": { "y": 3 } });
        assert_eq!(fields_only_in(&a, &b, "spec"), ["spec.v", "spec.x.z"]);
    }
}
