//! Finding and reading the manifests that the user named.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

/// What standard input is called in results.
const STDIN: &str = "stdin";
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A file to read, or standard input.
#[derive(Debug)]
pub(crate) struct Input {
    /// As people are to see it: relative to the current folder where it is below.
    pub(crate) name: Arc<str>,
    /// Whether the user named it, rather than a folder or pattern that it was found by.
    pub(crate) is_explicit: bool,
    path: Option<PathBuf>,
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
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is larger than {limit} MiB; raise the limit with --max-file-size")]
    TooLarge { limit: u64 },
}

/// The inputs, each once, and what was named but is not there.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) found: Vec<Input>,
    pub(crate) failed: Vec<(String, InputError)>,
    seen: BTreeSet<PathBuf>,
}

impl Inputs {
    /// Finds what the arguments name: files, folders, patterns, and `-` for standard input.
    pub(crate) fn find(arguments: &[String]) -> Self {
        let mut inputs = Self::default();
        for argument in arguments {
            inputs.argument(argument);
        }
        inputs
    }

    fn argument(&mut self, argument: &str) {
        let path = Path::new(argument);
        if argument == "-" {
            if self.seen.insert(PathBuf::from("-")) {
                self.found.push(Input { name: STDIN.into(), is_explicit: true, path: None });
            }
        } else if path.exists() {
            self.path(path, true);
        } else if argument.contains(['*', '?', '[']) {
            self.pattern(argument);
        } else {
            self.fail(argument, InputError::Missing);
        }
    }

    fn path(&mut self, path: &Path, is_explicit: bool) {
        if path.is_dir() { self.folder(path) } else { self.file(path, is_explicit) }
    }

    fn pattern(&mut self, pattern: &str) {
        let matches = match glob::glob(pattern) {
            Ok(matches) => matches,
            Err(error) => return self.fail(pattern, error.into()),
        };
        let mut is_empty = true;
        for found in matches {
            is_empty = false;
            match found {
                Ok(path) => self.path(&path, false),
                Err(error) => {
                    let name = error.path().display().to_string();
                    self.fail(&name, io::Error::from(error).into());
                }
            }
        }
        if is_empty {
            self.fail(pattern, InputError::NoMatch);
        }
    }

    fn folder(&mut self, folder: &Path) {
        let mut is_empty = true;
        for entry in WalkDir::new(folder).sort_by_file_name() {
            match entry {
                Ok(entry) if is_manifest(entry.path()) => {
                    is_empty = false;
                    self.file(entry.path(), false);
                }
                Ok(_) => {}
                Err(error) => {
                    is_empty = false;
                    let name = error.path().unwrap_or(folder).display().to_string();
                    self.fail(&name, io::Error::from(error).into());
                }
            }
        }
        if is_empty {
            self.fail(&folder.display().to_string(), InputError::NoManifests);
        }
    }

    /// Takes a file, unless another argument named it before: a pod counts once.
    fn file(&mut self, path: &Path, is_explicit: bool) {
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.seen.insert(identity) {
            let name = display_name(path).into();
            self.found.push(Input { name, is_explicit, path: Some(path.to_owned()) });
        }
    }

    fn fail(&mut self, name: &str, error: InputError) {
        self.failed.push((name.to_owned(), error));
    }
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| EXTENSIONS.contains(&found)) && path.is_file()
}

fn display_name(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(here).unwrap_or(path);
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

impl Input {
    /// Reads it whole, unless it is over the limit (in MiB).
    pub(crate) fn read(&self, limit: u64) -> Result<Vec<u8>, InputError> {
        match &self.path {
            None => read_up_to(io::stdin().lock(), 0, limit),
            Some(path) => {
                let file = File::open(path)?;
                let length = file.metadata()?.len();
                read_up_to(file, length, limit)
            }
        }
    }
}

/// `length` is what the file system says; a pipe says 0.
fn read_up_to(input: impl Read, length: u64, limit: u64) -> Result<Vec<u8>, InputError> {
    let most = limit.saturating_mul(1 << 20);
    let mut bytes = Vec::new();
    if length <= most {
        bytes.reserve(usize::try_from(length).unwrap_or(0));
        input.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    }
    if length > most || bytes.len() as u64 > most {
        return Err(InputError::TooLarge { limit });
    }
    Ok(bytes)
}
