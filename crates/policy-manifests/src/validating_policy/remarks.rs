//! What the objects cannot express.

use policy_core::api::{ControllerPods, EnforcementMode};
use policy_core::checks::CheckId;
use policy_core::custom::CustomChecks;
use policy_core::policy::{CompiledPolicy, Exemptions};

use super::expressions::is_expressible;
use super::{PolicyPlace, rule};

/// What the webhook does under the policy and its admission policies do not.
pub(super) fn of(place: &PolicyPlace, rules: &CompiledPolicy) -> Vec<String> {
    let names = |checks: Vec<&str>, rest: &str| {
        (!checks.is_empty()).then(|| format!("{}: {rest}", checks.join(", ")))
    };
    let enabled = |is_wanted: &dyn Fn(CheckId) -> bool| {
        let checks = rules.enabled().map(|(check, _)| check).filter(|check| is_wanted(*check));
        checks.map(CheckId::as_str).collect()
    };
    let run_time = names(
        enabled(&|check| !check.meta().at_admission),
        "about running pods, so that nothing at admission can judge them.",
    );
    let unknown = names(
        enabled(&|check| check.meta().at_admission && rule(check).is_none()),
        "not expressed; only the webhook judges them.",
    );
    let refused = rules.custom().map(CustomChecks::refused).unwrap_or_default();
    let refused: Vec<String> = refused.iter().map(|one| format!("custom/{}", one.name)).collect();
    let refused = (!refused.is_empty())
        .then(|| format!("{}: left out, as its expression is refused.", refused.join(", ")));
    let custom = rules
        .custom()
        .map(|_| "Custom checks see the whole metadata of an object there.".to_owned());
    let fills_in = (rules.mode() == EnforcementMode::Enforce).then(|| {
        "What enforce mode has filled in cannot be taken back by the owner of the workload where \
         that is denied, as by `kubectl rollout undo`: whose field it is, is beyond an expression."
            .to_owned()
    });
    let exemptions = rules.exemptions().into_iter().flat_map(Exemptions::iter);
    let omitted: Vec<String> = exemptions
        .filter(|(_, exemption)| !is_expressible(exemption))
        .map(|(id, _)| format!("spec.exemptions[{}]", id.index()))
        .collect();
    let omitted = (!omitted.is_empty()).then(|| {
        format!(
            "{}: left out, so that its findings are denied or warned of. No expression knows the \
             time at which an exemption ends, or the pods of another project's kind; selectors are not \
             expressed.",
            omitted.join(", ")
        )
    });
    let denies_pods = rules.admission().controller_pods == ControllerPods::Deny;
    let of_controllers = (denies_pods && rules.exemptions().is_some()).then(|| {
        "A pod of the cluster's controllers is exempted by its own name alone, and not by the name \
         of its workload: an expression does not know the Deployment of a ReplicaSet."
            .to_owned()
    });
    let excluded = matches!(place, PolicyPlace::Cluster(_)).then(|| {
        "Namespaces that the configuration of the services excludes are judged too: add them to \
         spec.excludedNamespaces."
            .to_owned()
    });
    let made = if denies_pods { "ReplicaSets and Jobs" } else { "Pods, ReplicaSets and Jobs" };
    let let_in = format!(
        "{made} that the cluster's controllers make, mirrors of static pods and changes by the \
         operator are let in as by the webhook, but their findings are not recorded in the audit log."
    );
    let always = [
        "They are a copy: after a change of the policy export it again. Other policies have objects \
         of their own.",
        "Workloads of kinds of your own (workloadKinds of the webhook) are let in: the rules are for \
         the kinds of Kubernetes.",
        "There are no metrics of the webhook. The API server has its own: \
         apiserver_validating_admission_policy_check_total.",
        "A denial names the findings of one check, all containers in one line; where that exceeds \
         5 kB, the title of the check.",
        "An evaluation that exceeds the API server's limits on expressions is a denial: that of an \
         object with thousands of containers, or of a change to one that has several hundred in \
         violation.",
    ];
    let custom = refused.into_iter().chain(custom);
    let found = run_time
        .into_iter()
        .chain(unknown)
        .chain(omitted)
        .chain(of_controllers)
        .chain(fills_in)
        .chain(excluded)
        .chain(custom)
        .chain([let_in]);
    found.chain(always.into_iter().map(str::to_owned)).collect()
}
