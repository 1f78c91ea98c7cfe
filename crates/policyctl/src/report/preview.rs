//! The preview for people. Fits 100 columns.

use std::io;

use policy_core::api::{AdmissionMode, ControllerPods};
use policy_core::report::{
    AdmissionPreview, ChangedFindings, CheckChange, CheckSide, Comparison, DeniedPod,
    DeniedWorkload, PolicyPreview, Preview,
};
use policy_core::text::{counted, printable};

use super::table::{Colours, NUMBERS, Table, WIDTH, shortened};

/// The room for a name before [`NUMBERS`].
const NAME: usize = 48;
/// How many rows of a list are shown to people.
const MOST: usize = 10;

pub(super) fn write(
    preview: &Preview,
    colours: Colours,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, colours };
    table.coverage(&preview.coverage)?;
    table.not_read(&preview.coverage)?;
    preview.policies.iter().try_for_each(|policy| table.policy(policy))
}

impl Table<'_> {
    fn policy(&mut self, preview: &PolicyPreview) -> io::Result<()> {
        let PolicyPreview { namespace, policy, place, comparisons, .. } = preview;
        let title = format!("{namespace}/{policy}  {place}");
        self.heading(printable(&title))?;
        self.line(format_args!("{:<NAME$}  {NUMBERS}", "POLICY"))?;
        let row = self.numbers(Some(&preview.summary));
        self.line(format_args!("{:<NAME$}  {row}", "with it"))?;
        for comparison in comparisons {
            let name = match &comparison.today {
                None => "today: there is no policy".to_owned(),
                Some(name) if comparison.is_replaced => format!("today, to be changed: {name}"),
                Some(name) => format!("today, beside it: {name}"),
            };
            let (name, row) = (printable(&name), self.numbers(comparison.summary.as_ref()));
            self.line(format_args!("{:<NAME$}  {row}", shortened(&name, NAME)))?;
            for problem in &comparison.problems {
                self.wrapped("    ", &format!("invalid: {problem}"))?;
            }
        }
        comparisons.iter().try_for_each(|comparison| self.comparison(comparison))?;
        self.admission(&preview.admission)
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
        // What stays beside the new policy loses nothing by it.
        let changes = if comparison.is_replaced || comparison.today.is_none() {
            format!("{come} would come, {go} would go")
        } else {
            format!("{come} only with the new policy, {go} only with this one")
        };
        self.line("")?;
        self.wrapped("", &format!("{against}: {score}{changes}"))?;
        if comparison.come + comparison.go == 0 && *score_change == Some(0) {
            return Ok(());
        }
        self.changed_checks(&comparison.checks)?;
        self.changed_workloads(comparison)?;
        self.changed_findings('+', &comparison.coming, comparison.coming_cut)?;
        self.changed_findings('-', &comparison.going, comparison.going_cut)
    }

    fn changed_checks(&mut self, checks: &[CheckChange]) -> io::Result<()> {
        self.line(format_args!(
            "  {:<20} {:>22}     {:>22} {:>8} {:>8}",
            "CHECK", "FINDINGS, POINTS TODAY", "FINDINGS, POINTS THEN", "COME", "GO"
        ))?;
        let cell = |side: &Option<CheckSide>| match side {
            Some(side) => format!("{}, {}", side.findings, side.points),
            None => "not checked".to_owned(),
        };
        checks.iter().try_for_each(|CheckChange { check, today, then, come, go }| {
            let (today, then) = (cell(today), cell(then));
            self.line(format_args!("  {check:<20} {today:>22}  -> {then:>22} {come:>8} {go:>8}"))
        })
    }

    fn changed_workloads(&mut self, comparison: &Comparison) -> io::Result<()> {
        if comparison.workloads.len() < 2 {
            return Ok(());
        }
        self.line(format_args!("  {:>8} {:>8}  WORKLOAD", "COME", "GO"))?;
        for change in comparison.workloads.iter().take(MOST) {
            let start = format!("  {:>8} {:>8}  ", change.come, change.go);
            let name = change.workload.to_string();
            let name = printable(&name);
            self.line(format_args!("{start}{}", shortened(&name, WIDTH - start.len())))?;
        }
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
            let severity = self.colours.severity(format_args!("{severity:<8}"), *severity);
            let mut name = workload.to_string();
            if let Some(container) = container {
                name = format!("{name}, container {container}");
            }
            let name = format!("{name}, {}", counted(*pods, "pod"));
            let name = printable(&name);
            let name = shortened(&name, WIDTH - 34);
            self.line(format_args!("  {sign} {severity} {check:<20} {name}"))?;
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
                return self.line("Admission: everything here could be made again");
            }
            AdmissionMode::Deny => {}
        }
        let number = denied.len() as u64 + denied_cut;
        let what = "of the workloads and bare pods here could not be made again";
        self.line(format_args!("Admission: {number} {what}"))?;
        for DeniedWorkload { workload, pods, message } in denied.iter().take(MOST) {
            let name = format!("{workload}, {}", counted(*pods, "pod"));
            self.line(format_args!("  {}", shortened(&printable(&name), WIDTH - 2)))?;
            message.lines().try_for_each(|line| self.wrapped("    ", line))?;
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
        self.line(format_args!("{condition}{pods} of controllers could not come back"))?;
        for DeniedPod { name, workload } in denied_pods.iter().take(MOST) {
            let name = format!("{name} of {workload}");
            self.line(format_args!("  {}", shortened(&printable(&name), WIDTH - 2)))?;
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

    fn table(pods: &[PodFacts], new: &CompiledPolicy, today: &[CurrentPolicy]) -> String {
        let (excluded, now) = (ExcludedNamespaces::default(), Timestamp::UNIX_EPOCH);
        let namespace = &Arc::from("shop");
        let of_namespace = NamespacePods { namespace, pods, excluded: &excluded, now };
        let place = "p.yaml:1".to_owned();
        let previewed = of_namespace.preview("p".to_owned(), place, new, today);
        let source = Source::Files { paths: Vec::new() };
        let mut text = Vec::new();
        let preview = Preview::new(source, vec![previewed], Coverage::default());
        write(&preview, Colours::Off, &mut text).unwrap();
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
        let text = table(&pods, &new, &[todays("p", old)]);
        assert!(text.contains("Beside p: score +13, 2 findings would come, 3 would go"), "{text}");

        let text = table(&pods, &new, &[]);
        assert!(text.contains("today: there is no policy"), "{text}");

        let problem = InvalidField { path: "spec.x".to_owned(), problem: "\u{1b}odd".to_owned() };
        let bad = CurrentPolicy { name: "bad".to_owned(), policy: Err(vec![problem]) };
        let text = table(&pods, &new, &[bad]);
        assert!(text.contains("invalid: spec.x: \u{fffd}odd"), "{text}");
    }

    #[test]
    fn a_table_fits_and_long_lists_are_counted() {
        let pods: Vec<_> =
            (0..1200).map(|i| pod(&format!("{i:04}{}", "w".repeat(240)), 9)).collect();
        let new = CompiledPolicy::default_profile();
        let text = table(&pods, &new, &[todays(&"p".repeat(250), policy(json!({})))]);
        assert!(text.contains("    and 5990 more\n"), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
