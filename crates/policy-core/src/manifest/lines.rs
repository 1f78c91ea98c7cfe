//! Finds the type of an object and the members of a List by their lines, for YAML that cannot or need
//! not be parsed. Kubernetes manifests have block style at their top level.

use super::object_type::{Header, ObjectType};
use super::parse::parse_last_wins;

/// The type that the top level of an object has, whatever the rest of the text is, and the line
/// on which the object starts.
pub(super) fn object_type(bytes: &[u8]) -> Option<(ObjectType, u32)> {
    let (first_line, first) = content(bytes).next()?;
    let column = indentation(first);
    if first[column..].starts_with(b"{") {
        // Flow style, or a template.
        return None;
    }
    let mut header = Vec::new();
    for (_, line) in content(bytes).filter(|(_, line)| indentation(line) == column) {
        let key = line[column..].trim_ascii_start();
        let key = key.strip_prefix(b"\"").unwrap_or(key);
        if key.starts_with(b"kind") || key.starts_with(b"apiVersion") {
            header.extend_from_slice(line);
            header.push(b'\n');
        }
    }
    let header = parse_last_wins::<Header>(&header).ok()??;
    Some((header.object_type()?, first_line))
}

/// The type of an object that begins with the lines of `apiVersion` and `kind`, as nearly all do, and
/// the line on which it starts. `None` where it is not wanted, or where any other line of the top
/// level could change it: only the parser knows then.
pub(super) fn stated_type(
    bytes: &[u8],
    is_wanted: impl FnOnce(&ObjectType) -> bool,
) -> Option<(ObjectType, u32)> {
    // A marker may have a text, an anchor or a tag behind it.
    let mut lines = (1..).zip(bytes.split(|byte| *byte == b'\n')).filter(|(number, line)| {
        !(is_comment(line) || *number == 1 && line.trim_ascii_end() == b"---")
    });
    let ((first_line, first), (_, second)) = (lines.next()?, lines.next()?);
    let column = indentation(first);
    if indentation(second) != column {
        return None;
    }
    let [first, second] = [first, second].map(|line| &line[column..]);
    let stated = |key| plain_value(first, key).or_else(|| plain_value(second, key));
    let stated = ObjectType::of(stated("apiVersion:"), stated("kind:"))
        .filter(|stated| stated.is_whole() && is_wanted(stated))?;
    let is_harmless = |line: &[u8]| {
        let text = &line[indentation(line)..];
        let is_key = text.first().is_some_and(u8::is_ascii_alphabetic);
        let is_type = text.starts_with(b"apiVersion") || text.starts_with(b"kind");
        indentation(line) == column && (is_item(text) || is_key && !is_type)
    };
    let mut others = lines.filter(|(_, line)| indentation(line) <= column);
    others.all(|(_, line)| is_harmless(line)).then_some((stated, first_line))
}

/// The value of a key, where it is nothing but letters, digits and what types have between them.
fn plain_value<'a>(line: &'a [u8], key: &str) -> Option<&'a str> {
    let value = line.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?.trim_ascii();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"./-".contains(byte);
    let is_text = value.first().is_some_and(u8::is_ascii_alphabetic)
        && !value.eq_ignore_ascii_case(b"null")
        && value.iter().all(is_plain);
    std::str::from_utf8(value).ok().filter(|_| is_text)
}

/// Passes each member of a List in block style to `take`: the number of lines before it, and its
/// text with a space for the `-`. Returns whether there was any.
pub(super) fn for_each_member(bytes: &[u8], take: &mut dyn FnMut(u32, &[u8])) -> bool {
    members(bytes, take).is_some()
}

/// Whether [`for_each_member`] finds each member of a List: no item stands where its fields do.
pub(super) fn has_all_members(bytes: &[u8]) -> bool {
    members(bytes, &mut |_, _| {}) == Some(true)
}

