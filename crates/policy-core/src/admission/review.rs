//! Reading a request.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::compact;
use super::line::part;
use super::wire::{Addressee, Envelope, Wire};
use crate::view::{ObjectView, SpecOnly};
use crate::workload::ObjectKind;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A request that can be answered, whatever it asks.
#[derive(Clone, Debug)]
pub struct Review {
    /// To whom to answer.
    pub uid: String,
    /// What is asked, or why that cannot be read: what the object is would then be a guess.
    pub request: Result<Request, String>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is to be done to the object.
    pub operation: Operation,
    /// The kind of the object as it was sent, `None` for one that is not judged. Where the API
    /// server converts for the webhook (`matchPolicy: Equivalent`) it is the one converted to.
    pub kind: Option<ObjectKind>,
    /// The part of the object that is meant, such as `ephemeralcontainers`; empty for the whole.
    pub subresource: String,
    /// The namespace; what the object itself says does not count.
    pub namespace: String,
    /// The name; may be empty where the API server is to make one.
    pub name: String,
    /// Who asks, as the API server authenticated them.
    pub user: String,
    /// Whether nothing will be stored.
    pub is_dry_run: bool,
    /// The object, its type and spec only: metadata and status are not read. `None` where it is
    /// not judged.
    pub object: Option<Box<ObjectView>>,
    /// The same of what it replaces; `None` but for updates.
    pub old_object: Option<Box<ObjectView>>,
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

impl Review {
    /// Reads a request: as the API server writes it in one pass, which passes over what is not
    /// judged without a look into it. Missing fields and `null` are the same. Memory and time are
    /// bounded by the size of the body.
    ///
    /// # Errors
    /// Where there is no uid to answer to.
    pub fn read(body: &[u8]) -> Result<Self, Unreadable> {
        match compact::read::<Envelope<Wire<SpecOnly>>>(body) {
            Some(envelope) => {
                let mut wire = envelope.open()?;
                let uid = known(wire.uid.take())?;
                let request = wire.request(|object| Ok(object.0)).map_err(|why| part(&why));
                Ok(Self { uid, request })
            }
            None => Self::read_apart(body),
        }
    }

    /// Reads as much of a request as can be read, one part after the other.
    fn read_apart(body: &[u8]) -> Result<Self, Unreadable> {
        let read = serde_json::from_slice::<Envelope<Addressee>>(body);
        let envelope = read.map_err(|error| Unreadable::Malformed(part(&error.to_string())))?;
        let uid = known(envelope.open()?.uid)?;
        let read = serde_json::from_slice::<Envelope<Wire<&RawValue>>>(body);
        let request = match read.map(|envelope| envelope.request) {
            Ok(Some(wire)) => wire.request(object),
            Ok(None) => Err("there is no request".to_owned()),
            Err(error) => Err(format!("the request cannot be read: {}", reason(&error))),
        };
        Ok(Self { uid, request: request.map_err(|why| part(&why)) })
    }
}

impl<R> Envelope<R> {
    /// The request, where there is one.
    fn open(self) -> Result<R, Unreadable> {
        let [kind, api_version] = [self.kind, self.api_version].map(Option::unwrap_or_default);
        if kind != KIND || api_version != API_VERSION {
            let [kind, api_version] = [kind, api_version].map(|text| part(&text));
            return Err(Unreadable::WrongType { kind, api_version });
        }
        self.request.ok_or(Unreadable::NoUid)
    }
}

fn known(uid: Option<String>) -> Result<String, Unreadable> {
    uid.filter(|uid| !uid.is_empty()).ok_or(Unreadable::NoUid)
}

fn object(raw: &RawValue) -> Result<Box<ObjectView>, String> {
    let mut json = serde_json::Deserializer::from_str(raw.get());
    SpecOnly::deserialize(&mut json).map(|object| object.0).map_err(|error| reason(&error))
}

/// Without the position: it is one in a text that nobody sees.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

impl Request {
    /// A request to make an object of that kind, by nobody in particular.
    #[must_use]
    pub fn create(kind: ObjectKind, namespace: &str, object: ObjectView) -> Self {
        Self {
            operation: Operation::Create,
            kind: Some(kind),
            subresource: String::new(),
            namespace: namespace.to_owned(),
            name: String::new(),
            user: String::new(),
            is_dry_run: false,
            object: Some(Box::new(object)),
            old_object: None,
        }
    }

    /// The kind where the request is one that is judged at all: a pod or an object with a pod
    /// template that is made or changed, as a whole or by its ephemeral containers.
    #[must_use]
    pub fn judged_kind(&self) -> Option<ObjectKind> {
        let is_judged = matches!(self.operation, Operation::Create | Operation::Update)
            && matches!(self.subresource.as_str(), "" | "ephemeralcontainers");
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
