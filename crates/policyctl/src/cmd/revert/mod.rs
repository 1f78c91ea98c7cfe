//! `policyctl revert`

mod release;

use std::collections::BTreeSet;

use anyhow::bail;
use policy_core::api::REMEDIATION;
use policy_core::remediation::Target;
use policy_core::text::printable;
use policy_core::workload::ObjectKind;
use serde::Serialize;
use serde_json::Value;

use self::release::{Released, Releaser};
use super::analyze::live;
use crate::cluster::namespaced::{Event, Listed};
use crate::cluster::workloads::WorkloadName;
use crate::cluster::{self, Cluster};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::names;
use crate::output::{self, Output};

const EXAMPLES: &str = "\
Examples:
  policyctl revert deployment/web -n shop --dry-run   let the API server test it, store nothing
  policyctl revert deployment/web -n shop
  policyctl revert --all -n shop                      all workloads of a namespace
  policyctl revert --all -A                           all workloads of the cluster

Takes back exactly what the operator filled in, and works without the operator. What the owner has
in his own manifest as well stays, and becomes the owner's. The pods are replaced as by any change
of the template. Pods that were changed at admission keep what they have until they are replaced.
Output: table (default), json, yaml.";

const USAGE: &str = "\
policyctl revert [OPTIONS] <KIND/NAME>...
       policyctl revert [OPTIONS] --all (-n <NAME> | -A)";

#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Deployments, StatefulSets and DaemonSets, as in deployment/web
    #[arg(value_name = "KIND/NAME", value_parser = workload, required_unless_present = "all")]
    #[arg(conflicts_with = "all")]
    workloads: Vec<(ObjectKind, String)>,

    /// All workloads with something to take back
    #[arg(long)]
    all: bool,

    /// Let the API server test it, but store nothing
    #[arg(long)]
    dry_run: bool,
}

/// The kinds with the names that kubectl has for them.
const KINDS: [(ObjectKind, [&str; 3]); 3] = [
    (ObjectKind::Deployment, ["deployment", "deployments", "deploy"]),
    (ObjectKind::StatefulSet, ["statefulset", "statefulsets", "sts"]),
    (ObjectKind::DaemonSet, ["daemonset", "daemonsets", "ds"]),
];

fn workload(text: &str) -> Result<(ObjectKind, String), String> {
    let (kind, name) = text.split_once('/').ok_or("write KIND/NAME, such as deployment/web")?;
    let kind = kind.to_ascii_lowercase();
    let kind = KINDS.iter().find(|(_, names)| names.contains(&kind.as_str()));
    let (kind, _) = kind.ok_or("the kind is deployment, statefulset or daemonset")?;
    Ok((*kind, names::subdomain(name)?))
}

/// The result for a workload.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    workload: String,
    outcome: Outcome,
    #[serde(flatten)]
    released: Released,
    /// Why it was not released; `null` where it was, or had nothing.
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    Released,
    WouldBeReleased,
    NothingToRelease,
    NotReleased,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::WouldBeReleased => "would be released",
            Self::NothingToRelease => "nothing to release",
            Self::NotReleased => "not released",
        }
    }
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let used = if args.all { &Scope::CLUSTER[..] } else { &Scope::NAMESPACE };
    let form = global.output(&[Output::Table, Output::Json, Output::Yaml], used)?;
    if args.all && global.target.namespace.is_none() && !global.target.all_namespaces {
        bail!("--all needs -n NAME for one namespace, or -A for all");
    }
    let (rows, exit) = cluster::run(revert(args, global))?;
    output::value(&rows, form, || table(&rows))?;
    for Row { workload, namespace, error, .. } in &rows {
        if let Some(error) = error {
            output::error(format_args!("{workload} in {namespace}: {error}"));
        }
    }
    if rows.is_empty() && exit == Exit::Fine {
        global.console().note("no workload has anything of the operator");
    }
    if rows.iter().any(|row| row.outcome == Outcome::Released) {
        let console = global.console();
        console.note(
            "The operator leaves these workloads alone until their pod template is changed, as it \
             sees that its fields are gone. To exclude one for good:",
        );
        let annotation = format_args!("{REMEDIATION}=disabled");
        console.note(format_args!("  kubectl annotate -n NAMESPACE KIND/NAME {annotation}"));
    }
    if !args.all && rows.iter().any(|row| row.outcome == Outcome::NothingToRelease) {
        global.console().note(format_args!(
            "What was filled in at admission is in pods only. To stop it, annotate the workload as \
             {REMEDIATION}=disabled, then replace its pods."
        ));
    }
    Ok(exit)
}

