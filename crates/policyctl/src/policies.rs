//! Policies in files and in clusters.

mod scope;
mod stored;

use std::collections::BTreeMap;

use anyhow::bail;
use kube::api::DynamicObject;
use policy_core::api::{API_VERSION, CLUSTER_POLICY, ClusterDevOpsPolicySpec, DevOpsPolicySpec};
use policy_core::manifest::{DecodedPolicy, PolicyFile};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::{ClusterScope, CompiledClusterPolicy, CompiledPolicy, InvalidField};
use policy_core::text::printable;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::cluster::Cluster;
use crate::global::Global;
use crate::input::Inputs;
use crate::judgement::is_of_system;
use crate::output;

pub(crate) use scope::{NamespaceLabels, ScopedPolicy, labels_of};
pub(crate) use stored::{ListedPolicies, PolicyApi};

/// The annotation in which `kubectl apply` keeps a copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The size limit of a policy file, in MiB.
const MAX_FILE_SIZE: u64 = 64;

/// A policy in the form to commit: without status and without fields that the server sets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    /// Empty for a cluster policy.
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
    /// Where a cluster policy applies.
    pub(crate) scope: Option<ClusterScope>,
}

/// Namespace and name. A cluster policy has no namespace: it is empty, so that it comes first.
pub(crate) type PolicyName = (String, String);

/// The policies of files.
pub(crate) type FilePolicies = BTreeMap<PolicyName, FilePolicy>;

/// The name of a policy in every output: `shop/strict`, or `ClusterDevOpsPolicy/fleet`.
pub(crate) fn full_name(namespace: &str, name: &str) -> String {
    let place = if namespace.is_empty() { CLUSTER_POLICY } else { namespace };
    format!("{place}/{name}")
}

impl FilePolicy {
    /// An error for a cluster policy, where a command takes none.
    pub(crate) fn expect_namespaced(&self) -> anyhow::Result<()> {
        if self.policy.is_cluster() {
            let name = self.policy.full_name();
            bail!("{}: {name}: this command takes policies of namespaces alone", self.place);
        }
        Ok(())
    }
}

impl Policy {
    /// The part of an object that is to be committed. One without a namespace belongs to that one.
    pub(crate) fn of(object: &Value, namespace: &str) -> Self {
        let namespace = if object["kind"] == CLUSTER_POLICY { "" } else { namespace };
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

    pub(crate) fn full_name(&self) -> String {
        full_name(&self.namespace, &self.name)
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.namespace.is_empty()
    }

    /// For people: [`Self::compiled`] failed.
    pub(crate) fn is_invalid(&self) -> String {
        format!("policy {} is invalid, so it has no score", self.full_name())
    }

    /// The object to commit or to apply.
    pub(crate) fn object(&self) -> Value {
        let (kind, mut metadata) = if self.is_cluster() {
            (CLUSTER_POLICY, json!({ "name": self.name }))
        } else {
            ("DevOpsPolicy", json!({ "name": self.name, "namespace": self.namespace }))
        };
        for (field, map) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !map.is_empty() {
                metadata[field] = Value::Object(map.clone());
            }
        }
        json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": self.spec })
    }

    /// Compiles a policy of a cluster. Unknown fields are ignored: the cluster's definition may be
    /// newer than this program.
    pub(crate) fn compiled(&self) -> Result<CompiledPolicy, Vec<InvalidField>> {
        self.compiled_with_scope().map(|(rules, _)| rules)
    }

    /// The same, with the namespaces to which a cluster policy applies.
    pub(crate) fn compiled_with_scope(
        &self,
    ) -> Result<(CompiledPolicy, Option<ClusterScope>), Vec<InvalidField>> {
        if self.is_cluster() {
            let spec: ClusterDevOpsPolicySpec = self.typed()?;
            let CompiledClusterPolicy { rules, scope } = CompiledClusterPolicy::compile(&spec)?;
            return Ok((rules, Some(scope)));
        }
        Ok((CompiledPolicy::compile(&self.typed::<DevOpsPolicySpec>()?)?, None))
    }

