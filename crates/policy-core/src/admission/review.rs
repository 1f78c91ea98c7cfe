//! Reading a request.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::compact;
use super::line::part;
use super::wire::{Addressee, Envelope, Object, Text, Wire};
use crate::view::SpecView;
use crate::workload::ObjectKind;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A request that can be answered, whatever it asks. Its texts are those of the body.
#[derive(Clone, Debug)]
pub struct Review<'a> {
    /// To whom to answer.
    pub uid: Cow<'a, str>,
    /// What is asked, or why that cannot be read: what the object is would then be a guess.
    pub request: Result<Request<'a>, String>,
}

/// What is asked. Of the object it has the spec alone: whatever its metadata or its status say, a
/// verdict cannot depend on them.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What is to be done to the object.
    pub operation: Operation,
    /// The kind of the object as it was sent, `None` for one that is not judged. Where the API
    /// server converts for the webhook (`matchPolicy: Equivalent`) it is the one converted to.
    pub kind: Option<ObjectKind>,
    /// The part of the object that is meant, such as `ephemeralcontainers`; empty for the whole.
    pub subresource: Cow<'a, str>,
    /// The namespace; what the object itself says does not count.
    pub namespace: Cow<'a, str>,
    /// Who asks, as the API server authenticated them.
    pub user: Cow<'a, str>,
    /// The spec of the object; `None` where it is not judged.
    pub spec: Option<Box<SpecView>>,
    /// The spec of what it replaces; `None` but for updates.
    pub old_spec: Option<Box<SpecView>>,
}

/// What is to be done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Made.
    Create,
    /// Changed.
    Update,
    /// Deleted.
    Delete,
    /// Connected to, as by `kubectl exec`.
    Connect,
}

/// A body that cannot be answered: nobody knows which request it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
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
    pub fn read(body: &'a [u8]) -> Result<Self, Unreadable> {
        match compact::read::<Envelope<'_, Wire<'_, Object<'_>>>>(body) {
            Some(envelope) => {
                let mut wire = envelope.open()?;
                let uid = known(std::mem::take(&mut wire.uid))?;
                let request = wire.request(Ok).map_err(|why| part(&why));
                Ok(Self { uid, request })
            }
            None => Self::read_apart(body),
        }
    }

    /// Reads as much of a request as can be read, one part after the other.
    fn read_apart(body: &'a [u8]) -> Result<Self, Unreadable> {
        let read = serde_json::from_slice::<Envelope<'_, Addressee<'_>>>(body);
        let envelope = read.map_err(|error| Unreadable::Malformed(part(&error.to_string())))?;
        let uid = known(envelope.open()?.uid)?;
        let read = serde_json::from_slice::<Envelope<'_, Wire<'_, &RawValue>>>(body);
        let request = match read.map(|envelope| envelope.request) {
            Ok(Some(wire)) => wire.request(object),
            Ok(None) => Err("there is no request".to_owned()),
            Err(error) => Err(format!("the request cannot be read: {}", reason(&error))),
        };
        Ok(Self { uid, request: request.map_err(|why| part(&why)) })
    }
}

impl<R> Envelope<'_, R> {
    /// The request, where there is one.
    fn open(self) -> Result<R, Unreadable> {
        let (Text(kind), Text(api_version)) = (self.kind, self.api_version);
        if kind != KIND || api_version != API_VERSION {
            let [kind, api_version] = [kind, api_version].map(|text| part(&text));
            return Err(Unreadable::WrongType { kind, api_version });
        }
        self.request.ok_or(Unreadable::NoUid)
    }
}

fn known(Text(uid): Text<'_>) -> Result<Cow<'_, str>, Unreadable> {
    if uid.is_empty() { Err(Unreadable::NoUid) } else { Ok(uid) }
}

fn object(raw: &RawValue) -> Result<Object<'_>, String> {
    serde_json::from_str(raw.get()).map_err(|error| reason(&error))
}

/// Without the position: it is one in a text that nobody sees.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

impl<'a> Request<'a> {
    /// A request to make an object of that kind, by nobody in particular.
    #[must_use]
    pub fn create(kind: ObjectKind, namespace: &'a str, spec: SpecView) -> Self {
        Self {
            operation: Operation::Create,
            kind: Some(kind),
            subresource: Cow::default(),
            namespace: namespace.into(),
            user: Cow::default(),
            spec: Some(Box::new(spec)),
            old_spec: None,
        }
    }

    /// The kind where the request is one that is judged at all: a pod or an object with a pod
    /// template that is made or changed, as a whole or by its ephemeral containers.
    #[must_use]
    pub fn judged_kind(&self) -> Option<ObjectKind> {
        let is_judged = matches!(self.operation, Operation::Create | Operation::Update)
            && matches!(&*self.subresource, "" | "ephemeralcontainers");
        self.kind.filter(|_| is_judged)
    }
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 4] = [Self::Create, Self::Update, Self::Delete, Self::Connect];

    /// The operation as a metric's label, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Connect => "connect",
        }
    }

    /// The operation by its name in a request, in capitals.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "CREATE" => Some(Self::Create),
            "UPDATE" => Some(Self::Update),
            "DELETE" => Some(Self::Delete),
            "CONNECT" => Some(Self::Connect),
            _ => None,
        }
    }
}
