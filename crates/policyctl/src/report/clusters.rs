//! The report of `multi-cluster analyze` as table and as Markdown: a row for each cluster, and the
//! findings of each check in each cluster.

use std::fmt::Write as _;
use std::io;

use policy_core::report::{
    ClusterComparison, ClusterSummary, ClustersReport, Difference, DifferenceState, NotRead,
    Summary,
};
use policy_core::text::{counted, printable};
use textwrap::core::display_width;

use super::layout::{Cell, Column, Table, TableStyle};
use super::markdown::{code, head, list};
use super::table::{summary_columns, summary_row};

/// The width of a table of checks in a file.
const WIDTH: usize = 100;
/// The longest name of a column, in characters.
const MAX_NAME: usize = 24;

/// Writes the table, with the summary of each cluster on demand.
pub(crate) fn write(
    report: &ClustersReport,
    per_cluster: bool,
    style: TableStyle,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, style };
    table.summary(&report.summary)?;
    table.row("Judged by", printable(&report.policy))?;
    table.compliant(&report.summary)?;
    table.clusters(&report.clusters)?;
    table.check_by_cluster(report)?;
    table.differences(report)?;
    if per_cluster {
        for cluster in &report.clusters {
            table.heading(format_args!("cluster {}", printable(&cluster.context)))?;
            match (&cluster.summary, &cluster.same_cluster_as) {
                (Some(summary), _) => {
                    table.summary(summary)?;
                    table.compliant(summary)?;
                    table.coverage(&cluster.coverage)?;
                    table.denied(cluster.denied.as_ref())?;
                }
                (None, Some(other)) => {
                    table.wrapped_printable("  ", &format!("the same cluster as {other}"))?;
                }
                (None, None) => table.line("  not read")?,
            }
        }
    }
    Ok(())
}

impl Table<'_> {
    fn clusters(&mut self, clusters: &[ClusterSummary]) -> io::Result<()> {
        let mut columns = summary_columns("CONTEXT");
        let is_judged = judges_admission(clusters);
        columns.extend(is_judged.then_some(Column::Right("DENIED")));
        columns.push(Column::Left("READ"));
        let row = |cluster: &ClusterSummary| {
            let mut row = summary_row(&cluster.context, cluster.summary.as_ref());
            row.extend(is_judged.then(|| Cell::new(denied(cluster))));
            row.push(Cell::new(cluster.state.as_str()));
            row
        };
        self.line("")?;
        self.columns("", &columns, &clusters.iter().map(row).collect::<Vec<_>>())?;
        for cluster in clusters {
            let context = printable(&cluster.context);
            if let Some(other) = &cluster.same_cluster_as {
                let other = printable(other);
                self.heading(format_args!("{context}: the same cluster as {other}, counted once"))?;
            }
            if !cluster.coverage.failed.is_empty() {
                self.heading(format_args!("Not read of {context}:"))?;
                self.failures(&cluster.coverage.failed)?;
            }
        }
        Ok(())
    }

    /// The findings of each check in each cluster: clusters that do not fit beside each other come
    /// below each other.
    fn check_by_cluster(&mut self, report: &ClustersReport) -> io::Result<()> {
        let clusters = read(report);
        let checks = || report.summary.violations_by_check.keys();
        if clusters.len() < 2 || checks().next().is_none() {
            return Ok(());
        }
        self.heading("Findings of each check:")?;
        let first = checks().map(|check| check.len()).max().unwrap_or_default();
        let most = self.style.width.unwrap_or(WIDTH).min(WIDTH);
        let named: Vec<(String, &Summary)> =
            clusters.iter().map(|(name, summary)| (short(name), *summary)).collect();
        let mut rest = &named[..];
        while !rest.is_empty() {
            let mut used = first;
            let fitting = rest.iter().take_while(|(name, summary)| {
                let largest = checks().map(|check| number(summary, check)).max();
                let digits = largest.unwrap_or_default().to_string().len();
                used += 2 + display_width(name).max(digits);
                used <= most
            });
            let (block, more) = rest.split_at(fitting.count().max(1));
            let mut columns = vec![Column::Left("CHECK")];
            columns.extend(block.iter().map(|(name, _)| Column::Right(name)));
            let row = |check: &&'static str| {
                let numbers = block.iter().map(|(_, summary)| Cell::new(number(summary, check)));
                std::iter::once(Cell::new(check)).chain(numbers).collect()
            };
            self.columns("", &columns, &checks().map(row).collect::<Vec<_>>())?;
            if !more.is_empty() {
                self.line("")?;
            }
            rest = more;
        }
        Ok(())
    }
}

