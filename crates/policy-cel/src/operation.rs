//! The values of an evaluation and the operations on them, as in cel-go.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use crate::eval::Error;
use crate::node::Binary;
use crate::value::{Fields, Value};

/// A value of an evaluation; texts and lists are borrowed where they are those of the input.
#[derive(Clone, Debug)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    String(Text<'a>),
    List(List<'a>),
    Map(&'a Fields),
}

/// A text, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Text<'a> {
    Input(&'a str),
    Made(Rc<str>),
}

#[derive(Clone, Debug)]
pub(crate) enum List<'a> {
    Input(&'a [Value]),
    Made(Rc<[Val<'a>]>),
}

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Input(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl<'a> List<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Input(members) => members.len(),
            Self::Made(members) => members.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Self::Input(members) => members.get(index).map(Val::of),
            Self::Made(members) => members.get(index).cloned(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> Val<'a> {
    pub(crate) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Double(value) => Self::Double(*value),
            Value::String(text) => Self::String(Text::Input(text)),
            Value::List(members) => Self::List(List::Input(members)),
            Value::Map(fields) => Self::Map(fields),
        }
    }

    pub(crate) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::String(Text::Made(text.into()))
    }

    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// What it costs to look at the whole value.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::String(text) => text.as_str().len() / 16,
            Self::List(list) => list.len(),
            Self::Map(fields) => fields.len(),
            _ => 0,
        }
    }
}

/// Compares the values. `step` is called for each that is looked at.
pub(crate) fn are_equal(
    left: &Val<'_>,
    right: &Val<'_>,
    step: &mut dyn FnMut(usize) -> Result<(), Error>,
) -> Result<bool, Error> {
    step(1 + left.size().min(right.size()))?;
    Ok(match (left, right) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(left), Val::Bool(right)) => left == right,
        (Val::String(left), Val::String(right)) => left.as_str() == right.as_str(),
        (Val::List(left), Val::List(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right.iter()) {
                if !are_equal(&left, &right, step)? {
                    return Ok(false);
                }
            }
            true
        }
        (Val::Map(left), Val::Map(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (name, value) in *left {
                let Some(other) = right.get(name) else { return Ok(false) };
                if !are_equal(&Val::of(value), &Val::of(other), step)? {
                    return Ok(false);
                }
            }
            true
        }
        (left, right) => numbers(left, right) == Some(Ordering::Equal),
    })
}

/// How two numbers compare; `None` of other values, and of what is no number.
fn numbers(left: &Val<'_>, right: &Val<'_>) -> Option<Ordering> {
    match (left, right) {
        (Val::Int(left), Val::Int(right)) => Some(left.cmp(right)),
        (Val::Double(left), Val::Double(right)) => left.partial_cmp(right),
        (Val::Int(int), Val::Double(double)) => int_and_double(*int, *double),
        (Val::Double(double), Val::Int(int)) => {
            int_and_double(*int, *double).map(Ordering::reverse)
        }
        _ => None,
    }
}

/// As in cel-go: beyond the integers a double is larger or smaller than all of them; else the
/// integer is compared as a double.
fn int_and_double(int: i64, double: f64) -> Option<Ordering> {
    #[expect(clippy::cast_precision_loss, reason = "so does cel-go")]
    let (least, most, own) = (i64::MIN as f64, i64::MAX as f64, int as f64);
    if double < least {
        return Some(Ordering::Greater);
    }
    if double > most {
        return Some(Ordering::Less);
    }
    own.partial_cmp(&double)
}

pub(crate) fn compare(operator: Binary, left: &Val<'_>, right: &Val<'_>) -> Result<bool, Error> {
    let ordering = match (left, right) {
        (Val::String(left), Val::String(right)) => Some(left.as_str().cmp(right.as_str())),
        (Val::Bool(left), Val::Bool(right)) => Some(left.cmp(right)),
        (Val::Int(_) | Val::Double(_), Val::Int(_) | Val::Double(_)) => {
            match numbers(left, right) {
                // Not a number: cel-go fails for an order of it.
                None => return Err(Error::NoSuchOverload(operator.symbol(), "NaN", "double")),
                some => some,
            }
        }
        _ => None,
    };
    let ordering = ordering.ok_or_else(|| Error::overload(operator, left, right))?;
    Ok(match operator {
        Binary::Less => ordering.is_lt(),
        Binary::LessOrEqual => ordering.is_le(),
        Binary::Greater => ordering.is_gt(),
        _ => ordering.is_ge(),
    })
}

pub(crate) fn arithmetic<'a>(
    operator: Binary,
    left: Val<'a>,
    right: Val<'a>,
) -> Result<Val<'a>, Error> {
    match (left, right) {
        (Val::Int(left), Val::Int(right)) => {
            if right == 0 && matches!(operator, Binary::Divide | Binary::Remainder) {
                return Err(Error::DivisionByZero);
            }
            let result = match operator {
                Binary::Add => left.checked_add(right),
                Binary::Subtract => left.checked_sub(right),
                Binary::Multiply => left.checked_mul(right),
                Binary::Divide => left.checked_div(right),
                _ => left.checked_rem(right),
            };
            result.map(Val::Int).ok_or(Error::Overflow)
        }
        (Val::Double(left), Val::Double(right)) if operator != Binary::Remainder => {
            Ok(Val::Double(match operator {
                Binary::Add => left + right,
                Binary::Subtract => left - right,
                Binary::Multiply => left * right,
                _ => left / right,
            }))
        }
        (Val::String(left), Val::String(right)) if operator == Binary::Add => {
            Ok(Val::text([left.as_str(), right.as_str()].concat()))
        }
        (Val::List(left), Val::List(right)) if operator == Binary::Add => {
            Ok(Val::List(List::Made(left.iter().chain(right.iter()).collect())))
        }
        (left, right) => Err(Error::overload(operator, &left, &right)),
    }
}

/// Pieces between separators. An empty separator divides into characters, as in Go.
pub(crate) fn split<'a>(text: &str, separator: &str) -> List<'a> {
    let part = |part: &str| Val::text(part);
    let parts: Rc<[Val<'a>]> = if separator.is_empty() {
        let mut buffer = [0; 4];
        text.chars().map(|c| part(c.encode_utf8(&mut buffer))).collect()
    } else {
        text.split(separator).map(part).collect()
    };
    List::Made(parts)
}

/// Lower or upper case of ASCII letters.
pub(crate) fn cased<'a>(text: &Text<'a>, is_upper: bool) -> Val<'a> {
    let text = text.as_str();
    Val::text(if is_upper { text.to_ascii_uppercase() } else { text.to_ascii_lowercase() })
}

/// A number or truth value as a text.
pub(crate) fn as_text(value: Val<'_>) -> Result<Val<'_>, Error> {
    let text: Cow<'static, str> = match value {
        Val::String(_) => return Ok(value),
        Val::Int(value) => value.to_string().into(),
        Val::Bool(value) => if value { "true" } else { "false" }.into(),
        other => return Err(Error::Argument("string", other.type_name())),
    };
    Ok(Val::text(&*text))
}
