//! What becomes of a workload and its pods at each change, by watches: what lasts for a moment only
//! is not missed, as it would be between two reads.

use std::collections::BTreeSet;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use e2e::Testbed;
use futures::channel::oneshot;
use futures::future::{Either, select};
use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::workloads::text;
use crate::watcher::storm::client;

/// The longest that the API server lets a client of that version ask for.
const LONGEST: u32 = 294;

/// Follows a workload and the pods of its namespace, which has no others.
pub(crate) struct Sampler {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<History>,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct History {
    /// How many pods were ready at least, and not being deleted.
    pub(crate) fewest_ready: usize,
    /// When a container was restarted first.
    pub(crate) restarted: Option<Instant>,
    /// Each version of the workload, with its generation, template and status.
    pub(crate) versions: Vec<(Instant, Value)>,
}

impl Sampler {
    /// Returns once everything that changes from now on is seen.
    pub(crate) fn start(testbed: &Testbed, workload: &Value) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(client(testbed));
        let begun = runtime.block_on(Begun::new(client, workload));
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || runtime.block_on(begun.follow(stopped)));
        Self { stop, thread }
    }

    pub(crate) fn finish(self) -> History {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

impl History {
    /// From the last time that a rollout was farther than ever before, or from the first restart of
    /// a container if there was one, until the workload has this template again.
    pub(crate) fn time_to_restore(&self, template: &Value) -> Duration {
        let is_other = |(_, version): &&(Instant, Value)| version["template"] != *template;
        let patched = self.versions.iter().position(|version| is_other(&version)).unwrap();
        let (before, after) = self.versions[patched..]
            .split_at(self.versions[patched..].iter().take_while(is_other).count());
        let restored = after[0].0;
        let mut best = 0;
        let mut progressed = before[0].0;
        for (at, version) in before {
            let updated = version["updated"].as_i64().unwrap_or_default();
            if updated > best {
                (best, progressed) = (updated, *at);
            }
        }
        restored - self.restarted.unwrap_or(progressed)
    }

    /// How many templates the workload had, one after the other.
    pub(crate) fn templates(&self) -> usize {
        let mut templates: Vec<_> = self.versions.iter().map(|(_, at)| &at["template"]).collect();
        templates.dedup();
        templates.len()
    }
}

/// A change of a pod or of the workload.
enum Change {
    Pod(Box<Pod>, bool),
    Workload(Box<DynamicObject>),
}

/// What is there before the watches begin.
struct Begun {
    pods: Api<Pod>,
    workloads: Api<DynamicObject>,
    name: String,
    versions: [String; 2],
    ready: BTreeSet<String>,
    history: History,
}

impl Begun {
    async fn new(client: Client, workload: &Value) -> Self {
        let namespace = text(&workload["metadata"]["namespace"]);
        let name = text(&workload["metadata"]["name"]);
        let kind = GroupVersionKind::gvk("apps", "v1", &text(&workload["kind"]));
        let resource = ApiResource::from_gvk(&kind);
        let workloads: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &namespace, &resource);
        let pods: Api<Pod> = Api::namespaced(client, &namespace);
        let listed = pods.list(&ListParams::default()).await.unwrap();
        let found = workloads.get(&name).await.unwrap();
        let versions = [listed.metadata.resource_version, found.metadata.resource_version.clone()]
            .map(Option::unwrap);
        let ready: BTreeSet<String> =
            listed.items.iter().filter(|pod| is_ready(pod)).map(name_of).collect();
        let history = History {
            fewest_ready: ready.len(),
            restarted: None,
            versions: vec![(Instant::now(), version(&found))],
        };
        Self { pods, workloads, name, versions, ready, history }
    }

    async fn follow(mut self, mut stopped: oneshot::Receiver<()>) -> History {
        let [of_pods, of_workload] = &self.versions;
        let parameters = WatchParams::default().timeout(LONGEST);
        let pods = self.pods.watch(&parameters, of_pods).await.unwrap();
        let of_name = format!("metadata.name={}", self.name);
        let parameters = parameters.fields(&of_name);
        let workload = self.workloads.watch(&parameters, of_workload).await.unwrap();
        let pods = pods.filter_map(async |event| match event.unwrap() {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                Some(Change::Pod(pod.into(), false))
            }
            WatchEvent::Deleted(pod) => Some(Change::Pod(pod.into(), true)),
            other => panic_at(&other),
        });
        let workload = workload.filter_map(async |event| match event.unwrap() {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                Some(Change::Workload(object.into()))
            }
            other => panic_at(&other),
        });
        let mut changes = stream::select(Box::pin(pods), Box::pin(workload));
        while let Either::Left((change, _)) = select(changes.next(), &mut stopped).await {
            match change.unwrap() {
                Change::Pod(pod, is_gone) => self.saw_pod(&pod, is_gone),
                Change::Workload(object) => {
                    self.history.versions.push((Instant::now(), version(&object)));
                }
            }
        }
        self.history
    }

    fn saw_pod(&mut self, pod: &Pod, is_gone: bool) {
        if is_gone || !is_ready(pod) {
            self.ready.remove(&name_of(pod));
        } else {
            self.ready.insert(name_of(pod));
        }
        self.history.fewest_ready = self.history.fewest_ready.min(self.ready.len());
        let statuses = pod.status.iter().flat_map(|status| &status.container_statuses).flatten();
        if statuses.into_iter().any(|status| status.restart_count > 0) {
            self.history.restarted.get_or_insert_with(Instant::now);
        }
    }
}

/// A watch says that something else happened, such as that it is too old.
fn panic_at<T: std::fmt::Debug>(event: &WatchEvent<T>) -> Option<Change> {
    assert!(matches!(event, WatchEvent::Bookmark(_)), "{event:?}");
    None
}

fn name_of(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

/// As the controllers count it: a pod that is being deleted is none.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions).flatten();
    let mut conditions = conditions.into_iter();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn version(object: &DynamicObject) -> Value {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let updated = status.get("updatedReplicas");
    let updated = updated.or_else(|| status.get("updatedNumberScheduled"));
    json!({
        "generation": object.metadata.generation, "template": spec["template"],
        "updated": if status["observedGeneration"] == json!(object.metadata.generation) {
            updated.cloned().unwrap_or_default()
        } else {
            Value::Null
        },
    })
}