fn members(bytes: &[u8], take: &mut dyn FnMut(u32, &[u8])) -> Option<bool> {
    let column = content(bytes).next().map(|(_, line)| indentation(line))?;
    let mut lines = (0..).zip(bytes.split_inclusive(|byte| *byte == b'\n'));
    lines.find(|(_, line)| {
        indentation(line) == column
            && line[column..].strip_prefix(b"items:").is_some_and(is_comment)
    })?;
    // One member at a time: a List can be as large as a file.
    let (mut text, mut lines_before) = (Vec::new(), 0);
    let mut dash = None;
    let (mut has_ended, mut is_plain) = (false, true);
    for (number, line) in lines {
        let indentation = indentation(line);
        let is_item = is_item(&line[indentation..]);
        let dash = match dash {
            None if is_comment(line) => continue,
            None if !is_item || indentation < column => return None,
            found => *dash.insert(found.unwrap_or(indentation)),
        };
        if has_ended {
            is_plain &= indentation != dash || !is_item;
        } else if indentation == dash && is_item {
            if !text.is_empty() {
                take(lines_before, &text);
            }
            text.clear();
            lines_before = number;
            text.extend_from_slice(line);
            text[dash] = b' ';
        } else if indentation > dash || is_comment(line) {
            text.extend_from_slice(line);
        } else {
            has_ended = true;
        }
    }
    if !text.is_empty() {
        take(lines_before, &text);
    }
    dash.map(|_| is_plain)
}

/// The lines, counted from 1, that are neither blank, comments, directives nor markers.
fn content(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let lines = (1..).zip(bytes.split(|byte| *byte == b'\n'));
    lines.filter(|(_, line)| {
        !is_comment(line) && !line.starts_with(b"%") && !line.starts_with(b"---")
    })
}

fn is_comment(line: &[u8]) -> bool {
    line.trim_ascii_start().first().is_none_or(|first| *first == b'#')
}

