//! Finding and reading the manifests that the user named.

mod kustomizations;

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use kustomizations::Kustomizations;
use policy_core::manifest::utf8;
use policy_core::report::CoverageCounter;
use policy_kube::files;
use walkdir::{DirEntry, WalkDir};

/// The name of standard input in results.
const STDIN: &str = "stdin";
/// How many bytes of small files are held at a time.
const BATCH: u64 = 64 << 20;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A file to read, or standard input.
#[derive(Debug)]
pub(crate) struct Input {
    /// The path as it is shown: relative to the current folder where it is below.
    pub(crate) name: Arc<str>,
    /// Whether the user named it, rather than a folder or a pattern.
    pub(crate) is_explicit: bool,
    path: Option<PathBuf>,
    /// In bytes; `None` where it is not known before it is read.
    size: Option<u64>,
}

/// Something that could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("no such file or folder")]
    Missing,
    #[error("no file matches the pattern")]
    NoMatch,
    #[error("is not a valid pattern: {0}")]
    Pattern(#[from] glob::PatternError),
    #[error("has no manifests (*.yaml, *.yml, *.json)")]
    NoManifests,
    #[error("is not a regular file")]
    NotRegular,
    #[error("cannot be read: {0}")]
    Io(io::Error),
    #[error("is larger than {limit} MiB; raise the limit with --max-file-size")]
    TooLarge { limit: u64 },
}

impl From<io::Error> for InputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Io(error),
        }
    }
}

/// The inputs, each once, and what was named but is not there.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) found: Vec<Input>,
    failed: Vec<(String, InputError)>,
    /// Files by their canonical paths, whatever links lead to them.
    seen: BTreeSet<PathBuf>,
    kustomizations: Kustomizations,
}

impl Inputs {
    /// Finds what the arguments name: files, folders, patterns, and `-` for standard input.
    pub(crate) fn find(arguments: &[String]) -> Self {
        let mut inputs = Self::default();
        for argument in arguments {
            inputs.argument(argument);
        }
        inputs.kustomizations.skip_patches(&mut inputs.found);
        inputs
    }

    /// What could not be found or read, as `name: reason`.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        self.failed.iter().map(|(name, error)| format!("{name}: {error}"))
    }

    /// Counts what was not found or not taken.
    pub(crate) fn add_to(&self, coverage: &mut CoverageCounter) {
        for (name, error) in &self.failed {
            coverage.not_read(&name.as_str().into(), None, error.to_string());
        }
        self.kustomizations.add_to(coverage);
    }

    /// The inputs in groups whose texts are held at the same time. One that is larger is alone in
    /// its group, and so is one of unknown size, such as a pipe.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &[Input]> {
        let mut rest = self.found.as_slice();
        std::iter::from_fn(move || {
            let mut size = 0_u64;
            let fits = |input: &&Input| {
                size = size.saturating_add(input.size.unwrap_or(u64::MAX));
                size <= BATCH
            };
            let number = rest.iter().take_while(fits).count().max(1);
            let (batch, after) = rest.split_at_checked(number)?;
            rest = after;
            Some(batch)
        })
    }

    fn argument(&mut self, argument: &str) {
        let path = Path::new(argument);
        if argument == "-" {
            if self.seen.insert(PathBuf::from("-")) {
                let name = STDIN.into();
                self.found.push(Input { name, is_explicit: true, path: None, size: None });
            }
            return;
        }
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => self.folder(path),
            // A pipe, as in `-f <(helm template chart)`, is read like a file.
            Ok(metadata) => self.file(path, &metadata, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_pattern(argument) => {
                self.pattern(argument);
            }
            Err(error) => self.fail(argument, error.into()),
        }
    }

    /// The manifests of a folder and of all folders below, links included.
    fn folder(&mut self, folder: &Path) {
        let found = self.walk(folder, Reach::Everything, &|path| has_extension(path));
        if !found {
            self.fail(&folder.display().to_string(), InputError::NoManifests);
        }
    }

    /// The files that match, and what is below the folders that match.
    fn pattern(&mut self, argument: &str) {
        // As the walk will name the files: without `./`, `//` and a slash at the end.
        let written: PathBuf =
            Path::new(argument).components().filter(|part| *part != Component::CurDir).collect();
        let pattern = match glob::Pattern::new(&written.to_string_lossy()) {
            Ok(pattern) => pattern,
            Err(error) => return self.fail(argument, error.into()),
        };
        let parts = written.components();
        let base: PathBuf = parts
            .clone()
            .take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy()))
            .collect();
        let reach = if argument.contains("**") {
            Reach::WithoutLinks
        } else {
            Reach::Levels(parts.count() - base.components().count())
        };
        let start = if base.as_os_str().is_empty() { Path::new(".") } else { &base };
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        let matches = |path: &Path| {
            let path = path.strip_prefix(".").unwrap_or(path);
            pattern.matches_path_with(path, options)
        };
        let found = self.walk(start, reach, &matches);
        if !found {
            self.fail(argument, InputError::NoMatch);
        }
    }

    /// Adds the wanted files below a folder. Returns whether there was any, readable or not.
    fn walk(&mut self, folder: &Path, reach: Reach, is_wanted: &dyn Fn(&Path) -> bool) -> bool {
        let mut is_found = false;
        let mut visited = BTreeSet::new();
        let walk = WalkDir::new(folder).sort_by_file_name();
        let walk = match reach {
            Reach::Everything => walk.follow_links(true),
            Reach::WithoutLinks => walk,
            Reach::Levels(levels) => walk.follow_links(true).max_depth(levels),
        };
        let entries = walk.into_iter().filter_entry(|entry| {
            let is_folder = entry.file_type().is_dir() && matches!(reach, Reach::Everything);
            !is_folder || visited.insert(identity(entry.path()))
        });
        for entry in entries {
            if let Ok(entry) = &entry {
                self.kustomizations.add(entry.path());
            }
            match entry {
                Ok(entry) if is_folder(&entry) => {
                    // `deploy/*` names the folders in it as well.
                    if !matches!(reach, Reach::Everything) && is_wanted(entry.path()) {
                        is_found = true;
                        self.folder(entry.path());
                    }
                }
                Ok(entry) if is_wanted(entry.path()) => {
                    is_found = true;
                    match entry.path().metadata() {
                        Ok(metadata) if metadata.is_file() => {
                            self.file(entry.path(), &metadata, false);
                        }
                        Ok(_) => self.fail(&display_name(entry.path()), InputError::NotRegular),
                        Err(error) => self.fail(&display_name(entry.path()), error.into()),
                    }
                }
                Ok(_) => {}
                // A folder that links to one around it holds nothing new.
                Err(error) if error.loop_ancestor().is_some() => {}
                Err(error) => is_found |= self.unreadable(error, folder, is_wanted),
            }
        }
        is_found
    }

    /// Records what could not be read below a folder, except dangling links that are not wanted.
    fn unreadable(
        &mut self,
        error: walkdir::Error,
        folder: &Path,
        is_wanted: &dyn Fn(&Path) -> bool,
    ) -> bool {
        let path = error.path().unwrap_or(folder).to_owned();
        if path.is_symlink() && !is_wanted(&path) {
            return false;
        }
        let error = error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into());
        self.fail(&display_name(&path), error.into());
        true
    }

    /// Adds a file, unless another argument named it before: a pod counts once.
    fn file(&mut self, path: &Path, metadata: &Metadata, is_explicit: bool) {
        if self.seen.insert(identity(path)) {
            let name = display_name(path).into();
            let size = metadata.is_file().then_some(metadata.len());
            self.found.push(Input { name, is_explicit, path: Some(path.to_owned()), size });
        }
    }

    fn fail(&mut self, name: &str, error: InputError) {
        self.failed.push((name.to_owned(), error));
    }
}

