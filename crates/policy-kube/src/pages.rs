//! Reading long lists in pages, each decoded straight into the type that is wanted.

use std::marker::PhantomData;
use std::time::Duration;

use futures::AsyncReadExt as _;
use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{ClusterError, ErrorKind, with_deadline};

/// The deadline of a page; 500 pods are about 7 MB.
const DEADLINE: Duration = Duration::from_secs(60);
/// Objects per page, as in client-go.
pub const PAGE: u32 = 500;
/// How often a list is resumed after the server has dropped its version.
const MAX_RESUMPTIONS: u32 = 10;

/// A part of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// The objects that could be decoded.
    pub objects: Vec<T>,
    /// The other objects.
    pub unreadable: Vec<Unreadable>,
    /// How many objects follow, as the server estimates.
    pub remaining: u64,
    next: Option<String>,
}

impl<T> Page<T> {
    /// The same with each object as another type.
    #[must_use]
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> Page<U> {
        let Self { objects, unreadable, remaining, next } = self;
        Page { objects: objects.into_iter().map(each).collect(), unreadable, remaining, next }
    }
}

/// An object that could not be decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// `namespace/name`, with `?` for a missing part.
    pub object: String,
    /// Why, without the position in the list.
    pub reason: String,
}

/// Reads all pages of the list at a path of the API, such as `/api/v1/pods`.
///
/// The server keeps the version of a list for about five minutes. A list that takes longer is
/// resumed at the present version: no object comes twice, and one created meanwhile may be missing.
///
/// # Errors
/// The call failed, or the answer is not a list.
pub async fn read<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    operation: &str,
    take: impl FnMut(Page<T>),
) -> Result<(), ClusterError> {
    let limits = Limits { deadline: DEADLINE, most: usize::MAX, page: PAGE, labels: None };
    read_within(client, path, operation, limits, take).await
}

/// How much of a list is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The deadline of a page.
    pub deadline: Duration,
    /// A list of more objects is an error.
    pub most: usize,
    /// The most objects of a page.
    pub page: u32,
    /// Only what this label selector selects is read, and of that only the metadata.
    pub labels: Option<&'a str>,
}

/// As [`read`], within limits.
///
/// # Errors
/// The call failed, the answer is not a list, or a limit was exceeded.
pub async fn read_within<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    operation: &str,
    limits: Limits<'_>,
    mut take: impl FnMut(Page<T>),
) -> Result<(), ClusterError> {
    let mut pages = Pages::new(client, path, operation, limits);
    while let Some(page) = pages.next().await? {
        take(page);
    }
    Ok(())
}

/// The pages of a list, one at a time.
pub struct Pages<'a, T> {
    client: &'a Client,
    path: &'a str,
    operation: &'a str,
    deadline: Duration,
    most: usize,
    parameters: ListParams,
    /// The pages share it.
    body: Vec<u8>,
    number: usize,
    resumptions: u32,
    is_complete: bool,
    object: PhantomData<fn() -> T>,
}

impl<'a, T: DeserializeOwned> Pages<'a, T> {
    /// Those of the list at a path of the API.
    #[must_use]
    pub fn new(client: &'a Client, path: &'a str, operation: &'a str, limits: Limits<'_>) -> Self {
        let Limits { deadline, most, page, labels } = limits;
        let mut parameters = ListParams::default().limit(page);
        parameters.label_selector = labels.map(str::to_owned);
        Self {
            client,
            path,
            operation,
            deadline,
            most,
            parameters,
            body: Vec::new(),
            number: 0,
            resumptions: 0,
            is_complete: false,
            object: PhantomData,
        }
    }

