//! What the planner makes, sent to a real API server: its patches are accepted, change nothing else,
//! and are taken back whole.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::time::Duration;

use e2e::{Run, Testbed, shared};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use policy_core::api::{DevOpsPolicySpec, FIELD_MANAGER, PATCHED_BY};
use policy_core::policy::CompiledPolicy;
use policy_core::remediation::{
    Fields, NamespaceFacts, NamespaceRules, Plan, PlanInput, Release, Target, apply_body, inject,
    plan, release, removal,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::watcher::storm::client;

const SPEC: &str = r#"{"enforcementMode": "enforce", "requireLivenessProbe": true,
    "requireReadinessProbe": true, "defaultProbe": {"tcpPort": 8080},
    "defaultResources": {"cpuRequest": "100m", "memoryRequest": "64Mi"}}"#;

/// A Deployment in a namespace of its own.
struct Case {
    testbed: &'static Testbed,
    namespace: String,
}

impl Case {
    /// `manifest` is applied by `kubectl apply`, as an owner does.
    fn new(manifest: &Value) -> Self {
        let testbed = shared();
        let case = Self { testbed, namespace: testbed.namespace("planner").unwrap() };
        case.owner_applies(manifest);
        case
    }

    fn kubectl(&self, arguments: &[&str], stdin: &Value) -> Run {
        let all = [arguments, &["--namespace", &self.namespace]].concat();
        self.testbed.kubectl_stdin(&all, &stdin.to_string()).unwrap()
    }

    fn owner_applies(&self, manifest: &Value) {
        self.kubectl(&["apply", "-f", "-"], manifest).succeeded().unwrap();
    }

    fn get(&self) -> Value {
        let get = ["get", "deployment", "web", "-o", "json", "--show-managed-fields"];
        let text = self.kubectl(&get, &Value::Null).succeeded().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The Deployment once its pods, which nothing starts here, count as ready.
    fn ready(&self) -> Value {
        let mut workload = self.get();
        workload["status"]["readyReplicas"] = workload["spec"]["replicas"].clone();
        workload
    }

    fn planned(&self) -> (Target, Plan) {
        let spec: DevOpsPolicySpec = serde_json::from_str(SPEC).unwrap();
        let policy = CompiledPolicy::compile(&spec).unwrap();
        let rules = NamespaceRules::of([("strict", policy.remediation().unwrap())]);
        let namespace = NamespaceFacts { has_mutating_webhook: true, ..NamespaceFacts::default() };
        let target = Target::read(&self.ready()).unwrap();
        let input = PlanInput {
            rules: &rules,
            namespace: &namespace,
            target: &target,
            peaks: None,
            memory: None,
        };
        let planned = plan(&input).plan;
        (target, planned)
    }

    /// A server-side apply as the operator sends it. Not by kubectl, which first makes the fields of
    /// earlier client-side applies its own.
    fn server_side_apply(&self, body: &Value) -> kube::Result<Deployment> {
        self.server_side_apply_as(FIELD_MANAGER, body)
    }

    fn server_side_apply_as(&self, manager: &str, body: &Value) -> kube::Result<Deployment> {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let client = client(self.testbed).await;
            let deployments: Api<Deployment> = Api::namespaced(client, &self.namespace);
            let parameters = PatchParams::apply(manager);
            deployments.patch("web", &parameters, &Patch::Apply(body)).await
        })
    }

    fn json_patch(&self, patch: &Value) {
        let patch = patch.to_string();
        let arguments = ["patch", "deployment", "web", "--type=json", "-p", &patch];
        self.kubectl(&arguments, &Value::Null).succeeded().unwrap();
    }

    /// Patches the Deployment as planned, and returns what was filled in. Again where a controller
    /// wrote in between.
    fn patch(&self) -> Fields {
        let mut filled = Fields::default();
        let patched = || {
            let (target, plan) = self.planned();
            filled = fields_of(plan);
            let body = apply_body(&target, &filled, "shop/strict");
            match self.server_side_apply(&body) {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                answer => answer.map(|_| true).map_err(Into::into),
            }
        };
        self.testbed.wait_for("the patch", Duration::from_secs(60), patched).unwrap();
        filled
    }

    fn release(&self) -> Release {
        let workload = self.get();
        release(&Target::read(&workload).unwrap(), &workload).unwrap()
    }
}

