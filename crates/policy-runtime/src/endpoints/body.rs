//! Reading the body of a request, within bounds.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::timeout;

use super::Refusal;
use super::quota::Share;

/// How long a body that nobody wants is read all the same, or its sender would be reset while it
/// writes, and never see the answer.
const DISCARD: Duration = Duration::from_secs(1);

/// Reads a body of at most `limit` bytes. Its first piece is in the connection's own buffer, and
/// is not copied where it is all; beyond that each byte needs its share.
pub(super) async fn read<B>(
    body: &mut B,
    limit: usize,
    share: &mut Share<'_>,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let declared = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = next(body).await {
        // Trailers are of no interest.
        let Ok(data) = frame.map_err(|_| Refusal::Broken)?.into_data() else { continue };
        let size = first.len() + all.len() + data.len();
        if size > limit {
            return Err(Refusal::TooLarge);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if size > all.capacity() {
            let most = declared.map_or(limit, |declared| declared.clamp(size, limit));
            let capacity = size.saturating_mul(2).min(most);
            if !share.grow(capacity - all.capacity()) {
                return Err(Refusal::NoRoom);
            }
            all.reserve_exact(capacity - all.len());
        }
        all.extend_from_slice(&std::mem::take(&mut first));
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

/// Whether the head alone says that the body is larger.
pub(super) fn is_larger(body: &impl Body, limit: usize) -> bool {
    usize::try_from(body.size_hint().lower()).map_or(true, |size| size > limit)
}

/// Reads what is not wanted, for a while and into nothing.
pub(super) async fn discard(mut body: impl Body + Unpin) {
    let all = async { while let Some(Ok(_)) = next(&mut body).await {} };
    // Whoever goes on for longer is reset.
    let _ = timeout(DISCARD, all).await;
}

async fn next<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}
