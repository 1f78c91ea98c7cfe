//! The planner's requests, on a real API server: what they change, and that they can be taken back.

use e2e::{Owner, Testbed, client, shared};
use kube::Client;
use policy_core::Timestamp;
use policy_core::api::{DevOpsPolicySpec, RemediatedWorkload};
use policy_core::policy::CompiledPolicy;
use policy_core::remediation::{
    Fields, MemoryPeaks, NamespaceFacts, NamespaceRules, Plan, PlanInput, Release, Target,
    apply_body, plan, release, removal,
};
use serde_json::{Value, json};

use super::POLICY;
use super::workloads::{
    assert_succeeded, container, managers, read, text, wait_until_rolled_out, workload,
};

const APPLY: &str = "application/apply-patch+yaml";
const JSON_PATCH: &str = "application/json-patch+json";

/// Plans and sends as the operator does.
struct Hand {
    testbed: &'static Testbed,
    runtime: tokio::runtime::Runtime,
    client: Client,
    rules: NamespaceRules,
}

impl Hand {
    fn new(spec: &str) -> Self {
        let testbed = shared();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(client(testbed.kubeconfig())).unwrap();
        let spec: DevOpsPolicySpec = serde_saphyr::from_str(spec).unwrap();
        let policy = CompiledPolicy::compile(&spec).unwrap();
        let rules =
            NamespaceRules::of([("p", policy.remediation().unwrap())], Timestamp::UNIX_EPOCH);
        Self { testbed, runtime, client, rules }
    }

    /// Sends a patch as `policy-operator`, and returns its status code and its answer.
    fn send(&self, object: &Value, type_: &str, body: &Value) -> (u16, Value) {
        self.send_as("policy-operator", object, type_, body)
    }

    fn send_as(&self, manager: &str, object: &Value, type_: &str, body: &Value) -> (u16, Value) {
        let metadata = &object["metadata"];
        let plural = text(&object["kind"]).to_lowercase() + "s";
        let path = format!(
            "/apis/apps/v1/namespaces/{}/{plural}/{}?fieldManager={manager}",
            text(&metadata["namespace"]),
            text(&metadata["name"]),
        );
        let request = http::Request::patch(path).header("content-type", type_);
        let request = request.body(body.to_string().into_bytes()).unwrap();
        match self.runtime.block_on(self.client.request::<Value>(request)) {
            Ok(answer) => (200, answer),
            Err(kube::Error::Api(status)) => (status.code, json!(status.message)),
            Err(error) => (0, json!(error.to_string())),
        }
    }

    fn plan(&self, live: &Value) -> (Target, Plan) {
        let target = Target::read(live).unwrap();
        let namespace = NamespaceFacts { has_mutating_webhook: true, ..NamespaceFacts::default() };
        let mut peaks = MemoryPeaks::default();
        let containers = live["spec"]["template"]["spec"].as_object().unwrap();
        let names = ["containers", "initContainers"]
            .into_iter()
            .flat_map(|list| containers.get(list).and_then(Value::as_array).into_iter().flatten());
        let used = names
            .map(|one| json!({ "name": one["name"], "usage": { "memory": "1Mi" } }))
            .collect::<Vec<_>>();
        peaks.observe(&json!({ "containers": used }));
        let memory: Option<&RemediatedWorkload> = None;
        let input = PlanInput {
            rules: &self.rules,
            namespace: &namespace,
            target: &target,
            peaks: Some(&peaks),
            memory,
        };
        let planned = plan(&input).plan;
        (target, planned)
    }

    /// Patches a workload; gives what was filled in.
    fn patch(&self, object: &Value) -> Fields {
        let live = read(self.testbed, object);
        let (target, plan) = self.plan(&live);
        assert!(matches!(plan, Plan::Patch { .. }), "{plan:?}\n{live:#}");
        let Plan::Patch { fields, .. } = plan else { return Fields::default() };
        let body = apply_body(&target, &fields, "shop/p");
        let (code, answer) = self.send(object, APPLY, &body);
        assert_eq!(code, 200, "{answer}\n{body:#}");
        wait_until_rolled_out(self.testbed, object);
        fields
    }

    /// Takes back what the operator owns.
    fn release(&self, object: &Value) {
        let live = read(self.testbed, object);
        let release = release(&Target::read(&live).unwrap(), &live).unwrap();
        let (type_, body) = match &release {
            Release::Apply(bare) => (APPLY, bare),
            Release::Patch(patch) => (JSON_PATCH, patch),
        };
        let (code, answer) = self.send(object, type_, body);
        assert_eq!(code, 200, "{answer}\n{body:#}");
        let after = read(self.testbed, object);
        assert!(!is_ours(&after), "{after:#}");
        let mark = &after["metadata"]["annotations"]["devops.stochastic.io/patched-by"];
        assert!(mark.is_null(), "{after:#}");
    }

    /// Creates a workload as its owner does, and gives it as the API server has it.
    fn create(&self, object: &Value) -> Value {
        self.apply(object);
        wait_until_rolled_out(self.testbed, object);
        read(self.testbed, object)
    }

    fn apply(&self, object: &Value) {
        let run = Owner::KubectlClientSide.apply(self.testbed, object).unwrap();
        assert_succeeded("the owner", &run);
    }
}

fn is_ours(live: &Value) -> bool {
    managers(live).iter().any(|(manager, _)| manager == "policy-operator")
}

