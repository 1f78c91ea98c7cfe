//! Reading objects of any kind at a path of the API.

use std::time::Duration;

use http::Request;
use kube::Client;
use serde_json::Value;

use crate::pages::{self, Limits, Page};
use crate::{ClusterError, ErrorKind, with_deadline};

/// The most objects of a list that is read whole.
const MOST: usize = 10_000;

/// Reads an object; `None` where it does not exist, or is of a kind that is not served.
///
/// # Errors
/// The call failed.
pub async fn get(
    client: &Client,
    path: &str,
    deadline: Duration,
) -> Result<Option<Value>, ClusterError> {
    let operation = format!("cannot read {path}");
    let request = async {
        let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        client.request::<Value>(request).await
    };
    match with_deadline(deadline, &operation, request).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Reads all objects of a list, one after the other; none where their kind is not served.
///
/// # Errors
/// The call failed, a page took longer than the deadline, or there are more than 10 000 objects.
pub async fn each(
    client: &Client,
    path: &str,
    deadline: Duration,
    mut take: impl FnMut(&Value),
) -> Result<(), ClusterError> {
    let operation = format!("cannot list {path}");
    let limits = Limits { deadline, most: MOST, page: pages::PAGE, labels: None };
    let read = pages::read_within(client, path, &operation, limits, |page: Page<Value>| {
        page.objects.iter().for_each(&mut take);
    });
    match read.await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        read => read,
    }
}