async fn revert(args: &Args, global: &Global) -> anyhow::Result<(Vec<Row>, Exit)> {
    let cluster = live::connect(global).await?;
    let (mut names, mut exit) = (Vec::new(), Exit::Fine);
    if args.all {
        let namespace = global.target.namespace.as_deref();
        let mut gaps = BTreeSet::new();
        for (kind, [_, plural, _]) in KINDS {
            find(&cluster, kind, plural, namespace, &mut names, &mut gaps).await;
        }
        for gap in gaps {
            exit = Exit::Cluster;
            output::error(gap);
        }
    } else {
        let namespace = global.target.namespace_in(&cluster);
        names.extend(args.workloads.iter().map(|(kind, name)| WorkloadName {
            namespace: namespace.to_owned(),
            kind: *kind,
            name: name.clone(),
        }));
    }
    names.sort();
    names.dedup();
    let requests = Releaser { cluster: &cluster, dry_run: args.dry_run };
    let mut rows = Vec::new();
    for name in names {
        let (outcome, released, error) = match requests.release(&name).await {
            Ok(None) => (Outcome::NothingToRelease, Released::default(), None),
            Ok(Some(released)) if args.dry_run => (Outcome::WouldBeReleased, released, None),
            Ok(Some(released)) => (Outcome::Released, released, None),
            Err(error) => {
                exit = exit.max(Exit::of(&error));
                (Outcome::NotReleased, Released::default(), Some(format!("{error:#}")))
            }
        };
        let WorkloadName { namespace, kind, name } = name;
        let workload = format!("{kind}/{name}");
        rows.push(Row { namespace, workload, outcome, released, error });
    }
    Ok((rows, exit))
}

/// Finds the workloads that have anything of the operator. What could not be read is a gap, and the
/// same one for each kind where there is no such namespace.
async fn find(
    cluster: &Cluster,
    kind: ObjectKind,
    plural: &'static str,
    namespace: Option<&str>,
    names: &mut Vec<WorkloadName>,
    gaps: &mut BTreeSet<String>,
) {
    let path: fn(Option<&str>) -> String = match kind {
        ObjectKind::StatefulSet => |namespace| path("statefulsets", namespace),
        ObjectKind::DaemonSet => |namespace| path("daemonsets", namespace),
        _ => |namespace| path("deployments", namespace),
    };
    let mut take = |event: Event<Value>| match event {
        Event::Page(page) => names.extend(page.objects.into_iter().filter_map(|mut object| {
            // The members of a list have no type of their own.
            object["apiVersion"] = "apps/v1".into();
            object["kind"] = kind.as_str().into();
            let target = Target::read(&object).ok()?;
            let Target { namespace, name, .. } = target;
            let is_ours = target.is_ours || target.patched_by.is_some();
            is_ours.then_some(WorkloadName { namespace, kind, name })
        })),
        Event::NotRead { part, error } => {
            gaps.insert(format!("{part}: {}", error.reason()));
        }
    };
    Listed { plural, path, is_metadata: false }.read(cluster, namespace, None, &mut take).await;
}

fn path(plural: &str, namespace: Option<&str>) -> String {
    match namespace {
        None => format!("/apis/apps/v1/{plural}"),
        Some(namespace) => format!("/apis/apps/v1/namespaces/{namespace}/{plural}"),
    }
}

fn table(rows: &[Row]) -> String {
    let mut lines = Vec::new();
    for Row { namespace, workload, outcome, released, .. } in rows {
        lines.push(format!("{:<18}  {namespace}  {workload}", outcome.as_str()));
        let Released { removed, handed_over, kept, notes } = released;
        let parts = [
            ("removed", removed),
            ("stays, as its owner applies it too", handed_over),
            ("stays, as another field manager set it too", kept),
        ];
        for (what, fields) in parts {
            lines.extend(fields.iter().map(|field| format!("  {what}: {field}")));
        }
        lines.extend(notes.iter().map(|note| format!("  {note}")));
    }
    lines.iter().map(|line| printable(line).into_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_as_for_kubectl() {
        for text in ["deployment/web", "Deployment/web", "deploy/web", "deployments/web"] {
            assert_eq!(workload(text), Ok((ObjectKind::Deployment, "web".to_owned())), "{text}");
        }
        assert_eq!(workload("sts/db").map(|(kind, _)| kind), Ok(ObjectKind::StatefulSet));
        assert_eq!(workload("ds/agent").map(|(kind, _)| kind), Ok(ObjectKind::DaemonSet));
        for text in ["web", "pod/web", "deployment/", "deployment/a/b", "deployment/../secrets"] {
            assert!(workload(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_field_has_its_line() {
        let row = |outcome, released| Row {
            namespace: "shop".to_owned(),
            workload: "Deployment/web".to_owned(),
            outcome,
            released,
            error: None,
        };
        let released = Released {
            removed: vec!["web: requests.cpu=100m".to_owned()],
            handed_over: vec!["web: requests.memory=64Mi".to_owned()],
            kept: vec!["web: limits.memory=256Mi".to_owned()],
            notes: vec!["removed by a JSON patch"],
        };
        let rows =
            [row(Outcome::Released, released), row(Outcome::NothingToRelease, Released::default())];
        assert_eq!(
            table(&rows),
            "\
released            shop  Deployment/web
  removed: web: requests.cpu=100m
  stays, as its owner applies it too: web: requests.memory=64Mi
  stays, as another field manager set it too: web: limits.memory=256Mi
  removed by a JSON patch
nothing to release  shop  Deployment/web
"
        );
    }
}
