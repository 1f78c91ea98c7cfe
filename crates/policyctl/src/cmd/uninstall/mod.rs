//! `policyctl uninstall`

mod finalizer;
mod objects;

use std::slice;
use std::time::Duration;

use policy_core::api::CLUSTER_POLICY;
use policy_core::text::printable;
use serde::Serialize;

use self::objects::{Named, Remover, Steps};
use crate::cluster::{self, Cluster, ClusterError};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::output::{self, Output};
use crate::policies::PolicyApi;

const EXAMPLES: &str = "\
Examples:
  policyctl uninstall --dry-run           let the API server test it, remove nothing
  policyctl uninstall
  policyctl uninstall --delete-crds       also the definitions, and with them all policies
  policyctl uninstall --finalizers-only   before another tool removes the rest

Removes what `policyctl deploy generate-all --enforcement` prints, in this order: the webhook
configurations, so that the API server calls nothing that is about to end; the operator, whose end
is awaited; its finalizer from all policies, so that they can be deleted without it; all others, the
namespace last, with everything in it. An object without the label
app.kubernetes.io/part-of=kube-devops stays, and with it its namespace.
The operator fills fields into workloads in enforce mode: they stay. To take them back, run
`policyctl revert --all -A` before or afterwards.
Output: table (default), json, yaml.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Let the API server test it, but remove nothing; names every right that is missing
    #[arg(long)]
    dry_run: bool,

    /// Also delete the custom resource definitions, and with them all policies and audit results
    #[arg(long, conflicts_with = "finalizers_only")]
    delete_crds: bool,

    /// Only stop the operator and remove its finalizer from all policies; `helm uninstall` does
    /// this by itself
    #[arg(long)]
    finalizers_only: bool,
}

/// How long the pods of the operator may take to end: twice their grace period.
const OPERATOR_ENDS: Duration = Duration::from_secs(60);

/// The result for an object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    kind: String,
    /// `null` for an object of the whole cluster.
    namespace: Option<String>,
    name: String,
    outcome: Outcome,
    /// Why it was not removed, or why it stays.
    reason: Option<String>,
}

impl Row {
    fn is_kept_in_namespace(&self) -> bool {
        self.outcome == Outcome::Kept && self.namespace.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    Removed,
    WouldBeRemoved,
    FinalizerRemoved,
    FinalizerWouldBeRemoved,
    Kept,
    NotRemoved,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::WouldBeRemoved => "would be removed",
            Self::FinalizerRemoved => "finalizer removed",
            Self::FinalizerWouldBeRemoved => "finalizer would be removed",
            Self::Kept => "kept",
            Self::NotRemoved => "not removed",
        }
    }
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let form = global.output(
        &[Output::Table, Output::Json, Output::Yaml],
        &[Scope::Kubeconfig, Scope::Context],
    )?;
    let (rows, exit) = cluster::run(async {
        let cluster = global.target.connect().await?;
        let steps = objects::installed(args.delete_crds)?;
        let mut uninstall = Uninstall { cluster: &cluster, args, rows: Vec::new() };
        let all = uninstall.run(&steps).await;
        Ok((uninstall.rows, if all { Exit::Fine } else { Exit::Cluster }))
    })?;
    output::value(&rows, form, || table(&rows))?;
    let console = global.console();
    if exit != Exit::Fine {
        let removed = if args.dry_run { "could be" } else { "was" };
        let reason =
            format!("not everything {removed} removed; run it again once the cause is gone");
        output::reason(&reason);
    } else if rows.is_empty() {
        console.note("nothing of the platform is installed");
    } else if !args.delete_crds && !args.finalizers_only {
        console.note("the definitions and the policies stay; --delete-crds deletes both");
    }
    Ok(exit)
}

struct Uninstall<'a> {
    cluster: &'a Cluster,
    args: &'a Args,
    rows: Vec<Row>,
}