impl Table<'_> {
    fn differences(&mut self, report: &ClustersReport) -> io::Result<()> {
        let Some(reference) = &report.reference else { return Ok(()) };
        let reference = printable(reference);
        for cluster in report.clusters.iter().filter(|cluster| cluster.context != *reference) {
            let title = format!("{} compared with {reference}", printable(&cluster.context));
            let Some(ClusterComparison { differences, not_compared }) = &cluster.comparison else {
                self.heading(format_args!("{title}: one of them was not read"))?;
                continue;
            };
            let number = match differences.len() {
                0 => "no difference".to_owned(),
                number => counted(number as u64, "difference"),
            };
            self.heading(format_args!("{title}: {number}"))?;
            for difference in differences {
                self.difference(difference)?;
            }
            for gap in not_compared {
                self.wrapped_printable("  ", &format!("not compared: {gap}"))?;
            }
        }
        Ok(())
    }

    fn difference(&mut self, difference: &Difference) -> io::Result<()> {
        let Difference { kind, name, detail, .. } = difference;
        let (kind, state) = (kind.as_str(), state(difference));
        // The head of a unified diff repeats the names.
        let is_diff = detail.contains('\n');
        let word = if is_diff || detail.is_empty() { "" } else { detail };
        let space = if word.is_empty() || state.is_empty() { "" } else { ", " };
        self.wrapped_printable("  ", &format!("{kind} {name}: {state}{space}{word}"))?;
        let lines = detail.lines().skip(2).filter(|line| is_diff && !line.starts_with("@@"));
        lines.into_iter().try_for_each(|line| self.line(format_args!("    {}", printable(line))))
    }
}

/// Where something is, for people; nothing where the detail tells it.
fn state(difference: &Difference) -> &'static str {
    match difference.state {
        DifferenceState::OnlyHere => "only here",
        DifferenceState::OnlyInReference => "missing here",
        DifferenceState::Different if difference.detail.contains('\n') => "different",
        DifferenceState::Different => "",
    }
}

/// Whether what admission would deny was judged.
fn judges_admission(clusters: &[ClusterSummary]) -> bool {
    clusters.iter().any(|cluster| cluster.denied.is_some())
}

/// How many objects of a cluster admission would deny.
fn denied(cluster: &ClusterSummary) -> String {
    cluster.denied.as_ref().map_or_else(
        || "-".to_owned(),
        |denied| format!("{}{}", denied.total, if denied.has_more { "+" } else { "" }),
    )
}

/// The clusters that were read.
fn read(report: &ClustersReport) -> Vec<(&str, &Summary)> {
    let read = report.clusters.iter();
    read.filter_map(|cluster| Some((&*cluster.context, cluster.summary.as_ref()?))).collect()
}

/// The findings of a check.
fn number(summary: &Summary, check: &str) -> u64 {
    summary.violations_by_check.get(check).copied().unwrap_or_default()
}

/// The end of a name that is too long: names of one provider begin alike, as in
/// `arn:aws:eks:eu-west-1:111122223333:cluster/prod`.
fn short(name: &str) -> String {
    let name = printable(name);
    let length = name.chars().count();
    if length <= MAX_NAME {
        return name.into_owned();
    }
    let end: String = name.chars().skip(length + 1 - MAX_NAME).collect();
    format!("…{end}")
}

