//! `policyctl list`

use std::fmt::Write as _;

use policy_core::Timestamp;
use policy_core::text::printable;
use serde::{Deserialize, Serialize};

use crate::cluster;
use crate::cluster::namespaced::{Event, Listed};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::output::{self, Output};

const EXAMPLES: &str = "\
Examples:
  policyctl list pods                  all namespaces, with those of the system
  policyctl list pods -n shop -o wide  with ready containers, restarts, age and IP

Output: table (default), wide, json, yaml.";

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List pods: namespace, name, phase, node
    #[command(after_help = EXAMPLES)]
    Pods,
}

/// The fields of a pod that the list shows.
#[derive(Deserialize, Default)]
#[serde(default)]
struct PodView {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    namespace: String,
    name: String,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    containers: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    ready: bool,
    restart_count: u32,
}

/// A row of the list.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    name: String,
    phase: String,
    node: Option<String>,
    ready_containers: usize,
    containers: usize,
    restarts: u64,
    created: Option<String>,
    is_terminating: bool,
    ip: Option<String>,
}

impl From<PodView> for Row {
    fn from(pod: PodView) -> Self {
        let statuses = pod.status.container_statuses.unwrap_or_default();
        Self {
            namespace: pod.metadata.namespace,
            name: pod.metadata.name,
            phase: pod.status.phase,
            node: pod.spec.node_name,
            ready_containers: statuses.iter().filter(|status| status.ready).count(),
            containers: pod.spec.containers.len(),
            restarts: statuses.iter().map(|status| u64::from(status.restart_count)).sum(),
            created: pod.metadata.creation_timestamp,
            is_terminating: pod.metadata.deletion_timestamp.is_some(),
            ip: pod.status.pod_ip,
        }
    }
}

pub(crate) fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    let Command::Pods = command;
    let formats = [Output::Table, Output::Wide, Output::Json, Output::Yaml];
    let format = global.output(&formats, &Scope::CLUSTER)?;
    let (mut rows, not_read) = cluster::run(read(global))?;
    rows.sort();
    output::value(&rows, format, || table(&rows, format == Output::Wide))?;
    if rows.is_empty() && not_read == 0 {
        global.console().note("there is no pod");
    }
    Ok(if not_read == 0 { Exit::Fine } else { Exit::Cluster })
}

/// The pods, and how many parts of the cluster could not be read; prints an error for each.
async fn read(global: &Global) -> anyhow::Result<(Vec<Row>, usize)> {
    let cluster = global.target.connect().await?;
    let (mut rows, mut not_read) = (Vec::new(), 0);
    let namespace = global.target.namespace.as_deref();
    let mut take = |event: Event<PodView>| match event {
        Event::Page(page) => {
            rows.extend(page.objects.into_iter().map(Row::from));
            for pod in page.unreadable {
                not_read += 1;
                output::error(format_args!("pod {}: {}", pod.object, pod.reason));
            }
        }
        Event::NotRead { part, error } => {
            not_read += 1;
            output::error(format_args!("{part}: {}", error.reason()));
        }
    };
    Listed::PODS.read(&cluster, namespace, None, &mut take).await;
    Ok((rows, not_read))
}

/// Columns with fixed least widths, or as wide as their longest entry.
fn table(rows: &[Row], is_wide: bool) -> String {
    const NONE: &str = "<none>";
    let width = |least: usize, text: fn(&Row) -> &str| {
        rows.iter().map(|row| text(row).chars().count() + 1).max().unwrap_or(0).max(least)
    };
    let namespaces = width(20, |row| &row.namespace);
    let names = width(33, |row| &row.name);
    let mut table = String::new();
    let head = if is_wide { "READY  RESTARTS  AGE    IP               NODE" } else { "NODE" };
    // Writing into a String cannot fail.
    let _ = writeln!(table, "{:<namespaces$}{:<names$}{:<16}{head}", "NAMESPACE", "NAME", "PHASE");
    for row in rows {
        let phase = if row.is_terminating { "Terminating" } else { &row.phase };
        let _ = write!(
            table,
            "{:<namespaces$}{:<names$}{:<16}",
            printable(&row.namespace),
            printable(&row.name),
            printable(phase)
        );
        if is_wide {
            let ready = format!("{}/{}", row.ready_containers, row.containers);
            let age = row.created.as_deref().and_then(age).unwrap_or_else(|| NONE.to_owned());
            let ip = row.ip.as_deref().unwrap_or(NONE);
            let _ = write!(table, "{ready:<7}{:<10}{age:<7}{:<17}", row.restarts, printable(ip));
        }
        let _ = writeln!(table, "{}", printable(row.node.as_deref().unwrap_or(NONE)));
    }
    table
}

/// The age in its largest unit.
fn age(created: &str) -> Option<String> {
    let created: Timestamp = created.parse().ok()?;
    let seconds = Timestamp::now().as_second().saturating_sub(created.as_second()).max(0);
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let (length, unit) =
        units.into_iter().find(|(length, _)| seconds >= *length).unwrap_or((1, "s"));
    Some(format!("{}{unit}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_those_of_the_contract() {
        let pod = r#"{"metadata": {"namespace": "default", "name": "pod-name-12345"},
            "spec": {"nodeName": "node-1", "containers": [{}]}, "status": {"phase": "Running"}}"#;
        let row = Row::from(serde_json::from_str::<PodView>(pod).unwrap());
        let text = table(&[row], false);
        assert_eq!(
            text.lines().last().unwrap(),
            "default             pod-name-12345                   Running         node-1"
        );
    }
}