impl Uninstall<'_> {
    /// Whether all could be removed. A step that fails ends it, as each relies on those before; a
    /// dry run goes on, and so names every right that is missing.
    async fn run(&mut self, steps: &Steps) -> bool {
        let Args { dry_run, finalizers_only, .. } = *self.args;
        let remover = Remover { cluster: self.cluster, dry_run };
        let mut all = finalizers_only || self.remove(&remover, &steps.configurations).await;
        if all || dry_run {
            all &= self.remove(&remover, slice::from_ref(&steps.operator)).await;
        }
        if all || dry_run {
            let ended = remover.wait_for_operator(OPERATOR_ENDS).await;
            all &= ended.map_or_else(shown, |()| true);
        }
        if all || dry_run {
            all &= self.remove_finalizers().await.unwrap_or_else(shown);
        }
        if (all || dry_run) && !finalizers_only {
            all &= self.remove(&remover, &steps.others).await;
        }
        all
    }

    /// Whether all could be removed.
    async fn remove(&mut self, remover: &Remover<'_>, objects: &[Named]) -> bool {
        let mut all = true;
        for object in objects {
            if object.is_namespace() && self.rows.iter().any(Row::is_kept_in_namespace) {
                let reason = "objects in it stay".to_owned();
                self.rows.push(object.row(Outcome::Kept, Some(reason)));
                continue;
            }
            match remover.remove(object).await {
                Ok(row) => self.rows.extend(row),
                Err(error) => {
                    all = false;
                    self.rows.push(failed(object.row(Outcome::NotRemoved, None), &error));
                }
            }
        }
        all
    }

    /// Whether the finalizer could be removed from all policies.
    async fn remove_finalizers(&mut self) -> Result<bool, ClusterError> {
        let Some(api) = PolicyApi::find(self.cluster).await? else { return Ok(true) };
        let dry_run = self.args.dry_run;
        let mut all = true;
        for policy in finalizer::policies(&api).await? {
            let row = |outcome| Row {
                kind: if policy.0.is_empty() { CLUSTER_POLICY } else { "DevOpsPolicy" }.to_owned(),
                namespace: Some(policy.0.clone()).filter(|namespace| !namespace.is_empty()),
                name: policy.1.clone(),
                outcome,
                reason: None,
            };
            self.rows.push(match finalizer::remove(self.cluster, &api, &policy, dry_run).await {
                Ok(()) if dry_run => row(Outcome::FinalizerWouldBeRemoved),
                Ok(()) => row(Outcome::FinalizerRemoved),
                Err(error) => {
                    all = false;
                    failed(row(Outcome::NotRemoved), &error)
                }
            });
        }
        Ok(all)
    }
}

/// Not everything can be removed, for this reason.
#[expect(clippy::needless_pass_by_value, reason = "it is the function of `unwrap_or_else`")]
fn shown(error: ClusterError) -> bool {
    output::error(&error);
    false
}

fn failed(row: Row, error: &ClusterError) -> Row {
    output::error(error);
    Row { reason: Some(error.to_string()), ..row }
}

fn table(rows: &[Row]) -> String {
    let line = |Row { kind, namespace, name, outcome, reason }: &Row| {
        let place = namespace.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
        let reason = match (outcome, reason) {
            (Outcome::Kept, Some(reason)) => format!(": {reason}"),
            _ => String::new(),
        };
        let line = format!("{:<17}  {kind} {name}{place}{reason}", outcome.as_str());
        printable(&line).into_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_has_its_line() {
        let row = |kind: &str, namespace: Option<&str>, outcome, reason: Option<&str>| Row {
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: "web".to_owned(),
            outcome,
            reason: reason.map(str::to_owned),
        };
        let rows = [
            row("ClusterRole", None, Outcome::Removed, None),
            row("DevOpsPolicy", Some("shop"), Outcome::FinalizerRemoved, None),
            row("Namespace", None, Outcome::Kept, Some("it has no label")),
            row("Service", Some("shop"), Outcome::NotRemoved, Some("refused")),
        ];
        assert_eq!(
            table(&rows),
            "\
removed            ClusterRole web
finalizer removed  DevOpsPolicy web in shop
kept               Namespace web: it has no label
not removed        Service web in shop
"
        );
    }
}