/// The folders that a walk enters.
#[derive(Clone, Copy)]
enum Reach {
    /// All folders below, also by links, but no folder twice: links may lead to the same one in
    /// very many ways.
    Everything,
    /// All folders below, but none by links, as shells expand `**`.
    WithoutLinks,
    /// This many levels of folders, also by links.
    Levels(usize),
}

/// Whether it is a folder, or a link to one that the walk has not followed.
fn is_folder(entry: &DirEntry) -> bool {
    let kind = entry.file_type();
    kind.is_dir() || kind.is_symlink() && entry.path().is_dir()
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn has_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| EXTENSIONS.contains(&found))
}

/// The canonical path, whatever links lead to it.
pub(crate) fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A path as it is shown: relative to the current folder where it is below.
pub(crate) fn display_name(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(here).unwrap_or(path);
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

impl Input {
    /// Reads all of it as UTF-8, unless it is over the limit (in MiB).
    pub(crate) fn read(&self, limit: u64) -> Result<Vec<u8>, InputError> {
        self.read_bytes(limit).map(utf8)
    }

    /// Reads all of it as it is, unless it is over the limit (in MiB).
    pub(crate) fn read_bytes(&self, limit: u64) -> Result<Vec<u8>, InputError> {
        read_with(limit, |most| match &self.path {
            None => files::read_all(io::stdin().lock(), 0, most),
            Some(path) => files::read(path, most),
        })
    }

    /// Whether a second reading would find nothing: of standard input or a pipe.
    pub(crate) fn is_read_once(&self) -> bool {
        self.size.is_none()
    }

    /// Its path; `None` of standard input.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The same, where one that cannot be read is one problem among others, as `name: reason`.
    pub(crate) fn read_or_add_to(&self, problems: &mut Vec<String>, limit: u64) -> Option<Vec<u8>> {
        let read = self.read(limit).map_err(|error| format!("{}: {error}", self.name));
        read.map_err(|problem| problems.push(problem)).ok()
    }
}

/// Reads a whole file as UTF-8, unless it is over the limit (in MiB).
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, InputError> {
    read_with(limit, |most| files::read(path, most)).map(utf8)
}

fn read_with(
    limit: u64,
    read: impl FnOnce(u64) -> io::Result<Vec<u8>>,
) -> Result<Vec<u8>, InputError> {
    match read(limit.saturating_mul(1 << 20)) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(InputError::TooLarge { limit })
        }
        Err(error) => Err(error.into()),
    }
}
