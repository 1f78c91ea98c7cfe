//! The explanation for people. Fits 100 columns.

use std::collections::BTreeMap;
use std::io;

use policy_core::report::{
    Basis, CheckShare, Explanation, OperatorStatus, PodShare, WorkloadShare,
};
use policy_core::text::printable;

use super::table::{Colours, NO_PODS, Table, WIDTH, shortened};

pub(super) fn write(
    explanation: &Explanation,
    colours: Colours,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, colours };
    table.verdict(explanation)?;
    if let Some(status) = &explanation.status {
        table.operator(status, explanation.basis)?;
    }
    table.not_read(&explanation.coverage)?;
    if !explanation.unknown.is_empty() {
        let what = match explanation.basis {
            Basis::Pods => "Not known:",
            Basis::Status => "Not known from the status:",
        };
        table.heading(what)?;
        explanation.unknown.iter().try_for_each(|text| table.wrapped("  ", text))?;
    }
    if explanation.total_violations == 0 {
        return Ok(());
    }
    table.checks(explanation)?;
    let numbers = |shown: usize, all: Option<u64>| match all {
        Some(all) if all > shown as u64 => format!(" (the {shown} worst of {all})"),
        _ => String::new(),
    };
    if let Some(workloads) = explanation.worst_workloads.as_deref() {
        let of = numbers(workloads.len(), explanation.workloads_with_findings);
        table.workloads(workloads, &of, explanation.score)?;
    }
    if let Some(pods) = explanation.worst_pods.as_deref() {
        let of = numbers(pods.len(), explanation.pods_with_findings);
        table.pods(pods, &of)?;
    }
    Ok(())
}

impl Table<'_> {
    fn verdict(&mut self, explanation: &Explanation) -> io::Result<()> {
        let Explanation { policy, classification: class, score, pods, .. } = explanation;
        self.row("Policy", printable(policy))?;
        if explanation.basis == Basis::Status {
            self.row("Explained from", "the status alone, since the pods may not be read")?;
        }
        if *pods == Some(0) {
            self.row("Score", NO_PODS)?;
        } else {
            let score = self.colours.class(format_args!("{score} {class}"), *class);
            self.row("Score", score)?;
        }
        self.row("How", &explanation.arithmetic)?;
        if let (Some(compliant), Some(pods @ 1..)) = (explanation.compliant_pods, pods) {
            self.row("Compliant pods", format_args!("{compliant} of {pods}"))?;
        }
        self.coverage(&explanation.coverage)
    }

    fn operator(&mut self, status: &OperatorStatus, basis: Basis) -> io::Result<()> {
        let Some(score) = status.score else {
            return self.row("Operator's status", "none: it has not evaluated this policy");
        };
        let when = match &status.last_evaluated {
            Some(time) => format!("of {}", printable(time)),
            None => "of an unknown time".to_owned(),
        };
        let differences = status.differences.as_deref().unwrap_or_default();
        let same = match (basis, differences) {
            (Basis::Status, _) => "",
            (Basis::Pods, []) => ", the same as now",
            (Basis::Pods, _) => ", DIFFERENT from now:",
        };
        self.row("Operator's status", format_args!("score {score}, {when}{same}"))?;
        if let (true, Some(observed), Some(generation)) =
            (status.is_behind, status.observed_generation, status.generation)
        {
            let text =
                format!("it is of generation {observed} of the policy, which is at {generation}");
            self.wrapped("  ", &text)?;
        }
        differences.iter().try_for_each(|text| self.wrapped("  ", text))
    }

    fn checks(&mut self, explanation: &Explanation) -> io::Result<()> {
        self.heading(format_args!(
            "{:<20} {:<9} {:>8} {:>8} {:>7} {:>8}   IF FIXED EVERYWHERE",
            "CHECK", "SEVERITY", "FINDINGS", "COUNT", "WEIGHT", "POINTS"
        ))?;
        let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
        for share in &explanation.checks {
            let CheckShare { check, severity, findings, weight, .. } = share;
            let severity = self.colours.severity(format_args!("{severity:<9}"), *severity);
            let (count, points) = (number(share.count), number(share.points));
            let after = match share.score_after_fix {
                _ if share.findings == 0 => "-".to_owned(),
                Some(after) => improvement(explanation.score, after),
                None => "?".to_owned(),
            };
            self.line(format_args!(
                "{check:<20} {severity} {findings:>8} {count:>8} {weight:>7} {points:>8}   {after}"
            ))?;
        }
        Ok(())
    }

    fn workloads(&mut self, workloads: &[WorkloadShare], of: &str, score: u8) -> io::Result<()> {
        self.heading(format_args!("Workloads{of}"))?;
        self.line(format_args!("{:>8}  {:>7}  {:<15}  WORKLOAD", "POINTS", "PODS", "IF FIXED"))?;
        for share in workloads {
            let WorkloadShare { namespace, workload, points, pods, .. } = share;
            let after = improvement(score, share.score_after_fix);
            let start = format!("{points:>8}  {pods:>7}  {after:<15}  ");
            let name = format!("{namespace}  {}/{}", workload.kind, workload.name);
            self.share(&start, &name, &share.violations_by_check)?;
        }
        Ok(())
    }

    fn pods(&mut self, pods: &[PodShare], of: &str) -> io::Result<()> {
        self.heading(format_args!("Pods{of}"))?;
        self.line(format_args!("{:>8}  POD", "POINTS"))?;
        for share in pods {
            let PodShare { namespace, kind, name, points, .. } = share;
            let start = format!("{points:>8}  ");
            self.share(&start, &format!("{namespace}  {kind}/{name}"), &share.violations_by_check)?;
        }
        Ok(())
    }

    /// The name in what is left of the line, and under it the findings.
    fn share(
        &mut self,
        start: &str,
        name: &str,
        checks: &BTreeMap<&'static str, u64>,
    ) -> io::Result<()> {
        let indent = start.chars().count();
        let name = printable(name);
        self.line(format_args!("{start}{}", shortened(&name, WIDTH - indent)))?;
        let checks: Vec<String> =
            checks.iter().map(|(check, number)| format!("{number} {check}")).collect();
        self.wrapped(&" ".repeat(indent + 2), &checks.join(", "))
    }
}

