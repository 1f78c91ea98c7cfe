//! The table of `explain`.

use std::collections::BTreeMap;
use std::io;

use policy_core::report::{
    Basis, CheckPolicies, CheckShare, Explanation, OperatorStatus, PodShare, PolicySetting,
    WorkloadShare,
};
use policy_core::text::printable;

use super::layout::{Cell, Column, Table, TableStyle, class_style, severity_style};
use super::table::{NO_PODS, NOT_READ};

pub(super) fn write(
    explanation: &Explanation,
    style: TableStyle,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, style };
    table.score(explanation)?;
    if let Some(status) = &explanation.status {
        table.operator(status, explanation.basis)?;
    }
    table.not_read(&explanation.coverage)?;
    table.notes(&explanation.coverage)?;
    if !explanation.unknown.is_empty() {
        let what = match explanation.basis {
            Basis::Pods => "Not known:",
            Basis::Status => "Not known from the status:",
        };
        table.heading(what)?;
        explanation.unknown.iter().try_for_each(|text| table.wrapped_printable("  ", text))?;
    }
    if let Some(checks) = explanation.check_policies.as_deref() {
        table.check_policies(checks)?;
    }
    table.exempted(&explanation.exempted, explanation.exempted_violations)?;
    let Some(score) = explanation.score.filter(|_| explanation.total_violations > 0) else {
        return Ok(());
    };
    table.checks(&explanation.checks, score)?;
    let numbers = |shown: usize, all: Option<u64>| match all {
        Some(all) if all > shown as u64 => format!(" (the {shown} worst of {all})"),
        _ => String::new(),
    };
    if let Some(workloads) = explanation.worst_workloads.as_deref() {
        let of = numbers(workloads.len(), explanation.workloads_with_findings);
        table.workloads(workloads, &of, score)?;
    }
    if let Some(pods) = explanation.worst_pods.as_deref() {
        let of = numbers(pods.len(), explanation.pods_with_findings);
        table.pods(pods, &of)?;
    }
    Ok(())
}

