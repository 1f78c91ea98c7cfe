//! The explanation for people. Fits 100 columns.

use std::collections::BTreeMap;
use std::io;

use super::{Basis, CheckShare, Explanation, OperatorStatus, PodShare, WorkloadShare};
use crate::report::table::{Colours, NO_PODS, Table, WIDTH};
use crate::report::text::{printable, shortened};

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

    /// A text on as many lines as it takes.
    pub(in crate::report) fn wrapped(&mut self, indent: &str, text: &str) -> io::Result<()> {
        let text = printable(text);
        let lines = textwrap::wrap(&text, WIDTH - indent.chars().count());
        lines.iter().try_for_each(|line| self.line(format_args!("{indent}{line}")))
    }
}

/// `93 -> 94 (+1)`.
fn improvement(now: u8, after: u8) -> String {
    format!("{now} -> {after} (+{})", after.saturating_sub(now))
}
