//! The types that are known before an evaluation.

use std::fmt;

/// Which fields of a variable expressions may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Any.
    Any,
    /// These by name. Others are refused when an expression is compiled.
    Fields(&'static [(&'static str, Shape)]),
    /// The same of a variable that Kubernetes declares with its type, not as `dyn`.
    Message(&'static [(&'static str, Shape)]),
    /// A text, in such a variable.
    Text,
    /// Texts by name, in such a variable.
    Texts,
}

/// The type of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    /// Known only when it is evaluated.
    Dyn,
    /// A variable, or a part of one.
    Part(&'static [(&'static str, Shape)]),
    /// The members of a list that has none: whatever is asked for.
    Free,
    /// A variable of a declared type, or a part of one.
    Message(&'static [(&'static str, Shape)]),
    /// `map(string, string)`.
    Texts,
    Null,
    Bool,
    Int,
    Double,
    String,
    List(Box<Type>),
}

impl Type {
    pub(crate) fn of(shape: Shape) -> Self {
        match shape {
            Shape::Any => Self::Dyn,
            Shape::Fields(fields) => Self::Part(fields),
            Shape::Message(fields) => Self::Message(fields),
            Shape::Text => Self::String,
            Shape::Texts => Self::Texts,
        }
    }

    pub(crate) fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    /// The type with its article.
    pub(crate) fn named(&self) -> String {
        let takes_an = matches!(self, Self::Int | Self::Message(_));
        format!("{} {self}", if takes_an { "an" } else { "a" })
    }

    pub(crate) const fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Part(_) | Self::Free)
    }

    /// Whether a value of this type may be one of the other.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(own), Self::List(other)) => own.fits(other),
            (Self::Message(_), Self::Null) | (Self::Null, Self::Message(_)) => true,
            _ => self.is_dyn() || other.is_dyn() || self == other,
        }
    }

    /// Whether both may be members of a list literal: Kubernetes takes no `dyn` beside a known type
    /// there (`HomogeneousAggregateLiterals` of cel-go).
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Free, _) | (_, Self::Free) => true,
            (Self::List(own), Self::List(other)) => own.is_same(other),
            _ => self == other || (self.is_dyn() && other.is_dyn()),
        }
    }

    /// The type of a value that is of either; they fit.
    pub(crate) fn joined(self, other: Self) -> Self {
        match (self, other) {
            (Self::Free, other) | (other, Self::Free) => other,
            (Self::List(own), Self::List(other)) => Self::list(own.joined(*other)),
            (own, other) if own == other && !own.is_dyn() => own,
            _ => Self::Dyn,
        }
    }

    /// The type of the members that a comprehension goes through; `None` where it cannot.
    pub(crate) fn member(&self) -> Option<Self> {
        match self {
            Self::List(member) => Some((**member).clone()),
            Self::Texts => Some(Self::String),
            other => other.is_dyn().then_some(Self::Dyn),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dyn | Self::Part(_) | Self::Free => "dyn",
            Self::Message(_) => "object",
            Self::Texts => "map(string, string)",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
            Self::String => "string",
            Self::List(member) => return write!(f, "list({member})"),
        })
    }
}