/// Two containers that lack everything, and a sidecar.
fn manifest() -> Value {
    let container = |name: &str| json!({ "name": name, "image": "nginx:1", "ports": [{ "containerPort": 8080 }] });
    let mut sidecar = container("proxy");
    sidecar["restartPolicy"] = "Always".into();
    let mut setup = container("setup");
    setup["ports"] = json!([]);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": {
                    "containers": [container("web"), container("log")],
                    "initContainers": [setup, sidecar],
                },
            },
        },
    })
}

/// What a plan fills in by a patch; nothing where it has another.
fn fields_of(plan: Plan) -> Fields {
    match plan {
        Plan::Patch { fields, .. } => fields,
        _ => Fields::default(),
    }
}

fn template(workload: &Value) -> &Value {
    &workload["spec"]["template"]
}

#[test]
fn a_patch_fills_in_what_is_missing_and_is_taken_back_whole() {
    let case = Case::new(&manifest());
    let before = case.get();
    let fields = case.patch();
    let after = case.get();
    let target = Target::read(&after).unwrap();
    assert_eq!(target.ours, fields);
    assert_eq!(target.template, Target::read(&before).unwrap().template);
    assert_eq!(target.patched_by.as_deref(), Some("shop/strict"));
    let names = |workload: &Value, list: &str| {
        let list = template(workload)["spec"][list].as_array().unwrap();
        list.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for list in ["containers", "initContainers"] {
        assert_eq!(names(&after, list), names(&before, list), "the order");
    }
    // The policy has no memory limit, and nothing else is missing.
    let (_, Plan::Propose { fields: rest, reason }) = case.planned() else { panic!() };
    assert_eq!((rest, reason.code()), (Fields::default(), "NoDefault"));
    let mut again = apply_body(&target, &Fields::default(), "shop/strict");
    again["metadata"]["resourceVersion"] = Value::Null;
    case.server_side_apply(&again).unwrap();
    let generation = |workload: &Value| workload["metadata"]["generation"].clone();
    assert_eq!(generation(&case.get()), generation(&after), "the same apply changes nothing");

    let Release::Apply(bare) = case.release() else { panic!() };
    case.server_side_apply(&bare).unwrap();
    let released = case.get();
    assert_eq!(template(&released), template(&before));
    assert!(!Target::read(&released).unwrap().is_ours);
    assert!(released["metadata"]["annotations"].get(PATCHED_BY).is_none());
}

#[test]
fn an_apply_that_is_late_or_of_another_object_is_refused() {
    let case = Case::new(&manifest());
    let (target, plan) = case.planned();
    let fields = fields_of(plan);
    let body = apply_body(&target, &fields, "shop/strict");
    let label = ["label", "deployment", "web", "a=b"];
    case.kubectl(&label, &Value::Null).succeeded().unwrap();
    let late = case.server_side_apply(&body).unwrap_err().to_string();
    assert!(late.contains("the object has been modified"), "{late}");
    let delete = ["delete", "deployment", "web", "--cascade=foreground"];
    case.kubectl(&delete, &Value::Null).succeeded().unwrap();
    let gone = case.server_side_apply(&body).unwrap_err().to_string();
    assert!(gone.contains("uid mismatch"), "{gone}");
    case.owner_applies(&manifest());
    let other = case.server_side_apply(&body).unwrap_err().to_string();
    assert!(other.contains("the UID in the precondition") || other.contains("modified"), "{other}");
}

/// What is applied by the owner as well, to which kubectl sends nothing, stays his.
#[test]
fn what_the_owner_writes_into_his_manifest_as_well_survives_the_release() {
    let case = Case::new(&manifest());
    case.patch();
    let mut own = manifest();
    let container = &mut own["spec"]["template"]["spec"]["containers"][0];
    container["readinessProbe"] = json!({ "tcpSocket": { "port": 8080 },
        "initialDelaySeconds": 5, "periodSeconds": 10, "failureThreshold": 3 });
    container["resources"] = json!({ "requests": { "cpu": "100m" } });
    case.owner_applies(&own);
    let Release::Patch(patch) = case.release() else { panic!() };
    case.json_patch(&patch);
    let released = case.get();
    let container = &template(&released)["spec"]["containers"][0];
    assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], 8080, "{container:#}");
    assert_eq!(container["resources"]["requests"], json!({ "cpu": "100m" }));
    assert!(container.get("livenessProbe").is_none(), "{container:#}");
    assert!(!Target::read(&released).unwrap().is_ours);
}

