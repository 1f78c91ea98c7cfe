//! The life of one pod: its process, its probes, its status, its end.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use super::container::{self, Prepared};
use super::probes::Checker;
use super::{ProcessKubelet, Slot, TICK, lock};
use crate::processes::Environment;
use crate::{Service, Signal};

/// The pauses before a container is started again, as of a kubelet: none at first
/// (<https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy>).
const SECOND_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The exit code that a container runtime reports after SIGKILL.
const KILLED: i32 = 137;
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// Runs a pod until it is deleted or the kubelet ends.
pub(super) fn run(kubelet: &ProcessKubelet<'_>, pod: &Pod, slot: &Slot) {
    let mut life = Life {
        kubelet,
        pod,
        slot,
        created_at: Timestamp::now(),
        started_at: Timestamp::now(),
        restarts: 0,
        reported: None,
    };
    let mut pause = Duration::ZERO;
    while !life.is_over() {
        let Err(error) = life.run_once() else { break };
        life.report(Found::Waiting { why: format!("{error:#}") });
        life.wait(pause);
        life.restarts += 1;
        pause = (pause * 2).clamp(SECOND_PAUSE, LONGEST_PAUSE);
    }
    if slot.is_deleted() && !kubelet.ended() {
        life.remove();
    }
}

struct Life<'a> {
    kubelet: &'a ProcessKubelet<'a>,
    pod: &'a Pod,
    slot: &'a Slot,
    created_at: Timestamp,
    /// When its process was started last.
    started_at: Timestamp,
    restarts: u32,
    /// What the API server was told last.
    reported: Option<Found>,
}

/// What is reported of the container.
#[derive(PartialEq, Eq)]
enum Found {
    /// It does not run, and is started again later.
    Waiting {
        why: String,
    },
    Running {
        is_started: bool,
        not_ready: Option<String>,
    },
    /// It has run to its end, and is not started again.
    Ended {
        code: i32,
    },
}

/// The probes of a running container.
struct Probes {
    startup: Option<Checker>,
    liveness: Option<Checker>,
    readiness: Option<Checker>,
}

impl Probes {
    fn of(container: &Container) -> Result<Self> {
        let now = Instant::now();
        let read =
            |probe: Option<&_>| probe.map(|probe| Checker::new(container, probe, now)).transpose();
        Ok(Self {
            startup: read(container.startup_probe.as_ref())?,
            liveness: read(container.liveness_probe.as_ref())?,
            readiness: read(container.readiness_probe.as_ref())?,
        })
    }
}

