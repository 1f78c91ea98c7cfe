//! A test file with the policies and objects that it names.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::admission::{NamedPolicy, NamespacePolicies};
use policy_core::bundle::Bundle;
use policy_core::manifest::{Document, PolicyChoice, PolicyFile, PolicyTest, documents};
use policy_core::report::{JudgedObject, NotRead};
use policy_core::view::Located;

use crate::input::{self, Input, Inputs};
use crate::judgement::BUNDLE_POLICY;

/// The size limit of each file, in MiB.
const MAX_FILE_SIZE: u64 = 64;

/// A test file, and its judged objects.
pub(super) struct Suite {
    /// The file, as it is shown.
    pub(super) file: Arc<str>,
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) test: PolicyTest,
    pub(super) objects: Vec<JudgedObject>,
}

impl Suite {
    /// Reads a test file and what it names.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<NotRead>> {
        let file = input::display_name(path).into();
        let wrong = |line, reason| vec![NotRead::new(&file, line, reason)];
        let bytes = input::read_file(path, MAX_FILE_SIZE)
            .map_err(|error| wrong(None, error.to_string()))?;
        let test = PolicyTest::read(&bytes)
            .map_err(|failure| wrong(Some(failure.line), failure.reason))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let reader = Reader { file: &file, folder, errors: Vec::new() };
        let objects = reader.read(&test)?;
        Ok(Self { file: Arc::clone(&file), path: path.to_owned(), bytes, test, objects })
    }
}

/// Collects every mistake of what a test file names.
struct Reader<'a> {
    file: &'a Arc<str>,
    folder: &'a Path,
    errors: Vec<NotRead>,
}

impl Reader<'_> {
    fn read(mut self, test: &PolicyTest) -> Result<Vec<JudgedObject>, Vec<NotRead>> {
        let policies = self.policies(&test.policies);
        let now = test.now.as_ref().map(|now| now.0);
        let mut objects = Vec::new();
        for named in &test.objects {
            let before = objects.len();
            let inputs = Inputs::find(&[self.path(&named.value)]);
            for problem in inputs.problems() {
                self.fail(named.line, problem);
            }
            for input in &inputs.found {
                match self.objects(input, &test.namespace, &policies, now) {
                    Ok(found) => objects.extend(found),
                    Err(problem) => self.fail(named.line, problem),
                }
            }
            if objects.len() == before && self.errors.is_empty() {
                self.fail(named.line, format!("{}: holds no pod and no workload", named.value));
            }
        }
        if self.errors.is_empty() { Ok(objects) } else { Err(self.errors) }
    }

    fn fail(&mut self, line: u32, reason: String) {
        self.errors.push(NotRead::new(self.file, Some(line), reason));
    }

    /// A path of the test file, as an argument of policyctl: there `-` is standard input.
    fn path(&self, path: &str) -> String {
        let path = self.folder.join(path);
        let parts = path.components().filter(|part| *part != Component::CurDir);
        let path = parts.collect::<PathBuf>();
        if path.as_os_str() == "-" { "./-".to_owned() } else { path.display().to_string() }
    }

    fn policies(&mut self, choices: &[Located<PolicyChoice>]) -> NamespacePolicies {
        let mut judged = Vec::new();
        for Located { value, line } in choices {
            match value {
                PolicyChoice::Bundle(name) => match Bundle::named(name) {
                    Ok(bundle) => judged.push(NamedPolicy {
                        name: BUNDLE_POLICY.into(),
                        rules: Ok(Arc::new(bundle.compiled())),
                    }),
                    Err(error) => self.fail(*line, error.to_string()),
                },
                PolicyChoice::File(file) => judged.extend(self.policy_file(file, *line)),
            }
        }
        NamespacePolicies { judged, ..NamespacePolicies::default() }
    }

    fn policy_file(&mut self, file: &str, line: u32) -> Vec<NamedPolicy> {
        let path = self.path(file);
        let bytes = match input::read_file(Path::new(&path), MAX_FILE_SIZE) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.fail(line, format!("the policy {file}: {error}"));
                return Vec::new();
            }
        };
        let PolicyFile { policies, failures, .. } = PolicyFile::read(&bytes);
        let source = input::display_name(Path::new(&path)).into();
        for failure in failures {
            self.errors.push(NotRead::new(&source, Some(failure.line), failure.reason));
        }
        if policies.is_empty() && self.errors.is_empty() {
            self.fail(line, format!("{file}: holds no DevOpsPolicy"));
        }
        let named = policies.into_iter().map(|policy| NamedPolicy {
            name: policy.policy.metadata.name.unwrap_or_else(|| file.to_owned()).into(),
            rules: Ok(Arc::new(policy.compiled)),
        });
        named.collect()
    }

    /// The objects of a file. An error is one whose findings depend on a time that is not given.
    fn objects(
        &mut self,
        input: &Input,
        namespace: &str,
        policies: &NamespacePolicies,
        now: Option<Timestamp>,
    ) -> Result<Vec<JudgedObject>, String> {
        let mut fail = |line, reason| self.errors.push(NotRead::new(&input.name, line, reason));
        let mut objects = Vec::new();
        let bytes = match input.read(MAX_FILE_SIZE) {
            Ok(bytes) => bytes,
            Err(error) => {
                fail(None, error.to_string());
                return Ok(objects);
            }
        };
        let path = Path::new(&*input.name);
        let folder = input::display_name(self.folder);
        let path = path.strip_prefix(folder).unwrap_or(path).display().to_string();
        let mut rules = policies.judged.iter().filter_map(|policy| policy.rules.as_ref().ok());
        let reads_custom = rules.any(|rules| rules.custom().is_some());
        for document in documents(&bytes) {
            let document = Document { reads_custom, ..document };
            let content = document.read_of_file(namespace, input.is_explicit);
            for failure in content.failures {
                fail(Some(failure.line), failure.reason);
            }
            for object in content.objects {
                let place = (Arc::clone(&input.name), document.number, object.line);
                let custom = object.custom.map(|custom| *custom);
                let path_of = path.clone();
                let judged = JudgedObject::of(
                    (&object.facts, object.labels.as_ref()),
                    custom,
                    place,
                    path_of,
                    policies,
                    now,
                );
                let judged = judged.map_err(|error| format!("{path}:{}: {error}", object.line))?;
                objects.push(judged);
            }
        }
        Ok(objects)
    }
}
