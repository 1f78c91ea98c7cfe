//! `policyctl import --contexts`: the plan for all clusters, then the result of each.

use std::time::Duration;

use crate::cluster::fleet::{Answer, OfCluster, cluster_title};
use crate::cluster::{Cluster, Context};
use crate::exit::Exit;
use crate::global::Global;
use crate::output::{self, Output};
use crate::policies;

use super::{Args, Importer, NOTHING, Outcome, Row, exit, is_refused, table};

/// What is to be done in a cluster.
struct Plan<'a> {
    context: &'a Context,
    /// The cluster, or why it cannot be asked.
    cluster: Result<Cluster, String>,
    rows: Vec<Row>,
}

pub(super) fn import(args: &Args, format: Output, global: &Global) -> anyhow::Result<Exit> {
    let fleet = args.selection.fleet(global)?;
    let namespace = fleet.namespace(global);
    let files = policies::read_files_in(&args.files, global, namespace, "nothing was applied")?;
    let importer = Importer { files: &files, force: args.force_conflicts };
    importer.warn();
    let plans = fleet.each(async |reached| {
        let rows = reached.within(importer.plan(&reached.cluster)).await?;
        Ok((reached.cluster, rows))
    });
    let plans = plans.into_iter().map(|Answer { context, result }| match result {
        Ok((cluster, rows)) => Plan { context, cluster: Ok(cluster), rows },
        Err(error) => Plan { context, cluster: Err(error.to_string()), rows: Vec::new() },
    });
    let mut plans: Vec<Plan<'_>> = plans.collect();
    if !args.dry_run {
        let is_table = format == Output::Table;
        if is_table {
            let text = plans.iter().map(Plan::text).collect::<String>();
            output::result(&format!("Plan:\n{text}\nResult:\n"))?;
        }
        let items = plans.into_iter().map(|plan| (plan.context, plan)).collect();
        plans = fleet.again(items, async |mut plan, limit| {
            plan.store(importer, limit).await;
            plan
        });
    }
    let mut worst = Exit::Fine;
    let mut rows = Vec::new();
    let mut text = String::new();
    for plan in plans {
        text += &plan.text();
        let context = &plan.context.name;
        let name = |line: String| format!("{context}: {line}");
        plan.rows.iter().filter_map(Row::refusal).map(name).for_each(output::error);
        if is_refused(&plan.rows) {
            output::reason(name(NOTHING.to_owned()));
        }
        plan.rows.iter().filter_map(Row::kept).map(name).for_each(output::reason);
        worst = worst.max(exit(&plan.rows));
        let row = OfCluster::new(plan.context, plan.cluster.err(), plan.rows);
        worst = worst.max(row.report_error());
        rows.push(row);
    }
    output::value(&rows, format, || text)?;
    Ok(worst)
}

impl Plan<'_> {
    /// The policies of the cluster under its name.
    fn text(&self) -> String {
        let rest = if self.cluster.is_err() && self.rows.is_empty() { ": not read" } else { "" };
        let rows = table(&self.rows);
        let rows = rows.lines().map(|row| format!("  {row}\n"));
        cluster_title(&self.context.name, rest) + &rows.collect::<String>()
    }

    /// Carries it out, until the deadline. What is not done by then is not known to be.
    async fn store(&mut self, importer: Importer<'_>, limit: Duration) {
        let Ok(cluster) = &self.cluster else { return };
        if exit(&self.rows) != Exit::Fine {
            return;
        }
        let stored = importer.store(cluster, &mut self.rows);
        let error = match tokio::time::timeout(limit, stored).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done within {} s (--timeout)", limit.as_secs()),
        };
        for row in &mut self.rows {
            if matches!(row.outcome, Outcome::WouldBeCreated | Outcome::WouldBeChanged) {
                row.outcome = Outcome::NotApplied;
            }
        }
        self.cluster = Err(error);
    }
}
