//! Reading the bodies of requests within a budget of bytes that all requests share.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{PostLimits, PostedBody, Refusal};

/// The largest body that counts as small. Nearly all do: a Deployment with ten containers has some
/// tens of kilobytes.
const SMALL: usize = 256 << 10;
/// Bytes that only small bodies may take, so that they are read however many large ones there are.
const SMALL_BUDGET: usize = 8 << 20;
/// Bytes that all bodies may take; the largest body that can be read.
pub(super) const LARGE_BUDGET: usize = 24 << 20;
/// Requests that may wait for the rest of their body at a time.
const ARRIVING: usize = 256;
/// Large bodies that may wait for bytes of the budget at a time. As long as one waits, its beginning
/// takes a part of the window of its connection, of which others must have enough.
pub(crate) const WAITING: usize = 16;
/// A large body that has been arriving for longer is displaced by one that waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long, and up to which size, the rest of a body that is too large is read and dropped: many
/// callers read no answer before they have sent everything.
const DROPPED_FOR: Duration = Duration::from_secs(1);
const DROPPED_SIZE: u64 = 64 << 20;

/// The memory for the bodies of all requests.
#[derive(Debug)]
pub(super) struct BodyBudget {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    waiting: Semaphore,
    arriving: ArrivingBodies,
    /// Those of them that are large and have their bytes of the budget.
    arriving_large: ArrivingBodies,
}

/// A body, or its beginning, with the permit for its capacity.
struct HeldBody {
    bytes: Vec<u8>,
    capacity: usize,
    _permit: OwnedSemaphorePermit,
}

/// Bodies that are still arriving, the oldest first. One more than the maximum displaces the
/// oldest, so that slow uploads do not block others.
#[derive(Debug)]
struct ArrivingBodies {
    maximum: usize,
    by_age: Mutex<(u64, ByAge)>,
}

/// Since when each has been arriving, and what displaces it.
type ByAge = BTreeMap<u64, (Instant, CancellationToken)>;

/// A body that is still arriving.
struct ArrivingBody<'a> {
    bodies: &'a ArrivingBodies,
    id: u64,
    displaced: CancellationToken,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self {
            small: Arc::new(Semaphore::new(SMALL_BUDGET)),
            large: Arc::new(Semaphore::new(LARGE_BUDGET)),
            waiting: Semaphore::new(WAITING),
            arriving: ArrivingBodies::new(ARRIVING),
            arriving_large: ArrivingBodies::new(usize::MAX),
        }
    }
}

impl BodyBudget {
    /// Reads a body. Its first frame lies in the buffer of the connection and is not copied where it
    /// is the whole body; any other body gets a permit for its size, and keeps it for as long as
    /// there is a reference to the body.
    pub(super) async fn read<B>(
        &self,
        mut body: B,
        limits: &PostLimits,
    ) -> Result<PostedBody, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let declared = body.size_hint().exact();
        if declared.is_some_and(|size| size > limits.body as u64) {
            return self.read_beginning([], body, declared, limits.beginning).await;
        }
        let size =
            declared.map_or(limits.body, |size| usize::try_from(size).unwrap_or(limits.body));
        let mut read = next(&mut body).await?.unwrap_or_default();
        let Some(mut more) = next(&mut body).await? else {
            if read.len() > limits.body {
                return self.read_beginning([read], body, None, limits.beginning).await;
            }
            return Ok(PostedBody::Whole(read));
        };
        // A body without a declared size is small until it proves large.
        let likely = if declared.is_some() { size } else { size.min(SMALL) };
        if likely <= SMALL && read.len() + more.len() <= likely {
            let mut held = HeldBody::new(likely, self.acquire_small(likely)?, &read);
            match held.fill(more, &mut body).await? {
                None => return Ok(PostedBody::Whole(Bytes::from_owner(held))),
                Some(excess) => (read, more) = (Bytes::from_owner(held), excess),
            }
        }
        if size > SMALL && read.len() + more.len() <= size {
            let mut held = HeldBody::new(size, self.acquire_large(size).await?, &read);
            let arriving = self.arriving_large.enter();
            match arriving.wait(held.fill(more, &mut body)).await? {
                None => return Ok(PostedBody::Whole(Bytes::from_owner(held))),
                Some(excess) => (read, more) = (Bytes::from_owner(held), excess),
            }
        }
        self.read_beginning([read, more], body, declared, limits.beginning).await
    }

    /// Keeps the beginning of a body that is too large, and drops the rest.
    async fn read_beginning<B, const N: usize>(
        &self,
        read: [Bytes; N],
        mut body: B,
        declared: Option<u64>,
        length: usize,
    ) -> Result<PostedBody, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut held = HeldBody::new(length, self.acquire_small(length)?, &[]);
        let mut size = 0;
        for data in read {
            size += data.len() as u64;
            held.push_beginning(&data);
        }
        let rest = async {
            while size < DROPPED_SIZE
                && let Some(data) = next(&mut body).await?
            {
                size += data.len() as u64;
                held.push_beginning(&data);
            }
            Ok(())
        };
        // One that is still arriving by then is answered by what there is.
        timeout(DROPPED_FOR, rest).await.unwrap_or(Ok(()))?;
        let size = declared.unwrap_or(size);
        Ok(PostedBody::TooLarge { beginning: Bytes::from_owner(held), size })
    }

    /// Waits for a body that is still arriving, until too many others are.
    pub(super) async fn wait<T>(
        &self,
        reading: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        self.arriving.enter().wait(reading).await
    }

    fn acquire_small(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = [&self.small, &self.large]
            .into_iter()
            .find_map(|budget| Arc::clone(budget).try_acquire_many_owned(bytes).ok());
        permit.ok_or_else(|| {
            // The oldest most likely holds its bytes for too long.
            self.arriving.displace_oldest(Duration::ZERO);
            Refusal::BudgetExhausted
        })
    }

    /// Waits for its turn, at most as long as a body may take to arrive. A permit for the whole size
    /// at once: bodies that hold a part each and wait for the rest would wait for each other.
    async fn acquire_large(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Refusal::BudgetExhausted)?;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut permit = pin!(Arc::clone(&self.large).acquire_many_owned(bytes));
        loop {
            match timeout(PATIENCE, permit.as_mut()).await {
                Ok(permit) => return permit.map_err(|_| Refusal::BudgetExhausted),
                Err(_) => self.arriving_large.displace_oldest(PATIENCE),
            }
        }
    }
}

