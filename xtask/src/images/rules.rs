//! What has to hold for an image.

use std::env;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use memchr::memmem;

use super::layout::{Entry, Image};
use crate::cargo::root;

const USER: &str = "1000:1000";
const LABELS: [&str; 6] = ["title", "description", "source", "licenses", "version", "revision"];

/// The rules that an image breaks, each as a clause.
pub(super) fn broken(program: &str, image: &Image) -> Vec<String> {
    let path = PathBuf::from(format!("/{program}"));
    let mut broken = Vec::new();
    let (programs, others): (Vec<_>, Vec<_>) =
        image.files.iter().partition(|file| file.path == path);
    broken.extend(others.iter().map(|file| format!("it holds {} too", file.path.display())));
    match programs.as_slice() {
        [file] => broken.extend(broken_by_program(file)),
        files => broken.push(format!("it holds {} {} times", path.display(), files.len())),
    }
    if image.layers != 1 {
        broken.push(format!("it has {} layers, not one", image.layers));
    }
    let run = &image.run;
    if run.user != USER {
        broken.push(format!("it runs as the user {:?}, not as {USER}", run.user));
    }
    if run.entrypoint != [path.to_string_lossy()] || !run.cmd.is_empty() {
        let starts = [run.entrypoint.as_slice(), &run.cmd].concat();
        broken.push(format!("it starts {starts:?}, not {}", path.display()));
    }
    if !run.volumes.is_empty() {
        broken.push("it declares volumes".to_owned());
    }
    let labels = LABELS.iter().map(|label| format!("org.opencontainers.image.{label}"));
    let missing = labels.filter(|label| run.labels.get(label).is_none_or(String::is_empty));
    broken.extend(missing.map(|label| format!("it has no label {label}")));
    broken
}

/// A program that its own process could replace, and a path that differs between machines and so would
/// change the digest.
fn broken_by_program(file: &Entry) -> Vec<String> {
    let path = file.path.display();
    let mut broken = Vec::new();
    if !file.is_file || file.mode & 0o7777 != 0o755 || file.owner != (0, 0) {
        let Entry { mode, owner: (user, group), .. } = file;
        broken.push(format!(
            "{path} is no file of the mode 755 and 0:0, but {mode:o} and {user}:{group}"
        ));
    }
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let folders = [Some(root().to_owned()), cargo_home].into_iter().flatten();
    let inside = folders
        .filter(|folder| memmem::find(&file.content, folder.as_os_str().as_bytes()).is_some());
    broken.extend(inside.map(|folder| format!("{path} has the path {} in it", folder.display())));
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::layout::RunConfig;

    fn file(path: &str) -> Entry {
        Entry {
            path: path.into(),
            is_file: true,
            mode: 0o755,
            owner: (0, 0),
            content: b"\x7fELF".to_vec(),
        }
    }

    fn image(files: Vec<Entry>) -> Image {
        let label = |label| (format!("org.opencontainers.image.{label}"), "x".to_owned());
        let run = RunConfig {
            user: USER.to_owned(),
            entrypoint: vec!["/policyctl".to_owned()],
            labels: LABELS.map(label).into(),
            ..RunConfig::default()
        };
        Image { run, layers: 1, files, ..Image::default() }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Image), expected: &str) {
        let mut image = image(vec![file("/policyctl")]);
        change(&mut image);
        assert_eq!(broken("policyctl", &image).join("; "), expected);
    }

    #[test]
    fn an_image_of_one_program_breaks_nothing() {
        check(|_| {}, "");
    }

    #[test]
    fn an_image_holds_no_other_file() {
        check(|image| image.files.push(file("/bin/sh")), "it holds /bin/sh too");
        check(|image| image.files.clear(), "it holds /policyctl 0 times");
        check(|image| image.files.push(file("/policyctl")), "it holds /policyctl 2 times");
    }

    /// A second layer holds what a node loads for nothing, even where no file is left of it.
    #[test]
    fn an_image_has_one_layer() {
        check(|image| image.layers = 2, "it has 2 layers, not one");
    }

    #[test]
    fn an_image_runs_its_program_as_one_user() {
        check(|image| image.run.user.clear(), "it runs as the user \"\", not as 1000:1000");
        check(
            |image| {
                image.run.entrypoint = ["/bin/sh", "-c", "/policyctl"].map(str::to_owned).into();
            },
            r#"it starts ["/bin/sh", "-c", "/policyctl"], not /policyctl"#,
        );
        check(
            |image| image.run.cmd = vec!["version".to_owned()],
            r#"it starts ["/policyctl", "version"], not /policyctl"#,
        );
    }

    #[test]
    fn a_program_belongs_to_another_user_than_its_process() {
        check(
            |image| image.files[0].owner = (1000, 1000),
            "/policyctl is no file of the mode 755 and 0:0, but 755 and 1000:1000",
        );
        check(
            |image| image.files[0].mode = 0o4755,
            "/policyctl is no file of the mode 755 and 0:0, but 4755 and 0:0",
        );
    }

    #[test]
    fn a_program_has_no_path_of_the_machine() {
        let source = root().display().to_string();
        check(
            |image| image.files[0].content.extend_from_slice(source.as_bytes()),
            &format!("/policyctl has the path {source} in it"),
        );
    }

    #[test]
    fn an_image_says_what_it_is() {
        check(
            |image| drop(image.run.labels.remove("org.opencontainers.image.revision")),
            "it has no label org.opencontainers.image.revision",
        );
    }
}
