//! The table of `remediations`.

use std::collections::BTreeMap;
use std::io;

use anstyle::{AnsiColor, Style};
use policy_core::api::{EnforcementMode, RemediationMethod, RemediationState};
use policy_core::report::{
    LiveWorkload, RemediatingPolicy, RemediationReport, ReportedRemediation,
};
use policy_core::text::counted;

use super::layout::{Cell, Column, Table, TableStyle};

/// Fields are listed within this width also where no terminal limits it.
const WIDTH: usize = 100;
const INDENT: &str = "          ";

pub(super) fn write(
    report: &RemediationReport,
    style: TableStyle,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, style };
    table.totals(report)?;
    table.unread(&report.not_read)?;
    if !report.policies.is_empty() {
        table.heading("Policies")?;
        report.policies.iter().try_for_each(|policy| table.remediating(policy))?;
    }
    table.remediated(&report.workloads)
}

impl Table<'_> {
    fn totals(&mut self, report: &RemediationReport) -> io::Result<()> {
        let mut states: BTreeMap<RemediationState, u64> = BTreeMap::new();
        for entry in &report.workloads {
            *states.entry(entry.state).or_default() += 1;
        }
        let states: Vec<String> =
            states.iter().map(|(state, number)| format!("{number} {state:?}")).collect();
        let states = if states.is_empty() { "none".to_owned() } else { states.join(", ") };
        self.row("Workloads", states)?;
        if report.not_compared > 0 {
            let not_compared = counted(report.not_compared, "workload");
            self.row("Not read", format_args!("{not_compared} more, only by the status"))?;
        }
        Ok(())
    }

    fn remediating(&mut self, policy: &RemediatingPolicy) -> io::Result<()> {
        let RemediatingPolicy { namespace, name, mode, remediating, .. } = policy;
        let mode = match (mode, policy.method) {
            (EnforcementMode::Audit, _) => "audit mode: nothing is changed any more",
            (EnforcementMode::Enforce, RemediationMethod::Auto) => "method auto",
            (EnforcementMode::Enforce, RemediationMethod::Patch) => "method patch",
            (EnforcementMode::Enforce, RemediationMethod::Admission) => "method admission",
            (EnforcementMode::Enforce, RemediationMethod::Propose) => "method propose",
        };
        self.wrapped_printable("  ", &format!("{namespace}/{name}: {mode}"))?;
        if let Some(condition) = remediating {
            let (status, reason, message) =
                (&condition.status, &condition.reason, &condition.message);
            self.wrapped_printable(
                "    ",
                &format!("Remediating is {status}, {reason}: {message}"),
            )?;
        }
        if let Some(next) = &policy.next_window {
            self.wrapped(
                "    ",
                format_args!("no window is open; the next one begins {}", next.0),
            )?;
        }
        for time in &policy.reverts {
            self.wrapped("    ", format_args!("a remediation was taken back {}", time.0))?;
        }
        match policy.workloads_omitted {
            0 => Ok(()),
            omitted => self.wrapped(
                "    ",
                format_args!(
                    "{omitted} more workloads are not in its status; one that waits may be changed \
                     later"
                ),
            ),
        }
    }

    fn remediated(&mut self, entries: &[ReportedRemediation]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.line("")?;
        let columns = [
            Column::Left("STATE"),
            Column::Left("SINCE"),
            Column::Name("NAMESPACE"),
            Column::Name("WORKLOAD"),
            Column::Name("POLICY"),
        ];
        let row = |entry: &ReportedRemediation| {
            vec![
                Cell::styled(format_args!("{:?}", entry.state), state_style(entry.state)),
                Cell::new(entry.since.0),
                Cell::new(&entry.namespace),
                Cell::new(&entry.workload),
                Cell::new(&entry.policy),
            ]
        };
        let lines = self.aligned("", &columns, &entries.iter().map(row).collect::<Vec<_>>());
        let mut lines = lines.iter();
        lines.next().map_or(Ok(()), |titles| self.line(titles))?;
        lines.zip(entries).try_for_each(|(line, entry)| {
            self.line(line)?;
            self.details(entry)
        })
    }

    fn details(&mut self, entry: &ReportedRemediation) -> io::Result<()> {
        let ReportedRemediation { fields, reason, message, live, .. } = entry;
        self.fields(fields)?;
        match (reason.as_str(), message.as_str()) {
            ("", "") => {}
            (reason, "") => self.wrapped_printable(INDENT, reason)?,
            ("", message) => self.wrapped_printable(INDENT, message)?,
            (reason, message) => {
                self.wrapped_printable(INDENT, &format!("{reason}: {message}"))?;
            }
        }
        match live {
            Some(live) => self.live(entry, live),
            None => Ok(()),
        }
    }

    /// What the workload has now, where that is not what the status says.
    fn live(&mut self, entry: &ReportedRemediation, live: &LiveWorkload) -> io::Result<()> {
        let is_applied =
            matches!(entry.state, RemediationState::Observing | RemediationState::Patched);
        if live.is_gone {
            return self.wrapped(INDENT, "now: there is no such workload, or another one");
        }
        let other = live.patched_by.as_deref().filter(|by| {
            by.split_once('/') != Some((entry.namespace.as_str(), entry.policy.as_str()))
        });
        if let Some(other) = other {
            let text = format!("now: its annotation names policy {other}");
            self.wrapped_printable(INDENT, &text)?;
        }
        match (is_applied, live.fields.is_empty()) {
            (true, true) => self.wrapped(INDENT, "now: the operator owns no field of it"),
            (true, false) if live.fields != entry.fields => {
                self.wrapped(INDENT, "now the operator owns:")?;
                self.fields(&live.fields)
            }
            (false, false) => {
                self.wrapped(INDENT, "still owned by the operator:")?;
                self.fields(&live.fields)
            }
            _ => Ok(()),
        }
    }

    fn fields(&mut self, fields: &[String]) -> io::Result<()> {
        let width = self.style.width.map_or(WIDTH, |width| width.min(WIDTH));
        let mut narrow =
            Table { out: &mut *self.out, style: TableStyle { width: Some(width), ..self.style } };
        fields.iter().try_for_each(|line| narrow.wrapped_printable(INDENT, line))
    }
}

