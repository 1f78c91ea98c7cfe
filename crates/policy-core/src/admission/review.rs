//! Decoding a request.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::compact;
use super::elsewhere::specs;
use super::raw::Raw;
use super::request::{Operation, Request};
use super::wire::{Envelope, Object, RawRequest, RequestUid};
use super::{API_VERSION, KIND};
use crate::text::excerpt;
use crate::view::Text;

/// A review that is decoded in one pass.
pub(super) type PlainReview<'a> = Envelope<'a, RawRequest<'a, Object<'a>, Object<'a>>>;

/// A request that can be answered. Its texts are borrowed from the body.
#[derive(Clone, Debug)]
pub struct Review<'a> {
    /// The uid that the response must have.
    pub uid: Cow<'a, str>,
    /// The request, or why it cannot be decoded.
    pub request: Result<Request<'a>, String>,
}

/// A body that cannot be answered, because it has no uid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It is not JSON, or not an object.
    #[error("the body cannot be read as an AdmissionReview: {0}")]
    Malformed(String),
    /// It is an object of another kind or version.
    #[error(
        "the body is no {KIND} of {API_VERSION}: its kind is `{kind}`, its apiVersion `{api_version}`"
    )]
    WrongType {
        /// The kind of the body.
        kind: String,
        /// The version of the body.
        api_version: String,
    },
    /// It has no request, or one without a uid.
    #[error("the AdmissionReview has no request.uid to answer to")]
    NoUid,
}

impl<'a> Review<'a> {
    /// Decodes a request. Reviews as the API server writes them are decoded in one pass, which skips
    /// everything that is not judged. `null` is the same as a missing field. Memory and time are
    /// bounded by the size of the body.
    ///
    /// # Errors
    /// There is no uid to answer to.
    pub fn decode(body: &'a [u8]) -> Result<Self, Undecodable> {
        if let Some(envelope) = compact::read::<PlainReview<'_>>(body) {
            let mut raw = envelope.open()?;
            let uid = known(std::mem::take(&mut raw.uid))?;
            let request = raw.request(Ok, Ok).map_err(|why| excerpt(&why).into_owned());
            return Ok(Self { uid, request }.of(body));
        }
        let read = |raw: RawRequest<'a, &'a RawValue, &'a RawValue>| raw.request(object, object);
        let (uid, request) = in_parts(body, read)?;
        Ok(Self { uid, request }.of(body))
    }

    /// The same with its body, and with the pod templates that are not in the usual place.
    fn of(mut self, body: &'a [u8]) -> Self {
        let Ok(request) = &mut self.request else { return self };
        request.body = Raw(body);
        let Some(kind) = request.judged_kind() else { return self };
        match specs(kind, request.body) {
            Ok(None) => {}
            Ok(Some((spec, old_spec))) => {
                request.spec = spec;
                request.old_spec = old_spec.filter(|_| request.operation == Operation::Update);
            }
            Err(why) => self.request = Err(excerpt(&why).into_owned()),
        }
        self
    }
}

/// Decodes the parts of a request one by one, so that an unreadable part does not prevent an answer.
/// Returns the uid, and the request or why it cannot be decoded.
pub(super) fn in_parts<'a, N: Deserialize<'a>, O: Deserialize<'a>, T>(
    body: &'a [u8],
    read: impl FnOnce(RawRequest<'a, N, O>) -> Result<T, String>,
) -> Result<(Cow<'a, str>, Result<T, String>), Undecodable> {
    let envelope = serde_json::from_slice::<Envelope<'_, RequestUid<'_>>>(body)
        .map_err(|error| Undecodable::Malformed(excerpt(&error.to_string()).into_owned()))?;
    let uid = known(envelope.open()?.uid)?;
    let envelope = serde_json::from_slice::<Envelope<'_, RawRequest<'_, N, O>>>(body);
    let request = match envelope.map(|envelope| envelope.request) {
        Ok(Some(raw)) => read(raw),
        Ok(None) => Err("there is no request".to_owned()),
        Err(error) => Err(format!("the request cannot be read: {}", reason(&error))),
    };
    Ok((uid, request.map_err(|why| excerpt(&why).into_owned())))
}

impl<R> Envelope<'_, R> {
    /// The request, if the review has one.
    pub(super) fn open(self) -> Result<R, Undecodable> {
        let (Text(kind), Text(api_version)) = (self.kind, self.api_version);
        if kind != KIND || api_version != API_VERSION {
            let [kind, api_version] = [kind, api_version].map(|text| excerpt(&text).into_owned());
            return Err(Undecodable::WrongType { kind, api_version });
        }
        self.request.ok_or(Undecodable::NoUid)
    }
}

pub(super) fn known(Text(uid): Text<'_>) -> Result<Cow<'_, str>, Undecodable> {
    if uid.is_empty() { Err(Undecodable::NoUid) } else { Ok(uid) }
}

fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| reason(&error))
}

/// The reason without the position, which would refer to a text that users do not see.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}
