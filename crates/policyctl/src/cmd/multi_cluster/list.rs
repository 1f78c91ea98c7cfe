//! `policyctl multi-cluster list-contexts`

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cluster::fleet::{Answer, Fleet, Reached};
use crate::cluster::{ClusterError, Context};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::output::{self, Output};

const EXAMPLES: &str = "\
Examples:
  policyctl multi-cluster list-contexts
  policyctl multi-cluster list-contexts --probe   connect to each, and show errors

Output: table (default), json, yaml.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Connect to each of them
    #[arg(long)]
    probe: bool,
}

/// A row of the list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    cluster: String,
    server: String,
    is_current: bool,
    /// Absent without `--probe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Probe>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    is_reachable: bool,
    /// The version of the server, or the error.
    message: String,
}

pub(super) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let formats = [Output::Table, Output::Json, Output::Yaml];
    let format = global.output(&formats, &[Scope::Kubeconfig])?;
    let fleet = Fleet::of_all(global)?;
    let mut probes = if args.probe { probed(&fleet) } else { BTreeMap::new() };
    let mut rows: Vec<Row> = fleet
        .chosen
        .iter()
        .map(|Context { name, cluster, server, is_current, .. }| Row {
            name: name.clone(),
            cluster: cluster.clone(),
            server: server.clone(),
            is_current: *is_current,
            probe: probes.remove(name.as_str()),
        })
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    output::value(&rows, format, || table(&rows))?;
    let has_failed = |row: &Row| row.probe.as_ref().is_some_and(|probe| !probe.is_reachable);
    Ok(if rows.iter().any(has_failed) { Exit::Cluster } else { Exit::Fine })
}

/// What each context answered, by name.
fn probed(fleet: &Fleet) -> BTreeMap<&str, Probe> {
    let version = async |reached: Reached<'_>| Ok(reached.cluster.version);
    let answers = fleet.each(version).into_iter();
    let probe = |result: Result<Option<String>, ClusterError>| match result {
        Ok(version) => {
            let message = version.unwrap_or_else(|| "reachable".to_owned());
            Probe { is_reachable: true, message }
        }
        Err(error) => Probe { is_reachable: false, message: error.reason().to_owned() },
    };
    answers.map(|Answer { context, result }| (context.name.as_str(), probe(result))).collect()
}

fn table(rows: &[Row]) -> String {
    let is_probed = rows.iter().any(|row| row.probe.is_some());
    let mut cells = vec![["CURRENT", "NAME", "CLUSTER", "SERVER"].map(str::to_owned).to_vec()];
    if is_probed {
        cells[0].push("REACHABLE".to_owned());
    }
    for row in rows {
        let current = if row.is_current { "*" } else { "" };
        let mut line = [current, &row.name, &row.cluster, &row.server].map(str::to_owned).to_vec();
        if let Some(Probe { is_reachable, message }) = &row.probe {
            line.push(if *is_reachable {
                format!("yes: {message}")
            } else {
                format!("no: {message}")
            });
        }
        cells.push(line);
    }
    output::columns(&cells)
}
