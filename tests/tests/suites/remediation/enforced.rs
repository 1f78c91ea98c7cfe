//! A control plane on which enforce mode is installed: operator, webhook, and their permissions.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use e2e::{AuditedCall, Parts, Service, Signal, Testbed};
use serde_json::{Value, json};

use super::usage;
use super::workloads::{INJECTED_BY, list, pods_of, read, text};
use crate::webhook::AdmissionTestbed;
use crate::{cli, operator, webhook};

/// For what several controllers do one after the other, with budgets, on a busy machine.
pub(crate) const SURELY: Duration = Duration::from_secs(180);
/// The account of the operator.
pub(crate) const OPERATOR: &str = "system:serviceaccount:kube-devops:policy-operator";

/// Without a limit to how many workloads are remediated at a time.
const NO_BUDGETS: [(&str, &str); 4] = [
    ("GOV_REMEDIATION__MAX_CONCURRENT_PER_POLICY", "1000"),
    ("GOV_REMEDIATION__MAX_CONCURRENT", "1000"),
    ("GOV_REMEDIATION__MAX_STARTED", "1000"),
    ("GOV_REMEDIATION__CANARY", "false"),
];

/// These variables, and those that lift the budgets.
fn without_budgets(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    NO_BUDGETS.iter().chain(variables).map(owned).collect()
}

fn start_operator(
    testbed: &'static Testbed,
    name: &str,
    kubeconfig: &Path,
    variables: &[(String, String)],
) -> Service<'static> {
    let launch = testbed.service(name, operator::program()).kubeconfig(kubeconfig);
    let launch =
        variables.iter().fold(launch, |launch, (name, value)| launch.variable(name, value));
    let operator = launch.start().unwrap();
    operator.wait_ready(SURELY).unwrap();
    operator
}

/// The control plane with both services.
pub(crate) struct Enforced {
    admission: &'static AdmissionTestbed,
    /// The kubeconfig and the variables of the operator.
    kubeconfig: PathBuf,
    variables: Vec<(String, String)>,
    operator: Service<'static>,
    _webhook: Service<'static>,
}

