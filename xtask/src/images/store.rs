//! Calls of buildah and skopeo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::tools::output;
use crate::cargo::root;

/// A storage of images of our own: what this task builds does not meet what buildah built for others,
/// and goes away with it.
pub(super) struct Store {
    folder: TempDir,
    /// Stands for the builder stage of the Dockerfile.
    builder: PathBuf,
    commit: Commit,
}

/// The commit that is checked out: its time is that of every file in an image.
struct Commit {
    revision: String,
    epoch: String,
}

impl Store {
    /// `builder` has the programs in its folder `out`, as the Dockerfile's builder stage has.
    pub(super) fn open(builder: &Path) -> Result<Self> {
        let git = |arguments: &[&str]| {
            let text = output(Command::new("git").args(arguments).current_dir(root()))?;
            Ok::<_, anyhow::Error>(text.trim().to_owned())
        };
        let commit = Commit {
            revision: git(&["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"])?,
            epoch: git(&["log", "-1", "--format=%ct"])?,
        };
        let folder = TempDir::with_prefix("kube-devops-images-")?;
        Ok(Self { folder, builder: builder.to_owned(), commit })
    }

    /// Builds a stage of the Dockerfile into an OCI layout.
    pub(super) fn build(&self, stage: &str, layout: &Path, tag: &str) -> Result<()> {
        let id_file = self.folder.path().join("id");
        let Commit { revision, epoch } = &self.commit;
        let mut build = self.buildah("build");
        build.args(["--isolation=chroot", "--identity-label=false", "--quiet"]);
        // Without this, buildah makes an empty layer of a stage that holds no file, as the one is that
        // all images have in common. Docker makes none.
        build.arg("--squash");
        build.args(["--target", stage, "--timestamp", epoch]);
        build.args(["--build-arg", &format!("VERSION={tag}")]);
        build.args(["--build-arg", &format!("REVISION={revision}")]);
        build.arg("--build-context").arg(format!("builder={}", self.builder.display()));
        build.arg("--iidfile").arg(&id_file);
        build.arg("--file").arg(root().join("deploy/images/Dockerfile")).arg(&self.builder);
        output(&mut build)?;
        let id = fs::read_to_string(&id_file).context("buildah wrote no image id")?;
        let to = format!("oci:{}:{tag}", layout.display());
        output(self.buildah("push").args(["--quiet", id.trim(), &to]))?;
        Ok(())
    }

    fn buildah(&self, command: &str) -> Command {
        let mut buildah = Command::new("buildah");
        buildah.arg("--root").arg(self.folder.path().join("images"));
        buildah.arg("--runroot").arg(self.folder.path().join("run"));
        // The only storage driver that needs nothing of the machine. The images are small.
        buildah.args(["--storage-driver=vfs", command]);
        buildah
    }
}

/// Copies an image from its layout to a registry, and keeps its digest.
pub(super) fn push(layout: &Path, tag: &str, registry: &str, name: &str) -> Result<()> {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let mut copy = Command::new("skopeo");
    copy.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests"]);
    if ["localhost", "127.0.0.1", "[::1]"].contains(&host) {
        copy.arg("--dest-tls-verify=false");
    }
    copy.arg(format!("oci:{}:{tag}", layout.display()));
    copy.arg(format!("docker://{registry}/{name}:{tag}"));
    output(&mut copy)?;
    Ok(())
}