    /// The next page; `None` after the last one.
    ///
    /// # Errors
    /// As [`read_within`].
    pub async fn next(&mut self) -> Result<Option<Page<T>>, ClusterError> {
        while !self.is_complete {
            let call = (self.operation, self.deadline);
            let fetched = fetch(self.client, self.path, &self.parameters, call, &mut self.body);
            match fetched.await {
                Ok(()) => return self.decode().map(Some),
                Err(PageError::VersionGone(token)) if self.resumptions < MAX_RESUMPTIONS => {
                    self.resumptions += 1;
                    self.parameters.continue_token = Some(token);
                }
                Err(PageError::VersionGone(_)) => {
                    let limit = Duration::from_secs(300);
                    return Err(ClusterError::timeout(self.operation, limit));
                }
                Err(PageError::Cluster(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    fn decode(&mut self) -> Result<Page<T>, ClusterError> {
        let mut page = decode::<T>(&self.body).map_err(|error| {
            let reason = format!("the answer is not a list: {error}");
            ClusterError::configuration(self.operation, reason)
        })?;
        self.number += page.objects.len();
        if self.number > self.most {
            return Err(ClusterError::too_many(self.operation, self.most));
        }
        self.parameters.continue_token = page.next.take();
        self.is_complete = self.parameters.continue_token.is_none();
        Ok(page)
    }
}

enum PageError {
    /// The version of the list is gone (410); the token resumes at the present one.
    VersionGone(String),
    Cluster(ClusterError),
}

/// Fetches one page into a buffer that the pages share.
async fn fetch(
    client: &Client,
    path: &str,
    parameters: &ListParams,
    (operation, deadline): (&str, Duration),
    body: &mut Vec<u8>,
) -> Result<(), PageError> {
    let request = Request::new(path);
    let request = match parameters.label_selector {
        None => request.list(parameters),
        Some(_) => request.list_metadata(parameters),
    };
    let request = request.map_err(|error| {
        PageError::Cluster(ClusterError::configuration(operation, error.to_string()))
    })?;
    body.clear();
    let mut continue_token = None;
    let call = async {
        let mut stream = client.request_stream(request).await.inspect_err(|error| {
            if let kube::Error::Api(status) = error {
                continue_token =
                    status.metadata.as_ref().and_then(|metadata| metadata.continue_.clone());
            }
        })?;
        Ok(stream.read_to_end(body).await)
    };
    match with_deadline(deadline, operation, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(broken)) => Err(PageError::Cluster(ClusterError::interrupted(operation, &broken))),
        Err(error) => match continue_token.filter(|_| error.kind == ErrorKind::Expired) {
            Some(token) => Err(PageError::VersionGone(token)),
            None => Err(PageError::Cluster(error)),
        },
    }
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMetadata,
    items: Option<Vec<T>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
    remaining_item_count: Option<u64>,
}

/// Decodes a page; an object that cannot be decoded affects no other.
fn decode<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<Page<T>> {
    if let Ok(list) = serde_json::from_slice::<List<T>>(body) {
        return Ok(page(list.metadata, list.items.unwrap_or_default(), Vec::new()));
    }
    let list = serde_json::from_slice::<List<&RawValue>>(body)?;
    let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
    for item in list.items.unwrap_or_default() {
        match serde_json::from_str(item.get()) {
            Ok(object) => objects.push(object),
            Err(error) => unreadable.push(Unreadable::of(item, &error)),
        }
    }
    Ok(page(list.metadata, objects, unreadable))
}

fn page<T>(metadata: ListMetadata, objects: Vec<T>, unreadable: Vec<Unreadable>) -> Page<T> {
    Page {
        objects,
        unreadable,
        remaining: metadata.remaining_item_count.unwrap_or(0),
        next: metadata.next.filter(|token| !token.is_empty()),
    }
}

impl Unreadable {
    fn of(item: &RawValue, error: &serde_json::Error) -> Self {
        let object: serde_json::Value = serde_json::from_str(item.get()).unwrap_or_default();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or("?");
        let object = format!("{}/{}", text("namespace"), text("name"));
        // The position is one in the answer, which the user does not see.
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
        Self { object, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    struct PodView {
        #[serde(default, rename = "spec")]
        _spec: SpecView,
    }

    #[derive(Deserialize, Debug, Default)]
    struct SpecView {}

    #[test]
    fn a_page_has_the_number_of_remaining_objects() {
        let body = br#"{"metadata": {"continue": "t", "remainingItemCount": 7}, "items": [{}]}"#;
        let page: Page<PodView> = decode(body).unwrap();
        assert_eq!((page.objects.len(), page.remaining, page.next.as_deref()), (1, 7, Some("t")));
        let last: Page<PodView> =
            decode(br#"{"metadata": {"continue": ""}, "items": null}"#).unwrap();
        assert_eq!((last.objects.len(), last.next), (0, None));
    }

    #[test]
    fn an_unreadable_object_affects_no_other() {
        let body = br#"{"items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b", "namespace": "shop"}, "spec": 7}]}"#;
        let page: Page<PodView> = decode(body).unwrap();
        assert_eq!(page.objects.len(), 1);
        assert_eq!(page.unreadable[0].object, "shop/b");
        assert_eq!(
            page.unreadable[0].reason,
            "invalid type: integer `7`, expected struct SpecView"
        );
        assert!(decode::<PodView>(b"<html>").is_err());
    }
}
