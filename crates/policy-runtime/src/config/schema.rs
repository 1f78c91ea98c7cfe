//! What a key may hold, read from the JSON schema of the configuration struct.

use std::fmt::{self, Display, Formatter};

use figment::value::{Empty, Tag, Value};
use serde_json::Value as Json;

/// A wrong value is shown up to this number of characters.
const LONGEST_VALUE: usize = 60;

/// The type of a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyType {
    form: Form,
    is_optional: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Text { min: u64, max: u64 },
    Word(Vec<String>),
    Integer { min: i64, max: i64 },
    Number,
    Boolean,
    List(Box<KeyType>),
}

impl KeyType {
    pub(super) fn of(schema: &Json) -> Self {
        let types = match &schema["type"] {
            Json::Array(types) => types.iter().filter_map(Json::as_str).collect(),
            one => Vec::from_iter(one.as_str()),
        };
        let bound = |name: &str, default| schema[name].as_i64().unwrap_or(default);
        let form = if types.contains(&"integer") {
            Form::Integer { min: bound("minimum", i64::MIN), max: bound("maximum", i64::MAX) }
        } else if types.contains(&"number") {
            Form::Number
        } else if types.contains(&"boolean") {
            Form::Boolean
        } else if types.contains(&"array") {
            Form::List(Box::new(Self::of(&schema["items"])))
        } else {
            match words(schema) {
                words if words.is_empty() => Form::Text {
                    min: schema["minLength"].as_u64().unwrap_or(0),
                    max: schema["maxLength"].as_u64().unwrap_or(u64::MAX),
                },
                words => Form::Word(words),
            }
        };
        Self { form, is_optional: types.contains(&"null") }
    }

    /// The value that a text of the environment or of a flag stands for. Text that does not fit
    /// stays text, which [`Self::check`] refuses.
    pub(super) fn parse(&self, text: &str) -> Value {
        let parsed = match &self.form {
            _ if self.is_optional && text.is_empty() => {
                Some(Value::Empty(Tag::Default, Empty::None))
            }
            Form::Text { .. } | Form::Word(_) => None,
            Form::Integer { .. } => text.parse::<i64>().ok().map(Value::from),
            Form::Number => text.parse::<f64>().ok().map(Value::from),
            Form::Boolean => text.parse::<bool>().ok().map(Value::from),
            Form::List(items) => Some(Value::from(
                list_items(text).map(|item| items.parse(item)).collect::<Vec<_>>(),
            )),
        };
        parsed.unwrap_or_else(|| Value::from(text))
    }

    /// What is wrong with a value.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match (&self.form, value) {
            (_, Value::Empty(..)) => self.is_optional,
            (Form::List(items), Value::Array(_, values)) => {
                return (1..).zip(values).try_for_each(|(number, value)| {
                    items.check(value).map_err(|problem| format!("item {number} {problem}"))
                });
            }
            (Form::Text { min, max }, Value::String(_, text)) => {
                (*min..=*max).contains(&(text.chars().count() as u64))
            }
            (Form::Number, Value::Num(..)) | (Form::Boolean, Value::Bool(..)) => true,
            (Form::Word(words), Value::String(_, word)) => words.contains(word),
            (Form::Integer { min, max }, value) => {
                // figment converts signed numbers by one method and unsigned ones by the other.
                let unsigned = || i64::try_from(value.to_u128()?).ok();
                let number = value.to_i128().and_then(|number| i64::try_from(number).ok());
                number.or_else(unsigned).is_some_and(|number| (*min..=*max).contains(&number))
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(format!("must be {self}, not `{}`", shown(value))) }
    }

    /// The values that are allowed, where the type alone does not say it.
    pub(super) fn limits(&self) -> Option<String> {
        match &self.form {
            Form::Word(_) => Some(self.to_string()),
            Form::Integer { min, max } => Some(format!("{min} to {max}")),
            _ => None,
        }
    }
}

impl Display for KeyType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.form {
            Form::Text { min: 0, .. } => f.write_str("a string"),
            Form::Text { max: u64::MAX, .. } => f.write_str("a string that is not empty"),
            Form::Text { min, max } => write!(f, "a string of {min} to {max} characters"),
            Form::Word(words) => write!(f, "one of {}", words.join(", ")),
            Form::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Form::Number => f.write_str("a number"),
            Form::Boolean => f.write_str("true or false"),
            Form::List(_) => f.write_str("a list"),
        }
    }
}

/// The names of an enum: `oneOf` where its variants have descriptions, else `enum`.
fn words(schema: &Json) -> Vec<String> {
    let list = |name: &str| schema[name].as_array().into_iter().flatten();
    let described = list("oneOf").map(|variant| &variant["const"]);
    list("enum").chain(described).filter_map(Json::as_str).map(str::to_owned).collect()
}

/// `a,b` or `[a, "b"]`.
fn list_items(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let items = inner.split(',').map(|item| item.trim().trim_matches(['"', '\'']));
    items.filter(|_| !inner.trim().is_empty())
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(_, text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    };
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
