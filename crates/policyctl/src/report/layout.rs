//! Lines for people: columns as wide as their content, and long texts wrapped to the terminal.

use std::borrow::Cow;
use std::fmt::Display;
use std::io;

use anstyle::{AnsiColor, Style};
use policy_core::score::Classification;
use policy_core::severity::Severity;
use policy_core::text::printable;
use textwrap::core::display_width;
use textwrap::{Options, WordSplitter};

/// A column of names keeps this width on the narrowest terminal.
const MIN_NAME: usize = 12;
/// The width of the labels before a value.
const LABEL: usize = 27;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableStyle {
    pub(crate) is_coloured: bool,
    /// The width of the terminal. `None` for a file or a pipe, where no text is wrapped and no name
    /// is shortened.
    pub(crate) width: Option<usize>,
}

impl TableStyle {
    /// That of a file.
    pub(crate) const PLAIN: Self = Self { is_coloured: false, width: None };

    pub(super) fn paint(self, text: impl Display, style: Style) -> String {
        if self.is_coloured { format!("{style}{text}{style:#}") } else { text.to_string() }
    }

    fn wrap(self, first: &str, text: &str) -> Vec<String> {
        let Some(width) = self.width else { return vec![format!("{first}{text}")] };
        let indent = " ".repeat(display_width(first));
        // Names contain hyphens, and a name on one line can be copied.
        let options = Options::new(width)
            .initial_indent(first)
            .subsequent_indent(&indent)
            .word_splitter(WordSplitter::NoHyphenation);
        textwrap::wrap(text, options).into_iter().map(Cow::into_owned).collect()
    }
}

pub(super) fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Critical => AnsiColor::Red.on_default().bold(),
        Severity::High => AnsiColor::Red.on_default(),
        Severity::Medium => AnsiColor::Yellow.on_default(),
        Severity::Low => AnsiColor::Cyan.on_default(),
    }
}

pub(super) fn class_style(class: Classification) -> Style {
    match class {
        Classification::Healthy => AnsiColor::Green.on_default(),
        Classification::Stable => AnsiColor::Cyan.on_default(),
        Classification::Degraded => AnsiColor::Yellow.on_default(),
        Classification::Critical => AnsiColor::Red.on_default().bold(),
    }
}

