//! Reading the bodies of requests within a budget of bytes that all requests share.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError};
use hyper::body::Body;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use super::Refusal;

/// Bytes of all bodies that are held at a time.
const BUDGET: usize = 32 << 20;
/// Requests that may wait for the rest of their body at a time.
const ARRIVING: usize = 256;

/// The memory for the bodies of all requests.
#[derive(Debug)]
pub(super) struct BodyBudget {
    bytes: Semaphore,
    arriving: ArrivingBodies,
}

/// Bodies that are still arriving, the oldest first. One more than the maximum displaces the
/// oldest, so that slow uploads do not block others.
#[derive(Debug)]
struct ArrivingBodies {
    maximum: usize,
    by_age: Mutex<(u64, BTreeMap<u64, CancellationToken>)>,
}

/// A body that is still arriving.
struct ArrivingBody<'a> {
    bodies: &'a ArrivingBodies,
    id: u64,
    displaced: CancellationToken,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self { bytes: Semaphore::new(BUDGET), arriving: ArrivingBodies::new(ARRIVING) }
    }
}

impl BodyBudget {
    /// Reads a body of at most `limit` bytes. Its first frame lies in the buffer of the connection
    /// and is not copied where it is the whole body; every byte beyond it needs a permit, which is
    /// to be held for as long as the body.
    pub(super) async fn read<B>(
        &self,
        mut body: B,
        limit: usize,
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Refusal>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        let declared = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        let (mut first, mut whole) = (Bytes::new(), Vec::new());
        let mut permit: Option<SemaphorePermit<'_>> = None;
        while let Some(frame) = body.frame().await {
            // A frame of another kind holds trailers, which nobody reads.
            let Ok(data) = frame.map_err(|error| refusal(&error))?.into_data() else { continue };
            if first.is_empty() && whole.is_empty() {
                first = data;
                continue;
            }
            let size = first.len() + whole.len() + data.len();
            if size > whole.capacity() {
                let largest = declared.map_or(limit, |declared| declared.min(limit)).max(size);
                let capacity = size.saturating_mul(2).min(largest);
                let more = self.acquire(capacity - whole.capacity())?;
                match &mut permit {
                    Some(permit) => permit.merge(more),
                    None => permit = Some(more),
                }
                whole.reserve_exact(capacity - whole.len());
            }
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
        Ok((if whole.is_empty() { first } else { whole.into() }, permit))
    }

    /// Waits for a body that is still arriving, until too many others are.
    pub(super) async fn wait<T>(
        &self,
        reading: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let arriving = self.arriving.enter();
        let read = arriving.displaced.run_until_cancelled(reading).await;
        read.unwrap_or(Err(Refusal::TooSlow))
    }

    fn acquire(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let permit = u32::try_from(bytes).ok().and_then(|n| self.bytes.try_acquire_many(n).ok());
        permit.ok_or_else(|| {
            // The oldest most likely holds its bytes for too long.
            self.arriving.displace_oldest();
            Refusal::BudgetExhausted
        })
    }
}

fn refusal(error: &BoxError) -> Refusal {
    if error.is::<LengthLimitError>() { Refusal::TooLarge } else { Refusal::Broken }
}

impl ArrivingBodies {
    fn new(maximum: usize) -> Self {
        Self { maximum, by_age: Mutex::default() }
    }

    fn enter(&self) -> ArrivingBody<'_> {
        let displaced = CancellationToken::new();
        let (next, by_age) = &mut *self.by_age.lock();
        if by_age.len() >= self.maximum {
            displace_oldest(by_age);
        }
        let id = *next;
        *next += 1;
        by_age.insert(id, displaced.clone());
        ArrivingBody { bodies: self, id, displaced }
    }

    fn displace_oldest(&self) {
        displace_oldest(&mut self.by_age.lock().1);
    }
}

fn displace_oldest(by_age: &mut BTreeMap<u64, CancellationToken>) {
    if let Some((_, displaced)) = by_age.pop_first() {
        displaced.cancel();
    }
}

impl Drop for ArrivingBody<'_> {
    fn drop(&mut self) {
        self.bodies.by_age.lock().1.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_arriving_body_makes_room() {
        let bodies = ArrivingBodies::new(2);
        let is_displaced = |body: &ArrivingBody<'_>| body.displaced.is_cancelled();
        let (first, second) = (bodies.enter(), bodies.enter());
        assert!(!is_displaced(&first));
        let third = bodies.enter();
        assert!(is_displaced(&first) && !is_displaced(&second));
        drop((first, second));
        let fourth = bodies.enter();
        assert!(!is_displaced(&third), "two ended before");
        bodies.displace_oldest();
        assert!(is_displaced(&third) && !is_displaced(&fourth));
    }
}
