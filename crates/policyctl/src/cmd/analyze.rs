//! `policyctl analyze`

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{ArgAction, ValueEnum};
use policy_core::Timestamp;
use policy_core::api::DevOpsPolicy;
use policy_core::bundle::Bundle;
use policy_core::manifest::{documents, read_policy};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{Assessment, Format, LookAlike, Report, Source, printable};
use policy_core::severity::Severity;
use rayon::prelude::*;

use crate::cli;
use crate::exit::Exit;
use crate::input::{self, Input, Inputs};
use crate::output::{self, Console};

const EXAMPLES: &str = "\
Examples:
  policyctl analyze -f app.yaml                    one file
  policyctl analyze -f deploy/ -f 'more/*.yaml'    folders (recursive) and patterns
  kustomize build . | policyctl analyze -f -       standard input
  policyctl analyze -f deploy/ --bundle restricted --fail-on high
  policyctl analyze -f deploy/ -o sarif > policyctl.sarif

Without --bundle or --policy all six checks run: at most 3 restarts, at most 300 s Pending.";

/// The parser recurses with the nesting of a document; see `policy_core::manifest`.
const STACK: usize = 8 << 20;
/// Documents to a piece of work: less is more trouble than it is worth.
const SMALLEST_BATCH: usize = 16;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Manifests: a file, a folder (*.yaml, *.yml, *.json, recursive), a pattern, or - for
    /// standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true, action = ArgAction::Append)]
    filename: Vec<String>,

    /// Judge by a ready-made policy: baseline, restricted or permissive
    #[arg(long, value_name = "NAME", conflicts_with = "policy")]
    bundle: Option<String>,

    /// Judge by the DevOpsPolicy of a file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The namespace of objects that name none [default: default]
    #[arg(short, long, value_name = "NAME", value_parser = cli::label)]
    namespace: Option<String>,

    /// Leave out a namespace, beside the system's; may be given more than once
    #[arg(long, value_name = "NAME", action = ArgAction::Append, value_parser = cli::label)]
    exclude_namespace: Vec<String>,

    /// Exit with 1 when the score is below this
    #[arg(long, value_name = "SCORE", value_parser = clap::value_parser!(u8).range(0..=100))]
    fail_below: Option<u8>,

    /// Exit with 1 on a finding of this severity or worse: critical, high, medium or low
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,

    /// How to print the result
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,

    /// Refuse files larger than this, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    max_file_size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Summary and findings for people
    Table,
    /// JSON, as docs/analysis.schema.json describes it
    Json,
    /// The same as YAML
    Yaml,
    /// SARIF 2.1.0 for code scanning
    Sarif,
    /// JUnit XML for CI systems
    Junit,
}

pub(crate) fn run(args: &Args, console: Console) -> anyhow::Result<Exit> {
    let policy = policy(args)?;
    if policy.enabled().next().is_none() {
        output::reason("the policy switches no check on, so there is nothing to find");
    }
    let report = analyze(args, &policy, console)?;
    let format = match args.output {
        Output::Table => Format::Table(console.colours()),
        Output::Json => Format::Json,
        Output::Yaml => Format::Yaml,
        Output::Sarif => Format::Sarif,
        Output::Junit => Format::Junit,
    };
    output::stream(|out| Ok(report.write(format, out)?))?;
    if args.output != Output::Table {
        tell_what_the_table_shows(&report, console);
    }
    let input = if report.coverage.failed.is_empty() { Exit::Fine } else { Exit::Error };
    Ok(input.max(thresholds(args, &report)))
}

/// What a machine's format has no place for, or nobody may look for.
fn tell_what_the_table_shows(report: &Report, console: Console) {
    for failed in &report.coverage.failed {
        let (source, reason) = (printable(&failed.source), printable(&failed.reason));
        output::error(format_args!("{source}: {reason}"));
    }
    for LookAlike { file, line, kind } in &report.coverage.look_alikes {
        console.note(format_args!("{}:{line}: skipped {}", printable(file), printable(kind)));
    }
    if report.findings_cut > 0 {
        console.note(format_args!("{} findings are counted, but not listed", report.findings_cut));
    }
}

