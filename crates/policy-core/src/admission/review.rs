//! Reading a request.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::compact;
use super::request::Request;
use super::wire::{Addressee, Envelope, Object, Wire};
use super::{API_VERSION, KIND};
use crate::text::excerpt;
use crate::view::Text;

/// A request that can be answered, whatever it asks. Its texts are those of the body.
#[derive(Clone, Debug)]
pub struct Review<'a> {
    /// To whom to answer.
    pub uid: Cow<'a, str>,
    /// What is asked, or why that cannot be read: what the object is would then be a guess.
    pub request: Result<Request<'a>, String>,
}

/// A body that cannot be answered: nobody knows which request it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// Not JSON, or of another shape.
    #[error("the body cannot be read as an AdmissionReview: {0}")]
    Malformed(String),
    /// An object of another kind or version.
    #[error(
        "the body is no {KIND} of {API_VERSION}: its kind is `{kind}`, its apiVersion `{api_version}`"
    )]
    WrongType {
        /// What it says.
        kind: String,
        /// What it says.
        api_version: String,
    },
    /// No request, or one without uid.
    #[error("the AdmissionReview has no request.uid to answer to")]
    NoUid,
}

impl<'a> Review<'a> {
    /// Reads a request: as the API server writes it in one pass, which passes over what is not
    /// judged without a look into it. Missing fields and `null` are the same. Memory and time are
    /// bounded by the size of the body.
    ///
    /// # Errors
    /// Where there is no uid to answer to.
    pub fn decode(body: &'a [u8]) -> Result<Self, Undecodable> {
        match compact::read::<Envelope<'_, Wire<'_, Object<'_>>>>(body) {
            Some(envelope) => {
                let mut wire = envelope.open()?;
                let uid = known(std::mem::take(&mut wire.uid))?;
                let request = wire.request(Ok).map_err(|why| excerpt(&why).into_owned());
                Ok(Self { uid, request })
            }
            None => Self::decode_in_parts(body),
        }
    }

    /// Reads as much of a request as can be read, one part after the other.
    fn decode_in_parts(body: &'a [u8]) -> Result<Self, Undecodable> {
        let read = serde_json::from_slice::<Envelope<'_, Addressee<'_>>>(body);
        let envelope =
            read.map_err(|error| Undecodable::Malformed(excerpt(&error.to_string()).into_owned()))?;
        let uid = known(envelope.open()?.uid)?;
        let read = serde_json::from_slice::<Envelope<'_, Wire<'_, &RawValue>>>(body);
        let request = match read.map(|envelope| envelope.request) {
            Ok(Some(wire)) => wire.request(object),
            Ok(None) => Err("there is no request".to_owned()),
            Err(error) => Err(format!("the request cannot be read: {}", reason(&error))),
        };
        Ok(Self { uid, request: request.map_err(|why| excerpt(&why).into_owned()) })
    }
}

impl<R> Envelope<'_, R> {
    /// The request, where there is one.
    fn open(self) -> Result<R, Undecodable> {
        let (Text(kind), Text(api_version)) = (self.kind, self.api_version);
        if kind != KIND || api_version != API_VERSION {
            let [kind, api_version] = [kind, api_version].map(|text| excerpt(&text).into_owned());
            return Err(Undecodable::WrongType { kind, api_version });
        }
        self.request.ok_or(Undecodable::NoUid)
    }
}

fn known(Text(uid): Text<'_>) -> Result<Cow<'_, str>, Undecodable> {
    if uid.is_empty() { Err(Undecodable::NoUid) } else { Ok(uid) }
}

fn object(raw: &RawValue) -> Result<Object<'_>, String> {
    serde_json::from_str(raw.get()).map_err(|error| reason(&error))
}

/// Without the position: it is one in a text that nobody sees.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}
