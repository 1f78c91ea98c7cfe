//! Which requests the API server has for the webhook.

use std::time::Duration;

use e2e::{Parts, Testbed};

use super::calls::Calls;
use super::{install, metrics, of_webhook};

const POD: &str = "{containers: [{name: c, image: nginx}]}";
/// Nobody makes pods of these: no copies, or held back.
const WORKLOADS: [(&str, &str, &str); 7] = [
    ("apps/v1", "Deployment", "replicas: 0, selector: {matchLabels: {a: b}}, template: TEMPLATE"),
    (
        "apps/v1",
        "StatefulSet",
        "replicas: 0, serviceName: a, selector: {matchLabels: {a: b}}, template: TEMPLATE",
    ),
    ("apps/v1", "ReplicaSet", "replicas: 0, selector: {matchLabels: {a: b}}, template: TEMPLATE"),
    ("apps/v1", "DaemonSet", "selector: {matchLabels: {a: b}}, template: TEMPLATE"),
    ("v1", "ReplicationController", "replicas: 0, selector: {a: b}, template: TEMPLATE"),
    ("batch/v1", "Job", "suspend: true, template: ONCE"),
    (
        "batch/v1",
        "CronJob",
        "suspend: true, schedule: '0 0 1 1 *', jobTemplate: {spec: {template: ONCE}}",
    ),
];

/// A control plane that knows of a webhook, and where the calls end.
struct World {
    testbed: Testbed,
    calls: Calls,
}

impl World {
    /// Without nodes nobody changes a pod once it is made.
    fn start(name: &str) -> Self {
        let testbed = Testbed::start(&Parts::new(name).with_controllers()).unwrap();
        let world = Self { testbed, calls: Calls::listen() };
        let url = world.calls.url();
        install(&world.testbed, &["--url", &url, "--exclude-namespace", "sandbox"]);
        for namespace in ["shop", "sandbox", "kube-devops", "x-system"] {
            world.kubectl(&["create", "namespace", namespace]);
        }
        for namespace in ["shop", "sandbox", "kube-devops", "x-system", "kube-system"] {
            let account = ["wait", "--for=create", "serviceaccount/default", "--timeout=60s"];
            world.kubectl(&[&account[..], &["-n", namespace]].concat());
        }
        // The API server learns of the configuration a moment later. It asks about a dry run too.
        let first = || {
            world.kubectl(&["run", "first", "--image=nginx", "-n", "shop", "--dry-run=server"]);
            Ok(world.calls.so_far() > 0)
        };
        world.testbed.wait_for("the first call", Duration::from_secs(60), first).unwrap();
        world
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.testbed.kubectl(arguments).unwrap().succeeded().unwrap()
    }

    /// The calls while a command of kubectl ran, which has to end well. A change may cost more
    /// than one: the API server makes it again where somebody else's came between.
    fn calls_of(&self, arguments: &[&str], stdin: &str) -> usize {
        let before = self.calls.so_far();
        self.testbed.kubectl_stdin(arguments, stdin).unwrap().succeeded().unwrap();
        self.calls.so_far() - before
    }

    /// The calls while an object was made, as somebody else where `options` say so.
    fn calls_to_create(&self, object: &str, options: &[&str]) -> usize {
        self.calls_of(&[&["create", "-f", "-"], options].concat(), object)
    }

    /// An expression that fails is passed over without a word, so that nothing would be asked.
    fn assert_that_no_expression_failed(&self) {
        let metrics = metrics(&self.testbed);
        let errors = "apiserver_admission_match_condition_evaluation_errors_total";
        assert!(of_webhook(&metrics, errors) < 1.0, "{metrics:?}");
        // The expressions were asked, and some held a request back.
        let held_back = "apiserver_admission_match_condition_exclusions_total";
        assert!(of_webhook(&metrics, held_back) > 0.0, "{metrics:?}");
    }
}

fn object(version: &str, kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    let template = format!("{{metadata: {{labels: {{a: b}}}}, spec: {POD}}}");
    let once = template.replace("{containers", "{restartPolicy: Never, containers");
    let spec = spec.replace("TEMPLATE", &template).replace("ONCE", &once);
    format!(
        "{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}}}}}"
    )
}

