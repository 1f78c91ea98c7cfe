//! Counts the lines of Rust that are no tests.

use std::path::Path;

/// A number of lines.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) all: usize,
    /// Those that are neither blank nor a comment.
    pub(crate) code: usize,
}

const TEST: &str = "#[cfg(test)]";

/// Counts the lines outside of `#[cfg(test)] mod … { … }` blocks. The text is formatted by rustfmt:
/// so a block ends at the first brace that is indented like its attribute.
pub(crate) fn count(text: &str) -> Lines {
    let mut counted = Lines::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim() == TEST && opens_module(lines.clone()) {
            let end = format!("{}}}", &line[..indent]);
            lines.by_ref().find(|line| **line == end);
            continue;
        }
        counted.all += 1;
        let line = line.trim();
        counted.code += usize::from(!line.is_empty() && !line.starts_with("//"));
    }
    counted
}

/// Whether the item that these lines begin with, after its attributes, is a module with a block.
fn opens_module<'a>(lines: impl Iterator<Item = &'a str>) -> bool {
    let mut items = lines.map(str::trim).skip_while(|line| line.starts_with("#["));
    items.next().is_some_and(|line| module(line).is_some() && line.ends_with('{'))
}

/// The name of the module that a line declares.
fn module(line: &str) -> Option<&str> {
    let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
    line.strip_prefix("mod ")?.split([' ', ';']).next()
}

/// Counts all Rust files under a folder, except those with nothing but tests and benchmarks.
pub(crate) fn outside_tests(files: &[(String, String)], under: &str) -> Lines {
    let is_rust =
        |name: &str| Path::new(name).extension().is_some_and(|extension| extension == "rs");
    let rust: Vec<&(String, String)> = files.iter().filter(|(name, _)| is_rust(name)).collect();
    let tests: Vec<String> =
        rust.iter().flat_map(|(name, text)| test_modules(name, text)).collect();
    let is_test = |name: &str| {
        let beside_src = ["/tests/", "/benches/", "/fuzz/", "/examples/"];
        let is_beside_src = !name.contains("/src/") && beside_src.iter().any(|f| name.contains(f));
        let belongs_to = |module: &String| {
            name.strip_prefix(&**module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        is_beside_src || tests.iter().any(belongs_to)
    };
    let counted = rust.iter().filter(|(name, _)| name.starts_with(under) && !is_test(name));
    counted.map(|(_, text)| count(text)).fold(Lines::default(), |sum, lines| Lines {
        all: sum.all + lines.all,
        code: sum.code + lines.code,
    })
}

/// The paths, without `.rs`, of the modules that a file declares by `#[cfg(test)] mod NAME;`.
fn test_modules(file: &str, text: &str) -> Vec<String> {
    let path = Path::new(file);
    let stem = path.file_stem().unwrap_or_default();
    let folder = match stem.to_str() {
        Some("lib" | "main" | "mod") => path.parent().map(Path::to_path_buf),
        _ => Some(path.with_extension("")),
    };
    let folder = folder.unwrap_or_default();
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while lines.by_ref().any(|line| line == TEST) {
        let declaration = lines.clone().find(|line| !line.starts_with("#["));
        let name = declaration.filter(|line| line.ends_with(';')).and_then(module);
        found.extend(name.map(|name| folder.join(name).display().to_string()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "//! Text.\n\n#[cfg(test)]\nmod tests;\n\nfn a() {}\n\n#[cfg(test)]\n\
        #[expect(lint)]\nmod more {\n    fn b() {\n    }\n}\nfn c() {}\n#[cfg(test)]\nfn d() {}\n";

    #[test]
    fn only_blocks_of_test_modules_are_left_out() {
        assert_eq!(count(SOURCE), Lines { all: 10, code: 6 });
        let nested = "mod a {\n    #[cfg(test)]\n    mod tests {\n        }\n    }\n}\n";
        assert_eq!(count(nested).all, 2);
        assert_eq!(count(""), Lines::default());
    }

    #[test]
    fn files_of_test_modules_are_left_out() {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let files = [
            file("crates/a/src/lease.rs", SOURCE),
            file("crates/a/src/lease/tests.rs", "1\n"),
            file("crates/a/src/lease/tests/more.rs", "1\n"),
            file("crates/a/src/testing/mod.rs", "#[cfg(test)]\nmod tests;\n"),
            file("crates/a/src/testing/tests/mod.rs", "1\n"),
            file("crates/a/src/lease/testsuite.rs", "1\n"),
            file("crates/a/tests/golden.rs", "1\n"),
            file("crates/a/benches/all.rs", "1\n"),
            file("crates/a/README.md", "1\n"),
            file("xtask/src/main.rs", "1\n"),
        ];
        assert_eq!(outside_tests(&files, "crates/"), Lines { all: 13, code: 9 });
    }
}