/// The next data of a body.
async fn next<B>(body: &mut B) -> Result<Option<Bytes>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    while let Some(frame) = body.frame().await {
        // A frame of another kind holds trailers, which nobody reads.
        if let Ok(data) = frame.map_err(|_| Refusal::Broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

impl HeldBody {
    /// A body that begins with what was read.
    fn new(capacity: usize, permit: OwnedSemaphorePermit, read: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(read);
        Self { bytes, capacity, _permit: permit }
    }

    /// Adds this data and then the rest of the body. Returns the first data that does not fit.
    async fn fill<B>(&mut self, mut data: Bytes, rest: &mut B) -> Result<Option<Bytes>, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            if self.bytes.len() + data.len() > self.capacity {
                return Ok(Some(data));
            }
            self.bytes.extend_from_slice(&data);
            match next(rest).await? {
                Some(next) => data = next,
                None => return Ok(None),
            }
        }
    }

    /// Adds as much of the data as fits.
    fn push_beginning(&mut self, data: &[u8]) {
        let free = self.capacity - self.bytes.len();
        self.bytes.extend_from_slice(data.get(..free).unwrap_or(data));
    }
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ArrivingBodies {
    fn new(maximum: usize) -> Self {
        Self { maximum, by_age: Mutex::default() }
    }

    fn enter(&self) -> ArrivingBody<'_> {
        let displaced = CancellationToken::new();
        let (next, by_age) = &mut *self.by_age.lock();
        if by_age.len() >= self.maximum {
            displace_oldest(by_age, Duration::ZERO);
        }
        let id = *next;
        *next += 1;
        by_age.insert(id, (Instant::now(), displaced.clone()));
        ArrivingBody { bodies: self, id, displaced }
    }

    /// Displaces the oldest, if it has been arriving for at least so long.
    fn displace_oldest(&self, patience: Duration) {
        displace_oldest(&mut self.by_age.lock().1, patience);
    }
}

fn displace_oldest(by_age: &mut ByAge, patience: Duration) {
    if let Some(oldest) = by_age.first_entry()
        && oldest.get().0.elapsed() >= patience
    {
        oldest.remove().1.cancel();
    }
}

impl ArrivingBody<'_> {
    async fn wait<T>(
        &self,
        reading: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let read = self.displaced.run_until_cancelled(reading).await;
        read.unwrap_or(Err(Refusal::TooSlow))
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
        bodies.displace_oldest(Duration::from_secs(60));
        assert!(!is_displaced(&third), "it has not been arriving for so long");
        bodies.displace_oldest(Duration::ZERO);
        assert!(is_displaced(&third) && !is_displaced(&fourth));
    }
}
