//! What the webhook would not let in again of what runs in a namespace now.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::first;
use crate::admission::{CONTROLLER_MANAGER, NamedPolicy, Request, admit};
use crate::api::{AdmissionMode, ControllerPods};
use crate::facts::PodFacts;
use crate::policy::CompiledPolicy;
use crate::severity::Severity;
use crate::view::{JobSpecView, JobTemplateView, PodTemplateView, SpecView};
use crate::workload::{ObjectKind, Workload};

/// What the webhook would do under a policy, told by the pods of now. What something else put into
/// a running pod counts as if its template had it.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionPreview {
    /// Whether findings deny.
    pub mode: AdmissionMode,
    /// From which severity on they do.
    pub deny_severity: Severity,
    /// Whether pods that the cluster's own controllers make may be denied.
    pub controller_pods: ControllerPods,
    /// The workloads, and the pods that belong to none, that could not be made again, by kind and
    /// name; at most 1 000.
    pub denied: Vec<DeniedWorkload>,
    /// How many more there are.
    pub denied_cut: u64,
    /// The running pods of the cluster's own controllers that could not be made again if the
    /// policy had `controllerPods: deny`, by name; at most 1 000.
    pub denied_pods: Vec<DeniedPod>,
    /// How many more there are.
    pub denied_pods_cut: u64,
}

/// A workload that could not be made again.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeniedWorkload {
    /// The workload; the pod itself where it belongs to none.
    pub workload: Workload,
    /// How many of its pods tell so.
    pub pods: u64,
    /// What its user would be shown, in lines.
    pub message: String,
}

/// A pod that its controller could not make again.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeniedPod {
    /// The name of the pod.
    pub name: Box<str>,
    /// Its workload.
    pub workload: Workload,
}

/// Judges the pods of a namespace as if they and their workloads were made again.
#[derive(Clone, Debug)]
pub struct AdmissionSimulation {
    as_it_is: [NamedPolicy; 1],
    denying_pods: [NamedPolicy; 1],
    admission: crate::api::Admission,
    denied: BTreeMap<Workload, (u64, String)>,
    denied_pods: BTreeMap<Box<str>, Workload>,
}

impl AdmissionSimulation {
    /// The door as it would be under a policy of that name.
    #[must_use]
    pub fn new(name: &str, policy: &CompiledPolicy) -> Self {
        let named = |rules| [NamedPolicy { name: name.into(), rules: Ok(Arc::new(rules)) }];
        Self {
            as_it_is: named(policy.clone()),
            denying_pods: named(policy.clone().with_controller_pods(ControllerPods::Deny)),
            admission: policy.admission().clone(),
            denied: BTreeMap::new(),
            denied_pods: BTreeMap::new(),
        }
    }

    /// Judges a pod and its workload.
    pub fn pod(&mut self, facts: &PodFacts, spec: &SpecView) {
        // Nothing is made with ephemeral containers: they are added later.
        let spec = SpecView { ephemeral_containers: Vec::new(), ..spec.clone() };
        let Workload { group, kind, .. } = &facts.workload;
        // What other controllers make is judged itself.
        let kind = ObjectKind::in_group(group, kind).unwrap_or(ObjectKind::Pod);
        let is_of_controller = kind != ObjectKind::Pod;
        let door = Request::create(kind, &facts.namespace, spec_of(kind, spec.clone()));
        if let Some(message) = admit(&door, &self.as_it_is).message() {
            let denied = self.denied.entry(facts.workload.clone()).or_insert((0, message));
            denied.0 += 1;
        }
        let mut again = Request::create(ObjectKind::Pod, &facts.namespace, spec);
        again.user = CONTROLLER_MANAGER.into();
        if is_of_controller && !admit(&again, &self.denying_pods).is_allowed() {
            self.denied_pods.insert(facts.name.clone(), facts.workload.clone());
        }
    }

    pub(super) fn finish(self) -> AdmissionPreview {
        let denied = self.denied.into_iter().map(|(workload, (pods, message))| DeniedWorkload {
            workload,
            pods,
            message,
        });
        let (denied, denied_cut) = first(denied.collect());
        let pods =
            self.denied_pods.into_iter().map(|(name, workload)| DeniedPod { name, workload });
        let (denied_pods, denied_pods_cut) = first(pods.collect());
        AdmissionPreview {
            mode: self.admission.mode,
            deny_severity: self.admission.deny_severity,
            controller_pods: self.admission.controller_pods,
            denied,
            denied_cut,
            denied_pods,
            denied_pods_cut,
        }
    }
}

/// The spec of an object of that kind that makes such pods.
fn spec_of(kind: ObjectKind, spec: SpecView) -> SpecView {
    let template = PodTemplateView { spec };
    match kind {
        ObjectKind::Pod => template.spec,
        ObjectKind::CronJob => {
            let job_template = JobTemplateView { spec: JobSpecView { template } };
            SpecView { job_template: Some(Box::new(job_template)), ..SpecView::default() }
        }
        _ => SpecView { template: Some(Box::new(template)), ..SpecView::default() },
    }
}
