//! The first look at all inputs, before any of them is edited: what they say of the namespaces of
//! their workloads may stand in another file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use policy_core::manifest::{InputSurroundings, SurroundingObject, documents, may_surround, utf8};
use policy_core::report::CoverageCounter;
use rayon::prelude::*;

use crate::cmd::analyze::files::LargeDocuments;
use crate::input::{Input, InputError, Inputs};

/// What the inputs say of namespaces, and the texts of those that can be read only once.
#[derive(Default)]
pub(super) struct Survey {
    pub(super) surroundings: InputSurroundings,
    /// By the names of the inputs.
    read: Mutex<BTreeMap<Arc<str>, ReadText>>,
}

type ReadText = Result<Vec<u8>, InputError>;

/// What one input says, and the lines of what cannot be read.
#[derive(Default)]
struct Surveyed {
    objects: Vec<SurroundingObject>,
    unread: Vec<(u32, String)>,
}

impl Survey {
    /// Of all inputs; objects without a namespace are of this one.
    pub(super) fn of(
        inputs: &Inputs,
        namespace: &str,
        max_file_size: u64,
        coverage: &mut CoverageCounter,
    ) -> Self {
        let mut survey = Self::default();
        let large = LargeDocuments::default();
        for batch in inputs.batches() {
            let each = batch.par_iter();
            let each = each.map(|input| survey.input(input, namespace, max_file_size, &large));
            let each: Vec<Surveyed> = each.collect();
            for (input, Surveyed { objects, unread }) in batch.iter().zip(each) {
                for object in objects {
                    survey.surroundings.add(object);
                }
                for (line, reason) in unread {
                    coverage.note(&input.name, Some(line), reason);
                }
            }
        }
        if let Some(limit) = survey.surroundings.limit() {
            coverage.note(&"and".into(), None, limit);
        }
        survey
    }

    fn input(
        &self,
        input: &Input,
        namespace: &str,
        max_file_size: u64,
        large: &LargeDocuments,
    ) -> Surveyed {
        let mut surveyed = Surveyed::default();
        let mut read = input.read_bytes(max_file_size);
        if input.is_read_once() {
            let copy = read.as_ref().map_or_else(|_| Vec::new(), Vec::clone);
            let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(Arc::clone(&input.name), std::mem::replace(&mut read, Ok(copy)));
        }
        // What cannot be read is reported where it is to be edited.
        let text = read.map(utf8).unwrap_or_default();
        if may_surround(&text) {
            for document in documents(&text) {
                let found = large.limit(&document, || document.surroundings(namespace));
                match found {
                    Ok(found) => surveyed.objects.extend(found),
                    Err(error) => surveyed.unread.push((document.first_line, error.to_string())),
                }
            }
        }
        surveyed
    }

    /// The text of an input.
    pub(super) fn read(&self, input: &Input, max_file_size: u64) -> ReadText {
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let read = known.remove(&input.name);
        drop(known);
        read.unwrap_or_else(|| input.read_bytes(max_file_size))
    }
}