fn pod(namespace: &str, name: &str) -> String {
    object("v1", "Pod", namespace, name, "containers: [{name: c, image: nginx}]")
}

fn workload(namespace: &str, kind: &str, name: &str) -> String {
    let (version, kind, spec) = WORKLOADS.into_iter().find(|(_, found, _)| *found == kind).unwrap();
    object(version, kind, namespace, name, spec)
}

#[test]
fn what_can_be_denied_is_asked_about_and_nothing_else() {
    let world = World::start("webhook-requests");
    assert_eq!(world.calls_to_create(&pod("shop", "web"), &[]), 1);
    for (_, kind, _) in WORKLOADS {
        assert_eq!(world.calls_to_create(&workload("shop", kind, "web"), &[]), 1, "{kind}");
    }
    for (arguments, is_asked) in [
        (&["label", "pod", "web", "team=a"][..], true),
        (&["label", "deployment", "web", "team=a"], true),
        (&["set", "image", "cronjob/web", "c=nginx:1.27"], true),
        (&["debug", "web", "--image=busybox", "-c", "debugger"], true),
        // A subresource that brings no container.
        (&["scale", "replicaset", "web", "--replicas=0"], false),
        (&["create", "configmap", "web"], false),
        (&["delete", "replicationcontroller", "web"], false),
    ] {
        let in_shop = [arguments, &["-n", "shop"]].concat();
        assert_eq!(world.calls_of(&in_shop, "") > 0, is_asked, "{arguments:?}");
    }
    for namespace in ["kube-system", "kube-devops", "x-system", "sandbox"] {
        assert_eq!(world.calls_to_create(&pod(namespace, "web"), &[]), 0, "{namespace}");
        let deployment = workload(namespace, "Deployment", "web");
        assert_eq!(world.calls_to_create(&deployment, &[]), 0, "{namespace}");
    }
    world.assert_that_no_expression_failed();
}

#[test]
fn what_controllers_make_of_judged_objects_is_not_asked_about() {
    let world = World::start("webhook-controllers");
    // A Deployment that is paused has no ReplicaSet yet, one that is not has it soon: both cost
    // one call, and the ReplicaSet none.
    let deployment = workload("shop", "Deployment", "web");
    let before = world.calls.so_far();
    let paused = deployment.replace("name: web", "name: paused");
    let paused = paused.replace("replicas: 0", "replicas: 0, paused: true");
    assert_eq!(world.calls_to_create(&paused, &[]), 1);
    assert_eq!(world.calls_to_create(&deployment, &[]), 1);
    let has_replica_set = || {
        let sets = world.kubectl(&["get", "replicasets", "-n", "shop", "-o", "name"]);
        Ok(sets.lines().count() == 1)
    };
    let testbed = &world.testbed;
    testbed.wait_for("the ReplicaSet", Duration::from_secs(60), has_replica_set).unwrap();
    assert_eq!(world.calls.so_far() - before, 2);

    let deployments = "system:serviceaccount:kube-system:deployment-controller";
    let cron_jobs = "system:serviceaccount:kube-system:cronjob-controller";
    let manager = "system:kube-controller-manager";
    let user = "system:serviceaccount:shop:deployment-controller";
    for (number, (kind, who, calls)) in [
        ("ReplicaSet", deployments, 0),
        ("ReplicaSet", manager, 0),
        ("ReplicaSet", cron_jobs, 1),
        ("ReplicaSet", user, 1),
        ("Job", cron_jobs, 0),
        ("Job", manager, 0),
        ("Job", deployments, 1),
        ("Deployment", manager, 1),
        ("CronJob", cron_jobs, 1),
        ("Pod", deployments, 1),
        ("Pod", manager, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("by-{number}");
        let object = match kind {
            "Pod" => pod("shop", &name),
            kind => workload("shop", kind, &name),
        };
        // Admission is about who it is; what they may do is not the question here.
        let them = [&format!("--as={who}"), "--as-group=system:masters"];
        assert_eq!(world.calls_to_create(&object, &them), calls, "{kind} by {who}");
    }
    world.assert_that_no_expression_failed();
}
