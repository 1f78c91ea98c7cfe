//! `e2e demo`: the product on a control plane with an example application, step by step.

mod admission;
mod component;
mod install;
mod monitoring;
mod remediation;
mod watchers;

use std::cell::Cell;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use component::{Component, SOON};
use e2e::{
    Parts, ProcessKubelet, Program, Prometheus, Run, Testbed, policyctl, root, service_binary,
};
use watchers::Watchers;

/// Three namespaces: `shop` is well kept, `billing` is not, `kube-system` belongs to the cluster.
const APPLICATION: &str = include_str!("demo.yaml");
/// How many pods of the application run in the end; one stays Pending.
const RUNNING: usize = 9;
/// How many of them are in `shop`.
const SHOP_PODS: &str = "4";
const STEPS: u32 = 11;
/// A deployment of five pods that have everything wrong.
const BAD: &str = include_str!("demo/bad.yaml");

#[derive(Args)]
pub(crate) struct Options {
    /// End after the last step, instead of keeping the cluster until Ctrl+C
    #[arg(long)]
    once: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let demo = Demo::start()?;
    demo.testbed.run_pods(|kubelet| tour(&demo, kubelet, options.once))
}

fn tour(demo: &Demo, kubelet: &ProcessKubelet<'_>, once: bool) -> Result<()> {
    demo.step("The example application: shop, billing and kube-system")?;
    demo.testbed.apply(APPLICATION)?;
    demo.testbed.wait_for("the application's pods", Duration::from_secs(120), || {
        let pods = ["get", "pods", "--all-namespaces", "--no-headers"];
        let pods = demo.testbed.kubectl(&pods)?.succeeded()?;
        let running = pods.lines().filter(|line| line.contains("Running")).count();
        Ok(running == RUNNING && pods.lines().count() > RUNNING)
    })?;
    demo.step("The installation: the Helm chart")?;
    install::show(demo, kubelet)?;
    demo.step("A policy for each namespace, from the three bundles")?;
    for (bundle, namespace) in
        [("restricted", "shop"), ("baseline", "billing"), ("permissive", "default")]
    {
        let apply = format!("policyctl bundle apply {bundle} -n {namespace} | kubectl apply -f -");
        demo.show(&apply, 0)?;
    }
    demo.step("The state of the cluster: policyctl")?;
    demo.show("policyctl check", 0)?;
    demo.show("policyctl list pods", 0)?;
    print(
        "\nWithout other options, `analyze` judges by the built-in profile, in which every check is \
         on. A namespace can thus have a low score here and a high score by its own policy:\n",
    )?;
    demo.show("policyctl analyze", 0)?;
    demo.show("policyctl analyze --policies cluster", 0)?;
    demo.show(
        "policyctl analyze -n billing --bundle baseline --fail-on medium -o json > /dev/null",
        1,
    )?;
    demo.step("Live scores: policy-watcher")?;
    print("\nBy the built-in profile, since nothing else is configured.\n")?;
    let watchers = Watchers::introduce(kubelet)?;
    let pods = watchers.pods()?;
    watchers.show_scores("Scores now:", pods, 0)?;
    fs::write(demo.testbed.folder().join("bad.yaml"), BAD)?;
    demo.show("kubectl apply -f bad.yaml", 0)?;
    watchers.show_scores("Scores with it:", pods + 5, 5)?;
    demo.show("kubectl delete -f bad.yaml", 0)?;
    watchers.show_scores("Scores without it:", pods, 0)?;
    demo.step("Verdicts in the cluster: policy-operator")?;
    print("\nBy the policies of each namespace, as `kubectl get dop` shows them.\n")?;
    Component { kubelet, name: "policy-operator" }.introduce()?;
    demo.show_verdicts()?;
    demo.step("Admission: policy-webhook")?;
    admission::show(demo)?;
    demo.step("Enforce mode: one patched, one injected into, one taken back, one proposed")?;
    remediation::show(demo)?;
    demo.step("Monitoring: Prometheus")?;
    let prometheus = monitoring::show(demo, kubelet)?;
    demo.end(once, &watchers, &prometheus)
}

struct Demo {
    testbed: Testbed,
    /// Where `kubectl` and `policyctl` are, for the demo and for its user.
    programs: PathBuf,
    step: Cell<u32>,
    start: Instant,
}

