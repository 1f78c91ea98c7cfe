//! Builds the tools of a Go module once, into a cache.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::poll::wait_for;
use crate::processes::tail;
use crate::progress::say;
use crate::run::Run;

const INSTALL: &str = "install Go from https://go.dev/dl, or set KUBEBUILDER_ASSETS to a folder \
                       that holds kube-apiserver, etcd and kubectl";
/// The first Go that downloads the toolchain a module requires (<https://go.dev/doc/toolchain>).
const FETCHES: (u32, u32) = (1, 21);
/// Time between two lines of progress.
const NEWS: Duration = Duration::from_secs(30);
/// Deadline of a build, for a module proxy that hangs.
const LONGEST: Duration = Duration::from_secs(2 * 3600);

/// A Go module under `controlplane/` whose `tool` lines name the programs to build.
pub(crate) struct Module {
    /// The name of its folder there.
    pub(crate) name: &'static str,
    /// The module with the programs, whose version is theirs.
    pub(crate) dependency: &'static str,
    /// The time of a first build on two cores, for the line of progress.
    pub(crate) usual: &'static str,
    /// Whether the linker writes the version into the programs, as the build of Kubernetes does.
    /// Without it the API server reports v0.0.0.
    pub(crate) stamped: bool,
    /// The build tags, separated by commas.
    pub(crate) tags: &'static str,
}

impl Module {
    /// The folder with the built programs. If it is missing, they are built, or the build of another
    /// process is awaited.
    pub(crate) fn built(&self) -> Result<PathBuf> {
        let go_mod = self.read("go.mod")?;
        let version = self.version()?;
        let go_sum = self.read("go.sum")?;
        let flags = if self.stamped { stamps(&version)? } else { "-s -w".to_owned() };
        let mut inputs = vec![&*go_mod, &go_sum, &flags];
        inputs.extend(Some(self.tags).filter(|tags| !tags.is_empty()));
        let key = build_key(&inputs);
        let cache = cache()?;
        let folder = cache.join(format!("{}-{key}", self.name));
        if folder.is_dir() {
            return Ok(folder);
        }
        fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
        let _lock = self.lock(&cache)?;
        // Another process may have built it while we waited for the lock.
        if !folder.is_dir() {
            self.build(&cache, &folder, &go_mod, &version, &flags)?;
        }
        Ok(folder)
    }

    /// The version of its programs, such as `v1.36.3`.
    pub(crate) fn version(&self) -> Result<String> {
        let go_mod = self.read("go.mod")?;
        let version = dependency_version(&go_mod, self.dependency);
        version.map(str::to_owned).with_context(|| {
            format!("{}/go.mod requires no {}", self.source().display(), self.dependency)
        })
    }

    fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane").join(self.name)
    }

    pub(crate) fn read(&self, file: &str) -> Result<String> {
        let path = self.source().join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn lock(&self, cache: &Path) -> Result<File> {
        let path = cache.join(format!("{}.lock", self.name));
        let file = File::create(&path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                say(&format!("waiting for another process that builds {}", self.dependency));
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(file)
    }

    /// Builds into a temporary folder and renames it at the end, so that the final folder is either
    /// complete or missing.
    fn build(
        &self,
        cache: &Path,
        folder: &Path,
        go_mod: &str,
        version: &str,
        flags: &str,
    ) -> Result<()> {
        check_go(go_version(go_mod).unwrap_or("1.21"))?;
        self.remove_partial_builds(cache)?;
        let partial = tempfile::Builder::new().prefix(&self.partial_prefix()).tempdir_in(cache)?;
        let tools = tools(go_mod);
        // go names the program of a single package like its last path element, such as v3 for etcd.
        let (into, names) = if tools.len() == 1 {
            (partial.path().join(self.name), self.name.to_owned())
        } else {
            let names: Vec<_> = tools.iter().filter_map(|tool| tool.rsplit('/').next()).collect();
            (partial.path().to_owned(), names.join(", "))
        };
        let what = format!("{names} {version}");
        say(&format!("building {what} (about {} the first time) ...", self.usual));
        let start = Instant::now();
        let log = partial.path().join("build.log");
        let output = File::create(&log)?;
        let mut go = self.go_build(flags, &into);
        let child = go.args(&tools).stdout(output.try_clone()?).stderr(output).spawn();
        let status = wait_for_build(child.context("cannot start go")?, &what, start)?;
        let output = fs::read_to_string(&log).unwrap_or_default();
        ensure!(status.success(), "go build of {what} failed ({status})\n{}", tail(&output, 30));
        fs::remove_file(&log)?;
        fs::rename(partial.keep(), folder)?;
        say(&format!("built {what} in {} s", start.elapsed().as_secs()));
        Ok(())
    }

    /// `go build`, in the process group of this process, so that Ctrl+C ends it as well.
    fn go_build(&self, flags: &str, into: &Path) -> Command {
        let mut go = Command::new("go");
        // The user's other settings stay, such as GOPROXY and GOTOOLCHAIN.
        go.current_dir(self.source()).env("GOFLAGS", "-mod=readonly").env("GOWORK", "off");
        // Without the state of this checkout, as git may not be installed.
        go.args(["build", "-buildvcs=false", "-tags", self.tags, "-ldflags", flags, "-o"])
            .arg(into);
        go
    }

    /// Removes the folders of interrupted builds. The holder of the lock is the only one that builds.
    fn remove_partial_builds(&self, cache: &Path) -> Result<()> {
        for entry in fs::read_dir(cache)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&self.partial_prefix()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    fn partial_prefix(&self) -> String {
        format!(".{}-partial-", self.name)
    }
}

/// Waits for a build, and prints a line of progress from time to time.
fn wait_for_build(
    mut child: std::process::Child,
    what: &str,
    start: Instant,
) -> Result<ExitStatus> {
    let mut next = NEWS;
    wait_for(what, LONGEST, || {
        let elapsed = start.elapsed();
        if elapsed >= next {
            next += NEWS;
            say(&format!("  still building {what}: {} s", elapsed.as_secs()));
        }
        Ok(child.try_wait()?)
    })
}

/// The folder with built programs, shared by all checkouts of this user.
fn cache() -> Result<PathBuf> {
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let cache = cache.context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("kube-devops").join("controlplane"))
}

/// A name for the output of a build with these inputs.
fn build_key(inputs: &[&str]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update(input.as_bytes());
        // A separator, so that ["ab", "c"] and ["a", "bc"] differ.
        hash.update([0]);
    }
    let mut key = format!("{:x}", hash.finalize());
    key.truncate(16);
    key
}

