//! What the webhook would deny of what runs in a namespace now, if it were created again.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{NamespacePods, first};
use crate::admission::{NamedPolicy, NamespacePolicies, Recreation};
use crate::api::{AdmissionMode, ControllerPods};
use crate::policy::CompiledPolicy;
use crate::severity::Severity;
use crate::workload::Workload;

/// What the webhook would do under a policy, judged by the current pods. What something else set
/// in a running pod counts as if its template had it.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionPreview {
    /// Whether findings deny.
    pub mode: AdmissionMode,
    /// From which severity on they do.
    pub deny_severity: Severity,
    /// Whether pods that the cluster's own controllers create may be denied.
    pub controller_pods: ControllerPods,
    /// The workloads, and the pods without a controller, that could not be created again, by kind
    /// and name; at most 1 000.
    pub denied: Vec<DeniedWorkload>,
    /// How many more there are.
    pub denied_cut: u64,
    /// The running pods of the cluster's own controllers that could not be created again if the
    /// policy had `controllerPods: deny`, by name; at most 1 000.
    pub denied_pods: Vec<DeniedPod>,
    /// How many more there are.
    pub denied_pods_cut: u64,
}

/// A workload that could not be created again.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeniedWorkload {
    /// The workload; the pod itself where it has no controller.
    pub workload: Workload,
    /// How many of its pods have such findings.
    pub pods: u64,
    /// The message that its user would get, in lines.
    pub message: String,
}

/// A pod that its controller could not create again.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeniedPod {
    /// The name of the pod.
    pub name: Box<str>,
    /// Its workload.
    pub workload: Workload,
}

impl AdmissionPreview {
    /// Judges the pods of a namespace as if they and their workloads were created again under a
    /// policy of that name.
    pub(super) fn of(
        NamespacePods { namespace, pods, custom, namespaces, workloads, now, .. }: NamespacePods<
            '_,
        >,
        name: &str,
        policy: &CompiledPolicy,
    ) -> Self {
        let named = |rules| NamespacePolicies {
            namespace: namespaces.get(&**namespace).cloned().map(Arc::new),
            ..NamedPolicy { name: name.into(), rules: Ok(Arc::new(rules)) }.into()
        };
        let as_it_is = named(policy.clone());
        let denying_pods = named(policy.clone().with_controller_pods(ControllerPods::Deny));
        let mut denied: BTreeMap<&Workload, (u64, String)> = BTreeMap::new();
        let mut denied_pods = BTreeMap::new();
        for (index, pod) in pods.iter().enumerate() {
            let object = || policy.custom().and_then(|_| custom.get(index)).cloned();
            let workload = &pod.workload;
            let again = Recreation::of(pod, workloads.of(pod));
            if let Some(message) = again.by_user().admit_with(object(), &as_it_is, now).message() {
                denied.entry(workload).or_insert((0, message)).0 += 1;
            }
            if let Some(creation) = again.by_controller()
                && !creation.admit_with(object(), &denying_pods, now).is_allowed()
            {
                denied_pods.insert(pod.name.clone(), Workload::clone(workload));
            }
        }
        let denied = denied.into_iter().map(|(workload, (pods, message))| DeniedWorkload {
            workload: workload.clone(),
            pods,
            message,
        });
        let (denied, denied_cut) = first(denied.collect());
        let pods = denied_pods.into_iter().map(|(name, workload)| DeniedPod { name, workload });
        let (denied_pods, denied_pods_cut) = first(pods.collect());
        let admission = policy.admission();
        Self {
            mode: admission.mode,
            deny_severity: admission.deny_severity,
            controller_pods: admission.controller_pods,
            denied,
            denied_cut,
            denied_pods,
            denied_pods_cut,
        }
    }
}
