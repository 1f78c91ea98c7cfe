//! The unified diff of a file that got insertions. It is made from the insertions and not found by
//! comparing: that takes time in proportion to the file times the number of new lines.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use policy_core::manifest::Insertion;

use crate::input::Input;

/// Lines around a change.
const CONTEXT: usize = 3;

/// New lines before a line of the file, in place of it if it is changed itself.
struct Change {
    /// The index of the line.
    line: usize,
    is_replaced: bool,
    new: String,
}

/// The diff as `git apply` takes it. `path` is relative to the folder where it is applied; with a line
/// `diff --git` it would have to be relative to the root of the repository.
pub(super) fn unified(path: &str, text: &str, insertions: &[Insertion]) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let changes = changes(&lines, insertions);
    let mut diff = String::new();
    // Writing into a String cannot fail.
    let _ = write!(diff, "--- {}\n+++ {}\n", header("a", path), header("b", path));
    let mut rest = changes.as_slice();
    let mut added = 0;
    while let Some(first) = rest.first() {
        let is_near = |pair: &&[Change]| pair[1].line <= pair[0].line + 2 * CONTEXT;
        let number = 1 + rest.windows(2).take_while(is_near).count();
        let (hunk, after) = rest.split_at(number);
        added += write_hunk(&lines, first.line, hunk, added, &mut diff);
        rest = after;
    }
    diff
}

/// The current folder below the root of its repository; `None` where it is the root, or in none.
pub(super) fn below_root() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let root = here.ancestors().find(|folder| folder.join(".git").exists())?;
    let below = here.strip_prefix(root).ok()?;
    (!below.as_os_str().is_empty()).then(|| below.to_owned())
}

/// Why `git apply` would not take the diff of a file, or not for that file.
pub(super) fn unfit(input: &Input, below_root: Option<&Path>) -> Option<&'static str> {
    let path = input.path()?;
    if path.to_str().is_none() {
        return Some("`git apply` finds no file of this name, which is not UTF-8; use --write");
    }
    let name = Path::new(&*input.name);
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return Some(
            "`git apply` takes no such path; name the file relative to the current folder, without \
             `..`, or use --write",
        );
    }
    // `guess_p_value` of apply.c.
    name.starts_with(below_root?).then_some(
        "`git apply` takes the path for one of the root of the repository, as it begins like the \
         current folder; run policyctl and git there, or use --write",
    )
}

/// `a/path`; in quotes where a name has characters that would end it (`quote_c_style` of Git), and
/// with a tab behind it where it has spaces.
fn header(side: &str, path: &str) -> String {
    let name = format!("{side}/{}", path.trim_start_matches('/'));
    if name.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        let mut quoted = String::from("\"");
        for byte in name.bytes() {
            let _ = match byte {
                b'"' | b'\\' => write!(quoted, "\\{}", char::from(byte)),
                b' '..=b'~' => write!(quoted, "{}", char::from(byte)),
                byte => write!(quoted, "\\{byte:03o}"),
            };
        }
        quoted + "\""
    } else if name.contains(' ') {
        name + "\t"
    } else {
        name
    }
}

/// The changed lines, in their order. Insertions into the same line become one change.
fn changes(lines: &[&str], insertions: &[Insertion]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let (mut line, mut start) = (0, 0);
    let mut written = 0;
    for Insertion { at, text } in insertions {
        while let Some(found) = lines.get(line).filter(|found| start + found.len() <= *at) {
            // The end of the last line without a line break is a place in it.
            if start + found.len() == *at && !found.ends_with('\n') {
                break;
            }
            finish(&mut changes, lines, line, written);
            (line, start, written) = (line + 1, start + found.len(), 0);
        }
        let column = at - start;
        let is_continued = changes.last().is_some_and(|change| change.line == line);
        if !is_continued {
            changes.push(Change { line, is_replaced: false, new: String::new() });
        }
        if let Some(change) = changes.last_mut() {
            let before = lines.get(line).and_then(|found| found.get(written..column));
            change.is_replaced |= column > 0;
            change.new += before.unwrap_or_default();
            change.new += text;
        }
        written = column;
    }
    finish(&mut changes, lines, line, written);
    changes
}

/// Adds what follows the last insertion into a line.
fn finish(changes: &mut [Change], lines: &[&str], line: usize, written: usize) {
    let change = changes.last_mut().filter(|change| change.line == line && change.is_replaced);
    if let (Some(change), Some(found)) = (change, lines.get(line)) {
        change.new += found.get(written..).unwrap_or_default();
    }
}

