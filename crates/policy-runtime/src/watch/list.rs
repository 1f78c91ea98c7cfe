//! A list in pages, for servers that do not stream lists.

use std::pin::pin;
use std::time::Duration;

use futures::{AsyncBufRead as _, AsyncBufReadExt as _};
use kube::Resource;
use kube::api::ListParams;
use kube::core::Request;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::Sink;
use super::session::Session;
use super::wire::{Page, PageMetadata, RawPage};
use crate::client::{self, reason};

/// Objects to a page: pods of the usual size make some 4 MB.
const PAGE: u32 = 250;
/// A page that is larger is asked for again in smaller ones.
const LARGEST: usize = 32 << 20;
/// For one page.
const DEADLINE: Duration = Duration::from_secs(60);

/// Reads the whole list and gives its version, from which a watch can go on; else why not.
pub(super) async fn read<T, S>(session: &Session, sink: &mut S) -> Result<String, String>
where
    T: Resource<DynamicType = ()> + DeserializeOwned,
    S: Sink<T>,
{
    let mut body = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        body.clear();
        let fetched = timeout(DEADLINE, fetch(session, &parameters, &mut body)).await;
        let is_whole = fetched.map_err(|_| format!("no page within {DEADLINE:?}"))??;
        if !is_whole {
            let limit = parameters.limit.unwrap_or(PAGE);
            if limit == 1 {
                return Err(format!("an object of the list is larger than {LARGEST} bytes"));
            }
            parameters.limit = Some((limit / 4).max(1));
            continue;
        }
        let metadata = take(session, &body, sink)?;
        session.status.heard();
        if metadata.next.is_empty() {
            return Ok(metadata.resource_version);
        }
        let next = Some(metadata.next);
        if parameters.continue_token == next {
            return Err("the server sends the same page again and again".to_owned());
        }
        parameters.continue_token = next;
    }
}

/// Reads a page; `false` where it is larger than what may be held at once.
async fn fetch(
    session: &Session,
    parameters: &ListParams,
    body: &mut Vec<u8>,
) -> Result<bool, String> {
    let request = Request::new(session.target.path).list(parameters);
    let request = request.map_err(|error| error.to_string())?;
    let uri = request.uri().to_string();
    let stream = client::read(&session.client, &uri).await.map_err(|error| reason(&error))?;
    let mut stream = pin!(stream);
    while body.len() <= LARGEST {
        let chunk = stream.fill_buf().await;
        let chunk = chunk.map_err(|error| format!("the list broke off: {error}"))?;
        if chunk.is_empty() {
            return Ok(true);
        }
        body.extend_from_slice(chunk);
        let length = chunk.len();
        stream.as_mut().consume(length);
    }
    Ok(false)
}

/// Hands on the objects of a page.
fn take<T, S>(session: &Session, body: &[u8], sink: &mut S) -> Result<PageMetadata, String>
where
    T: DeserializeOwned,
    S: Sink<T>,
{
    if let Ok(page) = serde_json::from_slice::<Page<T>>(body) {
        // Whatever else is JSON has no version, and would pass for a list of nothing.
        if page.metadata.resource_version.is_empty() {
            return Err("the answer is no list: it has no version".to_owned());
        }
        page.items.into_iter().flatten().for_each(|object| sink.applied(object));
        return Ok(page.metadata);
    }
    // One of them is no `T`, and the others shall not pay for it.
    let page: RawPage<'_> =
        serde_json::from_slice(body).map_err(|_| "the answer is no list".to_owned())?;
    if page.metadata.resource_version.is_empty() {
        return Err("the answer is no list: it has no version".to_owned());
    }
    for item in page.items.into_iter().flatten() {
        match serde_json::from_str(item.get()) {
            Ok(object) => sink.applied(object),
            Err(error) => {
                let named = serde_json::from_str(item.get()).unwrap_or_default();
                session.skip(&named, &error, sink);
            }
        }
    }
    Ok(page.metadata)
}
