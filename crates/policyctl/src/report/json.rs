//! JSON that is safe to show on a terminal.

use std::io::{self, Write};

use anyhow::Context as _;
use policy_core::text::is_printable;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

/// Writes a value as JSON. Characters that a terminal would obey are escaped: readers get the same
/// text.
pub(crate) fn json(value: &impl Serialize, mut out: &mut dyn Write) -> anyhow::Result<()> {
    let mut serializer = Serializer::with_formatter(&mut out, Escaping(PrettyFormatter::new()));
    value.serialize(&mut serializer).context("cannot write the report as JSON")?;
    Ok(writeln!(out)?)
}

/// Escapes what JSON itself allows (RFC 8259 section 7), such as U+009B, which begins a control
/// sequence as ESC does.
struct Escaping<'a>(PrettyFormatter<'a>);

impl Formatter for Escaping<'_> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut written = 0;
        for (start, unsafe_char) in fragment.char_indices().filter(|(_, c)| !is_printable(*c)) {
            out.write_all(&fragment.as_bytes()[written..start])?;
            for unit in unsafe_char.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            written = start + unsafe_char.len_utf8();
        }
        out.write_all(&fragment.as_bytes()[written..])
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_read_back_as_it_was() {
        let text = "a\u{1b}[31m\u{7f}\u{9b}31m\u{202e}\u{feff}\né日";
        let mut out = Vec::new();
        json(&[text, ""], &mut out).unwrap();
        let written = String::from_utf8(out).unwrap();
        assert_eq!(
            written,
            "[\n  \"a\\u001b[31m\\u007f\\u009b31m\\u202e\\ufeff\\né日\",\n  \"\"\n]\n"
        );
        assert_eq!(serde_json::from_str::<[String; 2]>(&written).unwrap(), [text, ""]);
    }
}
