//! Kustomizations found in folders. The patches that they name look like workloads, but are only
//! parts of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use policy_core::manifest::{KUSTOMIZATION_FILES, kustomize_patches};
use policy_core::report::CoverageCounter;

use super::{Input, display_name, identity, read_file};

/// The largest kustomization that is read, in MiB.
const MAX_SIZE: u64 = 4;

#[derive(Debug, Default)]
pub(super) struct Kustomizations {
    /// Each folder by its canonical path: whether it has no patches, and its path as it is shown.
    folders: BTreeMap<PathBuf, (bool, String)>,
    /// The patches by their canonical paths.
    patches: BTreeSet<PathBuf>,
    /// The number of patches that were skipped.
    skipped: u64,
}

impl Kustomizations {
    /// Records a kustomization and its patches.
    pub(super) fn add(&mut self, file: &Path) {
        let name = file.file_name().unwrap_or_default();
        let Some(folder) = file.parent().filter(|_| KUSTOMIZATION_FILES.iter().any(|f| name == *f))
        else {
            return;
        };
        // What cannot be read is named when it is read as an input.
        let Ok(bytes) = read_file(file, MAX_SIZE) else { return };
        let shown = match display_name(folder) {
            shown if shown.is_empty() => ".".to_owned(),
            shown => shown,
        };
        let patches = kustomize_patches(&bytes);
        self.folders.insert(identity(folder), (patches.is_empty(), shown));
        self.patches.extend(patches.iter().map(|path| identity(&folder.join(path))));
    }

    /// Drops the patches from the inputs, except those that the user named.
    pub(super) fn skip_patches(&mut self, inputs: &mut Vec<Input>) {
        if self.patches.is_empty() {
            return;
        }
        let is_patch = |input: &Input| {
            let path = input.path.as_deref().filter(|_| !input.is_explicit);
            path.is_some_and(|path| self.patches.contains(&identity(path)))
        };
        let found = inputs.len();
        inputs.retain(|input| !is_patch(input));
        self.skipped = (found - inputs.len()) as u64;
    }

    /// Counts the skipped patches, and says how to read what the kustomizations render.
    pub(super) fn add_to(&self, coverage: &mut CoverageCounter) {
        coverage.skip(self.skipped);
        // One with patches is more likely what is deployed than a base.
        let Some((_, first)) = self.folders.values().min() else { return };
        let others = match self.folders.len() - 1 {
            0 => String::new(),
            1 => " (and another folder)".to_owned(),
            more => format!(" (and {more} other folders)"),
        };
        let message = format!(
            "has a kustomization{others}; files are read without it, and its patches are skipped. \
             To judge what it renders: kubectl kustomize {first} | policyctl analyze -f -"
        );
        coverage.note(&first.as_str().into(), None, message);
    }
}
