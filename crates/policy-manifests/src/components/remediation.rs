//! What enforce mode needs beside the base: the operator's rights to patch workloads. Installed only
//! where enforce mode is wanted; without them the operator audits, and says so.

use policy_core::api::PATCHED_BY;
use policy_core::installation::WEBHOOK_CONFIGURATION;

use super::OPERATOR;
use crate::account_limit::{AccountLimit, are_equal};
use crate::rbac::cluster_rights;
use crate::{Object, Rule};

/// Of the cluster-scoped objects, without the platform's prefix.
const NAME: &str = "policy-operator-remediation";
const WORKLOADS: &[&str] = &["deployments", "statefulsets", "daemonsets"];

/// The API server raises it with each change of a `DaemonSet`'s template:
/// <https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/registry/apps/daemonset/strategy.go>.
const GENERATION: &str = "deprecated.daemonset.template.generation";

const RULES: &[Rule] = &[
    // RBAC cannot restrict `patch` to fields, so an admission policy does.
    Rule::new("apps", WORKLOADS, &["get", "patch"]),
    // Between a pod and its Deployment.
    Rule::new("apps", &["replicasets"], &["get"]),
    // The annotation that opts out or in.
    Rule::new("", &["namespaces"], &["get"]),
    // What refuses a value, computes with it, or tells the least that is safe.
    Rule::new("", &["limitranges"], &["list"]),
    Rule::new("autoscaling", &["horizontalpodautoscalers"], &["list"]),
    Rule::new("autoscaling.k8s.io", &["verticalpodautoscalers"], &["list"]),
    Rule::new("metrics.k8s.io", &["pods"], &["list"]),
    // A broken pod of a StatefulSet blocks its rollout, also back to the old template.
    Rule::new("", &["pods"], &["delete"]),
    // Whether the webhook gives way to owners; without it nothing is patched.
    Rule {
        group: "admissionregistration.k8s.io",
        resources: &["mutatingwebhookconfigurations"],
        names: &[WEBHOOK_CONFIGURATION],
        verbs: &["get"],
    },
];

/// The `ClusterRole` and its binding, and the limit of the account.
#[must_use]
pub fn remediation() -> Vec<Object> {
    let mut objects: Vec<Object> = cluster_rights(NAME, OPERATOR.name, RULES).into();
    objects.extend(account_limit().objects());
    objects
}

/// The operator's account may change nothing of a workload but TCP probes, requests and limits of
/// containers, and its own annotation. So a stolen token of the operator runs no other image or
/// command, and gives no pod other rights.
fn account_limit() -> AccountLimit {
    let both = ["object", "oldObject"];
    let metadata = ["metadata.?labels", "metadata.?ownerReferences", "metadata.?finalizers"];
    let annotations = format!(
        "metadata.?annotations.orValue({{}}).transformMap(name, value, \
         !(name in ['{PATCHED_BY}', '{GENERATION}']), value)"
    );
    let of_template = both.map(|object| format!("{object}.spec.template"));
    let of_pods = both.map(|object| format!("{object}.spec.template.spec"));
    let containers = ["containers", "initContainers"].map(|list| {
        let [new, old] = of_pods.each_ref().map(|spec| format!("{spec}.?{list}.orValue([])"));
        let same = is_same_container();
        format!("{new}.size() == {old}.size() && {new}.all(new, {old}.exists(old, {same}))")
    });
    AccountLimit {
        name: NAME,
        component: OPERATOR.name,
        resources: ("apps", WORKLOADS),
        rules: vec![
            (are_equal(&metadata, both), "the operator may not change the metadata of a workload"),
            (
                are_equal(&[&annotations], both),
                "the operator may change no annotation of a workload but its own",
            ),
            (
                all_but(both.map(|object| format!("{object}.spec")), &["template"]),
                "the operator may not change the spec of a workload beside its pod template",
            ),
            (
                format!(
                    "{} && {}",
                    all_but(of_template, &["spec"]),
                    all_but(of_pods, &["containers", "initContainers"])
                ),
                "the operator may change nothing of a pod template but its containers",
            ),
            (
                containers.join(" && "),
                "the operator may change nothing of a container but probes and resources",
            ),
        ],
    }
}

/// The CEL expression that two containers, `new` and `old`, differ in what the operator fills in, and
/// in nothing else.
fn is_same_container() -> String {
    const FILLED_IN: [&str; 3] = ["livenessProbe", "readinessProbe", "resources"];
    /// What the operator never sets: a command, a request, or another machine.
    const NEVER: [&str; 9] = [
        "?livenessProbe.?exec",
        "?livenessProbe.?httpGet",
        "?livenessProbe.?grpc",
        "?livenessProbe.?tcpSocket.?host",
        "?readinessProbe.?exec",
        "?readinessProbe.?httpGet",
        "?readinessProbe.?grpc",
        "?readinessProbe.?tcpSocket.?host",
        "?resources.?claims",
    ];
    let both = ["new", "old"];
    // By the name first, as comparing all containers with all others would be costly.
    let (name, never) = (are_equal(&["name"], both), are_equal(&NEVER, both));
    format!("{name} && {never} && {}", all_but(both, &FILLED_IN))
}

/// The CEL expression that two objects are equal but for these fields. It covers also fields that
/// later versions of Kubernetes add. `dyn`: for the type checker an object is no map.
fn all_but(objects: [impl AsRef<str>; 2], fields: &[&str]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| format!("'{field}'")).collect();
    let others = objects.map(|object| {
        let (object, fields) = (object.as_ref(), fields.join(", "));
        format!("dyn({object}).transformMap(name, value, !(name in [{fields}]), value)")
    });
    others.join(" == ")
}
