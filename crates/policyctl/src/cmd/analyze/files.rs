//! Manifests: files, folders, patterns and standard input, judged on all cores.

use policy_core::Timestamp;
use policy_core::manifest::documents;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{Assessment, Report, Source};
use rayon::prelude::*;

use super::Args;
use crate::cli::Global;
use crate::input::{Input, Inputs};

/// The parser recurses with the nesting of a document; see `policy_core::manifest`.
const STACK: usize = 8 << 20;
/// Documents to a piece of work: less is more trouble than it is worth.
const SMALLEST_BATCH: usize = 16;

/// Reads and judges all inputs, several at a time.
pub(super) fn analyze(
    args: &Args,
    policy: &CompiledPolicy,
    global: &Global,
) -> anyhow::Result<Report> {
    let now = Timestamp::now();
    let excluded = args.judgement.excluded();
    let namespace = global.target.namespace.as_deref().unwrap_or("default");
    let empty = || Assessment::new(policy, &excluded, now);
    let inputs = Inputs::find(&args.filename);
    let progress = global.console().progress(inputs.found.len() as u64, "files");
    let threads = rayon::ThreadPoolBuilder::new().stack_size(STACK).build()?;
    let mut assessment = threads.install(|| {
        inputs
            .found
            .par_iter()
            .map(|input| {
                let assessed = assess(input, namespace, args.judgement.max_file_size, &empty);
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
    namespace: &str,
    max_file_size: u64,
    empty: &(impl Fn() -> Assessment<'a> + Sync),
) -> Assessment<'a> {
    let not_read = |reason: String| {
        let mut assessment = empty();
        assessment.not_read(&input.name, None, reason);
        assessment
    };
    let bytes = match input.read(max_file_size) {
        Ok(bytes) => bytes,
        Err(error) => return not_read(error.to_string()),
    };
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
