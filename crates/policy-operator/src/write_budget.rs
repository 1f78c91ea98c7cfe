//! How much the operator writes for one namespace, so that no namespace uses up the API server or
//! the reconciles of others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The writes that a namespace may need at once: the finalizers and the first statuses of as many
/// policies as are judged in a namespace.
const BURST: u32 = 2 * 64;
/// After a burst, one write in that time. A policy that always changes needs one a second, and one
/// more a minute for its audit result and its Event: nine such policies in a namespace wait for
/// nothing.
const INTERVAL: Duration = Duration::from_millis(100);
/// With fewer namespaces than that, those with a full budget are not searched for.
const MIN_LIMIT: usize = 256;

/// The budget of each namespace: [`BURST`] writes, of which one comes back in each [`INTERVAL`].
/// Writes are never refused. The [`ReconcileQueue`](crate::queue::ReconcileQueue) holds a namespace
/// that has used up its budget until a write comes back, and the latest status is written then.
/// Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteBudget(Arc<Mutex<Spent>>);

#[derive(Debug, Default)]
struct Spent {
    /// When the budget of a namespace is full again. One that is not here is full.
    full_at: HashMap<Arc<str>, Instant>,
    /// At that many namespaces, those with a full budget are removed.
    limit: usize,
}

impl WriteBudget {
    /// Counts one write for a namespace.
    pub(crate) fn spend(&self, namespace: &Arc<str>) {
        let now = Instant::now();
        let Spent { full_at, limit } = &mut *self.0.lock();
        if let Some(at) = full_at.get_mut(namespace) {
            *at = now.max(*at) + INTERVAL;
            return;
        }
        if full_at.len() >= *limit {
            full_at.retain(|_, at| *at > now);
            *limit = MIN_LIMIT.max(full_at.len() * 2);
        }
        full_at.insert(Arc::clone(namespace), now + INTERVAL);
    }

    /// When the next write of a namespace may be made; `None` if now.
    pub(crate) fn exhausted_until(&self, namespace: &str, now: Instant) -> Option<Instant> {
        let full_at = *self.0.lock().full_at.get(namespace)?;
        let until = full_at.checked_sub(INTERVAL * (BURST - 1))?;
        (until > now).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_then_one_write_comes_back_in_each_interval() {
        let (budget, shop) = (WriteBudget::default(), Arc::from("shop"));
        let free_in = |budget: &WriteBudget| {
            let now = Instant::now();
            budget.exhausted_until("shop", now).map(|until| until - now)
        };
        for _ in 0..BURST {
            assert_eq!(free_in(&budget), None);
            budget.spend(&shop);
        }
        assert_eq!(free_in(&budget), Some(INTERVAL));
        assert_eq!(budget.exhausted_until("bank", Instant::now()), None, "each has its own");
        budget.spend(&shop);
        assert_eq!(
            free_in(&budget),
            Some(INTERVAL * 2),
            "a write that had begun is paid for later"
        );
        tokio::time::advance(INTERVAL * 2).await;
        assert_eq!(free_in(&budget), None);
        tokio::time::advance(INTERVAL * BURST * 2).await;
        for _ in 0..BURST {
            assert_eq!(free_in(&budget), None, "no more than a burst is saved up");
            budget.spend(&shop);
        }
        assert_eq!(free_in(&budget), Some(INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn nine_policies_that_change_each_second_wait_for_nothing() {
        let (budget, shop) = (WriteBudget::default(), Arc::from("shop"));
        for second in 0..1_200 {
            // Each writes its status, and each minute its Event and its audit result.
            let writes = if second % 60 == 0 { 27 } else { 9 };
            for _ in 0..writes {
                assert_eq!(budget.exhausted_until("shop", Instant::now()), None, "{second}");
                budget.spend(&shop);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn namespaces_with_a_full_budget_take_no_memory() {
        let budget = WriteBudget::default();
        for number in 0..10 * MIN_LIMIT {
            budget.spend(&format!("team-{number}").into());
            tokio::time::advance(INTERVAL).await;
        }
        let stored = budget.0.lock().full_at.len();
        assert!(stored <= MIN_LIMIT, "{stored}");
    }
}
