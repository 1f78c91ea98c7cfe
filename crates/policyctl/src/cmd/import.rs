//! `policyctl import`

use policy_core::text::printable;
use serde::Serialize;

use crate::cluster::write::{Apply, get};
use crate::cluster::{self, Cluster, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::judgement::warn_without_checks;
use crate::output::{self, Output};
use crate::policies::{self, FilePolicies, FilePolicy, Policy, PolicyApi, fields_only_in};

const EXAMPLES: &str = "\
Examples:
  policyctl import policies/ --dry-run   validate on the API server, store nothing
  policyctl import policies/             files, folders, patterns, or - for standard input

Validates all policies, here and on the API server, before the first one is stored: where one is
refused, none is stored. A policy that already is as in the file is not written. Policies are
applied with the field manager `policyctl`; a field that another manager set otherwise is a
conflict.
Output: table (default), json, yaml.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (recursive), patterns, or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,

    /// Validate on the API server, but store nothing
    #[arg(long)]
    dry_run: bool,

    /// Take over fields that another field manager set
    #[arg(long)]
    force_conflicts: bool,
}

/// The result for a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    Created,
    Changed,
    Unchanged,
    WouldBeCreated,
    WouldBeChanged,
    NotApplied,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::WouldBeCreated => "would be created",
            Self::WouldBeChanged => "would be changed",
            Self::NotApplied => "not applied",
        }
    }
}

/// A row of the result.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// `null` for a cluster policy.
    namespace: Option<String>,
    name: String,
    place: String,
    outcome: Outcome,
    /// Fields of the cluster's policy that the file does not have and that stay.
    kept_fields: Vec<String>,
    /// Why it was not applied; `null` where it was, or where another policy was refused.
    error: Option<String>,
}

impl Row {
    fn new(file: &FilePolicy, outcome: Outcome) -> Self {
        let Policy { namespace, name, .. } = file.policy.clone();
        Self {
            namespace: (!namespace.is_empty()).then_some(namespace),
            name,
            place: file.place.clone(),
            outcome,
            kept_fields: Vec::new(),
            error: None,
        }
    }
}

impl Row {
    fn full_name(&self) -> String {
        policies::full_name(self.namespace.as_deref().unwrap_or_default(), &self.name)
    }
}

struct Importer<'a> {
    cluster: &'a Cluster,
    api: PolicyApi<'a>,
    dry_run: bool,
    force: bool,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let format = global.output(&[Output::Table, Output::Json, Output::Yaml], &Scope::NAMESPACE)?;
    let (rows, exit) = cluster::run(async {
        let cluster = global.target.connect().await?;
        let files = policies::read_files(&args.files, global, &cluster, "nothing was applied")?;
        let Args { dry_run, force_conflicts: force, .. } = *args;
        let api = PolicyApi::of(&cluster).await?;
        Ok(Importer { cluster: &cluster, api, dry_run, force }.import(files).await)
    })?;
    output::value(&rows, format, || table(&rows))?;
    for row in &rows {
        let Row { place, kept_fields, .. } = row;
        if !kept_fields.is_empty() {
            let fields = kept_fields.join(", ");
            output::reason(format_args!(
                "{place}: {} in the cluster also has {fields}, which the file does not have; it \
                 stays",
                row.full_name()
            ));
        }
    }
    Ok(exit)
}

fn table(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let Row { place, outcome, .. } = row;
        let place = match outcome {
            Outcome::NotApplied => format!("  ({place})"),
            _ => String::new(),
        };
        let line = format!("{:<11}  {}{place}", outcome.as_str(), row.full_name());
        printable(&line).into_owned() + "\n"
    };
    rows.iter().map(row).collect()
}

impl Importer<'_> {
    /// Validates all policies by a dry run, then stores them.
    async fn import(&self, files: FilePolicies) -> (Vec<Row>, Exit) {
        let (mut rows, mut exit) = (Vec::new(), Exit::Fine);
        for file in files.values() {
            rows.push(self.apply(file, true).await.unwrap_or_else(|error| {
                exit = exit.max(refused(file, &error));
                Row { error: Some(error.to_string()), ..Row::new(file, Outcome::NotApplied) }
            }));
        }
        if exit != Exit::Fine {
            output::reason("nothing was applied, as a policy would be refused");
            for row in &mut rows {
                row.outcome = Outcome::NotApplied;
            }
            return (rows, exit);
        }
        for (file, row) in files.values().zip(&mut rows) {
            warn_without_checks(&file.policy.full_name(), &file.compiled);
            if self.dry_run || row.outcome == Outcome::Unchanged {
                continue;
            }
            match self.apply(file, false).await {
                Ok(stored) => *row = stored,
                Err(error) => {
                    exit = exit.max(refused(file, &error));
                    (row.outcome, row.error) = (Outcome::NotApplied, Some(error.to_string()));
                }
            }
        }
        (rows, exit)
    }

    /// Applies a policy and compares it with what was there before.
    async fn apply(&self, file: &FilePolicy, dry_run: bool) -> Result<Row, ClusterError> {
        let policy = &file.policy;
        let api = self.api.namespaced(&policy.namespace);
        let before = get(self.cluster, &api, &policy.name, "cannot read the policy").await?;
        let apply = Apply { dry_run, force: self.force };
        let object = policy.object();
        let applied = apply.apply(self.cluster, &api, &policy.name, &object, "refused").await?;
        let applied = Policy::of_live(&applied);
        let outcome = match (before.as_ref().map(Policy::of_live), dry_run) {
            (Some(before), _) if before == applied => Outcome::Unchanged,
            (None, false) => Outcome::Created,
            (Some(_), false) => Outcome::Changed,
            (None, true) => Outcome::WouldBeCreated,
            (Some(_), true) => Outcome::WouldBeChanged,
        };
        let mut row = Row::new(file, outcome);
        if before.is_some() {
            let wanted = policy.clone().canonical().spec;
            row.kept_fields = fields_only_in(&applied.spec, &wanted, "spec");
        }
        Ok(row)
    }
}

/// Prints why the API server refused a policy. An invalid policy is wrong input.
fn refused(file: &FilePolicy, error: &ClusterError) -> Exit {
    output::error(format_args!("{}: {}: {error}", file.place, file.policy.full_name()));
    if error.kind == ErrorKind::Invalid { Exit::Error } else { Exit::Cluster }
}
