//! What to know about workloads beside their findings, as a status lists it. Pure.

use std::sync::Arc;

use policy_core::facts::PodFacts;
use policy_core::replicas::RunningImages;
use policy_core::workload::Workload;

/// The most notes that a status lists.
const MAX_NOTES: usize = 20;

/// The first notes; the others are counted.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    listed: Vec<String>,
    more: usize,
}

impl Notes {
    /// Adds a note, which is only made where it is listed.
    pub(crate) fn add(&mut self, note: impl FnOnce() -> String) {
        if self.listed.len() < MAX_NOTES {
            self.listed.push(note());
        } else {
            self.more += 1;
        }
    }

    /// Adds a note for each container of which the pods of a workload run different images. `prefix` comes before the workload.
    pub(crate) fn add_images(&mut self, pods: &[Arc<PodFacts>], prefix: &str) {
        for images in RunningImages::of_differing(pods).differing() {
            let Workload { kind, name, .. } = images.workload();
            self.add(|| format!("{prefix}{kind}/{name}: {}", images.lasting_message()));
        }
    }

    /// Whether no further note is listed.
    pub(crate) fn is_full(&self) -> bool {
        self.listed.len() >= MAX_NOTES
    }

    /// Counts notes that are not listed.
    pub(crate) fn skip(&mut self, notes: usize) {
        self.more += notes;
    }

    /// At most [`MAX_NOTES`]; the last one says how many more there are.
    pub(crate) fn finish(self) -> Vec<String> {
        let Self { mut listed, more } = self;
        if more > 0 {
            listed.pop();
            listed.push(format!("and {} more notes", more + 1));
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_lists_so_many_notes_and_counts_the_others() {
        let of = |number: usize| {
            let mut notes = Notes::default();
            (0..number).for_each(|number| notes.add(|| number.to_string()));
            notes.finish()
        };
        assert_eq!(of(MAX_NOTES).last().unwrap(), "19");
        let more = of(MAX_NOTES + 5);
        assert_eq!((more.len(), more.last().unwrap().as_str()), (20, "and 6 more notes"));
        assert_eq!(more[18], "18");
    }
}