impl Table<'_> {
    fn score(&mut self, explanation: &Explanation) -> io::Result<()> {
        let Explanation { policy, pods, .. } = explanation;
        self.row("Policy", printable(policy))?;
        if explanation.basis == Basis::Status {
            self.row("Explained from", "the status alone, since the pods may not be read")?;
        }
        match (explanation.score, explanation.classification) {
            (Some(_), _) if *pods == Some(0) => self.row("Score", NO_PODS)?,
            (Some(score), Some(class)) => {
                let score = format!("{score} {class}");
                self.row("Score", self.style.paint(score, class_style(class)))?;
            }
            _ => self.row("Score", NOT_READ)?,
        }
        self.row("How", &explanation.arithmetic)?;
        if let (Some(compliant), Some(pods @ 1..)) = (explanation.compliant_pods, pods) {
            self.row("Compliant pods", format_args!("{compliant} of {pods}"))?;
        }
        self.coverage(&explanation.coverage)
    }

    fn operator(&mut self, status: &OperatorStatus, basis: Basis) -> io::Result<()> {
        const LABEL: &str = "Operator's status";
        let Some(score) = status.score else {
            return self.row(LABEL, "none: the operator has not evaluated this policy");
        };
        let score = match status.pods {
            Some(0) => NO_PODS.to_owned(),
            _ => format!("score {score}"),
        };
        let when = match &status.last_evaluated {
            Some(time) => format!("of {}", printable(time)),
            None => "of an unknown time".to_owned(),
        };
        let same = match (basis, status.differences.as_deref()) {
            (Basis::Status, _) | (_, None) => "",
            (Basis::Pods, Some([])) => ", the same as now",
            (Basis::Pods, Some(_)) => ", DIFFERENT from now:",
        };
        self.row(LABEL, format_args!("{score}, {when}{same}"))?;
        if let (true, Some(observed), Some(generation)) =
            (status.is_behind, status.observed_generation, status.generation)
        {
            self.wrapped(
                "  ",
                format_args!(
                    "it is of generation {observed} of the policy, which is at {generation}"
                ),
            )?;
        }
        let differences = status.differences.iter().flatten();
        differences.into_iter().try_for_each(|text| self.wrapped_printable("  ", text))
    }

    fn checks(&mut self, checks: &[CheckShare], score: u8) -> io::Result<()> {
        use Column::{Left, Right};
        let columns = [
            Left("CHECK"),
            Left("SEVERITY"),
            Right("FINDINGS"),
            Right("COUNT"),
            Right("WEIGHT"),
            Right("POINTS"),
            Left("IF FIXED"),
        ];
        let number = |number: Option<u64>| number.map_or_else(|| Cell::new("?"), Cell::new);
        let row = |share: &CheckShare| {
            let after = match share.score_after_fix {
                _ if share.findings == 0 => "-".to_owned(),
                Some(after) => improvement(score, after),
                None => "?".to_owned(),
            };
            vec![
                Cell::new(&share.check),
                Cell::styled(share.severity, severity_style(share.severity)),
                Cell::new(share.findings),
                number(share.count),
                Cell::new(share.weight),
                number(share.points),
                Cell::new(after),
            ]
        };
        self.line("")?;
        self.columns("", &columns, &checks.iter().map(row).collect::<Vec<_>>())
    }

    /// Each check that more than one policy enables.
    fn check_policies(&mut self, checks: &[CheckPolicies]) -> io::Result<()> {
        use Column::{Left, Name};
        let checks: Vec<_> = checks.iter().filter(|check| check.policies.len() > 1).collect();
        if checks.is_empty() {
            return Ok(());
        }
        let row = |check: &CheckPolicies, setting: &PolicySetting, is_first: bool| {
            vec![
                Cell::new(if is_first { check.check.as_str() } else { "" }),
                Cell::new(if setting.decides { "yes" } else { "no" }),
                Cell::styled(setting.severity, severity_style(setting.severity)),
                Cell::new(&setting.setting),
                Cell::new(&setting.policy),
            ]
        };
        let rows = checks.iter().flat_map(|check| {
            let settings = check.policies.iter().enumerate();
            settings.map(move |(index, setting)| row(check, setting, index == 0))
        });
        let columns =
            [Left("CHECK"), Left("DECIDES"), Left("SEVERITY"), Left("SETTING"), Name("POLICY")];
        self.heading("Checks of more than one policy of the namespace")?;
        self.columns("  ", &columns, &rows.collect::<Vec<_>>())
    }

    fn workloads(&mut self, workloads: &[WorkloadShare], of: &str, score: u8) -> io::Result<()> {
        use Column::{Left, Name, Right};
        let columns = [Right("POINTS"), Right("PODS"), Left("IF FIXED"), Name("WORKLOAD")];
        let row = |share: &WorkloadShare| {
            let WorkloadShare { namespace, workload, .. } = share;
            vec![
                Cell::new(share.points),
                Cell::new(share.pods),
                Cell::new(improvement(score, share.score_after_fix)),
                Cell::new(format_args!("{namespace}  {}/{}", workload.kind, workload.name)),
            ]
        };
        self.heading(format_args!("Workloads{of}"))?;
        let checks = workloads.iter().map(|share| &share.violations_by_check);
        self.shares(&columns, &workloads.iter().map(row).collect::<Vec<_>>(), checks)
    }

    fn pods(&mut self, pods: &[PodShare], of: &str) -> io::Result<()> {
        let columns = [Column::Right("POINTS"), Column::Name("POD")];
        let row = |share: &PodShare| {
            let PodShare { namespace, kind, name, points, .. } = share;
            vec![Cell::new(points), Cell::new(format_args!("{namespace}  {kind}/{name}"))]
        };
        self.heading(format_args!("Pods{of}"))?;
        let checks = pods.iter().map(|share| &share.violations_by_check);
        self.shares(&columns, &pods.iter().map(row).collect::<Vec<_>>(), checks)
    }

    /// The rows, each with its findings on the next line.
    fn shares<'a>(
        &mut self,
        columns: &[Column<'_>],
        rows: &[Vec<Cell>],
        checks: impl Iterator<Item = &'a BTreeMap<&'static str, u64>>,
    ) -> io::Result<()> {
        let mut lines = self.aligned("  ", columns, rows).into_iter();
        if let Some(titles) = lines.next() {
            self.line(titles)?;
        }
        for (line, checks) in lines.zip(checks) {
            self.line(line)?;
            let checks: Vec<String> =
                checks.iter().map(|(check, number)| format!("{number} {check}")).collect();
            self.wrapped("          ", checks.join(", "))?;
        }
        Ok(())
    }
}

