//! Manifests: files, folders, patterns and standard input, judged on all cores.

use policy_core::manifest::documents;
use policy_core::report::Assessment;
use rayon::prelude::*;

use crate::input::{Input, Inputs};
use crate::output::Console;

/// The parser recurses with the nesting of a document; see `policy_core::manifest`.
const STACK: usize = 8 << 20;
/// Documents in a unit of work. Smaller units cost more in scheduling than they save.
const SMALLEST_BATCH: usize = 16;

/// Reads and judges all inputs, several at a time. Objects without namespace are of this one.
pub(crate) fn judge<'a>(
    filename: &[String],
    max_file_size: u64,
    namespace: &str,
    console: Console,
    empty: &(impl Fn() -> Assessment<'a> + Sync),
) -> anyhow::Result<Assessment<'a>> {
    let inputs = Inputs::find(filename);
    let progress = console.progress(Some(inputs.found.len() as u64), "files");
    let mut assessment = threads()?.install(|| {
        inputs
            .found
            .par_iter()
            .map(|input| {
                let assessed = assess(input, namespace, max_file_size, empty);
                progress.inc(1);
                assessed
            })
            .reduce(empty, merged)
    });
    progress.finish_and_clear();
    inputs.add_to(&mut assessment.coverage);
    Ok(assessment)
}

/// Threads in which documents can be read.
pub(crate) fn threads() -> anyhow::Result<rayon::ThreadPool> {
    Ok(rayon::ThreadPoolBuilder::new().stack_size(STACK).build()?)
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
        assessment.coverage.not_read(&input.name, None, reason);
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
            let mut content = document.read(namespace);
            if !input.is_explicit {
                content.skip_what_is_no_manifest();
            }
            assessment.document(&input.name, document.number, &content);
            assessment
        })
        .reduce(empty, merged)
}

fn merged<'a>(mut left: Assessment<'a>, right: Assessment<'a>) -> Assessment<'a> {
    left.merge(right);
    left
}
