//! `policyctl fix`

mod diff;
mod files;
mod report;
mod survey;
mod values;
mod write;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::ArgAction;
use policy_core::Timestamp;
use policy_core::manifest::{Fixing, inserted};
use policy_core::remediation::NamespaceRules;
use policy_core::report::{CoverageCounter, Source};
use policy_core::text::printable;
use rayon::ThreadPool;
use rayon::prelude::*;

use super::analyze::files::threads;
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::input::Inputs;
use crate::judgement::PolicyChoice;
use crate::output::{self, Output};
use files::{FixedFile, Fixer};
use report::FixReport;
use survey::Survey;
use values::Values;

const EXAMPLES: &str = "\
Examples:
  policyctl fix -f app.yaml --bundle restricted               what would change
  policyctl fix -f deploy/ --policy policy.yaml | git apply   files, folders and patterns
  policyctl fix -f deploy/ --policy policy.yaml --write       the same in place
  helm template chart | policyctl fix -f - --bundle restricted --values chart/values.yaml

Fills in the probes, requests and limits that the workloads lack, with the values of the policy and
by the rules of enforce mode, whatever the mode of the policy is: only what is missing, a probe
only of a port that the container declares. What the same input has of LimitRanges, autoscalers and
the remediation annotation of a Namespace counts as in a cluster. Prints a unified diff with paths relative to the current
folder. Nothing is removed from a file: comments, order, quotes and line endings stay. What cannot
be edited safely (templates, JSON, anchors that are shared, merge keys) is left and named with the
reason, and so is what needs a decision, such as a tag in place of :latest.
Of a rendered Helm chart nothing is edited with --values: it names the template and the likely value.
Exits with 0 where nothing is to be changed or --write has changed it, and with 1 where the diff is
not empty.
Output: table (default; the diff), json, yaml.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A file, a folder (*.yaml, *.yml, *.json, recursive), a pattern, or - for standard input.
    /// Objects without a namespace belong to that of -n, else to `default`
    #[arg(short, long = "filename", value_name = "FILE", action = ArgAction::Append, required = true)]
    filename: Vec<String>,

    /// Edit the files in place
    #[arg(long, conflicts_with = "values")]
    write: bool,

    /// The values.yaml of the chart that rendered the input: names where to set what is missing
    /// there, and edits nothing
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,

    #[command(flatten)]
    choice: PolicyChoice,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let formats = [Output::Table, Output::Json, Output::Yaml];
    let form = global.output(&formats, &[Scope::Namespace])?;
    let Some((name, policy)) = args.choice.enforced()? else {
        bail!("what is to be filled in is the policy's to say: add --bundle NAME or --policy FILE");
    };
    let Some(defaults) = policy.defaults() else {
        bail!(
            "{} has neither defaultProbe nor defaultResources, so that there is nothing to fill in",
            printable(&args.choice.name())
        );
    };
    if args.write && args.filename.iter().any(|name| name == "-") {
        bail!("--write edits files, and standard input is none");
    }
    let values = args.values.as_deref();
    let values = values.map(|file| Values::read(file, args.choice.max_file_size)).transpose()?;
    let now = Timestamp::now();
    let inputs = Inputs::find(&args.filename);
    let mut coverage = CoverageCounter::default();
    let namespace = global.target.namespace.as_deref().unwrap_or("default");
    let threads = threads()?;
    let limit = args.choice.max_file_size;
    let survey = threads.install(|| Survey::of(&inputs, namespace, limit, &mut coverage));
    let fixer = Fixer {
        values,
        policy: &policy,
        fixing: Fixing {
            rules: &NamespaceRules::of([(&**name.name(), defaults)], now),
            surroundings: &survey.surroundings,
            namespace,
            is_edited: args.values.is_none(),
        },
        survey: &survey,
        excluded: &args.choice.exclusion.namespaces(),
        max_file_size: limit,
        now,
        large: <_>::default(),
    };
    let report = fix(args.write, form, (&inputs, &threads), &fixer, &mut coverage, global)?;
    inputs.add_to(&mut coverage);
    match form {
        Output::Table => {}
        form => output::value(&report, form, String::new)?,
    }
    report.tell(args.write, global.console());
    let coverage = coverage.finish();
    output::not_read(&coverage.failed);
    for note in &coverage.notes {
        let (source, message) = (printable(&note.source), printable(&note.message));
        global.console().note(format_args!("{source}: {message}"));
    }
    let read = Exit::of_coverage(&coverage, &Source::Files { paths: args.filename.clone() });
    Ok(read.max(report.exit(args.write)))
}

/// Edits all files, and prints their diffs as a table.
fn fix(
    is_written: bool,
    form: Output,
    (inputs, threads): (&Inputs, &ThreadPool),
    fixer: &Fixer<'_>,
    coverage: &mut CoverageCounter,
    global: &Global,
) -> anyhow::Result<FixReport> {
    let progress = global.console().progress(Some(inputs.found.len() as u64), "files");
    let mut report = FixReport::new(form != Output::Table);
    let below_root = diff::below_root();
    for batch in inputs.batches() {
        let files: Vec<FixedFile<'_>> = threads.install(|| {
            let each = batch.par_iter().map(|input| {
                let file = fixer.file(input);
                progress.inc(1);
                file
            });
            each.collect()
        });
        for mut file in files {
            coverage.merge(std::mem::take(&mut file.coverage));
            finish(&file, is_written, form, below_root.as_deref(), &mut report)?;
        }
    }
    progress.finish_and_clear();
    Ok(report)
}

/// Writes the edits of a file, or its diff.
fn finish(
    file: &FixedFile<'_>,
    is_written: bool,
    form: Output,
    below_root: Option<&Path>,
    report: &mut FixReport,
) -> anyhow::Result<()> {
    if file.insertions.is_empty() {
        report.content(file, true);
        return Ok(());
    }
    // It was read as text, else there are no insertions.
    let text = std::str::from_utf8(&file.bytes)?;
    let path = file.input.path().filter(|_| is_written);
    let written = path.map(|path| {
        let edited = inserted(text, &file.insertions);
        write::replace(path, &file.bytes, &edited).map_err(|error| error.to_string())
    });
    report.content(file, !matches!(written, Some(Err(_))));
    let diff = diff::unified(&file.input.name, text, &file.insertions);
    if form == Output::Table && written.is_none() {
        output::exact(&diff)?;
        if let Some(why) = diff::unfit(file.input, below_root) {
            report.unfit(&file.input.name, why);
        }
    }
    report.file(&file.input.name, diff, written);
    Ok(())
}