/// The report as GitHub and GitLab show it.
pub(crate) fn markdown(report: &ClustersReport) -> String {
    let clusters = counted(report.clusters.len() as u64, "cluster");
    let title = format!("Kubernetes governance of {clusters}");
    let mut text = head(&title, &report.summary, &report.policy);
    let is_judged = judges_admission(&report.clusters);
    let (title, line) = if is_judged { (" Denied |", " ---: |") } else { ("", "") };
    let _ = write!(
        text,
        "\n| Cluster | Score | Status | Pods | Compliant | Findings |{title} Read |\n\
         | --- | ---: | --- | ---: | ---: | ---: |{line} --- |\n",
    );
    for cluster in &report.clusters {
        let mut cells = summary_row(&cluster.context, cluster.summary.as_ref());
        cells.extend(is_judged.then(|| Cell::new(denied(cluster))));
        let cells: Vec<&str> = cells[1..].iter().map(Cell::text).collect();
        let (name, state) = (code(&cluster.context), cluster.state.as_str());
        let _ = writeln!(text, "| {name} | {} | {state} |", cells.join(" | "));
    }
    let read = read(report);
    if read.len() > 1 {
        let names: Vec<String> = read.iter().map(|(name, _)| code(name)).collect();
        let lines = " ---: |".repeat(names.len());
        let _ = writeln!(text, "\n| Check | {} |\n| --- |{lines}", names.join(" | "));
        for check in report.summary.violations_by_check.keys() {
            let numbers = read.iter().map(|(_, summary)| number(summary, check).to_string());
            let numbers = numbers.collect::<Vec<_>>().join(" | ");
            let _ = writeln!(text, "| {check} | {numbers} |");
        }
    }
    let compared = report.clusters.iter().flat_map(|cluster| {
        let differences = cluster.comparison.iter().flat_map(|compared| &compared.differences);
        differences.map(|difference| {
            let (kind, state) = (difference.kind.as_str(), state(difference));
            let is_word = !difference.detail.is_empty() && !difference.detail.contains('\n');
            let word = if is_word { code(&difference.detail) } else { String::new() };
            let text = format!("{kind} {}: {state} {word}", code(&difference.name));
            format!("{}, {}", code(&cluster.context), text.trim_end())
        })
    });
    if let Some(reference) = &report.reference {
        let title = format!("Differences from {}", code(reference));
        list(&mut text, &title, compared.collect::<Vec<_>>().into_iter());
    }
    let failed = report.clusters.iter().flat_map(|cluster| {
        let failed = cluster.coverage.failed.iter();
        failed.map(|NotRead { source, reason, .. }| {
            format!("{}, {}: {}", code(&cluster.context), code(source), code(reason))
        })
    });
    list(&mut text, "Not read", failed.collect::<Vec<_>>().into_iter());
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy_core::Timestamp;
    use policy_core::admission::NamedPolicy;
    use policy_core::bundle::Bundle;
    use policy_core::namespaces::ExcludedNamespaces;
    use policy_core::policy::CompiledPolicy;
    use policy_core::report::{AssessedCluster, Assessment, ClusterOutcome, ReadCluster};

    use super::*;

    const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: i}]}}";

    /// A report on clusters of these names, each with a bare pod, and one that is dead.
    fn report(names: &[&str]) -> ClustersReport {
        let (policy, excluded) = (CompiledPolicy::default_profile(), ExcludedNamespaces::default());
        let read = |name: &&str| {
            let mut found = Assessment::new(&policy, &excluded, Timestamp::now()).counting_only();
            for document in policy_core::manifest::documents(POD.as_bytes()) {
                found.document(&"a.yaml".into(), &document, "default", true);
            }
            let outcome = ClusterOutcome::Read(Box::new(ReadCluster::of(found)));
            AssessedCluster { context: (*name).to_owned(), server: String::new(), outcome }
        };
        let clusters = names.iter().map(read).chain([dead()]).collect();
        ClustersReport::new(&policy, "the built-in profile".to_owned(), clusters)
    }

    fn dead() -> AssessedCluster {
        AssessedCluster {
            context: "de|ad".to_owned(),
            server: String::new(),
            outcome: ClusterOutcome::Failed("Connection refused".to_owned()),
        }
    }

    fn table(report: &ClustersReport) -> String {
        let mut out = Vec::new();
        write(report, false, TableStyle::PLAIN, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_check_has_its_findings_in_each_cluster_that_was_read() {
        let text = table(&report(&["east", "west"]));
        let (_, matrix) = text.split_once("\nFindings of each check:\n").unwrap();
        assert_eq!(
            matrix,
            "\
CHECK              east  west
high-restarts         0     0
latest-tag            1     1
missing-liveness      1     1
missing-readiness     1     1
missing-resources     1     1
not-ready             0     0
pending               0     0
"
        );
        assert!(!table(&report(&["east"])).contains("Findings of each check"));
    }

    #[test]
    fn many_clusters_fit_into_100_columns_and_long_names_keep_their_end() {
        let names: Vec<String> = (0..30)
            .map(|number| format!("arn:aws:eks:eu-west-1:1:cluster/prod-{number}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = table(&report(&names));
        let (_, matrix) = text.split_once("\nFindings of each check:\n").unwrap();
        assert!(matrix.lines().all(|line| display_width(line) <= WIDTH), "{matrix}");
        for number in 0..30 {
            assert!(matrix.contains(&format!("cluster/prod-{number}")), "{number}: {matrix}");
        }
        assert_eq!(matrix.matches("latest-tag").count(), 10, "{matrix}");
    }

    #[test]
    fn denied_objects_are_counted_and_the_first_100_named() {
        let policy = Bundle::named("restricted").unwrap().compiled();
        let admission = NamedPolicy { name: "p".into(), rules: Ok(Arc::new(policy.clone())) };
        let (admission, excluded) = (admission.into(), ExcludedNamespaces::default());
        let mut found = Assessment::new(&policy, &excluded, Timestamp::now())
            .counting_only()
            .judging_admission(Some(&admission));
        let pods = (100..202).map(|number| POD.replace("name: a", &format!("name: a-{number}")));
        let pods = pods.collect::<Vec<_>>().join("\n---\n");
        for document in policy_core::manifest::documents(pods.as_bytes()) {
            found.document(&"a.yaml".into(), &document, "default", true);
        }
        let clusters = vec![
            AssessedCluster {
                context: "east".to_owned(),
                server: String::new(),
                outcome: ClusterOutcome::Read(Box::new(ReadCluster::of(found))),
            },
            dead(),
        ];
        let report = ClustersReport::new(&policy, "bundle restricted".to_owned(), clusters);
        let mut out = Vec::new();
        write(&report, true, TableStyle::PLAIN, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        for line in [
            "CONTEXT  SCORE  STATUS   PODS  COMPLIANT  VIOLATIONS  DENIED  READ",
            "de|ad      n/a  n/a         -          -           -       -  unread",
            "Admission would deny 102 objects:",
            "  default Pod/a-100 a.yaml:1 (latest-tag, missing-liveness, missing-readiness)",
            "  default Pod/a-199 a.yaml:199 (latest-tag, missing-liveness, missing-readiness)",
            "  and 2 more",
        ] {
            assert!(lines.contains(&line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains("a-200"), "{text}");
        let markdown = markdown(&report);
        for line in
            ["Findings | Denied | Read |\n", " | 102 | complete |\n", "| - | - | unread |\n"]
        {
            assert!(markdown.contains(line), "{line:?} is not in\n{markdown}");
        }
    }

    #[test]
    fn markdown_has_the_same_numbers_and_its_cells_hold_what_names_hold() {
        assert_eq!(
            markdown(&report(&["east", "west"])),
            "\
## Kubernetes governance of 3 clusters: 90, Healthy

2 pods, 0 compliant, 8 findings (8 medium). Judged by `the built-in profile`.

| Cluster | Score | Status | Pods | Compliant | Findings | Read |
| --- | ---: | --- | ---: | ---: | ---: | --- |
| `east` | 90 | Healthy | 1 | 0 | 4 | complete |
| `west` | 90 | Healthy | 1 | 0 | 4 | complete |
| `de\\|ad` | n/a | n/a | - | - | - | unread |

| Check | `east` | `west` |
| --- | ---: | ---: |
| high-restarts | 0 | 0 |
| latest-tag | 1 | 1 |
| missing-liveness | 1 | 1 |
| missing-readiness | 1 | 1 |
| missing-resources | 1 | 1 |
| not-ready | 0 | 0 |
| pending | 0 | 0 |

### Not read

- `de\\|ad`, `cluster`: `Connection refused`
"
        );
    }
}
