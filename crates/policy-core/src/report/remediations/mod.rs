//! What enforce mode did and did not do, by the status of the policies and the workloads as they are
//! now.

#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use super::{NotRead, SCHEMA_VERSION, Source};
use crate::api::{
    DevOpsPolicy, DevOpsPolicyStatus, EnforcementMode, RemediatedWorkload, RemediationMethod,
    RemediationState,
};
use crate::remediation::{Target, Windows};
use crate::workload::ObjectKind;

/// The condition of a policy that says whether remediation runs.
const REMEDIATING: &str = "Remediating";

/// What enforce mode did and did not do.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "policyctl remediations")]
pub struct RemediationReport {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: &'static str,
    /// The cluster.
    pub source: Source,
    /// The policies in enforce mode, and those that were, by namespace and name.
    pub policies: Vec<RemediatingPolicy>,
    /// The workloads in the status of the policies, by namespace, workload and policy.
    pub workloads: Vec<ReportedRemediation>,
    /// How many workloads that may have fields of the operator were not read, because there are too
    /// many; their `live` is `null`.
    pub not_compared: u64,
    /// What could not be read.
    pub not_read: Vec<NotRead>,
}

/// A policy that is or was in enforce mode.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RemediatingPolicy {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it is in enforce mode now.
    pub mode: EnforcementMode,
    /// How it changes workloads.
    pub method: RemediationMethod,
    /// The beginning of the next window; `null` where a remediation may start now.
    pub next_window: Option<Time>,
    /// Its condition `Remediating`; `null` where the operator has not set it.
    pub remediating: Option<RemediatingCondition>,
    /// How many workloads its status does not list. They are not changed.
    pub workloads_omitted: i64,
    /// When its remediations of the last ten minutes were taken back.
    pub reverts: Vec<Time>,
}

/// The condition `Remediating`.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RemediatingCondition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
}

/// What was done with a workload under a policy.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReportedRemediation {
    /// The namespace of the workload and the policy.
    pub namespace: String,
    /// The workload as `Kind/name`.
    pub workload: String,
    /// The name of the policy.
    pub policy: String,
    /// What was done.
    pub state: RemediationState,
    /// Since when it has the state.
    pub since: Time,
    /// What is filled in or proposed, as `container: field=value`.
    pub fields: Vec<String>,
    /// Why, in one word; empty where nothing stands against it.
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
    /// The workload as it is now; `null` where it was not read.
    pub live: Option<LiveWorkload>,
    #[serde(skip)]
    uid: String,
}

/// What the operator owns of a workload now.
#[derive(Serialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LiveWorkload {
    /// Whether there is none of that name, or another one with that name.
    pub is_gone: bool,
    /// The policy in its annotation `devops.stochastic.io/patched-by`, as `namespace/name`.
    pub patched_by: Option<String>,
    /// The fields that the field manager `policy-operator` owns, with their values.
    pub fields: Vec<String>,
}

impl RemediationReport {
    /// The report on the policies of a cluster, which are read as JSON.
    #[must_use]
    pub fn of<'a>(
        source: Source,
        policies: impl IntoIterator<Item = &'a Value>,
        now: Timestamp,
    ) -> Self {
        let (policies_read, workloads, not_read) = Default::default();
        let mut report = Self {
            schema_version: SCHEMA_VERSION,
            source,
            policies: policies_read,
            workloads,
            not_compared: 0,
            not_read,
        };
        for policy in policies {
            if let Err(error) = report.policy(policy, now) {
                let name = |field: &str| policy["metadata"][field].as_str().unwrap_or_default();
                let what = format!("policy {}/{}", name("namespace"), name("name"));
                report.failed(&what, error.to_string());
            }
        }
        report.policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let key =
            |r: &ReportedRemediation| (r.namespace.clone(), r.workload.clone(), r.policy.clone());
        report.workloads.sort_by_key(key);
        report
    }

    /// Records something that could not be read.
    pub fn failed(&mut self, what: &str, reason: String) {
        self.not_read.push(NotRead::new(&what.into(), None, reason));
    }

    fn policy(&mut self, policy: &Value, now: Timestamp) -> Result<(), serde_json::Error> {
        let DevOpsPolicy { metadata, spec, status } = DevOpsPolicy::deserialize(policy)?;
        let DevOpsPolicyStatus { remediation, conditions, .. } = status.unwrap_or_default();
        if spec.enforcement_mode == EnforcementMode::Audit && remediation.is_none() {
            return Ok(());
        }
        let remediating = conditions.into_iter().find(|condition| condition.type_ == REMEDIATING);
        let status = remediation.unwrap_or_default();
        let rules = spec.remediation.unwrap_or_default();
        let (namespace, name) =
            (metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
        // The policy of an invalid window is not enforced, which its condition says.
        let windows = Windows::parse(&rules.windows).unwrap_or_default();
        self.workloads
            .extend(status.workloads.into_iter().map(|found| reported(&namespace, &name, found)));
        self.policies.push(RemediatingPolicy {
            namespace,
            name,
            mode: spec.enforcement_mode,
            method: rules.method,
            next_window: windows.next_open(now).filter(|next| *next != now).map(Time),
            remediating: remediating.map(|condition| RemediatingCondition {
                status: condition.status,
                reason: condition.reason,
                message: condition.message,
            }),
            workloads_omitted: status.workloads_omitted,
            reverts: status.reverts,
        });
        Ok(())
    }
}

fn reported(namespace: &str, policy: &str, found: RemediatedWorkload) -> ReportedRemediation {
    ReportedRemediation {
        namespace: namespace.to_owned(),
        workload: found.workload,
        policy: policy.to_owned(),
        state: found.state,
        since: found.since,
        fields: found.fields,
        reason: found.reason,
        message: found.message,
        live: None,
        uid: found.uid,
    }
}

impl ReportedRemediation {
    /// The kind and name of the workload, where the operator may own fields of it.
    #[must_use]
    pub fn to_compare(&self) -> Option<(ObjectKind, &str)> {
        let may_own = match self.state {
            RemediationState::Observing
            | RemediationState::Patched
            | RemediationState::Reverted
            | RemediationState::Withdrawn
            | RemediationState::Waiting
            | RemediationState::Failed => true,
            RemediationState::Injecting
            | RemediationState::Proposed
            | RemediationState::NotPatchable => false,
        };
        let (kind, name) = self.workload.split_once('/').filter(|_| may_own)?;
        let kind = ObjectKind::in_group("apps", kind).filter(|kind| kind.is_patchable())?;
        Some((kind, name))
    }

    /// Adds the workload as it is now, or that there is none.
    ///
    /// # Errors
    /// The object cannot be read.
    pub fn compare(&mut self, workload: Option<&Value>) -> Result<(), String> {
        let target = workload.map(Target::read).transpose()?;
        let target = target.filter(|target| self.uid.is_empty() || target.uid == self.uid);
        self.live = Some(match target {
            None => LiveWorkload { is_gone: true, ..LiveWorkload::default() },
            Some(target) => LiveWorkload {
                is_gone: false,
                fields: target.ours.lines(),
                patched_by: target.patched_by,
            },
        });
        Ok(())
    }
}