/// `93 -> 94 (+1)`.
fn improvement(now: u8, after: u8) -> String {
    format!("{now} -> {after} (+{})", after.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use policy_core::Timestamp;
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
    ) -> String {
        let (policy, excluded) = (CompiledPolicy::default_profile(), ExcludedNamespaces::default());
        let mut assessment = Assessment::new(&policy, &excluded, Timestamp::UNIX_EPOCH);
        for pod in pods {
            assessment.pod(pod, None);
        }
        let explanation = explain(assessment, Source::Files { paths: vec!["x".to_owned()] });
        let mut text = Vec::new();
        write(&explanation, Colours::Off, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn explained(pods: &[PodFacts], status: Option<OperatorStatus>) -> String {
        table(|assessment, source| assessment.explain(source, "shop/p".to_owned(), status), pods)
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
        odd.workload.name = format!("\u{1b}[2J{}", "w".repeat(240)).into();
        let mut written = status(json!({ "healthScore": 1, "observedGeneration": 1 }), 2);
        written.last_evaluated = Some("\u{202e}now".to_owned());
        let text = explained(&[odd], Some(written));
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }

    #[test]
    fn no_pods_are_no_score() {
        let text = explained(&[], None);
        assert!(text.contains("Score                      : n/a (no pods)"), "{text}");
        assert!(text.contains("no pod is counted, so there is no score"), "{text}");
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
        assert!(text.contains("none: it has not evaluated this policy"), "{text}");
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
        );
        assert!(text.contains("the status alone, since the pods may not be read"), "{text}");
        assert!(
            text.contains("how often containers restarted, so what high-restarts takes"),
            "{text}"
        );
    }
}
