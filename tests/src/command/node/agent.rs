//! `e2e node-agent`: one node. It lives as long as its containerd, kubelet and kube-proxy.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use e2e::{NODES, Program, wait_for};

use super::cgroups::{self, Cgroups};
use super::oci::text;
use super::{containerd, kubelet, network};

/// Deadline of the start of containerd.
const START: Duration = Duration::from_secs(60);
/// The kubelet sets these for the whole machine where they differ. It finds the values that it wants
/// (<https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/kubelet/cm/container_manager_linux.go>).
const SETTINGS: [(&str, &str); 3] =
    [("vm/overcommit_memory", "1"), ("kernel/panic", "10"), ("kernel/panic_on_oops", "1")];
/// Folders in which containerd, kubelet and CNI write, and which are the node's own.
const OWN: [(&str, &str); 3] = [("run", "/run"), ("lib", "/var/lib"), ("log", "/var/log")];

#[derive(Args, Clone)]
pub(crate) struct Options {
    /// The number of the node
    #[arg(long)]
    pub(super) node: usize,
    /// Its folder
    #[arg(long)]
    pub(super) folder: PathBuf,
    /// The certificate authority of the kubelet's clients
    #[arg(long)]
    pub(super) authority: PathBuf,
    #[arg(long)]
    pub(super) kubelet_kubeconfig: PathBuf,
    #[arg(long)]
    pub(super) proxy_kubeconfig: PathBuf,
    /// The archives of images
    #[arg(long)]
    pub(super) images: PathBuf,
    /// Whether the namespaces are the node's own already
    #[arg(long)]
    pub(super) entered: bool,
}

impl Options {
    /// The command that starts the node.
    pub(super) fn command(&self) -> Result<Command> {
        let this = std::env::current_exe()?;
        // The first node has the network namespace of the control plane, which has to reach Services.
        let mut command = if self.node == 0 {
            Command::new(this)
        } else {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", network::second())).arg(this);
            command
        };
        command.args(["node-agent", "--node", &self.node.to_string()]);
        for (name, path) in [
            ("--folder", &self.folder),
            ("--authority", &self.authority),
            ("--kubelet-kubeconfig", &self.kubelet_kubeconfig),
            ("--proxy-kubeconfig", &self.proxy_kubeconfig),
            ("--images", &self.images),
        ] {
            command.arg(name).arg(path);
        }
        Ok(command)
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let name = NODES.get(options.node).context("there is no such node")?;
    if !options.entered {
        return enter(name);
    }
    mounts(&options.folder)?;
    fs::write("/proc/sys/kernel/hostname", name).context("cannot set the name of the host")?;
    network::forward()?;
    let logs = options.folder.join("logs");
    fs::create_dir_all(&logs)?;
    let configuration = containerd::configure(&options.folder, options.node)?;
    let start = |name: &'static str, program: &Path, arguments: &[&str]| {
        let log = File::create(logs.join(format!("{name}.log")))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.env_remove("KUBECONFIG").current_dir(&options.folder);
        Ok::<_, anyhow::Error>((
            name,
            command.spawn().with_context(|| format!("cannot start {name}"))?,
        ))
    };
    let mut containerd =
        start("containerd", Path::new("containerd"), &["--config", text(&configuration)?])?;
    wait_for("containerd", START, || {
        check(&mut containerd)?;
        Ok(Path::new(containerd::SOCKET).exists().then_some(()))
    })?;
    import(&options.images)?;
    let flag =
        |name: &str, path: &Path| Ok::<_, anyhow::Error>(format!("--{name}={}", text(path)?));
    let override_ = format!("--hostname-override={name}");
    let configuration = kubelet::configure(&options.folder, &options.authority)?;
    let address = format!("--node-ip={}", network::address(options.node));
    let kubelet = start(
        "kubelet",
        &Program::Kubelet.path()?,
        &[
            &flag("config", &configuration)?,
            &flag("kubeconfig", &options.kubelet_kubeconfig)?,
            &override_,
            &address,
        ],
    )?;
    let configuration = kubelet::configure_proxy(&options.folder, &options.proxy_kubeconfig)?;
    let proxy = start(
        "kube-proxy",
        &Program::KubeProxy.path()?,
        &[&flag("config", &configuration)?, &override_],
    )?;
    let mut all = [containerd, kubelet, proxy];
    loop {
        all.iter_mut().try_for_each(check)?;
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Becomes this program in a cgroup and in namespaces of the node's own.
fn enter(name: &str) -> Result<()> {
    Cgroups::of_node(name)?.enter_node()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--uts", "--cgroup", "--propagation", "private", "--"]);
    command.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).arg("--entered");
    Err(command.exec()).context("cannot start unshare")
}

fn mounts(folder: &Path) -> Result<()> {
    cgroups::mount()?;
    for (name, path) in OWN {
        bind(&folder.join(name), path)?;
    }
    for (setting, value) in SETTINGS {
        let file = folder.join(setting.replace('/', "-"));
        fs::write(&file, format!("{value}\n"))?;
        let setting = format!("/proc/sys/{setting}");
        network::command("mount", &["--bind", text(&file)?, &setting])?;
    }
    // containerd and kubelet want the mounts of containers to be shared; with each other only.
    network::command("mount", &["--make-rshared", "/"])
}

/// Puts an empty folder of ours in the place of another one, in this mount namespace.
pub(super) fn bind(own: &Path, path: &str) -> Result<()> {
    fs::create_dir_all(own)?;
    network::command("mount", &["--bind", text(own)?, path])
}

fn import(images: &Path) -> Result<()> {
    for archive in fs::read_dir(images)? {
        let archive = archive?.path();
        if archive.extension().is_some_and(|extension| extension == "tar") {
            let import = ["--namespace", "k8s.io", "images", "import", text(&archive)?];
            wait_for("containerd to answer", START, || {
                let run = e2e::Run::of(
                    Command::new("ctr").args(["--address", containerd::SOCKET]).args(import),
                    None,
                )?;
                // The socket exists before it is served.
                if run.stderr.contains("connect") { Ok(None) } else { run.succeeded().map(Some) }
            })?;
        }
    }
    Ok(())
}

fn check((name, child): &mut (&'static str, Child)) -> Result<()> {
    match child.try_wait()? {
        None => Ok(()),
        Some(status) => bail!("{name} ended ({status})"),
    }
}
