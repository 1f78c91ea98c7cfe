//! `policyctl import`

mod clusters;

use policy_core::text::printable;
use serde::Serialize;

use crate::cluster::fleet::Selection;
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
  policyctl import policies/ --contexts 'prod-*,staging'

Validates all policies, here and on the API server, before the first one is stored: where one is
refused, none is stored. A policy that already is as in the file is not written. Policies are
applied with the field manager `policyctl`; a field that another manager set otherwise is a
conflict. With --contexts the plan for all clusters comes first (--dry-run ends there), then the
result of each. A cluster that refuses a policy gets none, and does not keep the others from theirs.
Output: table (default), json, yaml.";

/// Why the policies that are not refused are not applied either.
const NOTHING: &str = "nothing was applied, as a policy would be refused";

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

    #[command(flatten)]
    selection: Selection,
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
    #[serde(skip)]
    exit: Exit,
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
            exit: Exit::Fine,
        }
    }

    /// A policy that the API server refused. An invalid policy is wrong input.
    fn refused(file: &FilePolicy, error: &ClusterError) -> Self {
        let is_invalid = error.kind == ErrorKind::Invalid;
        let exit = if is_invalid { Exit::Error } else { Exit::Cluster };
        Self { error: Some(error.to_string()), exit, ..Self::new(file, Outcome::NotApplied) }
    }

    fn full_name(&self) -> String {
        policies::full_name(self.namespace.as_deref().unwrap_or_default(), &self.name)
    }

    /// Why it was refused.
    fn refusal(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        Some(format!("{}: {}: {error}", self.place, self.full_name()))
    }

    /// The fields that stay.
    fn kept(&self) -> Option<String> {
        let (place, fields) = (&self.place, self.kept_fields.join(", "));
        (!fields.is_empty()).then(|| {
            format!(
                "{place}: {} in the cluster also has {fields}, which the file does not have; it \
                 stays",
                self.full_name()
            )
        })
    }
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let format = global.output(&[Output::Table, Output::Json, Output::Yaml], &Scope::NAMESPACE)?;
    if args.selection.is_used()? {
        return clusters::import(args, format, global);
    }
    let rows = cluster::run(async {
        let cluster = global.target.connect().await?;
        let files = policies::read_files(&args.files, global, &cluster, "nothing was applied")?;
        let importer = Importer { files: &files, force: args.force_conflicts };
        let mut rows = importer.plan(&cluster).await?;
        if exit(&rows) == Exit::Fine {
            importer.warn();
            if !args.dry_run {
                importer.store(&cluster, &mut rows).await?;
            }
        }
        Ok(rows)
    })?;
    rows.iter().filter_map(Row::refusal).for_each(output::error);
    if is_refused(&rows) {
        output::reason(NOTHING);
    }
    output::value(&rows, format, || table(&rows))?;
    rows.iter().filter_map(Row::kept).for_each(output::reason);
    Ok(exit(&rows))
}

fn table(rows: &[Row]) -> String {
    let widths = rows.iter().map(|row| row.outcome.as_str().len());
    let width = widths.chain([Outcome::NotApplied.as_str().len()]).max().unwrap_or_default();
    let row = |row: &Row| {
        let Row { place, outcome, .. } = row;
        let place = match outcome {
            Outcome::NotApplied => format!("  ({place})"),
            _ => String::new(),
        };
        let line = format!("{:<width$}  {}{place}", outcome.as_str(), row.full_name());
        printable(&line).into_owned() + "\n"
    };
    rows.iter().map(row).collect()
}

/// The policies to import.
#[derive(Clone, Copy)]
struct Importer<'a> {
    files: &'a FilePolicies,
    force: bool,
}

impl Importer<'_> {
    /// Warns of policies that check nothing.
    fn warn(self) {
        for file in self.files.values() {
            warn_without_checks(&file.policy.full_name(), &file.compiled);
        }
    }

    /// Validates all policies by a dry run. Where one would be refused, none is to be applied.
    async fn plan(self, cluster: &Cluster) -> Result<Vec<Row>, ClusterError> {
        let api = PolicyApi::of(cluster).await?;
        let mut rows = Vec::new();
        for file in self.files.values() {
            let row = self.apply(&api, file, true).await;
            rows.push(row.unwrap_or_else(|error| Row::refused(file, &error)));
        }
        if exit(&rows) != Exit::Fine {
            for row in &mut rows {
                row.outcome = Outcome::NotApplied;
            }
        }
        Ok(rows)
    }

    /// Stores the policies of a plan that the cluster does not have like that.
    async fn store(self, cluster: &Cluster, plan: &mut [Row]) -> Result<(), ClusterError> {
        let api = PolicyApi::of(cluster).await?;
        for (file, row) in self.files.values().zip(plan) {
            if row.outcome != Outcome::Unchanged {
                let stored = self.apply(&api, file, false).await;
                *row = stored.unwrap_or_else(|error| Row::refused(file, &error));
            }
        }
        Ok(())
    }

    /// Applies a policy and compares it with what was there before.
    async fn apply(
        self,
        api: &PolicyApi<'_>,
        file: &FilePolicy,
        dry_run: bool,
    ) -> Result<Row, ClusterError> {
        let (policy, cluster) = (&file.policy, api.cluster());
        let api = api.namespaced(&policy.namespace);
        let before = get(cluster, &api, &policy.name, "cannot read the policy").await?;
        let apply = Apply { dry_run, force: self.force };
        let applied = apply.apply(cluster, &api, &policy.name, &policy.object(), "refused").await?;
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

/// The exit code for the gravest refusal.
fn exit(rows: &[Row]) -> Exit {
    rows.iter().map(|row| row.exit).fold(Exit::Fine, Exit::max)
}

/// Whether a plan came to nothing.
fn is_refused(rows: &[Row]) -> bool {
    exit(rows) != Exit::Fine && rows.iter().all(|row| row.outcome == Outcome::NotApplied)
}