/// `93 -> 94 (+1)`.
fn improvement(now: u8, after: u8) -> String {
    format!("{now} -> {after} (+{})", after.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use policy_core::Timestamp;
    use policy_core::custom::CustomResults;
    use policy_core::facts::PodFacts;
    use policy_core::namespaces::ExcludedNamespaces;
    use policy_core::policy::CompiledPolicy;
    use policy_core::report::{Assessment, Source};
    use serde_json::json;

    use super::*;

    fn pod(name: usize, workload: &str, restarts: u32) -> PodFacts {
        let pod = json!({
            "metadata": {
                "namespace": "shop", "name": format!("w-{name}"),
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet",
                    "controller": true, "name": workload }],
            },
            "spec": { "containers": [{ "name": "c", "image": "nginx" }] },
            "status": { "containerStatuses": [{ "name": "c", "restartCount": restarts }] },
        });
        PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "")
    }

    fn status(json: serde_json::Value, generation: i64) -> OperatorStatus {
        OperatorStatus::of(Some(&serde_json::from_value(json).unwrap()), Some(generation))
    }

    fn table(
        explain: impl FnOnce(Assessment<'_>, Source) -> Explanation,
        pods: &[PodFacts],
        width: Option<usize>,
    ) -> String {
        let (policy, excluded) = (CompiledPolicy::default_profile(), ExcludedNamespaces::default());
        let mut assessment = Assessment::new(&policy, &excluded, Timestamp::UNIX_EPOCH);
        for pod in pods {
            assessment.pod(pod, &CustomResults::default(), None, None);
        }
        let explanation = explain(assessment, Source::Files { paths: vec!["x".to_owned()] });
        let mut text = Vec::new();
        write(&explanation, TableStyle { is_coloured: false, width }, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn explained(pods: &[PodFacts], status: Option<OperatorStatus>) -> String {
        explained_in(None, pods, status)
    }

    fn explained_in(
        width: Option<usize>,
        pods: &[PodFacts],
        status: Option<OperatorStatus>,
    ) -> String {
        let policy = "shop/p".to_owned();
        table(|assessment, source| assessment.explain(source, policy, status), pods, width)
    }

    #[test]
    fn ten_of_each_are_named_and_the_table_says_how_many_there_are() {
        let pods: Vec<_> = (0..25).map(|i| pod(i, &format!("w{}", i / 2), 0)).collect();
        let text = explained(&pods, None);
        assert!(text.contains("\nWorkloads (the 10 worst of 13)\n"), "{text}");
        assert!(text.contains("\nPods (the 10 worst of 25)\n"), "{text}");
    }

    #[test]
    fn a_table_fits_and_shows_no_odd_character() {
        let mut odd = pod(0, "w", 9);
        std::sync::Arc::make_mut(&mut odd.workload).name =
            format!("\u{1b}[2J{}", "w".repeat(240)).into();
        let mut written = status(json!({ "healthScore": 1, "observedGeneration": 1 }), 2);
        written.last_evaluated = Some("\u{202e}now".to_owned());
        for width in [80, 100, 200] {
            let text = explained_in(Some(width), &[odd.clone()], Some(written.clone()));
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_namespace_without_pods_has_no_score_now_nor_in_the_status() {
        let status = status(json!({ "healthScore": 100, "podsEvaluated": 0 }), 1);
        let text = explained(&[], Some(status));
        for line in [
            "Score                      : n/a (no pods)\n",
            "How                        : no pod is counted, so there is no score\n",
            "Operator's status          : n/a (no pods), of an unknown time, the same as now\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn where_nothing_could_be_read_nothing_is_compared() {
        let status = status(json!({ "healthScore": 70, "podsEvaluated": 9 }), 1);
        let explain = |mut assessment: Assessment<'_>, source| {
            assessment.coverage.not_read(&"cluster".into(), None, "no answer".to_owned());
            assessment.explain(source, "shop/p".to_owned(), Some(status))
        };
        let text = table(explain, &[], None);
        for line in [
            "Score                      : n/a (nothing could be read)\n",
            "How                        : nothing could be read, so there is no score\n",
            "Operator's status          : score 70, of an unknown time\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_status_that_differs_is_told_plainly() {
        let pods = [pod(0, "w", 0)];
        let same = json!({ "healthScore": 90, "podsEvaluated": 1, "totalViolations": 4,
            "observedGeneration": 3, "lastEvaluated": "2026-01-02T03:04:05Z",
            "violationsByCheck": { "latest-tag": 1, "missing-liveness": 1, "missing-readiness": 1,
                "missing-resources": 1 } });
        let text = explained(&pods, Some(status(same.clone(), 3)));
        let line =
            "Operator's status          : score 90, of 2026-01-02T03:04:05Z, the same as now\n";
        assert!(text.contains(line), "{text}");

        let mut other = same;
        other["healthScore"] = json!(95);
        other["violationsByCheck"]["latest-tag"] = json!(0);
        other["violationsByCheck"]["pending"] = json!(2);
        let text = explained(&pods, Some(status(other, 4)));
        let lines = "DIFFERENT from now:
  it is of generation 3 of the policy, which is at 4
  score: 95 in the status, 90 now
  latest-tag: 0 in the status, 1 now
  pending: 2 in the status, 0 now
";
        assert!(text.contains(lines), "{text}");

        let text = explained(&pods, Some(OperatorStatus::of(None, Some(1))));
        assert!(text.contains("none: the operator has not evaluated this policy"), "{text}");
    }

    #[test]
    fn a_status_alone_says_so() {
        let status = status(
            json!({ "healthScore": 97, "podsEvaluated": 10, "totalViolations": 1,
            "violationsByCheck": { "high-restarts": 1 } }),
            1,
        );
        let policy = "shop/p".to_owned();
        let text = table(
            |assessment, source| assessment.explain_from_status(source, policy, status).unwrap(),
            &[],
            None,
        );
        assert!(text.contains("the status alone, since the pods may not be read"), "{text}");
        assert!(
            text.contains("how often containers restarted, so what high-restarts takes"),
            "{text}"
        );
    }
}
