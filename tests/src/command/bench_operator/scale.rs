//! What the size of a cluster costs, with a fake API server.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{Service, Testbed, say};

use super::super::fake_api::{FakeApi, Shape, Watched};
use super::super::measure::{median, relist, wait, wait_ready};
use super::super::process;

/// The pods of each namespace, and the namespaces of the large and the small cluster.
const PODS: usize = 100;
const MANY: usize = 1_000;
const FEW: usize = 10;
/// One pod in that many restarts too often; the pods after those change.
const FAILING: usize = 5;
const RELISTS: u64 = 3;
/// Each has a quiet half and one with changes. Together they are shorter than the four minutes
/// after which heartbeats start, so that no other work is counted.
const WINDOWS: usize = 5;
const HALF: Duration = Duration::from_secs(16);
/// After the start, for its remaining work.
const SETTLING: Duration = Duration::from_secs(10);
/// The time between two changes. Each namespace changes a little less than once a second, so that
/// each change is judged and its status written.
const EVERY: Duration = Duration::from_millis(105);

pub(super) struct Scale {
    pub(super) rss_mib: f64,
    pub(super) cost_growth: f64,
}

/// Measures both clusters at the same time, so that other load on the machine affects both.
pub(super) fn measure(testbed: &Testbed, program: &Path) -> Result<Scale> {
    let (many, few) = (fake(MANY)?, fake(FEW)?);
    say(&format!("{} pods of {} bytes", MANY * PODS, many.pod_bytes()));
    let start = |name, fake: &FakeApi| {
        let kubeconfig = fake.kubeconfig(testbed.folder())?;
        let operator = testbed.service(name, program).kubeconfig(&kubeconfig).start()?;
        wait_ready(&operator)?;
        anyhow::Ok(operator)
    };
    let small = start("few", &few)?;
    let large = start("many", &many)?;
    for (fake, policies) in [(&many, MANY), (&few, FEW)] {
        wait(|| Ok(fake.statuses_written() >= policies))?;
    }
    thread::sleep(SETTLING);
    let cost_growth = cost_growth([(&many, &large), (&few, &small)])?;
    Ok(Scale { rss_mib: rss(&many, &large)?, cost_growth })
}

fn fake(namespaces: usize) -> Result<FakeApi> {
    let pods = namespaces * PODS;
    FakeApi::with_policies(Shape::even(pods, namespaces).failing(FAILING), &["strict"])
}

/// The processor time of a changed pod in the large cluster divided by that in the small one: each
/// is the time while pods change, less that while they do not.
fn cost_growth(clusters: [(&FakeApi, &Service<'_>); 2]) -> Result<f64> {
    let mut changes = Changes { sent: 0 };
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..WINDOWS {
        let quiet = used(clusters, || thread::sleep(HALF))?;
        let before = changes.sent;
        let busy = used(clusters, || changes.send(clusters.map(|(fake, _)| fake)))?;
        let sent = (changes.sent - before) as f64;
        let [many, few] = [0, 1].map(|side| (busy[side] - quiet[side]) * 1e6 / sent);
        say(&format!(
            "{sent} changes: {many:.0} µs each with {} pods, {few:.0} µs with {}; quiet {:.3} s, {:.3} s",
            MANY * PODS,
            FEW * PODS,
            quiet[0],
            quiet[1]
        ));
        costs[0].push(many);
        costs[1].push(few);
    }
    for (fake, _) in clusters {
        let written = fake.statuses_written();
        ensure!(written > changes.sent * 9 / 10, "{written} statuses of {} changes", changes.sent);
    }
    // Linux counts hundredths of a second: medians of each side are more precise than one of ratios.
    let [many, few] = costs.map(median);
    Ok(many / few)
}

/// The processor time that each takes during the work, in seconds.
fn used(clusters: [(&FakeApi, &Service<'_>); 2], work: impl FnOnce()) -> Result<[f64; 2]> {
    let now = || anyhow::Ok([process::cpu(clusters[0].1)?, process::cpu(clusters[1].1)?]);
    let before = now()?;
    work();
    let after = now()?;
    Ok([after[0] - before[0], after[1] - before[1]])
}

/// Changes of pods in the namespaces that both clusters have.
struct Changes {
    sent: usize,
}

impl Changes {
    /// Sends the same changes to both clusters, for half a window.
    fn send(&mut self, clusters: [&FakeApi; 2]) {
        let start = Instant::now();
        let mut due = start;
        while due < start + HALF {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let (namespace, round) = (self.sent % FEW, self.sent / FEW);
            // A pod starts to fail; in the next pass over the namespace it recovers.
            let changing = PODS / FAILING;
            let pod = round % changing * FAILING + 1;
            let restarts = if (round / changing).is_multiple_of(2) { 9 } else { 0 };
            for (cluster, namespaces) in clusters.into_iter().zip([MANY, FEW]) {
                cluster.change(Watched::Pods, pod * namespaces + namespace, 1, restarts);
            }
            self.sent += 1;
            due += EVERY;
        }
        // Includes the reconciles of the last changes.
        thread::sleep(Duration::from_secs(1));
    }
}

/// The resident memory after relists. The highest is printed as well.
fn rss(fake: &FakeApi, operator: &Service<'_>) -> Result<f64> {
    let (before, _) = operator.memory_mib()?;
    relist(fake, operator, RELISTS)?;
    let state: serde_json::Value = serde_json::from_str(&operator.get("/debug/state")?.1)?;
    let pods = state["pods"].as_u64().context("no number of pods")?;
    ensure!(pods == (MANY * PODS) as u64, "{pods} pods");
    let (now, peak) = operator.memory_mib()?;
    say(&format!("{before:.1} MiB resident, after {RELISTS} relists {now:.1}, {peak:.1} at most"));
    Ok(now)
}
