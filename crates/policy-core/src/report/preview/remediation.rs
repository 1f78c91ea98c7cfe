//! What enforce mode would do with the workloads of a namespace.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::first;
use crate::remediation::{Fields, Plan, Reason, Target, Withheld, apply_body, inject, unlocked};

/// What enforce mode would do under a policy, if it began now.
#[derive(Serialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RemediationPreview {
    /// The workloads that lack something, by kind and name; at most 1 000.
    pub workloads: Vec<PlannedWorkload>,
    /// How many more there are.
    pub workloads_cut: u64,
    /// What could not be read, and what is assumed in its place.
    pub assumptions: Vec<String>,
}

/// What would be done with a workload.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PlannedWorkload {
    /// The workload as `Kind/name`.
    pub workload: String,
    /// What would be done.
    pub plan: PlannedAction,
    /// What would be filled in, or is proposed, as `container: field=value`.
    pub fields: Vec<String>,
    /// Why it is not done, or not in every respect, in one word; empty where nothing stands against
    /// it.
    pub reason: String,
    /// Why, in a sentence for each field that is left as it is.
    pub message: String,
    /// The request: for a patch the body of the server-side apply, for an injection the JSON patch
    /// of a pod as the template has it; else `null`.
    pub body: Option<Value>,
}

/// What would be done with a workload.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub enum PlannedAction {
    /// The operator patches its template.
    Patch,
    /// The webhook injects into its new pods.
    Inject,
    /// It is patched already; what is missing still is withheld.
    Patched,
    /// It is proposed to its owner.
    Propose,
    /// It is left as it is.
    NotPatchable,
}

impl RemediationPreview {
    /// The plans of workloads in any order.
    #[must_use]
    pub fn of(mut workloads: Vec<PlannedWorkload>, assumptions: Vec<String>) -> Self {
        workloads.sort_by(|a, b| a.workload.cmp(&b.workload));
        let (workloads, workloads_cut) = first(workloads);
        Self { workloads, workloads_cut, assumptions }
    }

    /// How many of the listed workloads have that plan.
    #[must_use]
    pub fn number(&self, plan: PlannedAction) -> usize {
        self.workloads.iter().filter(|workload| workload.plan == plan).count()
    }
}

impl PlannedWorkload {
    /// The plan of a workload for the policy `namespace/name`; `None` where nothing is missing.
    /// `object` is what `target` was read from.
    #[must_use]
    pub fn of(target: &Target, object: &Value, plan: Plan, policy: &str) -> Option<Self> {
        let workload = target.label();
        let with = |plan, fields: &Fields, withheld: &[Withheld], body| {
            let (reason, message) = Withheld::summary(withheld);
            let (fields, reason) = (fields.lines(), reason.to_owned());
            Self { workload: workload.clone(), plan, fields, reason, message, body }
        };
        let without = |plan, fields: &Fields, reason: &Reason| Self {
            workload: workload.clone(),
            plan,
            fields: fields.lines(),
            reason: reason.code().to_owned(),
            message: reason.to_string(),
            body: None,
        };
        Some(match plan {
            Plan::Nothing => return None,
            Plan::Patch { fields, withheld } => {
                let body = apply_body(target, &fields, policy);
                with(PlannedAction::Patch, &fields, &withheld, Some(body))
            }
            Plan::InjectAtAdmission { fields, withheld } => {
                let unlocked = target.locks_out().then(|| unlocked(object, &target.ours));
                let template = &unlocked.as_ref().unwrap_or(object)["spec"]["template"];
                let pod = json!({ "metadata": template["metadata"], "spec": template["spec"] });
                let body = inject(&pod, &fields, policy).into();
                with(PlannedAction::Inject, &fields, &withheld, Some(body))
            }
            Plan::Withhold { withheld } if target.ours.is_empty() || target.locks_out() => {
                with(PlannedAction::Propose, &Fields::default(), &withheld, None)
            }
            Plan::Withhold { withheld } => {
                with(PlannedAction::Patched, &Fields::default(), &withheld, None)
            }
            Plan::Propose { fields, reason } => without(PlannedAction::Propose, &fields, &reason),
            Plan::NotPatchable { reason } => {
                without(PlannedAction::NotPatchable, &Fields::default(), &reason)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_the_request_that_would_be_sent() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "namespace": "shop", "name": "web", "uid": "1", "resourceVersion": "7" },
            "spec": { "template": { "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "web:1" }] } } },
        });
        let target = Target::read(&object).unwrap();
        let fields = || Fields::parse(["web: requests.cpu=100m"]);
        let of = |plan| PlannedWorkload::of(&target, &object, plan, "shop/p");
        let reason = || Reason::Paused;
        let held = Withheld { container: "web".into(), field: "readinessProbe", reason: reason() };
        let withheld = vec![held];
        let nothing = of(Plan::Withhold { withheld: withheld.clone() }).unwrap();
        let patch = of(Plan::Patch { fields: fields(), withheld }).unwrap();
        assert_eq!(patch.body, Some(apply_body(&target, &fields(), "shop/p")));
        assert_eq!((patch.reason.as_str(), &patch.fields[..]), ("Paused", &fields().lines()[..]));
        assert!(patch.message.starts_with("web: readinessProbe is not filled in: "));
        assert_eq!((nothing.plan, nothing.fields.len()), (PlannedAction::Propose, 0));
        assert_eq!((nothing.reason, nothing.message), (patch.reason, patch.message));
        let inject =
            of(Plan::InjectAtAdmission { fields: fields(), withheld: Vec::new() }).unwrap();
        let operations = inject.body.unwrap();
        assert!(operations.to_string().contains("requests"), "{operations:#}");
        let propose = of(Plan::Propose { fields: fields(), reason: reason() }).unwrap();
        assert_eq!((propose.plan, propose.body), (PlannedAction::Propose, None));
        let left = of(Plan::NotPatchable { reason: reason() }).unwrap();
        assert_eq!((left.plan, left.message), (PlannedAction::NotPatchable, reason().to_string()));
        assert_eq!(of(Plan::Nothing), None);
        let preview = RemediationPreview::of(vec![propose_again(&target, &object)], Vec::new());
        assert_eq!(preview.number(PlannedAction::Propose), 1);
    }

    #[test]
    fn what_is_patched_already_is_no_proposal() {
        let owned = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
            "k:{\"name\":\"web\"}": { "f:resources": { "f:requests": { "f:cpu": {} } } } } } } } });
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "namespace": "shop", "name": "web", "managedFields": [
                { "manager": "policy-operator", "operation": "Apply", "fieldsV1": owned }] },
            "spec": { "template": { "spec": { "containers": [{ "name": "web", "image": "web:1",
                "resources": { "requests": { "cpu": "100m" } } }] } } },
        });
        let target = Target::read(&object).unwrap();
        let reason = Reason::UnknownMemoryUse("web".into());
        let withheld = vec![Withheld { container: "web".into(), field: "limits.memory", reason }];
        let plan = Plan::Withhold { withheld };
        let planned = PlannedWorkload::of(&target, &object, plan, "shop/p").unwrap();
        assert_eq!(planned.plan, PlannedAction::Patched);
        assert_eq!(planned.fields, [""; 0], "nothing more would be");
        assert!(planned.message.starts_with("web: limits.memory is not filled in"));
    }

    fn propose_again(target: &Target, object: &Value) -> PlannedWorkload {
        let plan = Plan::Propose { fields: Fields::default(), reason: Reason::Recreate };
        PlannedWorkload::of(target, object, plan, "shop/p").unwrap()
    }
}
