//! Policies on their way between files and clusters.

use std::collections::BTreeMap;

use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Resource as _};
use policy_core::api::{API_VERSION, DevOpsPolicy, DevOpsPolicySpec, GROUP, VERSION};
use policy_core::manifest::{decode_policy, written_policies};
use policy_core::policy::{CompiledPolicy, InvalidField};
use policy_core::text::printable;
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, ClusterError, ErrorKind};
use crate::input::Inputs;

/// Written by `kubectl apply`, which keeps a copy of the object there.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const OPERATION: &str = "cannot use DevOpsPolicy";
/// More than anybody commits of policies.
const MAX_FILE_SIZE: u64 = 64;

/// A policy as one would commit it: without status and what the server keeps for itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) namespace: String,
    pub(crate) name: String,
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
    pub(crate) spec: Value,
}

/// A policy of a file.
pub(crate) struct FilePolicy {
    /// `policies.yaml:12`.
    pub(crate) place: String,
    pub(crate) policy: Policy,
}

impl FilePolicy {
    /// The policy made ready, or everything that is wrong with it, unknown fields included.
    pub(crate) fn compiled(&self) -> Result<CompiledPolicy, Vec<String>> {
        decode_policy(self.policy.object())
            .and_then(|policy| CompiledPolicy::compile(&policy.spec))
            .map_err(|invalid| invalid.iter().map(|i| format!("{}: {i}", self.place)).collect())
    }
}

/// By namespace and name.
pub(crate) type Key = (String, String);

impl Policy {
    /// Takes what is to be committed of an object.
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

    /// The policy as a cluster has it.
    pub(crate) fn of_live(object: &DynamicObject) -> Self {
        Self::of(&serde_json::to_value(object).unwrap_or_default(), "")
    }

    pub(crate) fn key(&self) -> Key {
        (self.namespace.clone(), self.name.clone())
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

    /// The policy of a cluster made ready, or what is wrong with it. Fields that are not known here
    /// are passed over: the cluster's definition may be a newer one.
    pub(crate) fn compiled(&self) -> Result<CompiledPolicy, Vec<InvalidField>> {
        let spec: DevOpsPolicySpec =
            serde_json::from_value(self.spec.clone()).map_err(|error| {
                vec![InvalidField { path: "spec".to_owned(), problem: error.to_string() }]
            })?;
        CompiledPolicy::compile(&spec)
    }

    /// The same with every default of the spec filled in, as the API server does.
    pub(crate) fn with_defaults(mut self) -> Self {
        let typed = serde_json::from_value::<DevOpsPolicySpec>(self.spec.clone());
        if let Some(defaults) = typed.ok().and_then(|spec| serde_json::to_value(spec).ok()) {
            fill(&mut self.spec, defaults);
        }
        self
    }

    /// The same, but of labels and annotations only those that `other` has: tools that watch over
    /// a cluster leave marks of their own.
    pub(crate) fn with_marks_of(mut self, other: &Self) -> Self {
        self.labels.retain(|key, _| other.labels.contains_key(key));
        self.annotations.retain(|key, _| other.annotations.contains_key(key));
        self
    }
}

/// Adds what is missing, and changes nothing that is there.
fn fill(value: &mut Value, defaults: Value) {
    if let (Value::Object(fields), Value::Object(defaults)) = (value, defaults) {
        for (name, default) in defaults {
            match fields.get_mut(&name) {
                Some(value) => fill(value, default),
                None => drop(fields.insert(name, default)),
            }
        }
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

/// What files hold, by namespace and name.
pub(crate) struct PolicyFiles {
    pub(crate) policies: BTreeMap<Key, FilePolicy>,
    /// How many objects of other kinds were passed over.
    pub(crate) others: usize,
}

impl PolicyFiles {
    /// Reads the policies of files, folders, patterns or standard input.
    ///
    /// # Errors
    /// Everything that could not be read or used: who imports half a folder by mistake has a
    /// cluster that is in no commit.
    pub(crate) fn read(
        arguments: &[String],
        target: Option<&str>,
        default_namespace: &str,
    ) -> Result<Self, Vec<String>> {
        let inputs = Inputs::find(arguments);
        let mut problems: Vec<String> = inputs.problems().collect();
        let mut files = Self { policies: BTreeMap::new(), others: 0 };
        for input in &inputs.found {
            let bytes = match input.read(MAX_FILE_SIZE) {
                Ok(bytes) => bytes,
                Err(error) => {
                    problems.push(format!("{}: {error}", input.name));
                    continue;
                }
            };
            let written = written_policies(&bytes);
            problems.extend(written.failures.iter().map(|f| format!("{}:{f}", input.name)));
            files.others += written.others;
            for found in written.policies {
                let place = format!("{}:{}", input.name, found.line);
                let version = found.object["apiVersion"].as_str().unwrap_or_default();
                if version != API_VERSION {
                    problems
                        .push(format!("{place}: {version} is not known here, only {API_VERSION}"));
                    continue;
                }
                let policy = Policy::of(&found.object, target.unwrap_or(default_namespace));
                problems.extend(files.add(FilePolicy { place, policy }, target));
            }
        }
        if files.policies.is_empty() && problems.is_empty() {
            problems.push(format!("{}: holds no DevOpsPolicy", arguments.join(", ")));
        }
        if problems.is_empty() { Ok(files) } else { Err(problems) }
    }

    /// Takes in a policy, or says why not.
    fn add(&mut self, file: FilePolicy, target: Option<&str>) -> Option<String> {
        let FilePolicy { place, policy } = &file;
        if policy.name.is_empty() {
            return Some(format!("{place}: the policy has no name"));
        }
        if let Some(target) = target.filter(|target| *target != policy.namespace) {
            let found = printable(&policy.namespace);
            return Some(format!("{place}: the policy is of namespace {found}, not of {target}"));
        }
        let key = policy.key();
        if let Some(first) = self.policies.get(&key) {
            let name = format!("{}/{}", key.0, key.1);
            return Some(format!("{place}: {name} is already in {}", first.place));
        }
        self.policies.insert(key, file);
        None
    }
}

/// The cluster's policies; an error where their definition is not installed.
pub(crate) struct PolicyApi<'a> {
    cluster: &'a Cluster,
    resource: ApiResource,
}

impl<'a> PolicyApi<'a> {
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
            // Who may not discover may still be allowed to use.
            Err(error) if error.kind != ErrorKind::Forbidden => Err(error),
            _ => Ok(Some(Self { cluster, resource: ApiResource::erase::<DevOpsPolicy>(&()) })),
        }
    }