impl Life<'_> {
    /// Runs the container until the pod is deleted. An error says why the container ended before.
    fn run_once(&mut self) -> Result<()> {
        let container = container::only(self.pod)?;
        let prepared = container::prepare(self.kubelet, self.pod, self.slot)?;
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        if policy == Some("Never") {
            return self.run_to_end(&prepared);
        }
        let probes = Probes::of(container)?;
        let port = prepared.port()?;
        let service = prepared.launch(self.kubelet.testbed, &self.slot.name).start()?;
        self.started_at = Timestamp::now();
        self.kubelet.network.add(self.slot.address, port, service.addr());
        lock(&self.slot.state).addr = Some(service.addr());
        let result = self.watch(&service, probes);
        lock(&self.slot.state).ready = false;
        // In its grace period a program answers on.
        let stopped = if self.kubelet.ended() { Ok(()) } else { self.stop(&service) };
        self.kubelet.network.remove(self.slot.address);
        stopped.and(result)
    }

    /// Runs a program that ends by itself, such as that of a hook of Helm.
    fn run_to_end(&mut self, prepared: &Prepared) -> Result<()> {
        let processes = &self.kubelet.testbed.processes;
        let Prepared { program, arguments, environment } = prepared;
        let name = &self.slot.name;
        processes.start_in(&Environment::Only(environment), name, program, arguments)?;
        self.started_at = Timestamp::now();
        self.report(Found::Running { is_started: true, not_ready: None });
        while !self.is_over() {
            if let Some(status) = processes.ended(name)? {
                let code = status.code().unwrap_or(KILLED);
                while !self.is_over() {
                    // Until that is known, as nothing else will be reported.
                    self.report(Found::Ended { code });
                    thread::sleep(TICK);
                }
                return Ok(());
            }
            thread::sleep(TICK);
        }
        processes.kill(name)
    }

    /// Calls the probes until the pod is deleted. An error says why the container has to be restarted.
    fn watch(&mut self, service: &Service<'_>, mut probes: Probes) -> Result<()> {
        let (network, address) = (&self.kubelet.network, self.slot.address);
        let mut not_ready = String::new();
        while !self.is_over() {
            service.check()?;
            let is_started = match &mut probes.startup {
                None => true,
                Some(startup) => {
                    let answer = startup.call(network, address);
                    must_be_good("Startup", startup, answer)?;
                    startup.is_good() == Some(true)
                }
            };
            let mut is_ready = is_started;
            if is_started {
                probes.startup = None;
                if let Some(liveness) = &mut probes.liveness {
                    let answer = liveness.call(network, address);
                    must_be_good("Liveness", liveness, answer)?;
                }
                if let Some(readiness) = &mut probes.readiness {
                    if let Err(error) = readiness.call(network, address) {
                        not_ready = format!("Readiness probe failed: {error:#}");
                    }
                    is_ready = readiness.is_good() == Some(true);
                }
            }
            lock(&self.slot.state).ready = is_ready;
            let not_ready = (!is_ready).then(|| not_ready.clone());
            self.report(Found::Running { is_started, not_ready });
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Ends the process in the pod's grace period.
    fn stop(&self, service: &Service<'_>) -> Result<()> {
        let spec = self.pod.spec.as_ref();
        let grace = spec.and_then(|spec| spec.termination_grace_period_seconds);
        let grace = grace.and_then(|seconds| seconds.try_into().ok());
        let grace = grace.map_or(DEFAULT_GRACE, Duration::from_secs);
        if service.check().is_ok() {
            service.signal(Signal::Term)?;
        }
        let end = Instant::now() + grace;
        // What has not ended then is killed when the service is dropped.
        while service.check().is_ok() && Instant::now() < end && !self.kubelet.ended() {
            thread::sleep(TICK);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.slot.is_deleted() || self.kubelet.ended()
    }

    fn wait(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while Instant::now() < end && !self.is_over() {
            thread::sleep(TICK);
        }
    }

    /// Writes the status of the pod where it differs from what was reported last.
    fn report(&mut self, found: Found) {
        if self.reported.as_ref() == Some(&found) {
            return;
        }
        let patch = Patch::Merge(json!({ "status": self.status(&found) }));
        let (pods, parameters) = (self.pods(), PatchParams::default());
        // Tried again at the next tick while the API server is down; a pod that is gone needs none.
        let patched = pods.patch_status(&self.slot.name, &parameters, &patch);
        if self.kubelet.call(patched).is_ok() {
            self.reported = Some(found);
        }
    }

    fn status(&self, found: &Found) -> Value {
        let now = Timestamp::now().to_string();
        let (is_ready, message) = match found {
            Found::Waiting { why } | Found::Running { not_ready: Some(why), .. } => {
                (false, why.as_str())
            }
            Found::Running { not_ready: None, .. } => (true, ""),
            Found::Ended { .. } => (false, "the container has ended"),
        };
        let condition = |kind: &str, is_so: bool| {
            let status = if is_so { "True" } else { "False" };
            let message = if is_so { "" } else { message };
            json!({ "type": kind, "status": status, "message": message, "lastTransitionTime": now })
        };
        let started_at = self.started_at.to_string();
        let (phase, state, is_started) = match found {
            Found::Waiting { why } => {
                let state = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": why } });
                ("Running", state, false)
            }
            Found::Running { is_started, .. } => {
                ("Running", json!({ "running": { "startedAt": started_at } }), *is_started)
            }
            Found::Ended { code } => {
                let (phase, reason) =
                    if *code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
                let end = json!({ "exitCode": code, "reason": reason, "startedAt": started_at,
                    "finishedAt": now });
                (phase, json!({ "terminated": end }), false)
            }
        };
        let container = self.pod.spec.iter().flat_map(|spec| &spec.containers).next();
        let container = container.map(|container| {
            json!({ "name": container.name, "image": container.image, "imageID": "",
                "ready": is_ready, "started": is_started, "restartCount": self.restarts,
                "state": state })
        });
        json!({
            "phase": phase,
            "startTime": self.created_at.to_string(),
            "podIP": self.slot.address,
            "podIPs": [{ "ip": self.slot.address }],
            "conditions": [
                condition("PodScheduled", true),
                condition("Initialized", true),
                condition("ContainersReady", is_ready),
                condition("Ready", is_ready),
            ],
            "containerStatuses": Vec::from_iter(container),
        })
    }

    /// Removes the pod from the API server, which waits for the kubelet to do so.
    fn remove(&self) {
        let uid = self.pod.uid();
        let now = DeleteParams::default()
            .grace_period(0)
            .preconditions(Preconditions { uid, resource_version: None });
        // An error means that it is gone.
        let _: Result<_> = self.kubelet.call(self.pods().delete(&self.slot.name, &now));
    }

    fn pods(&self) -> Api<Pod> {
        let namespace = self.pod.namespace().unwrap_or_default();
        Api::namespaced(self.kubelet.client.clone(), &namespace)
    }
}

/// A container whose probe fails so often has to be restarted.
fn must_be_good(kind: &str, probe: &Checker, answer: Result<()>) -> Result<()> {
    match (probe.is_good(), answer) {
        (Some(false), Err(error)) => Err(error.context(format!("{kind} probe failed"))),
        _ => Ok(()),
    }
}