fn policy(args: &Args) -> anyhow::Result<CompiledPolicy> {
    let spec = match (&args.bundle, &args.policy) {
        (Some(name), _) => Bundle::named(name)?.spec.clone(),
        (None, Some(file)) => policy_file(file, args.max_file_size)?.spec,
        (None, None) => return Ok(CompiledPolicy::default_profile()),
    };
    CompiledPolicy::compile(&spec).map_err(|invalid| problems("the policy is invalid", &invalid))
}

fn policy_file(file: &Path, max_file_size: u64) -> anyhow::Result<DevOpsPolicy> {
    let name = file.display().to_string();
    let name = printable(&name);
    let bytes =
        input::read_file(file, max_file_size).with_context(|| format!("the policy {name}"))?;
    read_policy(&bytes).map_err(|failures| {
        let places = failures.iter().map(|failure| format!("{name}:{failure}"));
        problems("the policy cannot be used", &places.collect::<Vec<_>>())
    })
}

fn problems(what: &str, found: &[impl ToString]) -> anyhow::Error {
    let lines: Vec<String> =
        found.iter().map(|problem| printable(&problem.to_string()).into_owned()).collect();
    anyhow!("{what}:\n  {}", lines.join("\n  "))
}

/// Reads and judges all inputs, several at a time.
fn analyze(args: &Args, policy: &CompiledPolicy, console: Console) -> anyhow::Result<Report> {
    let now = Timestamp::now();
    let excluded = ExcludedNamespaces::with(args.exclude_namespace.iter().cloned());
    let empty = || Assessment::new(policy, &excluded, now);
    let inputs = Inputs::find(&args.filename);
    let progress = console.progress(inputs.found.len() as u64, "files");
    let threads = rayon::ThreadPoolBuilder::new().stack_size(STACK).build()?;
    let mut assessment = threads.install(|| {
        inputs
            .found
            .par_iter()
            .map(|input| {
                let assessed = assess(input, args, &empty);
                progress.inc(1);
                assessed
            })
            .reduce(&empty, merged)
    });
    progress.finish_and_clear();
    for (name, error) in &inputs.failed {
        assessment.not_read(&name.as_str().into(), None, error.to_string());
    }
    Ok(assessment.finish(Source::Files { paths: args.filename.clone() }))
}

/// One file, its documents in parallel as well: a single file may be all there is.
fn assess<'a>(
    input: &Input,
    args: &Args,
    empty: &(impl Fn() -> Assessment<'a> + Sync),
) -> Assessment<'a> {
    let not_read = |reason: String| {
        let mut assessment = empty();
        assessment.not_read(&input.name, None, reason);
        assessment
    };
    let bytes = match input.read(args.max_file_size) {
        Ok(bytes) => bytes,
        Err(error) => return not_read(error.to_string()),
    };
    let namespace = args.namespace.as_deref().unwrap_or("default");
    let documents = documents(&bytes);
    if documents.is_empty() && input.is_explicit {
        return not_read("holds no document".to_owned());
    }
    documents
        .par_iter()
        .with_min_len(SMALLEST_BATCH)
        .fold(empty, |mut assessment, document| {
            assessment.document(&input.name, document.number, &document.read(namespace));
            assessment
        })
        .reduce(empty, merged)
}

fn merged<'a>(mut left: Assessment<'a>, right: Assessment<'a>) -> Assessment<'a> {
    left.merge(right);
    left
}

/// Whether a threshold was crossed; why is told also to the quiet. Without pods there is no score
/// to be too low, and nobody should take that for a pass without knowing it.
fn thresholds(args: &Args, report: &Report) -> Exit {
    let mut exit = Exit::Fine;
    let score = report.summary.score;
    if let Some(threshold) = args.fail_below.filter(|threshold| score < *threshold) {
        output::reason(format_args!("the score {score} is below {threshold} (--fail-below)"));
        exit = Exit::Findings;
    }
    if let Some(threshold) = args.fail_on
        && let Some(worst) = report.worst_severity().filter(|worst| *worst >= threshold)
    {
        output::reason(format_args!(
            "there are findings of severity {worst} (--fail-on {threshold})"
        ));
        exit = Exit::Findings;
    }
    if report.summary.pods == 0 && (args.fail_below.is_some() || args.fail_on.is_some()) {
        output::reason("nothing was evaluated, so no threshold could be crossed");
    }
    exit
}