    pub(crate) fn namespaced(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.client(), namespace, &self.resource)
    }

    /// The policies of a namespace, or of all, by namespace and name.
    pub(crate) async fn list(
        &self,
        namespace: Option<&str>,
    ) -> Result<BTreeMap<Key, Policy>, ClusterError> {
        let operation = match namespace {
            Some(namespace) => format!("cannot list the policies of namespace {namespace}"),
            None => "cannot list the policies of all namespaces".to_owned(),
        };
        let path = DevOpsPolicy::url_path(&(), namespace);
        let mut policies = BTreeMap::new();
        crate::cluster::pages::read(&self.cluster.client(), &path, &operation, |page| {
            policies.extend(page.objects.iter().map(|object: &Value| {
                let policy = Policy::of(object, "");
                (policy.key(), policy)
            }));
        })
        .await?;
        Ok(policies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_keeps_for_itself_is_not_committed() {
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
    fn defaults_are_filled_in_and_nothing_else_changes() {
        let spec = json!({ "defaultProbe": { "tcpPort": 80 }, "unknown": 1 });
        let policy = Policy::of(&json!({ "metadata": { "name": "p" }, "spec": spec }), "shop");
        assert_eq!(
            policy.with_defaults().spec,
            json!({ "enforcementMode": "audit", "unknown": 1,
                "defaultProbe": { "tcpPort": 80, "initialDelaySeconds": 5, "periodSeconds": 10 } })
        );
    }

    #[test]
    fn a_policy_is_made_ready_or_everything_wrong_is_told() {
        let of =
            |spec: Value| Policy::of(&json!({ "metadata": { "name": "p" }, "spec": spec }), "shop");
        let newer = of(json!({ "forbidLatestTag": true, "newer": 1 }));
        assert_eq!(newer.compiled().map(|policy| policy.enabled().count()), Ok(1));
        let file = |policy| FilePolicy { place: "a.yaml:1".to_owned(), policy };
        assert_eq!(
            file(newer).compiled(),
            Err(vec!["a.yaml:1: spec.newer: unknown field".to_owned()])
        );
        let wrong = of(json!({ "maxRestartCount": -1, "weights": { "pending": 101 } }));
        assert_eq!(wrong.compiled().map_err(|invalid| invalid.len()), Err(2));
        assert_eq!(file(wrong).compiled().map_err(|problems| problems.len()), Err(2));
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
