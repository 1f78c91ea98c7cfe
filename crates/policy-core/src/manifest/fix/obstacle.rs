//! Why a workload, or a field of it, is not edited.

/// Why a workload of a manifest, or a field of it, is left as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// JSON has no place for a change that keeps the layout.
    #[error("it is JSON, which is not edited; write it as YAML, or set the fields by hand")]
    Json,
    /// The text is the input of another program.
    #[error(
        "its document has `{{{{`, as a template does; set the fields where it is rendered from"
    )]
    Template,
    /// The edit would have to be written in another encoding.
    #[error("its file is not UTF-8; save it as UTF-8 first")]
    Encoding,
    /// All of the document and its nodes would be in memory, twice.
    #[error("its document is larger than {} MiB; split it, and it is edited", .0 >> 20)]
    TooLarge(usize),
    /// Lines that end in a way of their own.
    #[error("its lines end with carriage returns alone")]
    CarriageReturns,
    /// A key is repeated, or is no text.
    #[error("a key of its document is repeated or is no text")]
    Keys,
    /// The document is read in spite of what YAML says.
    #[error("its document is no YAML that can be edited safely")]
    NotYaml,
    /// A mapping has keys of another one.
    #[error("it has a merge key (`<<`) there; set the field where the merged keys are")]
    MergeKey,
    /// A change would change other places, too.
    #[error("it is in an anchor that aliases repeat, so that other places would change as well")]
    SharedAnchor,
    /// The value is written elsewhere.
    #[error("its {0} is an alias; set the field at the anchor")]
    Alias(&'static str),
    /// There is a value in the way.
    #[error("its {0} has a value already, which is not replaced")]
    Set(&'static str),
    /// The value is nothing, but written.
    #[error("its {0} is `null`; remove that, and it is filled in")]
    Null(&'static str),
    /// A comment may stand between any two entries.
    #[error("it is in a `{{}}` over several lines with comments")]
    FlowWithComments,
    /// Two containers have the same name.
    #[error("two of its containers have the name {0}")]
    SameName(String),
    /// A request may not be above its limit.
    #[error(
        "the value of the policy does not fit the other one of the container: a request may not be above its limit"
    )]
    Unfit,
    /// A value is there that the API server refuses.
    #[error("a value of it is refused by the API server; correct it")]
    Refused,
    /// The place is not where it should be.
    #[error("its place in the file is not certain")]
    NotFound,
    /// The edited text was read again and is not what was planned.
    #[error("the edited text would not be read as planned")]
    NotAsPlanned,
}