impl Enforced {
    /// The one that the tests of this suite share. Each uses namespaces of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Enforced> = LazyLock::new(|| Enforced::start("enforced", &[]));
        &SHARED
    }

    /// One with these variables of the operator.
    pub(crate) fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        let parts = Parts::new(name).with_controllers().with_nodes(3);
        // It lives as long as the process, like the services that borrow it.
        let admission: &'static AdmissionTestbed =
            Box::leak(Box::new(AdmissionTestbed::new(&parts)));
        let testbed = admission.testbed();
        usage::serve(testbed);
        testbed.install_operator_remediation().unwrap();
        let webhook = admission.start("webhook", webhook::program(), &[]);
        admission.install(&webhook);
        admission.install_mutating(&webhook);
        let kubeconfig = testbed.account_kubeconfig("kube-devops", "policy-operator").unwrap();
        let variables = without_budgets(variables);
        let operator = start_operator(testbed, "operator", &kubeconfig, &variables);
        Self { admission, kubeconfig, variables, operator, _webhook: webhook }
    }

    /// Starts another replica of the operator. It need not be the leader.
    pub(crate) fn start_operator(&self, name: &str) -> Service<'static> {
        start_operator(self.testbed(), name, &self.kubeconfig, &self.variables)
    }

    /// Replaces the operator by one with these variables, as `kubectl set env` does.
    pub(crate) fn restart(&mut self, variables: &[(&str, &str)]) {
        self.operator.signal(Signal::Term).unwrap();
        self.operator.wait_exit(SURELY).unwrap();
        self.variables = without_budgets(variables);
        self.operator = self.start_operator("operator");
    }

    pub(crate) fn testbed(&self) -> &'static Testbed {
        self.admission.testbed()
    }

    pub(crate) fn operator(&self) -> &Service<'static> {
        &self.operator
    }

    /// Applies a policy of that spec, `p`.
    pub(crate) fn apply_policy(&self, namespace: &str, spec: &str) {
        self.testbed().apply(&cli::policy(namespace, "p", spec)).unwrap();
    }

    /// What the status of the policy `p` says of a workload, such as `Deployment/web`.
    pub(crate) fn entry(&self, namespace: &str, workload: &str) -> Value {
        self.entry_of(namespace, "p", workload)
    }

    /// What the status of a policy says of a workload.
    pub(crate) fn entry_of(&self, namespace: &str, policy: &str, workload: &str) -> Value {
        let policy = operator::policy(self.testbed(), namespace, policy);
        let workloads = policy["status"]["remediation"]["workloads"].as_array();
        let mut workloads = workloads.into_iter().flatten();
        workloads.find(|found| found["workload"] == workload).cloned().unwrap_or_default()
    }

    /// The state of a workload in the status.
    pub(crate) fn state(&self, namespace: &str, workload: &str) -> String {
        text(&self.entry(namespace, workload)["state"])
    }

    /// Whether a workload is patched: its memory is observed for ten minutes more.
    pub(crate) fn is_patched(&self, namespace: &str, workload: &str) -> bool {
        ["Observing", "Patched"].contains(&&*self.state(namespace, workload))
    }

    /// How often the operator has read a workload.
    pub(crate) fn reads(&self, namespace: &str, name: &str) -> usize {
        self.calls(namespace, name).iter().filter(|call| call.verb == "get").count()
    }

    /// What the operator has written to a workload: verb, whether it was a dry run, and the answer.
    pub(crate) fn writes(&self, namespace: &str, name: &str) -> Vec<String> {
        let calls = self.calls(namespace, name);
        let writes = calls.iter().filter(|call| call.verb != "get");
        writes
            .map(|call| {
                let is_dry = call.url.contains("dryRun=All");
                let dry = if is_dry { " dry" } else { "" };
                format!("{}{dry} {}", call.verb, call.code)
            })
            .collect()
    }

    fn calls(&self, namespace: &str, name: &str) -> Vec<AuditedCall> {
        let mut calls = self.testbed().audit(OPERATOR).unwrap();
        calls.retain(|call| {
            call.namespace == namespace && call.name == name && call.group == "apps"
        });
        calls
    }

    /// Waits until something holds; else the failure shows the policy and the operator's log.
    /// Waits until new pods of a workload are injected into, or no more: the webhook hears of a
    /// status a moment later. Asks with a pod like one of them, of which nothing is stored.
    pub(crate) fn wait_until_injected(&self, object: &Value, is_injected: bool) {
        let testbed = self.testbed();
        let namespace = text(&object["metadata"]["namespace"]);
        self.wait_until(&namespace, "the webhook to hear of it", || {
            let Some(present) = pods_of(testbed, object).into_iter().next() else { return false };
            let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {} });
            for field in ["generateName", "namespace", "labels", "ownerReferences"] {
                pod["metadata"][field] = present["metadata"][field].clone();
            }
            pod["spec"] = read(testbed, object)["spec"]["template"]["spec"].take();
            let create = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
            let made = testbed.kubectl_stdin(&create, &pod.to_string()).unwrap();
            let made: Value = serde_json::from_str(&made.succeeded().unwrap()).unwrap();
            made.pointer(INJECTED_BY).is_some() == is_injected
        });
    }

    pub(crate) fn wait_until(&self, namespace: &str, what: &str, holds: impl Fn() -> bool) {
        let waited = self.testbed().wait_for(what, SURELY, || Ok(holds()));
        if waited.is_err() {
            let policies = list(self.testbed(), namespace, "dop");
            let statuses: Vec<&Value> = policies.iter().map(|policy| &policy["status"]).collect();
            let log = self.operator.logs().unwrap();
            assert!(waited.is_ok(), "{waited:?}\n{statuses:#?}\n{log}");
        }
    }
}