impl Demo {
    fn start() -> Result<Self> {
        let start = Instant::now();
        print(&format!("\n[1/{STEPS}] The programs of kube-devops and of a control plane\n"))?;
        let policyctl = policyctl()?;
        for service in ["policy-watcher", "policy-operator", "policy-webhook"] {
            service_binary(service)?;
        }
        let (kubectl, helm) = (Program::Kubectl.path()?, Program::Helm.path()?);
        Program::Prometheus.path()?;
        print(&format!(
            "\n[2/{STEPS}] A control plane with three nodes, on this machine, without containers\n"
        ))?;
        let parts = Parts::new("demo").with_controllers().with_nodes(3).with_pods_as_processes();
        let testbed = Testbed::start(&parts)?;
        print(&format!("ready at {}\n", testbed.server_url()))?;
        let programs = testbed.folder().join("bin");
        fs::create_dir(&programs).context("cannot make the folder of the programs")?;
        for (program, name) in [(policyctl, "policyctl"), (kubectl, "kubectl"), (helm, "helm")] {
            symlink(program, programs.join(name)).with_context(|| format!("cannot link {name}"))?;
        }
        symlink(root().join("charts"), testbed.folder().join("charts"))
            .context("cannot link the chart")?;
        Ok(Self { testbed, programs, step: Cell::new(2), start })
    }

    fn step(&self, what: &str) -> Result<()> {
        let step = self.step.get() + 1;
        self.step.set(step);
        print(&format!("\n[{step}/{STEPS}] {what}\n"))
    }

    /// Runs a command line as a user would, and prints it with its output.
    fn show(&self, line: &str, code: i32) -> Result<()> {
        print(&format!("\n$ {line}\n"))?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [self.programs.clone()].into_iter().chain(std::env::split_paths(&path));
        let mut shell = Command::new("sh");
        shell.current_dir(self.testbed.folder());
        shell.args(["-c", line]).env("KUBECONFIG", self.testbed.kubeconfig());
        shell.env("PATH", std::env::join_paths(path)?).env("KUBERC", "off");
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            shell.env(home, self.testbed.folder().join("helm"));
        }
        let run = Run::of(&mut shell, None)?;
        print(&format!("{}{}", run.stdout, run.stderr))?;
        ensure!(run.code == Some(code), "{line}: exit code {:?}, not {code}", run.code);
        if code != 0 {
            print(&format!("(exit code {code})\n"))?;
        }
        Ok(())
    }

    /// Shows what the operators wrote.
    fn show_verdicts(&self) -> Result<()> {
        // A policy is evaluated once a second, and the pods of the last step were just deleted.
        let pods = "jsonpath={.status.podsEvaluated}";
        self.testbed.wait_for("the verdict", SOON, || {
            let get = ["get", "dop", "devops-policy", "-n", "shop", "-o", pods];
            Ok(self.testbed.kubectl(&get)?.succeeded()? == SHOP_PODS)
        })?;
        self.show("kubectl get dop --all-namespaces", 0)?;
        self.show("kubectl describe dop devops-policy -n billing | sed -n '/^Events/,$p'", 0)?;
        self.show("policyctl explain devops-policy -n billing", 0)?;
        self.testbed.wait_for("the end of the minute", 2 * SOON, || {
            let results = ["get", "par", "--all-namespaces", "--no-headers"];
            Ok(self.testbed.kubectl(&results)?.succeeded()?.lines().count() >= 3)
        })?;
        self.show("kubectl get par --all-namespaces", 0)
    }

    fn end(&self, once: bool, watchers: &Watchers<'_>, prometheus: &Prometheus<'_>) -> Result<()> {
        let seconds = self.start.elapsed().as_secs();
        if once {
            return print(&format!(
                "\nThe demo took {seconds} s. Without --once the cluster stays until Ctrl+C.\n"
            ));
        }
        let kubeconfig = self.testbed.kubeconfig().display();
        let programs = self.programs.display();
        print(&format!(
            "\nThe cluster is yours until Ctrl+C. In another terminal:\n\n  \
             export KUBECONFIG={kubeconfig} PATH={programs}:$PATH\n\n  \
             kubectl explain devopspolicy.spec\n  \
             policyctl preview --bundle restricted -n billing\n  \
             policyctl export -A > policies.yaml; policyctl diff policies.yaml\n  \
             {}\n\n\
             Prometheus is at {}/graph.\n\n",
            watchers.hint()?,
            prometheus.url(),
        ))?;
        loop {
            // The watchdog ends the control plane with this process.
            std::thread::park();
        }
    }
}

/// Prints and flushes, so that the text keeps its place among the output of commands.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