/// Linker flags that write a version like `v1.36.3` into Kubernetes' programs.
fn stamps(version: &str) -> Result<String> {
    let (major, minor) = release(version).with_context(|| format!("{version} is not a version"))?;
    let package = "k8s.io/component-base/version";
    Ok(format!(
        "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} \
         -X {package}.gitMinor={minor}"
    ))
}

/// The version that a go.mod requires of a module.
fn dependency_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    // Without the lines of the replace block.
    let lines = go_mod.lines().filter(|line| !line.contains("=>"));
    let mut lines = lines.map(|line| line.trim().trim_start_matches("require "));
    lines.find_map(|line| line.strip_prefix(module)?.strip_prefix(' ')?.split(' ').next())
}

/// The version in the `go` line of a go.mod.
fn go_version(go_mod: &str) -> Option<&str> {
    go_mod.lines().find_map(|line| line.strip_prefix("go "))
}

/// The packages in the `tool` line or block of a go.mod.
pub(crate) fn tools(go_mod: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in go_mod.lines().map(str::trim) {
        match line.strip_prefix("tool ") {
            Some("(") => inside = true,
            Some(package) => found.push(package.to_owned()),
            None if line == ")" => inside = false,
            None if inside => found.push(line.to_owned()),
            None => {}
        }
    }
    found
}

/// Major and minor of `v1.36.3`, `go1.26.8`, `1.26` or `go1.27rc1`.
fn release(version: &str) -> Option<(u32, u32)> {
    let version = version.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(minor.len());
    Some((major, minor.get(..digits)?.parse().ok()?))
}

/// Fails with instructions if Go is missing or too old.
fn check_go(needed: &str) -> Result<()> {
    // Outside of any module, whose go.mod could select another toolchain than the installed one.
    let mut go = Command::new("go");
    go.args(["env", "GOVERSION", "GOTOOLCHAIN"]).current_dir("/").env("GOWORK", "off");
    let answer = match Run::of(&mut go, None) {
        Ok(run) => run.succeeded()?,
        Err(_) => bail!("Go is not installed: {INSTALL}"),
    };
    let mut lines = answer.lines();
    let installed = lines.next().unwrap_or_default();
    check_version(needed, installed, lines.next().unwrap_or_default())
}

fn check_version(needed: &str, installed: &str, toolchain: &str) -> Result<()> {
    let fetches = release(installed) >= Some(FETCHES) && !toolchain.starts_with("local");
    if fetches || release(installed) >= release(needed) {
        return Ok(());
    }
    bail!("{installed} is too old, as {needed} is needed: {INSTALL}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO_MOD: &str = "module a\n\ngo 1.26.0\n\nreplace (\n\tb/c => b/c v0.36.3\n)\n\nrequire (\n\
        \tb/c/d v1.2.3 // indirect\n\tb/c v1.36.3\n)\n\ntool (\n\tb/c/cmd/one\n\tb/c/cmd/two\n)\n";

    #[test]
    fn go_mod_names_version_and_tools() {
        assert_eq!(dependency_version(GO_MOD, "b/c"), Some("v1.36.3"));
        assert_eq!(dependency_version("require b/c v1.0.0\n", "b/c"), Some("v1.0.0"));
        assert_eq!(go_version(GO_MOD), Some("1.26.0"));
        assert_eq!(tools(GO_MOD), ["b/c/cmd/one", "b/c/cmd/two"]);
        assert_eq!(tools("tool a/b\n"), ["a/b"]);
    }

    #[test]
    fn major_and_minor_are_read_from_every_spelling_of_a_version() {
        assert_eq!(release("go1.26.8"), Some((1, 26)));
        assert_eq!(release("go1.27rc1"), Some((1, 27)));
        assert_eq!(release("v1.36.3"), Some((1, 36)));
        assert_eq!(release("devel"), None);
    }

    #[test]
    fn an_old_go_is_accepted_where_it_may_download_a_new_one() {
        check_version("1.26.0", "go1.26.8", "local").unwrap();
        check_version("1.26.0", "go1.21.1", "auto").unwrap();
        let error = check_version("1.26.0", "go1.25.0", "local").unwrap_err().to_string();
        assert!(error.starts_with("go1.25.0 is too old, as 1.26.0 is needed: install"), "{error}");
        check_version("1.26.0", "go1.19.8", "").unwrap_err();
    }

    #[test]
    fn a_key_is_16_digits_and_depends_on_each_input() {
        let one = build_key(&["ab", "c"]);
        assert_eq!(one.len(), 16);
        assert_ne!(one, build_key(&["a", "bc"]));
        assert_eq!(one, build_key(&["ab", "c"]));
    }

    #[test]
    fn stamps_name_the_release() {
        let flags = stamps("v1.36.3").unwrap();
        assert!(flags.starts_with("-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 "));
        assert!(flags.ends_with("version.gitMinor=36"), "{flags}");
    }
}
