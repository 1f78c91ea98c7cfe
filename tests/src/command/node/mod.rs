//! `e2e node`: the chart on nodes with real kubelets, with checks and measurements.
//!
//! ```text
//! e2e node            builds what is missing; removes everything at the end
//! └ e2e node-cluster  in namespaces of its own: control plane, network, suite
//!   └ e2e node-agent  for each node: containerd, kubelet, kube-proxy
//! ```
//!
//! The cluster has process identifiers of its own, so the kernel ends all that runs in it, the
//! containers included, when its first process ends. Nothing outside of it is changed, except for
//! cgroups and a temporary folder, which are removed.

pub(crate) mod agent;
mod cgroups;
mod chart;
pub(crate) mod cluster;
mod containerd;
mod kubelet;
mod network;
mod oci;
mod requirements;
mod suite;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use e2e::{Program, say};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use cgroups::Cgroups;

#[derive(Args)]
pub(crate) struct Options {
    /// The folder with an OCI layout for each image, such as `policy-webhook`
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Keep the cluster after the checks, until Ctrl+C
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    requirements::check()?;
    // Before the cluster, which has no network, is started.
    for program in Program::ALL.into_iter().chain([Program::Helm]).chain(Program::OF_NODES) {
        program.path()?;
    }
    let images = options.images.canonicalize();
    let images =
        images.with_context(|| format!("there are no images in {}", options.images.display()))?;
    let folder = tempfile::Builder::new().prefix("kube-devops-node-").tempdir()?;
    oci::pause(folder.path())?;
    let cgroups = Cgroups::of_cluster(&format!("kube-devops-node-{}", std::process::id()))?;
    let ended = wait(cluster(folder.path(), &images, options.keep, &cgroups)?, options.keep);
    // The kernel ends the processes of the cluster in no time, yet not at once.
    let removed =
        e2e::wait_for("the end of the cluster's processes", Duration::from_secs(30), || {
            Ok(cgroups.remove().ok())
        });
    ended.and(removed)
}

/// Starts the cluster in its own namespaces; killing it kills all of its processes.
fn cluster(folder: &Path, images: &Path, keep: bool, cgroups: &Cgroups) -> Result<Command> {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net", "--uts"]);
    command.args(["--propagation", "private", "--"]).arg(std::env::current_exe()?);
    command.arg("node-cluster").arg("--images").arg(images);
    command.args(["--cgroup", cgroups.name()]);
    command.args(keep.then_some("--keep"));
    // The folder of the control plane is inside of this one.
    command.env("TMPDIR", folder).kill_on_drop(true);
    Ok(command)
}

/// Runs the cluster to its end, or to Ctrl+C, which its first process does not feel.
fn wait(mut cluster: Command, keep: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut child = cluster.spawn().context("cannot start unshare")?;
        if let Some(id) = child.id().filter(|_| keep) {
            let first = format!("$(cat /proc/{id}/task/{id}/children)");
            say(&format!("in another terminal: nsenter --all --target {first}"));
        }
        let interrupted = tokio::select! {
            status = child.wait() => {
                let status = status?;
                ensure!(status.success(), "the checks on the nodes failed ({status})");
                return Ok(());
            }
            _ = interrupt.recv() => "Ctrl+C",
            _ = terminate.recv() => "SIGTERM",
        };
        say(&format!("{interrupted}: ending the cluster ..."));
        child.kill().await?;
        bail!("ended by {interrupted}")
    })
}