/// Writes a hunk. `added` is by how many lines the file has grown before it; returns by how many it
/// grows in it.
fn write_hunk(
    lines: &[&str],
    first: usize,
    changes: &[Change],
    added: usize,
    diff: &mut String,
) -> usize {
    let start = first.saturating_sub(CONTEXT);
    let last = changes.last().map_or(first, |change| change.line + usize::from(change.is_replaced));
    let end = (last + CONTEXT).min(lines.len());
    let new: usize = changes.iter().map(|change| change.new.split_inclusive('\n').count()).sum();
    let replaced = changes.iter().filter(|change| change.is_replaced).count();
    let (old, growth) = (end - start, new - replaced);
    // A hunk without old lines is after the line of that number.
    let old_start = if old == 0 { start } else { start + 1 };
    let (now_start, now) = (start + 1 + added, old + growth);
    let _ = writeln!(diff, "@@ -{old_start},{old} +{now_start},{now} @@");
    let mut next = start;
    for change in changes {
        write_lines(' ', &lines[next..change.line], diff);
        next = change.line;
        if change.is_replaced {
            write_lines('-', &lines[next..=next], diff);
            next += 1;
        }
        let new: Vec<&str> = change.new.split_inclusive('\n').collect();
        write_lines('+', &new, diff);
    }
    write_lines(' ', &lines[next..end], diff);
    growth
}

fn write_lines(sign: char, lines: &[&str], diff: &mut String) {
    for line in lines {
        diff.push(sign);
        *diff += line;
        if !line.ends_with('\n') {
            *diff += "\n\\ No newline at end of file\n";
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(text: &str, insertions: &[(usize, &str)]) -> String {
        let insertions: Vec<Insertion> = insertions
            .iter()
            .map(|(at, text)| Insertion { at: *at, text: (*text).to_owned() })
            .collect();
        let diff = unified("x.yaml", text, &insertions);
        diff.strip_prefix("--- a/x.yaml\n+++ b/x.yaml\n").unwrap().to_owned()
    }

    #[test]
    fn new_lines_have_their_surroundings() {
        assert_eq!(diff("a\nb\nc\nd\ne\n", &[(8, "x\n")]), "@@ -2,4 +2,5 @@\n b\n c\n d\n+x\n e\n");
        assert_eq!(diff("a\n", &[(2, "x\ny\n")]), "@@ -1,1 +1,3 @@\n a\n+x\n+y\n");
        assert_eq!(diff("a\r\n", &[(3, "x\r\n")]), "@@ -1,1 +1,2 @@\n a\r\n+x\r\n");
    }

    #[test]
    fn near_changes_are_one_hunk() {
        let text = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        assert_eq!(diff(text, &[(2, "x\n"), (14, "y\n")]).matches("@@ -").count(), 1);
        assert_eq!(
            diff(text, &[(2, "x\n"), (16, "y\n")]),
            "@@ -1,4 +1,5 @@\n 1\n+x\n 2\n 3\n 4\n@@ -6,4 +7,5 @@\n 6\n 7\n 8\n+y\n 9\n"
        );
    }

    #[test]
    fn a_line_that_grows_is_replaced() {
        assert_eq!(
            diff("r: {}\ns: {}\n", &[(4, "a: 1"), (10, "b: 1"), (10, ", c: 2")]),
            "@@ -1,2 +1,2 @@\n-r: {}\n+r: {a: 1}\n-s: {}\n+s: {b: 1, c: 2}\n"
        );
        assert_eq!(
            diff("a", &[(1, "\nx")]),
            "@@ -1,1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+x\n\\ No newline at end of file\n"
        );
    }

    #[test]
    fn the_header_names_odd_files_as_git_does() {
        assert_eq!(header("a", "k8s/app.yaml"), "a/k8s/app.yaml");
        assert_eq!(header("a", "/tmp/app.yaml"), "a/tmp/app.yaml");
        assert_eq!(header("b", "my app.yaml"), "b/my app.yaml\t");
        assert_eq!(header("b", "a\"b\n.yaml"), "\"b/a\\\"b\\012.yaml\"");
        assert_eq!(header("b", "größe.yaml"), "b/größe.yaml");
    }
}
