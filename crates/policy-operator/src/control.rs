//! The controller: which policy is looked at when.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, future, stream};
use kube_runtime::Controller;
use kube_runtime::controller::{Action, Config};
use kube_runtime::reflector::ObjectRef;
use metrics::{counter, histogram};
use policy_core::view::PolicyView;
use policy_runtime::lease::Gate;
use policy_runtime::watch::WatchStatus;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::key::Key;
use crate::reconcile::{Looked, Reconciler};
use crate::write::WriteError;

/// So many policies are looked at, and written to, at the same time.
const CONCURRENCY: u16 = 8;

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
    Controller::for_stream(stream::pending(), policies.store())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(changed)
        .reconcile_all_on(takeovers(&gate))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, failed, Arc::new(reconciler))
        // Failures were told where they happened; a policy that is gone is none.
        .for_each(|_| async {})
        .await;
}

async fn reconcile(
    policy: Arc<PolicyView>,
    reconciler: Arc<Reconciler>,
) -> Result<Action, WriteError> {
    let start = Instant::now();
    let looked = reconciler.reconcile(&policy).await;
    if !matches!(looked, Ok(Looked::NotYet(_))) {
        counter!("devopspolicy_reconcile_total").increment(1);
        let seconds = start.elapsed().as_secs_f64();
        histogram!("devopspolicy_reconcile_duration_seconds").record(seconds);
    }
    Ok(match looked? {
        Looked::Done(None) => Action::await_change(),
        Looked::Done(Some(rest)) | Looked::NotYet(rest) => Action::requeue(rest),
    })
}

/// The policy remembers itself when to try again.
#[expect(clippy::needless_pass_by_value, reason = "the controller's signature")]
fn failed(policy: Arc<PolicyView>, _: &WriteError, reconciler: Arc<Reconciler>) -> Action {
    let rest = reconciler.rest(&policy);
    rest.map_or_else(Action::await_change, Action::requeue)
}

/// The policies that changed, and those whose namespaces did.
fn changed_policies(
    reconciler: &Reconciler,
) -> impl Stream<Item = ObjectRef<PolicyView>> + Send + 'static {
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
