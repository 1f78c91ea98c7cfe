//! Regular expressions whose meaning is the same in RE2, which Kubernetes uses, and in the crate
//! `regex`: a pattern is checked token by token and written anew for the crate. Everything else is
//! refused. Patterns that both accept and read differently exist: Unicode
//! classes, and operations on sets (findings/cel-matches-unicode.sh).

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// The most bytes of a compiled pattern. One of some hundred characters has some kilobytes.
const MAX_COMPILED: usize = 256 << 10;
/// The most repetitions that RE2 takes, of a group all those in it and around it multiplied.
const MAX_REPETITIONS: u32 = 1_000;

/// A pattern in compiled form.
///
/// # Errors
/// What is not supported or wrong in it, as a sentence.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let rest = pattern.chars().peekable();
    let translation = Translation { rest, written: String::new(), groups: Vec::new(), times: 1 };
    let written = translation.run()?;
    let compiled = RegexBuilder::new(&written).size_limit(MAX_COMPILED).build();
    compiled.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("the pattern `{pattern}` is too large"),
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            format!("the pattern `{pattern}` is invalid: {}", last.trim_start_matches("error: "))
        }
    })
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    written: String,
    /// How often something in each open group is repeated within it, at most.
    groups: Vec<u32>,
    /// The same of what would be repeated next.
    times: u32,
}

/// What a quantifier after it would do.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    /// There is nothing to repeat.
    Nothing,
    /// It repeats that.
    Atom,
    /// It would repeat a repetition, which RE2 refuses.
    Quantifier,
}

impl Translation<'_> {
    fn run(mut self) -> Result<String, String> {
        let mut last = Last::Nothing;
        while let Some(c) = self.rest.next() {
            match c {
                '*' | '+' | '?' | '{' => {}
                ')' => self.times = self.groups.pop().unwrap_or(1),
                _ => self.times = 1,
            }
            last = match c {
                '*' | '+' | '?' | '{' => {
                    self.quantifier(c, last)?;
                    Last::Quantifier
                }
                '(' => {
                    self.group()?;
                    Last::Nothing
                }
                '|' | '^' | '$' => {
                    self.written.push(c);
                    Last::Nothing
                }
                '[' => {
                    self.class()?;
                    Last::Atom
                }
                '\\' => self.escape()?,
                ')' | '.' => {
                    self.written.push(c);
                    Last::Atom
                }
                other => {
                    self.literal(other);
                    Last::Atom
                }
            };
            if let Some(group) = self.groups.last_mut() {
                *group = self.times.max(*group);
            }
        }
        Ok(self.written)
    }

    fn literal(&mut self, c: char) {
        if regex_syntax_escapes(c) {
            self.written.push('\\');
        }
        self.written.push(c);
    }

    fn quantifier(&mut self, c: char, last: Last) -> Result<(), String> {
        match last {
            Last::Nothing => return Err(format!("`{c}` has nothing to repeat")),
            Last::Quantifier => return Err(format!("`{c}` repeats a repetition")),
            Last::Atom => {}
        }
        if c == '{' {
            let text: String = std::iter::from_fn(|| self.rest.next_if(|c| *c != '}')).collect();
            let is_closed = self.rest.next().is_some();
            let numbers: Vec<&str> = text.split(',').collect();
            // One with a leading zero is text to RE2.
            let number = |text: &str| {
                let is_plain = text == "0" || !text.starts_with('0');
                is_plain && text.parse::<u32>().is_ok_and(|n| n <= MAX_REPETITIONS)
            };
            let is_valid = match numbers[..] {
                [exact] => number(exact),
                [from, ""] => number(from),
                [from, to] => number(from) && number(to),
                _ => false,
            };
            let is_plain = text.chars().all(|c| c.is_ascii_digit() || c == ',');
            if !(is_closed && is_valid && is_plain) {
                return Err(format!(
                    "`{{{text}` is no number of repetitions, 0 to {MAX_REPETITIONS}; write `\\{{` for the character"
                ));
            }
            let most = numbers.iter().rev().find_map(|text| text.parse().ok()).unwrap_or(1);
            self.times = self.times.saturating_mul(most.max(1));
            if self.times > MAX_REPETITIONS {
                return Err(format!(
                    "`{{{text}}}` makes {} repetitions with those in it, more than {MAX_REPETITIONS}",
                    self.times
                ));
            }
            self.written.extend(["{", &text, "}"]);
        } else {
            self.written.push(c);
        }
        if self.rest.next_if_eq(&'?').is_some() {
            self.written.push('?');
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        self.groups.push(1);
        if self.rest.next_if_eq(&'?').is_none() {
            self.written.push('(');
            return Ok(());
        }
        if self.rest.next_if_eq(&':').is_none() {
            return Err("flags and named groups, `(?`, are not supported".to_owned());
        }
        self.written.push_str("(?:");
        Ok(())
    }

    /// What follows a backslash outside of a class.
    fn escape(&mut self) -> Result<Last, String> {
        match self.rest.next() {
            Some('b') => {
                self.written.push_str(r"(?-u:\b)");
                return Ok(Last::Nothing);
            }
            Some(c @ ('D' | 'W' | 'S')) => {
                let class = ascii_class(c.to_ascii_lowercase()).unwrap_or_default();
                self.written.extend(["[^", class, "]"]);
            }
            other => {
                if let Some(class) = other.and_then(ascii_class) {
                    self.written.extend(["[", class, "]"]);
                } else {
                    let literal = escaped(other)?;
                    self.literal(literal);
                }
            }
        }
        Ok(Last::Atom)
    }

    fn class(&mut self) -> Result<(), String> {
        self.written.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.written.push('^');
        }
        let mut is_first = true;
        loop {
            let low = match self.rest.next() {
                None => return Err(UNCLOSED.to_owned()),
                Some(']') if !is_first => break,
                Some('\\') => {
                    let next = self.rest.next();
                    if let Some(class) = next.and_then(ascii_class) {
                        self.written.push_str(class);
                        is_first = false;
                        continue;
                    }
                    escaped(next)?
                }
                Some('-') if is_first || self.rest.peek() == Some(&']') => '-',
                Some(c) => self.plain_member(c)?,
            };
            is_first = false;
            self.member(low)?;
        }
        self.written.push(']');
        Ok(())
    }

    /// A character of a class that both read as itself there.
    fn plain_member(&mut self, c: char) -> Result<char, String> {
        let is_named_class = c == '[' && self.rest.peek() == Some(&':');
        if is_named_class || matches!(c, ']' | '-') {
            return Err(format!("write `\\{c}` for the character `{c}` in a class"));
        }
        Ok(c)
    }

    /// A character of a class, or a range of them.
    fn member(&mut self, low: char) -> Result<(), String> {
        self.write_member(low);
        if self.rest.peek() != Some(&'-') || self.is_last_of_class() {
            return Ok(());
        }
        self.rest.next();
        let high = match self.rest.next() {
            Some('\\') => escaped(self.rest.next())?,
            Some(c) => self.plain_member(c)?,
            None => return Err(UNCLOSED.to_owned()),
        };
        if low > high {
            return Err(format!("the range `{low}-{high}` has no characters"));
        }
        self.written.push('-');
        self.write_member(high);
        Ok(())
    }

    /// Whether only one character is left of the class.
    fn is_last_of_class(&self) -> bool {
        self.rest.clone().nth(1) == Some(']')
    }

    fn write_member(&mut self, c: char) {
        if c.is_ascii_punctuation() {
            self.written.push('\\');
        }
        self.written.push(c);
    }
}