fn first(live: &Value) -> &Value {
    &live["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn a_patch_is_complete_and_a_release_restores_the_template() {
    let hand = Hand::new(POLICY);
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let namespace = hand.testbed.namespace("bodies").unwrap();
        let mut web = workload(kind, &namespace, "web");
        let one = container(&mut web).clone();
        let one_of = |name: &str, more: Value| {
            let mut one = one.clone();
            one["name"] = json!(name);
            one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            one
        };
        let spec = &mut web["spec"]["template"]["spec"];
        let limits = json!({ "resources": { "limits": { "memory": "48Mi" } } });
        let http = json!({ "livenessProbe": { "httpGet": { "path": "/", "port": 8080 } } });
        spec["containers"] =
            json!([one_of("zulu", json!({})), one_of("mike", limits), one_of("alpha", http)]);
        let sidecar = json!({ "restartPolicy": "Always" });
        spec["initContainers"] = json!([
            { "name": "setup", "image": "registry.example.com/setup:v1" },
            one_of("early", sidecar),
        ]);
        let before = hand.create(&web);
        hand.patch(&web);
        let patched = read(hand.testbed, &web);
        // Nothing is left to be filled in.
        assert_eq!(hand.plan(&patched).1, Plan::Nothing, "{patched:#}");
        for list in ["containers", "initContainers"] {
            let names = |live: &Value| {
                let all = live["spec"]["template"]["spec"][list].as_array().unwrap().iter();
                all.map(|one| text(&one["name"])).collect::<Vec<_>>()
            };
            assert_eq!(names(&patched), names(&before), "{kind}");
        }
        let target = Target::read(&patched).unwrap();
        assert_eq!(target.template, Target::read(&before).unwrap().template, "{kind}");
        // Applied again, it changes nothing.
        let body = apply_body(&target, &Fields::default(), "shop/p");
        let (_, again) = hand.send(&web, APPLY, &body);
        assert_eq!(again["metadata"]["generation"], patched["metadata"]["generation"]);
        assert_eq!(again["spec"], patched["spec"]);
        hand.release(&web);
        assert_eq!(read(hand.testbed, &web)["spec"]["template"], before["spec"]["template"]);
    }
}

#[test]
fn what_the_owner_has_adopted_stays_when_the_rest_is_taken_back() {
    let hand = Hand::new(POLICY);
    for adopts_all in [false, true] {
        let namespace = hand.testbed.namespace("adopted").unwrap();
        let mut web = workload("Deployment", &namespace, "web");
        hand.create(&web);
        hand.patch(&web);
        let patched = first(&read(hand.testbed, &web)).clone();
        container(&mut web)["readinessProbe"] = patched["readinessProbe"].clone();
        if adopts_all {
            container(&mut web)["livenessProbe"] = patched["livenessProbe"].clone();
            container(&mut web)["resources"] = patched["resources"].clone();
        }
        hand.apply(&web);
        hand.release(&web);
        let live = read(hand.testbed, &web);
        assert_eq!(first(&live)["readinessProbe"], patched["readinessProbe"]);
        assert_eq!(first(&live)["livenessProbe"].is_object(), adopts_all, "{live:#}");
        assert_eq!(first(&live)["resources"] != json!({}), adopts_all, "{live:#}");
        // It is the owner's now: he changes it and removes it.
        container(&mut web)["readinessProbe"]["tcpSocket"]["port"] = json!(9090);
        hand.apply(&web);
        assert_eq!(first(&read(hand.testbed, &web))["readinessProbe"]["tcpSocket"]["port"], 9090);
        container(&mut web).as_object_mut().unwrap().remove("readinessProbe");
        hand.apply(&web);
        assert!(first(&read(hand.testbed, &web))["readinessProbe"].is_null());
    }
}

#[test]
fn what_no_managed_fields_name_is_removed_by_its_value() {
    let hand = Hand::new(POLICY);
    let namespace = hand.testbed.namespace("cleared").unwrap();
    let web = workload("Deployment", &namespace, "web");
    let before = hand.create(&web);
    let fields = hand.patch(&web);
    let clear = ["patch", "deployment", "web", "-n", &namespace, "--type=merge"];
    let cleared = r#"-p={"metadata":{"managedFields":[{}]}}"#;
    hand.testbed.kubectl(&[&clear[..], &[cleared]].concat()).unwrap().succeeded().unwrap();
    let live = read(hand.testbed, &web);
    assert_eq!(release(&Target::read(&live).unwrap(), &live), None);
    let body = removal(&live, &fields).unwrap();
    let (code, answer) = hand.send(&web, JSON_PATCH, &body);
    assert_eq!(code, 200, "{answer}\n{body:#}");
    assert_eq!(read(hand.testbed, &web)["spec"]["template"], before["spec"]["template"]);
}

#[test]
fn a_probe_that_somebody_has_named_without_content_is_removed_by_its_value() {
    let hand = Hand::new(POLICY);
    let namespace = hand.testbed.namespace("empty").unwrap();
    let web = workload("Deployment", &namespace, "web");
    let before = hand.create(&web);
    let fields = hand.patch(&web);
    let mut empty = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": web["metadata"],
    });
    empty["spec"]["template"]["spec"]["containers"] =
        json!([{ "name": "web", "livenessProbe": {} }]);
    let (code, answer) = hand.send_as("tool", &web, APPLY, &empty);
    assert_eq!(code, 200, "{answer}");
    let live = read(hand.testbed, &web);
    let Release::Apply(bare) = release(&Target::read(&live).unwrap(), &live).unwrap() else {
        panic!()
    };
    let (code, answer) = hand.send(&web, APPLY, &bare);
    assert_eq!(code, 422, "{answer}");
    let body = removal(&live, &fields).unwrap();
    let (code, answer) = hand.send(&web, JSON_PATCH, &body);
    assert_eq!(code, 200, "{answer}\n{body:#}");
    assert_eq!(read(hand.testbed, &web)["spec"]["template"], before["spec"]["template"]);
}