fn state_style(state: RemediationState) -> Style {
    match state {
        RemediationState::Patched | RemediationState::Injecting => AnsiColor::Green.on_default(),
        RemediationState::Observing | RemediationState::Waiting | RemediationState::Proposed => {
            AnsiColor::Yellow.on_default()
        }
        RemediationState::Reverted | RemediationState::Failed => AnsiColor::Red.on_default(),
        RemediationState::Withdrawn | RemediationState::NotPatchable => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use policy_core::report::Source;
    use serde_json::{Value, json};

    use super::*;

    fn table(
        entries: &Value,
        width: Option<usize>,
        adjust: impl FnOnce(&mut RemediationReport),
    ) -> String {
        let policy = json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "namespace": "shop", "name": "strict" },
            "spec": { "enforcementMode": "enforce" },
            "status": {
                "conditions": [{ "type": "Remediating", "status": "True", "reason": "Active",
                    "message": "1 of 4 workloads waits", "lastTransitionTime": "2026-05-01T12:00:00Z" }],
                "remediation": { "workloads": entries },
            },
        });
        let source = Source::Cluster {
            context: "c".to_owned(),
            server: "https://127.0.0.1".to_owned(),
            namespace: None,
        };
        let now = "2026-05-01T12:00:00Z".parse().unwrap();
        let mut report = RemediationReport::of(source, [&policy], now);
        adjust(&mut report);
        let mut text = Vec::new();
        write(&report, TableStyle { is_coloured: false, width }, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn entry(workload: &str, state: &str, fields: &[&str], reason: [&str; 2]) -> Value {
        json!({ "workload": workload, "uid": "1", "state": state, "since": "2026-05-01T11:00:00Z",
            "fields": fields, "reason": reason[0], "message": reason[1] })
    }

    const PROBES: &str = "web: readinessProbe=tcp:8080,delay=5,period=10,failures=3 \
        livenessProbe=tcp:8080,delay=5,period=10,failures=9 requests.cpu=100m";

    #[test]
    fn each_workload_has_its_fields_and_reasons() {
        let entries = json!([
            entry("Deployment/web", "Patched", &[PROBES], ["", ""]),
            entry(
                "Deployment/bad",
                "Reverted",
                &["c: requests.cpu=1"],
                ["NotReady", "no new pod was ready\u{1b}"]
            ),
            entry("StatefulSet/db", "Proposed", &[], ["", "it has one replica"]),
        ]);
        let text = table(&entries, None, |report| {
            for entry in &mut report.workloads {
                let fields = match entry.workload.as_str() {
                    "Deployment/bad" => vec!["c: requests.cpu=1".to_owned()],
                    _ => Vec::new(),
                };
                entry.live = Some(LiveWorkload { fields, ..LiveWorkload::default() });
            }
            report.not_compared = 3;
        });
        assert_eq!(
            text,
            "\
Workloads                  : 1 Reverted, 1 Patched, 1 Proposed
Not read                   : 3 workloads more, only by the status

Policies
  shop/strict: method auto
    Remediating is True, Active: 1 of 4 workloads waits

STATE     SINCE                 NAMESPACE  WORKLOAD        POLICY
Reverted  2026-05-01T11:00:00Z  shop       Deployment/bad  strict
          c: requests.cpu=1
          NotReady: no new pod was ready\u{fffd}
          still owned by the operator:
          c: requests.cpu=1
Patched   2026-05-01T11:00:00Z  shop       Deployment/web  strict
          web: readinessProbe=tcp:8080,delay=5,period=10,failures=3
          livenessProbe=tcp:8080,delay=5,period=10,failures=9 requests.cpu=100m
          now: the operator owns no field of it
Proposed  2026-05-01T11:00:00Z  shop       StatefulSet/db  strict
          it has one replica
"
        );
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let name = format!("Deployment/{}", "w".repeat(250));
        let entries =
            json!([entry(&name, "Observing", &[PROBES], ["Reason", &"word ".repeat(60)])]);
        for width in [80, 100] {
            let text = table(&entries, Some(width), |_| {});
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn nothing_is_said_where_nothing_was_done() {
        assert!(table(&json!([]), None, |_| {}).starts_with("Workloads                  : none\n"));
    }
}
