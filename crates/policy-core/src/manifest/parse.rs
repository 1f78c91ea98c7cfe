//! Parses one YAML document within limits that fit its size.

use serde::de::DeserializeOwned;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{
    DuplicateKeyPolicy, Error, MergeKeyPolicy, MessageFormatter as _, Options, UserMessageFormatter,
};

use super::expansion::{self, MAX_HELD};

/// The deepest nesting of a document; the parser's own default. Each level costs stack: 64 of them
/// fit into the 2 MiB of a thread also without optimisation.
const MAX_DEPTH: usize = 64;
/// The most keys and values of a document. The API server's JSON of 64 MiB has some 5 million.
const MAX_NODES: usize = 16_000_000;
/// The longest key. YAML allows 1024 characters, JSON any number.
const MAX_KEY: usize = 65_536;
/// The largest document that is read with more tolerance, which takes memory for each key and
/// value at once. An object that an API server stores is smaller: etcd accepts 1.5 MiB.
pub(super) const MAX_TOLERANT: usize = 2 << 20;
/// How many times the size of a document its aliases may expand to.
const MAX_EXPANSION: usize = 4;
/// A smaller document is treated as one of this size.
const SMALL_DOCUMENT: usize = 256;

/// Why a document could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParseError {
    /// The line in the document, from 1.
    pub(super) line: u32,
    /// What is wrong, without the position.
    pub(super) reason: String,
    /// Whether the text is well-formed, but a value has another type than the wanted one.
    pub(super) is_mismatch: bool,
    /// Whether a key is repeated in its mapping.
    pub(super) is_duplicate_key: bool,
}

impl ParseError {
    /// A text that is not parsed to its end.
    fn unreadable(line: u32, reason: String) -> Self {
        Self { line, reason, is_mismatch: false, is_duplicate_key: false }
    }

    /// A value of another type than the wanted one.
    pub(super) fn mismatch(line: u32, reason: String) -> Self {
        Self { line, reason, is_mismatch: true, is_duplicate_key: false }
    }
}

/// Reads a document; `None` where it is empty or `null`. A repeated key is an error.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, ParseError> {
    parse_with(bytes, DuplicateKeyPolicy::Error, MergeKeyPolicy::Merge)
}

/// Reads a document whose keys may be repeated: the last value counts. Takes more memory, since
/// each mapping is collected before it is read.
pub(super) fn parse_last_wins<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, ParseError> {
    tolerable(bytes)?;
    parse_with(bytes, DuplicateKeyPolicy::LastWins, MergeKeyPolicy::Merge)
}

/// Reads a document in which repeated keys and `<<` are keys like any other.
pub(super) fn parse_every_key<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, ParseError> {
    tolerable(bytes)?;
    parse_with(bytes, DuplicateKeyPolicy::PassThrough, MergeKeyPolicy::AsOrdinary)
}

fn tolerable(bytes: &[u8]) -> Result<(), ParseError> {
    match bytes.len() {
        ..=MAX_TOLERANT => Ok(()),
        _ => Err(ParseError::unreadable(1, format!("is larger than {} MiB", MAX_TOLERANT >> 20))),
    }
}

fn parse_with<T: DeserializeOwned>(
    bytes: &[u8],
    duplicate_keys: DuplicateKeyPolicy,
    merge_keys: MergeKeyPolicy,
) -> Result<Option<T>, ParseError> {
    let text = text(bytes)?;
    if merge_keys == MergeKeyPolicy::Merge
        && let Some(line) = expansion::excess(text)
    {
        return Err(ParseError::unreadable(line, too_much_held()));
    }
    let mut options = options(text.len());
    (options.duplicate_keys, options.merge_keys) = (duplicate_keys, merge_keys);
    Ok(serde_saphyr::from_str_with_options(text, options)?)
}

fn text(bytes: &[u8]) -> Result<&str, ParseError> {
    std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error))
}

impl From<Error> for ParseError {
    fn from(error: Error) -> Self {
        Self {
            line: error
                .location()
                .map_or(1, |place| u32::try_from(place.line()).unwrap_or(u32::MAX)),
            reason: reason(&error),
            is_mismatch: is_mismatch(&error),
            is_duplicate_key: is_duplicate_key(&error),
        }
    }
}

fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> ParseError {
    let lines = memchr::memchr_iter(b'\n', &bytes[..error.valid_up_to()]).count();
    let line = u32::try_from(lines + 1).unwrap_or(u32::MAX);
    ParseError::unreadable(line, "is not UTF-8 text".to_owned())
}

/// Time and memory stay in proportion to the size of the text, aliases included.
fn options(size: usize) -> Options {
    let size = size.max(SMALL_DOCUMENT);
    let expanded = size.saturating_mul(MAX_EXPANSION);
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        // Nothing reads comments. serde-saphyr's feature `comments`, which kube-client turns on
        // for the whole build, fails at 33 comment lines between a key and its value.
        emit_comments: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: size },
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            simple_key_max_lookahead: MAX_KEY,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_aliases: size,
            max_anchors: size,
            enforce_alias_anchor_ratio: false,
            max_total_scalar_bytes: expanded,
            max_recorded_anchor_events: expanded,
            max_recorded_anchor_bytes: expanded,
        },
    }
}

fn is_duplicate_key(error: &Error) -> bool {
    match error {
        Error::AliasError { error, .. } => is_duplicate_key(error),
        error => matches!(error, Error::DuplicateMappingKey { .. }),
    }
}

fn is_mismatch(error: &Error) -> bool {
    match error {
        Error::AliasError { error, .. } => is_mismatch(error),
        Error::Unexpected { .. }
        | Error::InvalidScalar { .. }
        | Error::NullIntoString { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. }
        | Error::SerdeInvalidType { .. }
        | Error::SerdeInvalidValue { .. }
        | Error::Message { .. } => true,
        _ => false,
    }
}

fn reason(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => reason(error),
        Error::Unexpected { expected: "mapping start", .. } => NOT_AN_OBJECT.to_owned(),
        Error::Unexpected { expected: "sequence start", .. } => "expected a list".to_owned(),
        Error::Unexpected { expected: "string scalar", .. } => "expected a string".to_owned(),
        Error::InvalidScalar { ty: "bool" | "boolean", .. } => "expected true or false".to_owned(),
        Error::InvalidScalar { ty, .. } if ty.starts_with(['i', 'u']) => {
            "expected a whole number".to_owned()
        }
        Error::Budget { breach, .. } => over_budget(breach),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => TOO_MANY_ALIASES.to_owned(),
        _ => match UserMessageFormatter.format_message(error).lines().next() {
            Some("recursion limit exceeded") => too_deep(),
            Some(text) => text.to_owned(),
            None => "cannot be read".to_owned(),
        },
    }
}

/// The reason for a value that is no mapping where one is wanted.
pub(super) const NOT_AN_OBJECT: &str = "expected an object";
const TOO_MANY_ALIASES: &str = "its aliases expand to far more than its text";

fn too_much_held() -> String {
    let most = MAX_HELD >> 20;
    format!(
        "its anchors, aliases and merge keys (`<<`) take more than {most} MiB of memory up to \
         here; write their values out, or split the document"
    )
}

fn too_deep() -> String {
    format!("is nested deeper than {MAX_DEPTH} levels")
}

fn over_budget(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => too_deep(),
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
            format!("has more than {MAX_NODES} keys and values")
        }
        _ => TOO_MANY_ALIASES.to_owned(),
    }
}
