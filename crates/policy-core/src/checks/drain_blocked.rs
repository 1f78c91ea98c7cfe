//! Workloads that a `PodDisruptionBudget` lets nobody drain.

use std::borrow::Cow;

use super::{Check, CheckMeta, Parameters, Subject};
use crate::evaluate::FindingSink;
use crate::facts::CheckedFacts;

pub(super) struct DrainBlocked;

static META: CheckMeta = CheckMeta {
    id: "drain-blocked",
    field: "forbidBlockedDrain",
    severity_key: "drainBlocked",
    violation_type: "drain_blocked",
    title: "Budget never allows an eviction",
    summary_label: "Blocked drains",
    counts_restarts: false,
    text: "PodDisruptionBudget allows no eviction: a drain of its node never ends",
    what: "A workload that a PodDisruptionBudget selects whose status says that `disruptionsAllowed` is 0 and `desiredHealthy` is not below `expectedPods`: `minAvailable` is the number of replicas or more, or `maxUnavailable` is 0. A budget that allows nothing only because pods are not healthy just now is no finding. Each of its pods has the finding, which statuses and tables show once for the workload. Only who sees budgets can judge it: the operator, and `policyctl analyze` and `explain` of a cluster. The watcher, the webhook and files have no such finding; so it has weight 0, and no key in `weights`.",
    why: "The eviction API refuses every eviction of these pods, as long as they are healthy. `kubectl drain`, an upgrade of the nodes or the cluster autoscaler waits for them until somebody steps in, usually at night.",
    fix: "Let the budget spare one pod: `maxUnavailable: 1`, or more replicas than `minAvailable`. Delete the budget of a workload that may be interrupted.",
    remedy: "let its PodDisruptionBudget spare one pod",
    weight: 0,
    at_admission: false,
    needs_budgets: true,
    is_filled_in_later: false,
    patchable: false,
    configure: |spec| super::switch(spec.forbid_blocked_drain),
    weight_override: None,
    severity_override: |severities| severities.drain_blocked,
};

impl Check for DrainBlocked {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn evaluate(&self, pod: &CheckedFacts, _: Parameters, sink: &mut FindingSink<'_>) {
        if pod.blocking_budget.is_some() {
            sink.pod(1);
        }
    }

    fn message(&self, subject: Subject<'_>, parameters: Parameters) -> Cow<'static, str> {
        let text = self.meta().text_with(parameters);
        match (&subject.pod.blocking_budget, text.split_once(' ')) {
            (Some(budget), Some((kind, rest))) => format!("{kind} {} {rest}", budget.0).into(),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::api::DevOpsPolicySpec;
    use crate::evaluate::evaluate;
    use crate::facts::{BudgetName, PodFacts};
    use crate::policy::CompiledPolicy;

    #[test]
    fn a_pod_of_a_blocking_budget_is_found_with_its_name() {
        let spec = DevOpsPolicySpec { forbid_blocked_drain: Some(true), ..Default::default() };
        let policy = CompiledPolicy::compile(&spec).unwrap();
        let pod = r#"{"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c"}]}}"#;
        let mut facts = PodFacts::of_pod(&serde_json::from_str(pod).unwrap(), "shop");
        let found = |facts: &PodFacts| {
            let evaluation = evaluate(facts, &policy, crate::Timestamp::UNIX_EPOCH);
            let texts = evaluation.findings.iter();
            texts.map(|found| found.message(&facts.checked, &policy).into_owned()).collect()
        };
        assert_eq!(found(&facts), [""; 0]);
        facts.checked.blocking_budget = Some(BudgetName("web-budget".into()).into());
        let text =
            "PodDisruptionBudget web-budget allows no eviction: a drain of its node never ends";
        let texts: Vec<String> = found(&facts);
        assert_eq!(texts, [text]);
        facts.clear_status();
        assert_eq!(found(&facts), [""; 0], "not at admission");
    }
}