#[test]
fn everything_of_which_the_owner_writes_is_given_up_without_a_change() {
    let case = Case::new(&manifest());
    case.patch();
    let patched = case.get();
    let mut own = manifest();
    own["spec"]["template"]["spec"] = template(&patched)["spec"].clone();
    case.owner_applies(&own);
    let Release::Patch(patch) = case.release() else { panic!() };
    case.json_patch(&patch);
    let released = case.get();
    assert_eq!(template(&released), template(&patched));
    assert!(!Target::read(&released).unwrap().is_ours);
    // The owner can remove it again.
    case.owner_applies(&manifest());
    assert!(template(&case.get())["spec"]["containers"][0].get("readinessProbe").is_none());
}

/// Removes what was filled in by a JSON patch, and checks that it is gone.
fn remove(case: &Case, fields: &Fields, before: &Value) {
    case.json_patch(&removal(&case.get(), fields).unwrap());
    let released = case.get();
    let spec = &template(&released)["spec"];
    assert!(spec["containers"][0].get("livenessProbe").is_none(), "{spec:#}");
    let hash = |workload: &Value| Target::read(workload).unwrap().template;
    assert_eq!(hash(&released), hash(before));
    assert_eq!(removal(&released, fields), None);
}

#[test]
fn what_was_filled_in_can_be_removed_after_managed_fields_were_cleared() {
    let case = Case::new(&manifest());
    let before = case.get();
    let fields = case.patch();
    let cleared = json!([{ "op": "replace", "path": "/metadata/managedFields", "value": [{}] }]);
    case.json_patch(&cleared);
    let workload = case.get();
    assert_eq!(release(&Target::read(&workload).unwrap(), &workload), None);
    remove(&case, &fields, &before);
}

#[test]
fn a_probe_to_which_an_empty_one_was_applied_can_be_removed() {
    let case = Case::new(&manifest());
    let before = case.get();
    let fields = case.patch();
    let empty = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "template": { "spec": {
            "containers": [{ "name": "web", "livenessProbe": {} }],
        } } },
    });
    case.server_side_apply_as("other", &empty).unwrap();
    let Release::Apply(bare) = case.release() else { panic!() };
    let refused = case.server_side_apply(&bare).unwrap_err().to_string();
    assert!(refused.contains("must specify a handler type"), "{refused}");
    remove(&case, &fields, &before);
}

#[test]
fn an_injected_pod_is_accepted() {
    let case = Case::new(&manifest());
    let (_, plan) = case.planned();
    let fields = fields_of(plan);
    let mut pod = template(&case.get()).clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"] = json!({ "name": "bare" });
    case.kubectl(&["create", "-f", "-"], &pod).succeeded().unwrap();
    // A pod's probes cannot be changed, so that the patch is tried on a copy.
    let patch = Value::from(inject(&pod, &fields, "shop/strict")).to_string();
    let local = ["patch", "--local", "--type=json", "-o", "json", "-f", "-", "-p", &patch];
    pod["metadata"]["name"] = "injected".into();
    let injected = case.kubectl(&local, &pod).succeeded().unwrap();
    let injected: Value = serde_json::from_str(&injected).unwrap();
    case.kubectl(&["create", "-f", "-"], &injected).succeeded().unwrap();
    let get = ["get", "pod", "injected", "-o", "json"];
    let stored: Value =
        serde_json::from_str(&case.kubectl(&get, &Value::Null).succeeded().unwrap()).unwrap();
    assert_eq!(stored["spec"]["initContainers"][1]["livenessProbe"]["failureThreshold"], 9);
    assert!(inject(&stored, &fields, "shop/strict").is_empty());
}
