//! Manifests: files, folders, patterns and standard input, judged on all cores.
//!
//! What a run holds is bounded: [`Inputs::batches`] the texts, [`LargeDocuments`] and
//! `policy_core::manifest` what is decoded, and the report its findings.

use std::sync::{Condvar, Mutex, PoisonError};

use policy_core::manifest::{Document, documents};
use policy_core::report::Assessment;
use rayon::prelude::*;

use crate::input::{Input, Inputs};
use crate::output::Console;

/// musl's allocator has one lock for all threads, and files are read on all processors.
#[cfg(all(target_os = "linux", target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The parser recurses with the nesting of a document; see `policy_core::manifest`.
const STACK: usize = 8 << 20;
/// Documents in a unit of work. Smaller units cost more in scheduling than they save.
pub(crate) const SMALLEST_BATCH: usize = 16;
/// A larger document may take a hundred megabytes while it is decoded.
const LARGE: usize = 256 << 10;
/// How many large documents are decoded at a time.
const LARGE_AT_ONCE: usize = 2;

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
    let large = LargeDocuments::default();
    let mut assessment = threads()?.install(|| {
        let batches = inputs.batches().map(|batch| {
            let each = batch.par_iter().map(|input| {
                let assessed = assess(input, namespace, max_file_size, &large, empty);
                progress.inc(1);
                assessed
            });
            each.reduce(empty, merged)
        });
        batches.reduce(merged).unwrap_or_else(empty)
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
    large: &LargeDocuments,
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
            large.limit(document, || {
                assessment.document(&input.name, document, namespace, input.is_explicit);
            });
            assessment
        })
        .reduce(empty, merged)
}

fn merged<'a>(mut left: Assessment<'a>, right: Assessment<'a>) -> Assessment<'a> {
    left.merge(right);
    left
}

/// Lets so many large documents be decoded at a time, whatever the number of cores.
#[derive(Default)]
pub(crate) struct LargeDocuments {
    decoding: Mutex<usize>,
    ended: Condvar,
}

impl LargeDocuments {
    /// Runs what decodes the document. It must not wait for another document.
    pub(crate) fn limit<T>(&self, document: &Document<'_>, decode: impl FnOnce() -> T) -> T {
        if document.bytes.len() <= LARGE {
            return decode();
        }
        let decoding = self.decoding.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ended.wait_while(decoding, |decoding| *decoding >= LARGE_AT_ONCE);
        *waited.unwrap_or_else(PoisonError::into_inner) += 1;
        let decoded = decode();
        *self.decoding.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.ended.notify_one();
        decoded
    }
}
