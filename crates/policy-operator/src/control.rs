//! The controller: which policy is looked at when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _, future, stream};
use kube::Resource as _;
use kube_runtime::Controller;
use kube_runtime::controller::{Action, Config};
use kube_runtime::reflector::ObjectRef;
use metrics::{counter, histogram};
use policy_runtime::backoff::KeyedBackoff;
use policy_runtime::lease::Gate;
use policy_runtime::watch::WatchStatus;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::policies::{Guarded, Key};
use crate::reconcile::Reconciler;
use crate::write::{Class, WriteError};

/// So many policies are looked at, and written to, at the same time.
const CONCURRENCY: u16 = 8;

/// How long to wait after a failure of a class: the first time, and at most.
const DELAYS: [(Class, Duration, Duration); 5] = [
    (Class::Conflict, Duration::from_millis(100), Duration::from_secs(10)),
    (Class::Transient, Duration::from_secs(1), Duration::from_secs(60)),
    (Class::Forbidden, Duration::from_secs(10), Duration::from_secs(300)),
    (Class::Invalid, Duration::from_secs(30), Duration::from_secs(300)),
    // A lead that was lost: what is left of it is let go of then.
    (Class::NotLeader, Duration::from_secs(240), Duration::from_secs(240)),
];

/// The failures of policies, by class.
struct Failures(Mutex<HashMap<Class, KeyedBackoff<Key>>>);

impl Failures {
    fn new() -> Self {
        let of_class = |(class, first, most)| (class, KeyedBackoff::new(first, most));
        Self(Mutex::new(DELAYS.map(of_class).into()))
    }

    /// When to try again.
    fn failed(&self, key: Key, class: Class) -> Option<Duration> {
        let mut classes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        classes.get_mut(&class).map(|policies| policies.failed(key))
    }

    fn succeeded(&self, key: &Key) {
        let mut classes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (class, ..) in DELAYS {
            if let Some(policies) = classes.get_mut(&class) {
                policies.forget(key);
            }
        }
    }
}

struct Context {
    reconciler: Reconciler,
    failures: Failures,
}

/// Looks at policies until it is told to stop; what is being written then is brought to its end.
/// Begins when everything was listed once: what is not known yet must not count as missing.
pub(crate) async fn run(
    reconciler: Reconciler,
    gate: Gate,
    watches: [WatchStatus; 3],
    stop: CancellationToken,
) {
    let listed = future::join_all(watches.iter().map(WatchStatus::listed));
    if stop.run_until_cancelled(listed).await.is_none() {
        return;
    }
    let policies = reconciler.policies.clone();
    let changed = changed_policies(&reconciler).boxed();
    let context = Arc::new(Context { reconciler, failures: Failures::new() });
    Controller::for_stream(stream::pending(), policies.store())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(changed)
        .reconcile_all_on(takeovers(&gate))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, failed, context)
        // Failures were told where they happened; a policy that is gone is none.
        .for_each(|_| async {})
        .await;
}

async fn reconcile(policy: Arc<Guarded>, context: Arc<Context>) -> Result<Action, WriteError> {
    let start = Instant::now();
    let done = context.reconciler.reconcile(&policy).await;
    counter!("devopspolicy_reconcile_total").increment(1);
    histogram!("devopspolicy_reconcile_duration_seconds").record(start.elapsed().as_secs_f64());
    if done.is_ok() {
        context.failures.succeeded(&Key::of(policy.meta()));
    }
    Ok(done?.map_or_else(Action::await_change, Action::requeue))
}

#[expect(clippy::needless_pass_by_value, reason = "the controller's signature")]
fn failed(policy: Arc<Guarded>, error: &WriteError, context: Arc<Context>) -> Action {
    let class = error.class();
    counter!("devopspolicy_reconcile_errors_total", "class" => class.as_str()).increment(1);
    let key = Key::of(policy.meta());
    let is_gone = context.reconciler.policies.memory(&key).is_none();
    let delay = context.failures.failed(key.clone(), class);
    if let Some(delay) = delay.filter(|_| !is_gone) {
        if class == Class::NotLeader {
            debug!("{error}");
        } else {
            warn!(class = class.as_str(), ?delay, "{error}");
        }
        return Action::requeue(delay);
    }
    context.failures.succeeded(&key);
    Action::await_change()
}

/// The policies that changed, and those whose namespaces did.
fn changed_policies(
    reconciler: &Reconciler,
) -> impl Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    let (pods, policies) = (reconciler.pods.clone(), reconciler.policies.clone());
    let of_namespaces = stream::unfold((pods, policies.clone()), |(pods, policies)| async {
        let namespaces = pods.changed().await;
        let keys: Vec<Key> =
            namespaces.iter().flat_map(|namespace| policies.of_namespace(namespace)).collect();
        Some((keys, (pods, policies)))
    });
    let themselves = stream::unfold(policies, |policies| async {
        let keys: Vec<Key> = policies.changed().await.into_iter().collect();
        Some((keys, policies))
    });
    stream::select(of_namespaces, themselves)
        .flat_map(|keys| stream::iter(keys.into_iter().map(|key| key.reference())))
}

/// The moments at which this replica began to lead: everything may have to be written.
fn takeovers(gate: &Gate) -> impl Stream<Item = ()> + Send + use<> {
    stream::unfold(gate.changes(), |mut changes| async {
        loop {
            changes.changed().await.ok()?;
            if changes.borrow_and_update().is_some() {
                return Some(((), changes));
            }
        }
    })
}