/// A column: its title, and how its cells are aligned.
pub(super) enum Column<'a> {
    Left(&'a str),
    Right(&'a str),
    /// Aligned left; the column that is shortened where the terminal is too narrow.
    Name(&'a str),
}

impl Column<'_> {
    fn title(&self) -> &str {
        match self {
            Self::Left(title) | Self::Right(title) | Self::Name(title) => title,
        }
    }
}

/// A cell of a column.
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn new(text: impl Display) -> Self {
        Self::styled(text, Style::new())
    }

    pub(super) fn styled(text: impl Display, style: Style) -> Self {
        Self { text: printable(&text.to_string()).into_owned(), style }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// The report that is being written.
pub(super) struct Table<'a> {
    pub(super) out: &'a mut dyn io::Write,
    pub(super) style: TableStyle,
}

impl Table<'_> {
    pub(super) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A heading after an empty line. It is never wrapped: a file name can be copied whole.
    pub(super) fn heading(&mut self, text: impl Display) -> io::Result<()> {
        let heading = self.style.paint(text, Style::new().bold());
        self.line(format_args!("\n{heading}"))
    }

    /// `Label : value`, wrapped under the value.
    pub(super) fn row(&mut self, label: &str, value: impl Display) -> io::Result<()> {
        self.wrapped(&format!("{label:<LABEL$}: "), value)
    }

    /// A text after `first`, wrapped under its start.
    pub(super) fn wrapped(&mut self, first: &str, text: impl Display) -> io::Result<()> {
        let lines = self.style.wrap(first, &text.to_string());
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// A text from outside after `first`, made printable and wrapped under its start.
    pub(super) fn wrapped_printable(&mut self, first: &str, text: &str) -> io::Result<()> {
        self.wrapped(first, printable(text))
    }

    /// Writes the titles and the rows.
    pub(super) fn columns(
        &mut self,
        indent: &str,
        columns: &[Column<'_>],
        rows: &[Vec<Cell>],
    ) -> io::Result<()> {
        let lines = self.aligned(indent, columns, rows);
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// The line of the titles and one for each row, for a caller that writes more between them.
    pub(super) fn aligned(
        &self,
        indent: &str,
        columns: &[Column<'_>],
        rows: &[Vec<Cell>],
    ) -> Vec<String> {
        let widths = self.widths(indent.len(), columns, rows);
        let aligned = |cells: &[Cell]| {
            let mut line = indent.to_owned();
            for ((column, width), cell) in columns.iter().zip(&widths).zip(cells) {
                let text = shortened(&cell.text, *width);
                let space = " ".repeat(width.saturating_sub(display_width(&text)));
                let text = self.style.paint(text, cell.style);
                let cell = match column {
                    Column::Right(_) => [space, text],
                    Column::Left(_) | Column::Name(_) => [text, space],
                };
                line.extend(cell);
                line += "  ";
            }
            line.trim_end().to_owned()
        };
        let bold = Style::new().bold();
        let titles: Vec<Cell> =
            columns.iter().map(|column| Cell::styled(column.title(), bold)).collect();
        std::iter::once(aligned(&titles)).chain(rows.iter().map(|row| aligned(row))).collect()
    }

    /// The width of each column: of its longest cell, but for names on a terminal that is narrower
    /// than the whole line.
    fn widths(&self, indent: usize, columns: &[Column<'_>], rows: &[Vec<Cell>]) -> Vec<usize> {
        let cells = |i: usize| rows.iter().filter_map(move |row| row.get(i));
        let mut widths: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(i, column)| {
                let longest = cells(i).map(|cell| display_width(&cell.text)).max().unwrap_or(0);
                longest.max(display_width(&printable(column.title())))
            })
            .collect();
        let line = indent + widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let excess = self.style.width.map_or(0, |width| line.saturating_sub(width));
        for (width, column) in widths.iter_mut().zip(columns) {
            if matches!(column, Column::Name(_)) {
                *width = width.saturating_sub(excess).max(MIN_NAME.min(*width));
            }
        }
        widths
    }
}

/// The text, cut to a width.
fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if display_width(text) <= width {
        return text.into();
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| match room.checked_sub(display_width(c.encode_utf8(&mut [0; 4]))) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{kept}…").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: Option<usize>, write: impl FnOnce(&mut Table<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Table { out: &mut out, style: TableStyle { is_coloured: false, width } });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_is_wrapped_under_its_start_on_a_terminal_and_whole_in_a_pipe() {
        let value =
            "a reason of many words, none of which a reader may lose, and missing-readiness";
        let row = |table: &mut Table<'_>| table.row("How", value).unwrap();
        assert_eq!(
            written(Some(60), row),
            "\
How                        : a reason of many words, none of
                             which a reader may lose, and
                             missing-readiness
"
        );
        for width in [Some(120), None] {
            assert_eq!(written(width, row), format!("How                        : {value}\n"));
        }
    }

    #[test]
    fn only_names_are_shortened_and_only_on_a_narrow_terminal() {
        let name = "n".repeat(90);
        let rows = [vec![Cell::new(&name), Cell::new(7)], vec![Cell::new("short"), Cell::new(100)]];
        let columns = [Column::Name("NAME"), Column::Right("PODS")];
        let table = |width| written(width, |table| table.columns("", &columns, &rows).unwrap());
        assert_eq!(
            table(Some(80)),
            format!("{:<74}  PODS\n{}…     7\n{:<74}   100\n", "NAME", "n".repeat(73), "short")
        );
        for width in [Some(96), None] {
            assert!(table(width).contains(&format!("\n{name}     7\n")), "{}", table(width));
        }
    }

    #[test]
    fn a_cell_is_cut_by_its_width_on_the_screen() {
        assert_eq!((shortened("abcd", 4), shortened("abcde", 4)), ("abcd".into(), "abc…".into()));
        assert_eq!(shortened("日本語", 5), "日本…");
    }

    #[test]
    fn a_cell_shows_no_odd_character() {
        let rows = [vec![Cell::new("\u{1b}[2Jweb\n")]];
        let text = written(None, |table| table.columns("", &[Column::Name("A")], &rows).unwrap());
        assert_eq!(text, "A\n\u{fffd}[2Jweb\u{fffd}\n");
    }
}
