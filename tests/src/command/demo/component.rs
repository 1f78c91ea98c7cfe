//! The pods of one component in the demo's cluster.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::{ProcessKubelet, ReadyPod, wait_for};

use super::print;

pub(super) const SOON: Duration = Duration::from_secs(60);

/// A component of which one pod is the leader.
pub(super) struct Component<'a> {
    pub(super) kubelet: &'a ProcessKubelet<'a>,
    pub(super) name: &'static str,
}

impl Component<'_> {
    /// Prints the role of each pod.
    pub(super) fn introduce(&self) -> Result<()> {
        let leader = self.leader()?;
        for pod in self.kubelet.ready_pods(self.name) {
            let role = if pod.name() == leader.name() { "is the leader" } else { "is a standby" };
            print(&format!("{} {role}\n", pod.name()))?;
        }
        Ok(())
    }

    /// The leader; waits until there is one.
    pub(super) fn leader(&self) -> Result<ReadyPod> {
        let leads = |pod: &ReadyPod| anyhow::Ok(pod.metrics()?.value("leader", &[]) == Some(1.0));
        wait_for("one of the pods to become the leader", SOON, || {
            for pod in self.kubelet.ready_pods(self.name) {
                if leads(&pod).with_context(|| pod.name().to_owned())? {
                    return Ok(Some(pod));
                }
            }
            Ok(None)
        })
    }
}
