//! Two replicas of a service, beside the demo's control plane.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::{Service, Testbed, service_binary};

use super::print;

pub(super) const SOON: Duration = Duration::from_secs(60);

/// The replicas. They run until this is dropped.
pub(super) struct Replicas<'a> {
    testbed: &'a Testbed,
    replicas: [Service<'a>; 2],
}

impl<'a> Replicas<'a> {
    /// Starts them with the rights of deploy/kustomize/base.
    pub(super) fn start(testbed: &'a Testbed, service: &str) -> Result<Self> {
        testbed.install_base()?;
        let kubeconfig = testbed.account_kubeconfig("kube-devops", service)?;
        let program = service_binary(service)?;
        let start = |replica: &str| {
            let name = format!("{service}-{replica}");
            testbed.service(&name, &program).kubeconfig(&kubeconfig).start()
        };
        let replicas = Self { testbed, replicas: [start("a")?, start("b")?] };
        for replica in &replicas.replicas {
            replica.wait_ready(SOON)?;
        }
        Ok(replicas)
    }

    /// Prints the address and the role of each replica.
    pub(super) fn introduce(&self) -> Result<()> {
        let leader = self.leader()?;
        for replica in &self.replicas {
            let role =
                if replica.addr() == leader.addr() { "is the leader" } else { "is a standby" };
            print(&format!("{} at http://{} {role}\n", replica.name(), replica.addr()))?;
        }
        Ok(())
    }

    /// The leader; waits until there is one.
    pub(super) fn leader(&self) -> Result<&Service<'a>> {
        let mut leader = None;
        self.testbed.wait_for("one of the replicas to become the leader", SOON, || {
            for replica in &self.replicas {
                if replica.metrics()?.value("leader", &[]) == Some(1.0) {
                    leader = Some(replica);
                }
            }
            Ok(leader.is_some())
        })?;
        leader.context("no replica is the leader")
    }
}
