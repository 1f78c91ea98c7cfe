//! `policyctl analyze`

pub(crate) mod drains;
pub(crate) mod files;
pub(crate) mod live;
mod policies;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::ArgAction;
use policy_core::Timestamp;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{Assessment, Report, Source};
use policy_core::text::{counted, printable};

use crate::cmd::report::stored;
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::input;
use crate::judgement::Judgement;
use crate::output::{self, Console, Destined, Output};
use crate::report::{self, Format};

const EXAMPLES: &str = "\
Examples:
  policyctl analyze                                the cluster of the current context
  policyctl analyze -n shop --context staging      one namespace of another cluster
  policyctl analyze --policies cluster             by the policies of the cluster, as the operator
  policyctl analyze -f app.yaml                    a file, without a cluster
  policyctl analyze -f deploy/ -f 'more/*.yaml'    folders (recursive) and patterns
  kustomize build . | policyctl analyze -f -       standard input
  policyctl analyze -f deploy/ --bundle restricted --fail-on high
  policyctl analyze -f deploy/ --bundle restricted --fail-on denied
  policyctl analyze -f deploy/ -o sarif > policyctl.sarif
  policyctl analyze -f deploy/ --baseline main.json --fail-on medium
  policyctl analyze -f deploy/ -o table -o sarif=policyctl.sarif -o html=report.html

Without --bundle or --policy the built-in profile judges: all checks but drain-blocked, at most 3
restarts of a container that ended within a day, at most 300 s Pending or not ready, severity
medium. It is no policy of the cluster, so its score differs from theirs; --policies cluster has the
scores that the operator writes.
--fail-on denied exits with 1 where the webhook would deny an object if a user created it now, under
that policy alone, and says which; of a cluster these are workloads and pods without one. With
--baseline an object counts where a finding that denies it is new.
Output: table (default), json and yaml (docs/analysis.schema.json), junit, markdown, html,
openreports, and for files sarif and code-quality. With --policies cluster: table, json and yaml.
-o FORMAT=FILE writes one into a file, and can be repeated. -o openreports is for `kubectl apply
--server-side -f -`; without --server-side a large report is refused.";

/// The size limit of a baseline, in MiB.
const MAX_BASELINE: u64 = 256;

const FORMATS: [Output; 9] = [
    Output::Table,
    Output::Json,
    Output::Yaml,
    Output::Junit,
    Output::Sarif,
    Output::Markdown,
    Output::Html,
    Output::CodeQuality,
    Output::OpenReports,
];

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Manifests instead of a cluster: a file, a folder (*.yaml, *.yml, *.json, recursive), a
    /// pattern, or - for standard input. Objects without a namespace belong to that of -n, else to
    /// `default`
    #[arg(short, long = "filename", value_name = "FILE", action = ArgAction::Append)]
    filename: Vec<String>,

    /// Judge the pods of each namespace by its policies in the cluster: cluster
    #[arg(long, value_enum, value_name = "WHERE", hide_possible_values = true)]
    #[arg(conflicts_with_all = ["filename", "bundle", "policy"])]
    policies: Option<PoliciesOf>,

    /// An earlier JSON report: only new findings are listed and make --fail-on exit with 1
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policies", "fail_below"])]
    baseline: Option<PathBuf>,

    #[command(flatten)]
    judgement: Judgement,
}