fn is_item(text: &[u8]) -> bool {
    text.strip_prefix(b"-").is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

fn indentation(line: &[u8]) -> usize {
    line.iter().take_while(|byte| **byte == b' ').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> String {
        object_type(text.as_bytes()).map_or_else(String::new, |(found, _)| found.to_string())
    }

    #[test]
    fn the_type_is_read_from_the_lines_of_the_top_level() {
        for (text, expected) in [
            ("---\n# x\napiVersion: v1\nkind: Secret # x\ndata: [\n", "v1 Secret"),
            ("  apiVersion: v1\n  'x': {\n  kind: \"Pod\"\r\n    kind: Deep\n", "v1 Pod"),
            ("\"apiVersion\": v1\n\"kind\": Pod\n\u{7}", "v1 Pod"),
            ("apiVersion: v1\nkind: Pod\nx: [\nkind: Service\n", "v1 Service"),
            ("kind: {{ .x }}\napiVersion: v1\n", ""),
            ("data: |\n  kind: Pod\n", ""),
            ("", ""),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn a_type_is_taken_from_the_first_lines_where_no_other_can_change_it() {
        let stated = |text: &str| {
            stated_type(text.as_bytes(), |_| true).map(|(found, line)| format!("{line} {found}"))
        };
        for (text, expected) in [
            ("apiVersion: v1\nkind: Service\nspec:\n  ports:\n  - port: 80\n", "1 v1 Service"),
            (
                "---\n# x\nkind: Role\r\n\r\napiVersion: a.io/v1 \r\nrules:\r\n- x\r\n",
                "3 a.io/v1 Role",
            ),
            ("  apiVersion: v1\n  kind: Secret\n  data: {\n", "1 v1 Secret"),
        ] {
            assert_eq!(stated(text).as_deref(), Some(expected), "{text}");
        }
        let before = "apiVersion: v1\nkind: Service\n";
        for after in [
            "kind: Pod\n",
            "kind : Pod\n",
            "\"kind\": Pod\n",
            "? kind\n: Pod\n",
            "<<: *pod\n",
            "!!str kind: Pod\n",
            "&a kind: Pod\n",
            "\tkind: Pod\n",
            "{",
        ] {
            assert_eq!(stated(&format!("{before}{after}")), None, "{after}");
        }
        for text in [
            "",
            "kind: Pod\n",
            "apiVersion: v1\nmetadata: {}\nkind: Pod\n",
            "--- |\napiVersion: v1\nkind: Pod\n",
            "apiVersion: v1\n kind: Pod\n",
            "  apiVersion: v1\n  kind: Service\nkind: Pod\n",
            "apiVersion: v1\nkind: \"Pod\"\n",
            "apiVersion: v1\nkind: Pod # x\n",
            "apiVersion: v1\nkind: {{ .x }}\n",
            "apiVersion: 1\nkind: Pod\n",
            "apiVersion: v1\nkind: null\n",
        ] {
            assert_eq!(stated(text), None, "{text}");
        }
    }

    proptest! {
        /// A type that is taken from the lines is the one that the parser finds.
        #[test]
        fn a_stated_type_is_that_of_the_parser(lines in prop::collection::vec(line(), 0..7)) {
            let text = lines.concat();
            let parsed = parse_last_wins::<Header>(text.as_bytes());
            if let (Some((stated, _)), Ok(Some(header))) = (stated_type(text.as_bytes(), |_| true), parsed) {
                let parsed = header.object_type().unwrap_or_default();
                // A continued line adds a word, which no type of a workload has.
                let parsed = parsed.to_string();
                prop_assert!(
                    parsed == stated.to_string() || parsed.split(' ').count() > 2,
                    "{text} is {parsed}, not {stated}"
                );
            }
        }
    }

    /// Lines of which some state a type, each in a way of its own.
    fn line() -> impl Strategy<Value = String> {
        const STARTS: [&str; 13] =
            ["", "", "", "  ", "- ", "\t", "? ", ": ", "&a ", "!!str ", "<<: ", "# ", "---"];
        const KEYS: [&str; 8] =
            ["apiVersion", "kind", "\"kind\"", "'apiVersion'", "spec", "kind ", "*a", ""];
        const ENDS: [&str; 10] =
            [": v1", ": Pod", ": |", ": \"", ": {", ": &a Pod", ":", "\"", "}", ""];
        let any = |texts: &'static [&'static str]| prop::sample::select(texts);
        (any(&STARTS), any(&KEYS), any(&ENDS))
            .prop_map(|(start, key, end)| format!("{start}{key}{end}\n"))
    }

    #[test]
    fn an_item_after_the_end_of_the_list_is_noticed() {
        assert!(has_all_members(b"items:\n- a: 1\n- b: 2\nkind: List\nmetadata: {}\n"));
        assert!(!has_all_members(b"items:\n- a: \"x\ny\"\n- b: 2\n"));
        assert!(!has_all_members(b"items: []\n"));
    }

    #[test]
    fn the_members_of_a_list_are_cut_where_they_start() {
        let cut = |text: &str| {
            let mut members: Vec<(u32, String)> = Vec::new();
            let found = for_each_member(text.as_bytes(), &mut |before, text| {
                members.push((before, String::from_utf8(text.to_vec()).unwrap()));
            });
            found.then_some(members)
        };
        let text = "kind: List\nitems:\n# first\n- a: 1\n# in it\n  b:\n  - c\n-\n  d: |\n    - e\nx: y\n- z\n";
        let expected: Vec<(u32, String)> = vec![
            (3, "  a: 1\n# in it\n  b:\n  - c\n".to_owned()),
            (7, " \n  d: |\n    - e\n".to_owned()),
        ];
        assert_eq!(cut(text), Some(expected));
        assert_eq!(cut("items:\n  - a: 1\n  - b: 1\n").unwrap().len(), 2);
        assert_eq!(cut("  items:\n  - a: 1\n"), Some(vec![(1, "    a: 1\n".to_owned())]));
        for text in ["", "a: 1\n", "items: []\n", "items:\n", "items:\n  a: 1\n", "items:\nx: 1\n"]
        {
            assert_eq!(cut(text), None, "{text}");
        }
    }
}
