//! The pods of the platform as processes, for a machine without root and without a container runtime.
//!
//! This does for each pod that the scheduler has bound what a kubelet does: it starts the program with the
//! arguments, the environment and the token of the pod, calls its probes, and writes its status. So
//! `helm install --wait`, rollouts and Services see what runs. kwok leaves these pods alone.
//!
//! What differs from a container is in two places: [`container`] maps what a process cannot have, and
//! [`network`] replaces the pod network.

mod container;
mod lifecycle;
mod network;
mod probes;
mod socks;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::runtime::{Builder, Runtime};

pub(crate) use network::egress_configuration;

use crate::http::{ANSWER, Address};
use crate::{Metrics, Testbed, client};
use network::PodNetwork;

/// The label of the pods that run as processes.
pub(crate) const PLATFORM_LABEL: [&str; 2] = ["app.kubernetes.io/part-of", "kube-devops"];
/// The label with the name of their component.
const NAME_LABEL: &str = "app.kubernetes.io/name";
/// How often the pods are listed, and how often a pod looks whether a probe is due.
const TICK: Duration = Duration::from_millis(100);

/// Runs the pods of the platform until [`Testbed::run_pods`] returns.
pub struct ProcessKubelet<'a> {
    testbed: &'a Testbed,
    /// For calls of the API server from threads.
    runtime: Runtime,
    client: Client,
    network: PodNetwork,
    pods: Mutex<BTreeMap<String, Arc<Slot>>>,
    next_address: AtomicU16,
    ended: AtomicBool,
}

/// What the threads know of one pod.
struct Slot {
    name: String,
    component: String,
    address: Ipv4Addr,
    /// Whether it is to end, because it was deleted.
    deleted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where its process listens.
    addr: Option<SocketAddr>,
    ready: bool,
}

/// A pod whose readiness probe succeeds.
#[derive(Debug, Clone)]
pub struct ReadyPod {
    name: String,
    address: Address,
}

impl Testbed {
    /// Runs the pods of the platform as processes while `then` runs. The testbed has to be started with
    /// [`crate::Parts::with_pods_as_processes`].
    pub fn run_pods<R>(&self, then: impl FnOnce(&ProcessKubelet<'_>) -> Result<R>) -> Result<R> {
        let kubelet = ProcessKubelet::new(self)?;
        thread::scope(|scope| {
            let _ended = EndWhenDropped(&kubelet.ended);
            scope.spawn(|| kubelet.follow(scope));
            then(&kubelet)
        })
    }
}

/// Ends the threads however their user ends, so that the scope can.
struct EndWhenDropped<'a>(&'a AtomicBool);

impl Drop for EndWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'a> ProcessKubelet<'a> {
    fn new(testbed: &'a Testbed) -> Result<Self> {
        ensure!(testbed.parts.pods_as_processes, "the testbed leaves the pods to kwok");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(client(testbed.kubeconfig()))?;
        Ok(Self {
            testbed,
            runtime,
            client,
            network: PodNetwork::start(testbed.folder())?,
            pods: Mutex::default(),
            next_address: AtomicU16::new(1),
            ended: AtomicBool::new(false),
        })
    }

    /// A SOCKS proxy to the addresses of the pods, for clients that run beside the cluster.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        self.network.proxy()
    }

    /// The pods of a component, such as `policy-watcher`, that are ready by their probe.
    #[must_use]
    pub fn ready_pods(&self, component: &str) -> Vec<ReadyPod> {
        let pods = lock(&self.pods);
        let of_component = pods.values().filter(|slot| slot.component == component);
        of_component.filter_map(|slot| slot.ready_pod()).collect()
    }

    /// Starts a thread for each new pod, and tells those of deleted pods.
    fn follow<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let all: Api<Pod> = Api::all(self.client.clone());
        let of_platform = ListParams::default().labels(&PLATFORM_LABEL.join("=")).match_any();
        while !self.ended() {
            // While the API server is down, everything stays as it is.
            if let Ok(pods) = self.call(all.list(&of_platform)) {
                self.start_and_end(pods.items, scope);
            }
            thread::sleep(TICK);
        }
    }

    fn start_and_end<'scope>(&'scope self, pods: Vec<Pod>, scope: &'scope Scope<'scope, '_>) {
        let mut known = lock(&self.pods);
        let uids: Vec<String> = pods.iter().filter_map(ResourceExt::uid).collect();
        for (uid, slot) in known.iter() {
            if !uids.contains(uid) {
                slot.deleted.store(true, Ordering::Relaxed);
            }
        }
        for (uid, pod) in uids.into_iter().zip(pods) {
            let is_bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            let is_deleted = pod.metadata.deletion_timestamp.is_some();
            match known.get(&uid) {
                Some(slot) => slot.deleted.store(is_deleted, Ordering::Relaxed),
                None if is_bound => {
                    let slot = Arc::new(self.slot(&pod));
                    known.insert(uid, Arc::clone(&slot));
                    scope.spawn(move || lifecycle::run(self, &pod, &slot));
                }
                None => {}
            }
        }
    }

    fn slot(&self, pod: &Pod) -> Slot {
        Slot {
            name: pod.name_any(),
            component: pod.labels().get(NAME_LABEL).cloned().unwrap_or_default(),
            address: network::address(self.next_address.fetch_add(1, Ordering::Relaxed)),
            deleted: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    fn call<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T> {
        self.runtime.block_on(call).context("the API server")
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Slot {
    fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Relaxed)
    }

    fn ready_pod(&self) -> Option<ReadyPod> {
        let state = lock(&self.state);
        let addr = state.addr.filter(|_| state.ready)?;
        Some(ReadyPod { name: self.name.clone(), address: Address { addr, tls: None } })
    }
}

impl ReadyPod {
    /// The name of the pod.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its process listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address.addr
    }

    /// Sends a GET request, and returns status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.address.get(path, ANSWER)
    }

    /// Scrapes `/metrics`.
    pub fn metrics(&self) -> Result<Metrics> {
        self.address.metrics()
    }
}

/// The lock of a panicked thread is taken over: its data is never left in an invalid state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