/// Where the policies are.
#[derive(Clone, Copy, clap::ValueEnum)]
enum PoliciesOf {
    /// In the cluster
    Cluster,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    if args.policies.is_some() {
        let formats = [Output::Table, Output::Json, Output::Yaml];
        let outputs = global.outputs(&formats, &Scope::CLUSTER)?;
        return policies::analyze(&args.judgement, &outputs, global);
    }
    let console = global.console();
    let used = if args.filename.is_empty() { &Scope::CLUSTER[..] } else { &Scope::FILES };
    let outputs = global.outputs(&FORMATS, used)?;
    let needs_files =
        outputs.iter().find(|output| matches!(output.form, Output::Sarif | Output::CodeQuality));
    if let Some(output) = needs_files.filter(|_| args.filename.is_empty()) {
        let name = output.form.name();
        bail!("-o {name} needs files: its results are lines of files; add -f FILE");
    }
    keep_inputs(&args.filename, &outputs)?;
    let policy = args.judgement.choice.policy()?;
    let baseline = args.baseline.as_deref();
    let baseline = baseline.map(|file| stored(file, MAX_BASELINE)).transpose()?;
    let mut report = if args.filename.is_empty() {
        live::analyze(&args.judgement, &policy, global)?
    } else {
        files(args, &policy, global)?
    };
    let changes = baseline.map(|earlier| report.compare(earlier)).transpose()?;
    let new = changes.as_ref().map(|changes| report.with_new_alone(changes));
    for output in &outputs {
        let format = format(output, console);
        // JSON and YAML are whole, so that they can be the next baseline.
        let is_whole = matches!(format, Format::Json | Format::Yaml);
        let written = new.as_ref().filter(|_| !is_whole).unwrap_or(&report);
        output.write(|out| report::write(written, format, out))?;
    }
    if !is_table_shown(&outputs) {
        print_gaps(&report, console);
    }
    let judged = match changes.as_ref().zip(new.as_ref()) {
        Some((changes, new)) => args.judgement.exit_of_changes(changes, new, &policy),
        None => args.judgement.exit(&report, &policy),
    };
    Ok(Exit::of_coverage(&report.coverage, &report.source).max(judged))
}

/// Refuses an output into one of the files that the user named. A file that is found in a folder may
/// be the output of an earlier run.
fn keep_inputs(filename: &[String], outputs: &[Destined]) -> anyhow::Result<()> {
    for Destined { form, file } in outputs {
        // Input and output may be the same terminal.
        let Some(file) = file.as_deref().filter(|file| file.is_file()) else { continue };
        let place = input::identity(file);
        if filename.iter().any(|input| input::identity(Path::new(input)) == place) {
            let (form, file) = (form.name(), file.display());
            bail!("-o {form}={file} would replace an input of this command; write it elsewhere");
        }
    }
    Ok(())
}

/// Whether people see a table, which has all that a machine's format shows to nobody.
fn is_table_shown(outputs: &[Destined]) -> bool {
    outputs.iter().any(|output| output.form == Output::Table && output.file.is_none())
}

/// How an output is written.
fn format(output: &Destined, console: Console) -> Format {
    match output.form {
        Output::Json => Format::Json,
        Output::Yaml => Format::Yaml,
        Output::Junit => Format::Junit,
        Output::Sarif => Format::Sarif,
        Output::Markdown => Format::Markdown,
        Output::Html => Format::Html,
        Output::CodeQuality => Format::CodeQuality,
        Output::OpenReports => Format::OpenReports,
        Output::Table | Output::Wide => Format::Table(output.table_style(console)),
    }
}

fn files(args: &Args, policy: &CompiledPolicy, global: &Global) -> anyhow::Result<Report> {
    let Judgement { choice, .. } = &args.judgement;
    let excluded = choice.exclusion.namespaces();
    let namespace = global.target.namespace.as_deref().unwrap_or("default");
    let now = Timestamp::now();
    let admission = args.judgement.admission(policy);
    let empty = || Assessment::new(policy, &excluded, now).judging_admission(admission.as_ref());
    let console = global.console();
    let assessed = files::judge(&args.filename, choice.max_file_size, namespace, console, &empty)?;
    Ok(assessed.finish(Source::Files { paths: args.filename.clone() }, choice.name()))
}

/// Prints the notes that a machine's format does not show to people.
fn print_gaps(report: &Report, console: Console) {
    output::not_read(&report.coverage.failed);
    for note in &report.coverage.notes {
        console.note(format_args!("{}: {}", printable(&note.source), printable(&note.message)));
    }
    if report.findings_cut > 0 {
        let more = counted(report.findings_cut, "more finding");
        console.note(format_args!("{more} counted, but not listed"));
    }
}
