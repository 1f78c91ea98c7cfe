//! The table of `preview`.

use std::io;

use policy_core::api::{AdmissionMode, ControllerPods};
use policy_core::report::{
    AdmissionPreview, ChangedFindings, CheckChange, CheckSide, Comparison, DeniedPod,
    DeniedWorkload, PlannedAction, PlannedWorkload, PolicyPreview, Preview, RemediationPreview,
    WorkloadChange,
};
use policy_core::text::{container_or_volume, counted, printable};

use super::layout::{Cell, Column, Table, TableStyle, severity_style};
use super::table::{summary_columns, summary_row};

/// The most rows of a list.
const MOST: usize = 10;

pub(super) fn write(
    preview: &Preview,
    style: TableStyle,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, style };
    table.coverage(&preview.coverage)?;
    table.not_read(&preview.coverage)?;
    table.notes(&preview.coverage)?;
    preview.policies.iter().try_for_each(|policy| table.policy(policy))
}

impl Table<'_> {
    fn policy(&mut self, preview: &PolicyPreview) -> io::Result<()> {
        let PolicyPreview { namespace, policy, place, comparisons, .. } = preview;
        // The name of a cluster policy has its kind before it.
        let title = if policy.contains('/') {
            format!("{policy} in namespace {namespace}  {place}")
        } else {
            format!("{namespace}/{policy}  {place}")
        };
        self.heading(printable(&title))?;
        let mut rows = vec![summary_row("with it", Some(&preview.summary))];
        rows.extend(comparisons.iter().map(|comparison| {
            let name = match &comparison.today {
                None => "today: there is no policy".to_owned(),
                Some(name) if comparison.is_replaced => format!("today, to be changed: {name}"),
                Some(name) => format!("today, beside it: {name}"),
            };
            summary_row(&name, comparison.summary.as_ref())
        }));
        self.columns("", &summary_columns("POLICY"), &rows)?;
        let exempted = preview.summary.exempted_violations;
        if exempted > 0 {
            let findings = counted(exempted, "finding");
            self.line(format_args!(
                "It exempts {findings}, which have no weight and deny nothing."
            ))?;
        }
        for Comparison { today, problems, .. } in comparisons {
            for problem in problems {
                let name = today.as_deref().unwrap_or_default();
                self.wrapped_printable("  ", &format!("policy {name} is invalid: {problem}"))?;
            }
        }
        comparisons.iter().try_for_each(|comparison| self.comparison(comparison))?;
        self.admission(&preview.admission)?;
        preview.remediation.as_ref().map_or(Ok(()), |planned| self.planned(planned))
    }

    fn planned(&mut self, preview: &RemediationPreview) -> io::Result<()> {
        use PlannedAction::{Inject, NotPatchable, Patch, Patched, Propose};
        let number = |plan| preview.number(plan);
        self.line("")?;
        self.wrapped(
            "",
            format_args!(
                "Remediation: would patch {}, inject into new pods of {}, propose {} and leave {} of \
                 the workloads here",
                number(Patch),
                number(Inject),
                number(Propose),
                number(NotPatchable) + number(Patched)
            ),
        )?;
        for assumption in &preview.assumptions {
            self.wrapped_printable("  assumed: ", assumption)?;
        }
        for PlannedWorkload { workload, plan, fields, message, .. } in
            preview.workloads.iter().take(MOST)
        {
            let plan = match plan {
                Patch => "patch",
                Inject => "inject",
                Patched => "patched",
                Propose => "propose",
                NotPatchable => "leave",
            };
            self.wrapped_printable("  ", &format!("{plan:<8}  {workload}"))?;
            fields.iter().try_for_each(|line| self.wrapped_printable("    ", line))?;
            if !message.is_empty() {
                self.wrapped_printable("    ", message)?;
            }
        }
        self.more(preview.workloads.len(), preview.workloads_cut)
    }

    fn comparison(&mut self, comparison: &Comparison) -> io::Result<()> {
        let Comparison { come, go, score_change, .. } = comparison;
        let against = match &comparison.today {
            None => "Beside no policy".to_owned(),
            Some(name) => format!("Beside {name}"),
        };
        let score = match score_change {
            None => String::new(),
            Some(0) => "the score stays, ".to_owned(),
            Some(change) => format!("score {change:+}, "),
        };
        let come = counted(*come, "finding");
        // A policy that stays beside the new one keeps its findings.
        let changes = if comparison.is_replaced || comparison.today.is_none() {
            format!("{come} would come, {go} would go")
        } else {
            format!("{come} only with the new policy, {go} only with this one")
        };
        self.line("")?;
        self.wrapped_printable("", &format!("{against}: {score}{changes}"))?;
        if comparison.come + comparison.go == 0 && *score_change == Some(0) {
            return Ok(());
        }
        self.changed_checks(&comparison.checks)?;
        self.changed_workloads(comparison)?;
        self.changed_findings('+', &comparison.coming, comparison.coming_cut)?;
        self.changed_findings('-', &comparison.going, comparison.going_cut)
    }

    fn changed_checks(&mut self, checks: &[CheckChange]) -> io::Result<()> {
        use Column::{Left, Right};
        let columns = [
            Left("CHECK"),
            Right("FINDINGS, POINTS TODAY"),
            Right("FINDINGS, POINTS THEN"),
            Right("COME"),
            Right("GO"),
        ];
        let side = |side: &Option<CheckSide>| match side {
            Some(side) => Cell::new(format_args!("{}, {}", side.findings, side.points)),
            None => Cell::new("not checked"),
        };
        let row = |CheckChange { check, today, then, come, go }: &CheckChange| {
            vec![Cell::new(check), side(today), side(then), Cell::new(come), Cell::new(go)]
        };
        self.columns("  ", &columns, &checks.iter().map(row).collect::<Vec<_>>())
    }

    fn changed_workloads(&mut self, comparison: &Comparison) -> io::Result<()> {
        if comparison.workloads.len() < 2 {
            return Ok(());
        }
        let columns = [Column::Right("COME"), Column::Right("GO"), Column::Name("WORKLOAD")];
        let row = |WorkloadChange { workload, come, go }: &WorkloadChange| {
            vec![Cell::new(come), Cell::new(go), Cell::new(workload)]
        };
        let rows: Vec<_> = comparison.workloads.iter().take(MOST).map(row).collect();
        self.columns("  ", &columns, &rows)?;
        self.more(comparison.workloads.len(), comparison.workloads_cut)
    }

    fn changed_findings(
        &mut self,
        sign: char,
        rows: &[ChangedFindings],
        cut: u64,
    ) -> io::Result<()> {
        for row in rows.iter().take(MOST) {
            let ChangedFindings { check, severity, workload, container, pods } = row;
            let severity =
                self.style.paint(format_args!("{severity:<8}"), severity_style(*severity));
            let container = container.as_deref().map(container_or_volume);
            let container =
                container.map(|(what, name)| format!(", {what} {name}")).unwrap_or_default();
            let name = format!("{workload}{container}, {}", counted(*pods, "pod"));
            self.wrapped_printable(&format!("  {sign} {severity} {check:<17}  "), &name)?;
        }
        self.more(rows.len(), cut)
    }

    fn admission(&mut self, admission: &AdmissionPreview) -> io::Result<()> {
        let AdmissionPreview { mode, denied, denied_cut, denied_pods, denied_pods_cut, .. } =
            admission;
        self.line("")?;
        match mode {
            AdmissionMode::Disabled | AdmissionMode::Off => {
                return self.line("Admission: disabled");
            }
            AdmissionMode::Warn => return self.line("Admission: warns, and denies nothing"),
            AdmissionMode::Deny if denied.is_empty() && denied_pods.is_empty() => {
                return self.line("Admission: would deny none of the workloads and pods here");
            }
            AdmissionMode::Deny => {}
        }
        let number = denied.len() as u64 + denied_cut;
        self.line(format_args!(
            "Admission: would deny {number} of the workloads and bare pods here"
        ))?;
        for DeniedWorkload { workload, pods, message } in denied.iter().take(MOST) {
            self.wrapped_printable("  ", &format!("{workload}, {}", counted(*pods, "pod")))?;
            message.lines().try_for_each(|line| self.wrapped_printable("    ", line))?;
        }
        self.more(denied.len(), *denied_cut)?;
        if denied_pods.is_empty() {
            return Ok(());
        }
        let pods = counted(denied_pods.len() as u64 + denied_pods_cut, "running pod");
        let condition = match admission.controller_pods {
            ControllerPods::Allow => "With controllerPods: deny, ",
            ControllerPods::Deny => "",
        };
        self.wrapped(
            "",
            format_args!("{condition}{pods} of controllers could not be created again"),
        )?;
        for DeniedPod { name, workload } in denied_pods.iter().take(MOST) {
            self.wrapped_printable("  ", &format!("{name} of {workload}"))?;
        }
        self.more(denied_pods.len(), *denied_pods_cut)
    }

    fn more(&mut self, rows: usize, cut: u64) -> io::Result<()> {
        match rows.saturating_sub(MOST) as u64 + cut {
            0 => Ok(()),
            more => self.line(format_args!("    and {more} more")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy_core::Timestamp;
    use policy_core::facts::PodFacts;
    use policy_core::namespaces::ExcludedNamespaces;
    use policy_core::policy::{CompiledPolicy, InvalidField};
    use policy_core::report::{Coverage, CurrentPolicy, NamespacePods, Source};
    use serde_json::json;

    use super::*;

    fn policy(spec: serde_json::Value) -> CompiledPolicy {
        CompiledPolicy::compile(&serde_json::from_value(spec).unwrap()).unwrap()
    }

    fn pod(name: &str, restarts: u32) -> PodFacts {
        let pod = json!({
            "metadata": { "namespace": "shop", "name": name },
            "spec": { "containers": [{ "name": "c", "image": "nginx" }] },
            "status": { "containerStatuses": [{ "name": "c", "restartCount": restarts }] },
        });
        PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "")
    }

    fn table(
        pods: &[PodFacts],
        new: &CompiledPolicy,
        today: &[CurrentPolicy],
        width: Option<usize>,
    ) -> String {
        let style = TableStyle { is_coloured: false, width };
        let (excluded, now) = (ExcludedNamespaces::default(), Timestamp::UNIX_EPOCH);
        let namespace = &Arc::from("shop");
        let of_namespace = NamespacePods {
            namespace,
            pods,
            custom: &[],
            namespaces: &Arc::default(),
            workloads: &Arc::default(),
            excluded: &excluded,
            now,
        };
        let place = "p.yaml:1".to_owned();
        let previewed = of_namespace.preview("p".to_owned(), place, new, today);
        let source = Source::Files { paths: Vec::new() };
        let mut text = Vec::new();
        let preview = Preview::new(source, vec![previewed], Coverage::default());
        write(&preview, style, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn todays(name: &str, policy: CompiledPolicy) -> CurrentPolicy {
        CurrentPolicy { name: name.to_owned(), policy: Ok(policy) }
    }

    #[test]
    fn each_policy_of_today_has_its_line() {
        let pods = [pod("a", 4), pod("b", 9)];
        let new = policy(json!({ "requireReadinessProbe": true, "maxRestartCount": 5 }));
        let old = policy(json!({ "requireLivenessProbe": true, "maxRestartCount": 3 }));
        let text = table(&pods, &new, &[todays("p", old)], None);
        assert!(text.contains("Beside p: score +13, 2 findings would come, 3 would go"), "{text}");

        let text = table(&pods, &new, &[], None);
        assert!(text.contains("today: there is no policy"), "{text}");

        let problem = InvalidField { path: "spec.x".to_owned(), problem: "\u{1b}odd".to_owned() };
        let bad = CurrentPolicy { name: "bad".to_owned(), policy: Err(vec![problem]) };
        let text = table(&pods, &new, &[bad], None);
        assert!(text.contains("policy bad is invalid: spec.x: \u{fffd}odd"), "{text}");
    }

    #[test]
    fn what_enforce_mode_would_do_has_its_reasons() {
        let planned = |workload: &str, plan, fields: &[&str], message: &str| PlannedWorkload {
            workload: workload.to_owned(),
            plan,
            fields: fields.iter().map(|&field| field.to_owned()).collect(),
            reason: String::new(),
            message: message.to_owned(),
            body: None,
        };
        let mut workloads = vec![
            planned("Deployment/web", PlannedAction::Patch, &["web: requests.cpu=100m"], ""),
            planned("Deployment/job", PlannedAction::Propose, &[], "its strategy is Recreate"),
            planned("Deployment/old", PlannedAction::Patched, &[], "limits.memory is withheld"),
        ];
        let left = |i| planned(&format!("DaemonSet/d{i:02}"), PlannedAction::NotPatchable, &[], "");
        workloads.extend((0..12).map(left));
        let remediation = RemediationPreview::of(workloads, vec!["none (forbidden)".to_owned()]);
        let mut text = Vec::new();
        let style = TableStyle { is_coloured: false, width: None };
        Table { out: &mut text, style }.planned(&remediation).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with(
                "\nRemediation: would patch 1, inject into new pods of 0, propose 1 and leave 13 of \
                 the workloads here\n  assumed: none (forbidden)\n  leave     DaemonSet/d00\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("    and 5 more\n"), "{text}");
    }

    #[test]
    fn a_table_fits_and_long_lists_are_counted() {
        let pods: Vec<_> =
            (0..1200).map(|i| pod(&format!("{i:04}{}", "w".repeat(240)), 9)).collect();
        let new = CompiledPolicy::default_profile();
        let today = [todays(&"p".repeat(250), policy(json!({})))];
        for width in [80, 100, 200] {
            let text = table(&pods, &new, &today, Some(width));
            assert!(text.contains("    and 5990 more\n"), "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
}