    fn typed<S: DeserializeOwned>(&self) -> Result<S, Vec<InvalidField>> {
        serde_json::from_value(self.spec.clone()).map_err(|error| {
            vec![InvalidField { path: "spec".to_owned(), problem: error.to_string() }]
        })
    }

    /// The same in canonical form, to compare: with every default, as the API server fills them in,
    /// and with one spelling of equal values.
    pub(crate) fn canonical(mut self) -> Self {
        let typed = if self.is_cluster() {
            self.typed::<ClusterDevOpsPolicySpec>().ok().map(serde_json::to_value)
        } else {
            self.typed::<DevOpsPolicySpec>().ok().map(serde_json::to_value)
        };
        if let Some(Ok(typed)) = typed {
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
    read_files_in(arguments, global, Some(global.target.namespace_in(cluster)), failure)
}

/// The same, where a policy without a namespace belongs to that one; `None` where the contexts of
/// several clusters have different ones.
pub(crate) fn read_files_in(
    arguments: &[String],
    global: &Global,
    namespace: Option<&str>,
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
        for DecodedPolicy { line, object, compiled, scope, .. } in policies {
            let place = format!("{}:{line}", input.name);
            let policy = Policy::of(&object, namespace.unwrap_or_default());
            match homeless(&policy, &object).or_else(|| unusable(&policy, global, &read)) {
                Some(problem) => problems.push(format!("{place}: {problem}")),
                None => {
                    _ = read.insert(policy.key(), FilePolicy { place, policy, compiled, scope });
                }
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

/// Why a policy that names no namespace cannot be used, where the contexts have several.
fn homeless(policy: &Policy, object: &Value) -> Option<String> {
    let is_homeless = policy.namespace.is_empty() && object["kind"] != CLUSTER_POLICY;
    is_homeless.then(|| {
        let name = &policy.name;
        format!("{name} names no namespace, and the contexts have different ones: choose one by -n")
    })
}

/// Why a valid policy cannot be used beside those that were read before.
fn unusable(policy: &Policy, global: &Global, others: &FilePolicies) -> Option<String> {
    let namespace = printable(&policy.namespace);
    if policy.name.is_empty() {
        return Some("the policy has no name".to_owned());
    }
    let target = global.target.namespace.as_ref();
    if policy.is_cluster() && target.is_some() {
        return Some("a cluster policy belongs to no namespace: leave out -n".to_owned());
    }
    if let Some(wanted) = target.filter(|name| **name != policy.namespace) {
        return Some(format!("the policy belongs to namespace {namespace}, not to {wanted}"));
    }
    if ExcludedNamespaces::default().contains(&policy.namespace) {
        return Some(is_of_system(&namespace));
    }
    let first = others.get(&policy.key())?;
    Some(format!("{} is already in {}", policy.full_name(), first.place))
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

    #[test]
    fn a_cluster_policy_belongs_to_no_namespace() {
        let object = json!({
            "apiVersion": API_VERSION, "kind": CLUSTER_POLICY, "metadata": { "name": "fleet" },
            "spec": { "priority": 7, "excludedNamespaces": ["lab"] }
        });
        let policy = Policy::of(&object, "shop");
        assert!(policy.is_cluster());
        assert_eq!(policy.full_name(), "ClusterDevOpsPolicy/fleet");
        assert_eq!(policy.object(), object);
        assert!(policy.compiled().is_ok());
        let spec =
            json!({ "priority": 7, "excludedNamespaces": ["lab"], "enforcementMode": "audit" });
        assert_eq!(policy.canonical().spec, spec);
        let wrong = json!({ "kind": CLUSTER_POLICY, "spec": { "priority": 2000 } });
        assert_eq!(Policy::of(&wrong, "").compiled().map_err(|found| found.len()), Err(1));
    }
}
