//! The report of `analyze --policies cluster` for people.

use std::collections::BTreeMap;
use std::io;

use policy_core::report::{Coverage, Report};
use policy_core::text::printable;

use super::table::{Colours, NUMBERS, Table, shortened};

/// The width of a name before [`NUMBERS`].
const NAME: usize = 48;

/// The policies of a cluster, each on the pods of its namespace.
pub(crate) struct PolicyReports {
    pub(crate) reports: Vec<Report>,
    /// How many pods the namespaces without a policy have.
    pub(crate) without_policy: BTreeMap<String, u64>,
    pub(crate) coverage: Coverage,
}

pub(super) fn write(
    PolicyReports { reports, without_policy, coverage }: &PolicyReports,
    colours: Colours,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, colours };
    table.coverage(coverage)?;
    table.not_read(coverage)?;
    table.heading(format_args!("{:<NAME$}  {NUMBERS}", "POLICY"))?;
    for Report { policy, summary, .. } in reports {
        let (name, row) = (printable(policy), table.numbers(Some(summary)));
        table.line(format_args!("{:<NAME$}  {row}", shortened(&name, NAME)))?;
    }
    for (namespace, pods) in without_policy {
        let name = format!("none in namespace {}", printable(namespace));
        let score = format!("{:>5}  {:<9} {pods:>7}", "n/a", "no policy");
        table.line(format_args!("{:<NAME$}  {score}", shortened(&name, NAME)))?;
    }
    if reports.len() > 1 {
        table.line("\nEach policy has its own score; there is none for all of them.")?;
    }
    for report in reports.iter().filter(|report| !report.findings.is_empty()) {
        table.heading(format_args!("Policy {}", printable(&report.policy)))?;
        table.findings(report)?;
    }
    Ok(())
}
