//! YAML that `kubectl` accepts and the parser refuses, rewritten so that lines keep their numbers:
//! tabs before the content of a flow collection, and a quoted scalar that continues at the
//! indentation of its key. go-yaml, and so `kubectl`, asks for neither indentation.

use granit_parser::{ErrorKind, Scanner, StrInput, TokenType};

use super::parse::MAX_TOLERANT;

/// The most repairs of a text; each one scans the text again.
const MAX_REPAIRS: usize = 64;
/// Deeper than any mapping is indented.
const INDENTATION: usize = 160;

/// The text as the parser accepts it; `None` where nothing needs repair, and where the text is
/// refused for another reason.
pub(super) fn repaired(bytes: &[u8]) -> Option<String> {
    let mut text =
        std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_TOLERANT)?.to_owned();
    for _ in 0..MAX_REPAIRS {
        match refusal(&text) {
            Scan::Accepted => return Some(text).filter(|text| text.as_bytes() != bytes),
            Scan::Refused { line, is_in_quotes } => text = indented(&text, line, is_in_quotes)?,
            Scan::Broken => return None,
        }
    }
    None
}

enum Scan {
    Accepted,
    /// The line, from 1, lacks indentation.
    Refused {
        line: usize,
        is_in_quotes: bool,
    },
    Broken,
}

fn refusal(text: &str) -> Scan {
    let mut flow_depth = 0_usize;
    for token in Scanner::new(StrInput::new(text)) {
        let error = match token {
            Ok(token) => {
                match token.token_type() {
                    TokenType::FlowSequenceStart | TokenType::FlowMappingStart => flow_depth += 1,
                    TokenType::FlowSequenceEnd | TokenType::FlowMappingEnd => {
                        flow_depth = flow_depth.saturating_sub(1);
                    }
                    _ => {}
                }
                continue;
            }
            Err(error) => error,
        };
        let line = error.marker().line();
        return match error.kind() {
            ErrorKind::TabInBlockIndentation if flow_depth > 0 => {
                Scan::Refused { line, is_in_quotes: false }
            }
            ErrorKind::TabInIndentation | ErrorKind::InvalidQuotedScalarIndent => {
                Scan::Refused { line, is_in_quotes: true }
            }
            _ => Scan::Broken,
        };
    }
    Scan::Accepted
}

/// The text with a line, and the lines after it that lack indentation too, indented further. That
/// changes neither the value of a flow collection nor of a quoted scalar.
fn indented(text: &str, line: usize, is_in_quotes: bool) -> Option<String> {
    let mut repaired = String::with_capacity(text.len() + INDENTATION);
    let mut lines = text.split_inclusive('\n');
    repaired.extend(lines.by_ref().take(line.checked_sub(1)?));
    let mut is_first = true;
    let mut is_over = false;
    for line in lines {
        let content = line.trim_start_matches([' ', '\t']);
        let lacks = is_in_quotes || line[..line.len() - content.len()].contains('\t');
        if is_over || !(is_first || lacks) {
            is_over = true;
            repaired += line;
            continue;
        }
        repaired.extend(std::iter::repeat_n(' ', INDENTATION));
        repaired += content;
        is_first = false;
        is_over = is_in_quotes && content.contains(['"', '\'']);
    }
    Some(repaired)
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    /// What `kubectl label --local` prints of each text is the same.
    #[test]
    fn what_kubectl_accepts_is_accepted_with_the_same_value() {
        for (text, same) in [
            ("a: {\n\tb: 1,\n\t\tc: [1,\n\t2]\n}\nd: 1\n", "{a: {b: 1, c: [1, 2]}, d: 1}"),
            ("a:\n  b: [\n\t1\n  ]\n", "{a: {b: [1]}}"),
            ("a:\n  b: \"one\n  two\n\n  three\"\n  c: x\n", "{a: {b: \"one two\\nthree\", c: x}}"),
            ("a:\n  b: 'it''s\n 1\n2'\n  c: \"\n  d\"\n", "{a: {b: \"it's 1 2\", c: \" d\"}}"),
            ("a:\n  b: \"one\n\t two\"\n", "{a: {b: one two}}"),
        ] {
            assert!(parse::<serde_json::Value>(text.as_bytes()).is_err(), "{text}");
            let repaired = repaired(text.as_bytes()).unwrap();
            assert_eq!(repaired.lines().count(), text.lines().count());
            let value = parse::<serde_json::Value>(repaired.as_bytes()).unwrap();
            assert_eq!(value, parse(same.as_bytes()).unwrap(), "{repaired}");
        }
    }

    #[test]
    fn what_kubectl_refuses_stays_refused() {
        for text in ["a:\n\tb: 1\n", "a: b\nc\n", "a: [1, 2\n", "a: \"b\n", "a: {b: 1}\n\tc: 2\n"] {
            let accepted = repaired(text.as_bytes())
                .and_then(|text| parse::<serde_json::Value>(text.as_bytes()).ok());
            assert_eq!(accepted, None, "{text}");
        }
        let many = "a:\n  b: 'x\n  y'\n".repeat(2000);
        assert_eq!(repaired(many.as_bytes()), None, "an effort without end");
    }
}
