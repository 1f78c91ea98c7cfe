//! `e2e node-cluster`: the control plane, the network and the checks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use e2e::{NODES, Parts, Testbed, say};

use super::cgroups::Cgroups;
use super::{agent, chart, network, oci, suite};

/// Deadline for the nodes, on any machine.
const START: Duration = Duration::from_secs(180);
/// Bytes of a log that are quoted in an error.
const TAIL: usize = 2_000;

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    images: PathBuf,
    /// The name of the cgroup
    #[arg(long)]
    cgroup: String,
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    Cgroups::of_cluster(&options.cgroup)?.enter_cluster()?;
    let folder = std::env::temp_dir();
    // The names of network namespaces are there.
    agent::bind(&folder.join("run"), "/run")?;
    network::create()?;
    network::forward()?;
    say("starting a control plane, and two nodes with containerd, kubelet and kube-proxy ...");
    let parts = Parts::new("node").with_controllers().with_kubelets(network::address(0));
    let testbed = Testbed::start(&parts)?;
    let images = chart::archives(&testbed, &options.images, &oci::pause_layout(&folder))?;
    let start = Instant::now();
    let mut nodes = Nodes::start(&testbed, &folder, &images)?;
    nodes.wait_until_ready(&testbed)?;
    let result = suite::run(&testbed, start.elapsed());
    if options.keep {
        say(&format!("kept until Ctrl+C, with KUBECONFIG={}", testbed.kubeconfig().display()));
        loop {
            std::thread::park();
        }
    }
    result
}

struct Nodes(Vec<Node>);

struct Node {
    name: &'static str,
    folder: PathBuf,
    agent: Child,
}

impl Nodes {
    fn start(testbed: &Testbed, folder: &Path, images: &Path) -> Result<Self> {
        let nodes = NODES.into_iter().enumerate().map(|(node, name)| {
            let folder = folder.join(name);
            fs::create_dir(&folder)?;
            let options = agent::Options {
                node,
                folder: folder.clone(),
                authority: testbed.certificate_authority().to_owned(),
                kubelet_kubeconfig: testbed.kubelet_kubeconfig(name)?,
                proxy_kubeconfig: testbed.proxy_kubeconfig()?,
                images: images.to_owned(),
                entered: false,
            };
            let log = File::create(folder.join("agent.log"))?;
            let mut command = options.command()?;
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            let agent = command.spawn().with_context(|| format!("cannot start {name}"))?;
            Ok(Node { name, folder, agent })
        });
        nodes.collect::<Result<_>>().map(Self)
    }

    fn wait_until_ready(&mut self, testbed: &Testbed) -> Result<()> {
        let ready = testbed.wait_for("both nodes to be ready", START, || {
            for node in &mut self.0 {
                if let Some(status) = node.agent.try_wait()? {
                    bail!("{} ended ({status})", node.name);
                }
            }
            let ready = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
            Ok(testbed.kubectl(&["get", "nodes", "-o", ready])?.succeeded()? == "True True")
        });
        ready.map_err(|error| {
            let logs = self.0.iter().map(Node::logs).collect::<String>();
            error.context(format!("the nodes do not run\n{logs}"))
        })
    }
}

impl Node {
    /// The end of each of its logs.
    fn logs(&self) -> String {
        let names = ["agent.log", "logs/containerd.log", "logs/kubelet.log", "logs/kube-proxy.log"];
        let logs = names.map(|name| {
            // What cannot be read is not quoted.
            let log = fs::read(self.folder.join(name)).unwrap_or_default();
            let end = log.get(log.len().saturating_sub(TAIL)..).unwrap_or_default();
            format!("=== {} {name}\n{}\n", self.name, String::from_utf8_lossy(end))
        });
        logs.concat()
    }
}