const UNCLOSED: &str = "a class has no `]`";

/// The members of a class of RE2, which has ASCII ones only.
fn ascii_class(c: char) -> Option<&'static str> {
    Some(match c {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => r"\t\n\f\r ",
        _ => return None,
    })
}

/// The character that stands for, after a backslash.
fn escaped(c: Option<char>) -> Result<char, String> {
    match c {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('f') => Ok('\x0c'),
        Some(c) if c.is_ascii_punctuation() => Ok(c),
        Some(c) => Err(format!("`\\{c}` is not supported")),
        None => Err("it ends with a backslash".to_owned()),
    }
}

/// Whether the crate reads the character as an operator outside of a class.
fn regex_syntax_escapes(c: char) -> bool {
    matches!(
        c,
        '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' | '#'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_read_alike_is_taken() {
        for (pattern, matching, other) in [
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-b", "a-"),
            (r"^[a-z0-9.-]+/[^:@]+(:[\w.-]+|@sha256:[0-9a-f]{64})$", "a.io/b:1.2", "a.io/b"),
            (r"^\d+$", "42", "٤"),
            (r"a\b", "aé", "ab"),
            (r"^\s$", "\t", "\u{a0}"),
            (r"^.$", "é", "\n"),
            (r"^(?:x|y){2,3}?$", "xyx", "x"),
            (r"^\{\}#$", "{}#", "{}"),
            (r"^[a&&b]$", "&", "&&"),
            (r"^[[ab]]$", "[]", "a"),
            (r"^\W\D\S$", "éé_", "a1_"),
            ("^(?:(?:a{2}){0,10}b{40}){2}(a{40}|b){25}$", &"b".repeat(105), "b"),
        ] {
            let regex = compile(pattern).unwrap();
            assert!(regex.is_match(matching), "{pattern} {matching:?}");
            assert!(!regex.is_match(other), "{pattern} {other:?}");
        }
    }

    #[test]
    fn what_is_read_differently_is_refused() {
        for pattern in [
            r"(?i)a",
            r"\pL",
            r"\x41",
            r"[[:alpha:]]",
            "a**",
            "*a",
            "a{,3}",
            "a{1001}",
            "a{01}",
            "a{1,02}",
            "(a{40}){40}",
            "(?:(?:a{40}|b)*c){26,}",
            "((a{2}(b{30,}c)+){2}){17}",
            "(a(b{600})?){1,2}",
            r"\Aa",
            r"[\D]",
            "^*",
            "(",
            ")",
            "[",
            "[]a]",
            "[a",
            "a\\",
            "[z-a]",
            "(?P<n>a)",
            "a{2}{3}",
            "[a-z-9]",
            "((((a{100}){100}){100}){100})",
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
