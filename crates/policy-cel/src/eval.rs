//! Evaluation, with a bound on its steps.

use std::fmt;
use std::rc::Rc;

use crate::node::{Binary, Function, Loop, LoopKind, Node};
use crate::operation::{List, Text, Val, are_equal, arithmetic, as_text, cased, compare, split};
use crate::value::Value;

/// The most steps of an evaluation. A step takes some nanoseconds, and makes at most some bytes.
pub const MAX_STEPS: usize = 20_000;

/// Why an expression has no result for a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(Box<str>);

impl Failure {
    pub(crate) fn result(wanted: &str) -> Self {
        Self(format!("the result is no {wanted}").into())
    }
}

/// A failure within an evaluation. `&&`, `||`, `all` and `exists` may do without its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Error {
    NoSuchKey(Box<str>),
    NoSuchOverload(&'static str, &'static str, &'static str),
    NoField(Box<str>, &'static str),
    NoMembers(&'static str),
    Argument(&'static str, &'static str),
    Condition(&'static str),
    OutOfRange(i64),
    DivisionByZero,
    Overflow,
    /// It took too many steps. Nothing does without that.
    TooLong,
}

impl Error {
    pub(crate) fn overload(operator: Binary, left: &Val<'_>, right: &Val<'_>) -> Self {
        Self::NoSuchOverload(operator.symbol(), left.type_name(), right.type_name())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchKey(key) => write!(f, "no such key: {key}"),
            Self::NoSuchOverload(operator, left, right) => {
                write!(f, "`{operator}` has no meaning for {left} and {right}")
            }
            Self::NoField(field, found) => write!(f, "{found} has no field `{field}`"),
            Self::NoMembers(found) => write!(f, "{found} has no members to go through"),
            Self::Argument(function, found) => write!(f, "{function}() takes no {found}"),
            Self::Condition(found) => write!(f, "a condition must be a bool, not {found}"),
            Self::OutOfRange(index) => write!(f, "the index {index} is out of range"),
            Self::DivisionByZero => f.write_str("division by zero"),
            Self::Overflow => f.write_str("the result does not fit into an int"),
            Self::TooLong => write!(f, "it takes more than {MAX_STEPS} steps"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text: String = error.to_string().chars().take(200).collect();
        Self(text.into())
    }
}

/// A result without a part of the input.
pub(crate) enum Outcome {
    Bool(bool),
    String(String),
}

pub(crate) fn evaluate(root: &Node, variables: &[&Value]) -> Result<Outcome, Failure> {
    let variables = variables.iter().map(|value| Val::of(value)).collect();
    let mut evaluation = Evaluation { variables, left: MAX_STEPS };
    match evaluation.value(root)? {
        Val::Bool(value) => Ok(Outcome::Bool(value)),
        Val::String(text) => Ok(Outcome::String(text.as_str().to_owned())),
        other => Err(Failure(format!("the result is of type {}", other.type_name()).into())),
    }
}

struct Evaluation<'a> {
    variables: Vec<Val<'a>>,
    left: usize,
}

impl<'a> Evaluation<'a> {
    fn step(&mut self, cost: usize) -> Result<(), Error> {
        self.left = self.left.checked_sub(cost).ok_or(Error::TooLong)?;
        Ok(())
    }

    fn value(&mut self, node: &'a Node) -> Result<Val<'a>, Error> {
        self.step(1)?;
        Ok(match node {
            Node::Null => Val::Null,
            Node::Bool(value) => Val::Bool(*value),
            Node::Int(value) => Val::Int(*value),
            Node::Double(value) => Val::Double(*value),
            Node::String(text) => Val::String(Text::Input(text)),
            Node::List(nodes) => Val::List(List::Made(self.values(nodes)?)),
            Node::Variable(position) => match self.variables.get(*position) {
                Some(value) => value.clone(),
                None => return Err(Error::NoSuchKey("variable".into())),
            },
            Node::Select { of, field } => match self.value(of)? {
                Val::Map(fields) => match fields.get(field) {
                    Some(value) => Val::of(value),
                    None => return Err(Error::NoSuchKey(field.clone())),
                },
                other => return Err(Error::NoField(field.clone(), other.type_name())),
            },
            Node::Has { of, field } => match self.value(of)? {
                Val::Map(fields) => Val::Bool(fields.contains_key(field)),
                // A list has indexes; all else has nothing.
                Val::List(_) => return Err(Error::Argument("has", "list")),
                _ => Val::Bool(false),
            },
            Node::Index(of) => self.index(of)?,
            Node::Not(of) => Val::Bool(!self.condition(of)?),
            Node::Negate(of) => match self.value(of)? {
                Val::Int(value) => Val::Int(value.checked_neg().ok_or(Error::Overflow)?),
                Val::Double(value) => Val::Double(-value),
                other => return Err(Error::NoSuchOverload("-", "no value", other.type_name())),
            },
            Node::And(both) => Val::Bool(self.logical(both, false)?),
            Node::Or(both) => Val::Bool(self.logical(both, true)?),
            Node::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                return if self.condition(condition)? {
                    self.value(then)
                } else {
                    self.value(otherwise)
                };
            }
            Node::Binary(operator, both) => return self.binary(*operator, both),
            Node::Call(function, arguments) => return self.call(*function, arguments),
            Node::Matches(of, regex) => match self.value(of)? {
                Val::String(text) => {
                    // The time of a match grows with the text and with the pattern.
                    self.step(text.as_str().len() * (1 + regex.as_str().len() / 16) / 8)?;
                    Val::Bool(regex.is_match(text.as_str()))
                }
                other => return Err(Error::Argument("matches", other.type_name())),
            },
            Node::Loop(of) => return self.go_through(of),
        })
    }

    fn values(&mut self, nodes: &'a [Node]) -> Result<Rc<[Val<'a>]>, Error> {
        nodes.iter().map(|node| self.value(node)).collect()
    }

    fn condition(&mut self, node: &'a Node) -> Result<bool, Error> {
        match self.value(node)? {
            Val::Bool(value) => Ok(value),
            other => Err(Error::Condition(other.type_name())),
        }
    }

    /// `&&` or `||`. A side with the deciding value decides, also where the other one fails.
    fn logical(&mut self, [left, right]: &'a [Node; 2], deciding: bool) -> Result<bool, Error> {
        let left = self.condition(left);
        if left == Err(Error::TooLong) || left == Ok(deciding) {
            return left;
        }
        let right = self.condition(right);
        if right == Err(Error::TooLong) || right == Ok(deciding) {
            return right;
        }
        left.and(right)
    }

    fn index(&mut self, [of, index]: &'a [Node; 2]) -> Result<Val<'a>, Error> {
        let (of, index) = (self.value(of)?, self.value(index)?);
        match (of, index) {
            (Val::List(list), Val::Int(index)) => usize::try_from(index)
                .ok()
                .and_then(|position| list.get(position))
                .ok_or(Error::OutOfRange(index)),
            (Val::Map(fields), Val::String(key)) => match fields.get(key.as_str()) {
                Some(value) => Ok(Val::of(value)),
                None => Err(Error::NoSuchKey(key.as_str().into())),
            },
            (of, index) => Err(Error::NoSuchOverload("[]", of.type_name(), index.type_name())),
        }
    }

    fn binary(&mut self, operator: Binary, [left, right]: &'a [Node; 2]) -> Result<Val<'a>, Error> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        match operator {
            Binary::Equal => Ok(Val::Bool(self.are_equal(&left, &right)?)),
            Binary::NotEqual => Ok(Val::Bool(!self.are_equal(&left, &right)?)),
            Binary::In => self.is_in(&left, &right).map(Val::Bool),
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                self.step(left.size().min(right.size()))?;
                compare(operator, &left, &right).map(Val::Bool)
            }
            _ => {
                self.step(left.size() + right.size())?;
                arithmetic(operator, left, right)
            }
        }
    }

    fn are_equal(&mut self, left: &Val<'_>, right: &Val<'_>) -> Result<bool, Error> {
        are_equal(left, right, &mut |cost| self.step(cost))
    }

    fn is_in(&mut self, wanted: &Val<'_>, of: &Val<'_>) -> Result<bool, Error> {
        match of {
            Val::List(list) => {
                for member in list.iter() {
                    if self.are_equal(wanted, &member)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Val::Map(fields) => match wanted {
                Val::String(key) => Ok(fields.contains_key(key.as_str())),
                _ => Err(Error::overload(Binary::In, wanted, of)),
            },
            _ => Err(Error::overload(Binary::In, wanted, of)),
        }
    }

    fn call(&mut self, function: Function, arguments: &'a [Node]) -> Result<Val<'a>, Error> {
        let values = self.values(arguments)?;
        self.step(values.iter().map(Val::size).sum())?;
        match (function, &*values) {
            (Function::Size, [Val::String(text)]) => length(text.as_str().chars().count()),
            (Function::Size, [Val::List(list)]) => length(list.len()),
            (Function::Size, [Val::Map(fields)]) => length(fields.len()),
            (Function::Contains, [Val::String(text), Val::String(part)]) => {
                Ok(Val::Bool(text.as_str().contains(part.as_str())))
            }
            (Function::StartsWith, [Val::String(text), Val::String(part)]) => {
                Ok(Val::Bool(text.as_str().starts_with(part.as_str())))
            }
            (Function::EndsWith, [Val::String(text), Val::String(part)]) => {
                Ok(Val::Bool(text.as_str().ends_with(part.as_str())))
            }
            (Function::LowerAscii, [Val::String(text)]) => Ok(cased(text, false)),
            (Function::UpperAscii, [Val::String(text)]) => Ok(cased(text, true)),
            (Function::Split, [Val::String(text), Val::String(separator)]) => {
                self.step(text.as_str().len())?;
                Ok(Val::List(split(text.as_str(), separator.as_str())))
            }
            (Function::Join, [Val::List(list)]) => self.join(list, ""),
            (Function::Join, [Val::List(list), Val::String(separator)]) => {
                self.join(list, separator.as_str())
            }
            (Function::String, [value]) => as_text(value.clone()),
            (function, values) => {
                let found = values.last().map_or("null", Val::type_name);
                Err(Error::Argument(function.name(), found))
            }
        }
    }

    fn join(&mut self, list: &List<'a>, separator: &str) -> Result<Val<'a>, Error> {
        let mut joined = String::new();
        for (index, member) in list.iter().enumerate() {
            let Val::String(text) = member else {
                return Err(Error::Argument("join", member.type_name()));
            };
            let before = if index > 0 { separator } else { "" };
            self.step(1 + (before.len() + text.as_str().len()) / 16)?;
            joined.push_str(before);
            joined.push_str(text.as_str());
        }
        Ok(Val::text(joined))
    }

    fn go_through(&mut self, of: &'a Loop) -> Result<Val<'a>, Error> {
        let members: Box<dyn Iterator<Item = Val<'a>> + 'a> = match self.value(&of.range)? {
            Val::List(List::Input(members)) => Box::new(members.iter().map(Val::of)),
            Val::List(list) => Box::new((0..list.len()).filter_map(move |index| list.get(index))),
            Val::Map(fields) => Box::new(fields.keys().map(|name| Val::String(Text::Input(name)))),
            other => return Err(Error::NoMembers(other.type_name())),
        };
        let depth = self.variables.len();
        let result = self.each(&of.kind, members);
        self.variables.truncate(depth);
        result
    }

    fn each(
        &mut self,
        kind: &'a LoopKind,
        members: impl Iterator<Item = Val<'a>>,
    ) -> Result<Val<'a>, Error> {
        let depth = self.variables.len();
        let set = |this: &mut Self, member| {
            this.variables.truncate(depth);
            this.variables.push(member);
            this.step(1)
        };
        match kind {
            LoopKind::All(condition) | LoopKind::Exists(condition) => {
                let deciding = matches!(kind, LoopKind::Exists(_));
                let mut result = Ok(!deciding);
                for member in members {
                    set(self, member)?;
                    match self.condition(condition) {
                        Err(Error::TooLong) => return Err(Error::TooLong),
                        Ok(value) if value == deciding => return Ok(Val::Bool(value)),
                        Ok(_) => {}
                        // The first failure is the result, unless a later member decides.
                        Err(error) => result = result.and(Err(error)),
                    }
                }
                result.map(Val::Bool)
            }
            LoopKind::ExistsOne(condition) => {
                let mut found = 0;
                for member in members {
                    set(self, member)?;
                    found += usize::from(self.condition(condition)?);
                }
                Ok(Val::Bool(found == 1))
            }
            LoopKind::Map { condition, made } => {
                let mut result = Vec::new();
                for member in members {
                    set(self, member)?;
                    let is_in = condition.as_ref().map(|condition| self.condition(condition));
                    if is_in.unwrap_or(Ok(true))? {
                        result.push(self.value(made)?);
                    }
                }
                Ok(Val::List(List::Made(result.into())))
            }
        }
    }
}

fn length<'a>(length: usize) -> Result<Val<'a>, Error> {
    i64::try_from(length).map(Val::Int).map_err(|_| Error::Overflow)
}
