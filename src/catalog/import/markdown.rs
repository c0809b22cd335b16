//! The structure of a Markdown page: headings, tables, lines of prose.
//!
//! Read line by line, as GitHub's tables are defined (GFM section 4.10). A general Markdown parser
//! is no help here: pages write `*.a.example,*.b.example` and `<region>.c.example` in the open, which
//! are emphasis and an HTML tag to it, and the stars and placeholders would be gone.

/// A page taken apart. Everything borrows its text.
pub(super) struct Page<'t> {
    /// The first heading, or the title in the front matter.
    pub(super) title: String,
    /// All headings, in order.
    pub(super) headings: Vec<Heading>,
    /// All tables, in order.
    pub(super) tables: Vec<Table<'t>>,
    /// Lines of text outside of tables, headings, code blocks and comments.
    pub(super) prose: Vec<Line<'t>>,
    /// Lines at which an HTML table begins.
    pub(super) html_tables: Vec<Line<'t>>,
}

/// A line of the page.
#[derive(Clone, Copy)]
pub(super) struct Line<'t> {
    /// 1-based.
    pub(super) number: usize,
    pub(super) text: &'t str,
}

pub(super) struct Heading {
    /// 1 to 6.
    pub(super) level: usize,
    /// Without markup.
    pub(super) title: String,
    /// Index of the heading above it.
    pub(super) parent: Option<usize>,
}

pub(super) struct Table<'t> {
    /// Index of the heading that it stands under.
    pub(super) heading: Option<usize>,
    pub(super) columns: Vec<&'t str>,
    pub(super) rows: Vec<Row<'t>>,
}

pub(super) struct Row<'t> {
    pub(super) line: Line<'t>,
    pub(super) cells: Vec<&'t str>,
}

impl<'t> Page<'t> {
    pub(super) fn read(text: &'t str) -> Self {
        let mut page = Self {
            title: String::new(),
            headings: Vec::new(),
            tables: Vec::new(),
            prose: Vec::new(),
            html_tables: Vec::new(),
        };
        let lines: Vec<_> = lines(text).collect();
        let mut at = page.front_matter(&lines);
        while at < lines.len() {
            at += page.block(&lines[at..]);
        }
        page
    }

    /// A heading's title and those above it, from the outer to the inner one.
    pub(super) fn path(&self, heading: usize) -> Vec<&str> {
        let above = |&at: &usize| self.headings[at].parent;
        let mut path: Vec<_> = std::iter::successors(Some(heading), above)
            .map(|at| self.headings[at].title.as_str())
            .collect();
        path.reverse();
        path
    }

    /// Number of lines of YAML between `---` at the top.
    fn front_matter(&mut self, lines: &[Line<'t>]) -> usize {
        if lines.first().is_none_or(|first| first.text.trim_end() != "---") {
            return 0;
        }
        let Some(end) = lines[1..].iter().position(|line| line.text.trim_end() == "---") else {
            return 0;
        };
        let title = lines[1..=end].iter().find_map(|line| line.text.strip_prefix("title:"));
        self.title = title.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned();
        end + 2
    }

    /// Takes what begins here and gives its number of lines.
    fn block(&mut self, lines: &[Line<'t>]) -> usize {
        let first = lines[0];
        let text = unquoted(first.text);
        if let Some(fence) = fence(text) {
            let ends = |line: &Line<'_>| {
                let end = unquoted(line.text).trim_end();
                end.starts_with(fence) && end.trim_start_matches(&fence[..1]).is_empty()
            };
            return lines[1..].iter().position(ends).map_or(lines.len(), |end| end + 2);
        }
        if text.starts_with("<!--") {
            let end = lines.iter().position(|line| line.text.contains("-->"));
            return end.map_or(lines.len(), |end| end + 1);
        }
        if let Some((level, title)) = heading(text) {
            self.add_heading(level, title);
            return 1;
        }
        if let Some(rows) = table_rows(lines) {
            self.add_table(lines, rows);
            return rows + 2;
        }
        if text.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("<table")) {
            self.html_tables.push(first);
        }
        if !text.is_empty() && !is_directive(text) {
            self.prose.push(Line { text, ..first });
        }
        1
    }

    fn add_heading(&mut self, level: usize, title: &str) {
        let title = super::cells::plain(title).text.replace('\n', " ").trim().to_owned();
        if self.title.is_empty() {
            self.title.clone_from(&title);
        }
        let mut parent = self.headings.len().checked_sub(1);
        while let Some(at) = parent
            && self.headings[at].level >= level
        {
            parent = self.headings[at].parent;
        }
        self.headings.push(Heading { level, title, parent });
    }

    fn add_table(&mut self, lines: &[Line<'t>], rows: usize) {
        let row = |&line: &Line<'t>| Row { line, cells: split_row(unquoted(line.text)) };
        self.tables.push(Table {
            heading: self.headings.len().checked_sub(1),
            columns: split_row(unquoted(lines[0].text)),
            rows: lines[2..2 + rows].iter().map(row).collect(),
        });
    }
}

/// Lines without their ends, and without a byte order mark.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    (1..).zip(text.lines()).map(|(number, text)| Line { number, text })
}

/// Without the marks of quoted blocks and the indent.
fn unquoted(line: &str) -> &str {
    line.trim_start_matches(|c: char| c == '>' || c.is_whitespace()).trim_end()
}

/// The three marks that open a code block.
fn fence(text: &str) -> Option<&str> {
    let mark = text.get(..3)?;
    // A code span in a line of text may have three marks too, but it ends on that line.
    (mark == "```" && !text[3..].contains('`') || mark == "~~~").then_some(mark)
}

/// Level and text of a heading.
fn heading(text: &str) -> Option<(usize, &str)> {
    let level = text.bytes().take_while(|&b| b == b'#').count();
    let title = text[level..].strip_prefix([' ', '\t'])?;
    (1..=6).contains(&level).then(|| (level, title.trim().trim_end_matches('#').trim_end()))
}

/// Includes, zone marks and definitions of links: no text.
fn is_directive(text: &str) -> bool {
    text.starts_with("[!INCLUDE") || text.starts_with(":::") || {
        let definition = text.strip_prefix('[').and_then(|t| t.split_once("]:"));
        definition.is_some_and(|(name, _)| !name.contains([']', ' ']))
    }
}

/// Number of rows below the two lines that begin a table; `None` when no table begins here.
fn table_rows(lines: &[Line<'_>]) -> Option<usize> {
    let [head, delimiter, rest @ ..] = lines else { return None };
    let is_row =
        |line: &Line<'_>| line.text.contains('|') && heading(unquoted(line.text)).is_none();
    if !is_row(head) || !is_delimiter(unquoted(delimiter.text)) {
        return None;
    }
    Some(rest.iter().take_while(|line| is_row(line)).count())
}

/// `|---|:-:|`, with at least one bar: without, it would be a rule across the page.
fn is_delimiter(text: &str) -> bool {
    text.contains('|')
        && text.contains('-')
        && split_row(text).iter().all(|cell| {
            let dashes = cell.strip_prefix(':').unwrap_or(cell);
            let dashes = dashes.strip_suffix(':').unwrap_or(dashes);
            dashes.bytes().all(|b| b == b'-')
        })
}

/// Cells between bars; `\|` is no bar.
fn split_row(line: &str) -> Vec<&str> {
    let line = line.trim();
    let line = line.strip_prefix('|').unwrap_or(line);
    let mut cells = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        if byte == b'|' && !escaped {
            cells.push(line[start..at].trim());
            start = at + 1;
        }
        escaped = byte == b'\\' && !escaped;
    }
    // What follows the last bar is a cell only when something stands there.
    let last = line[start..].trim();
    if !last.is_empty() || cells.is_empty() {
        cells.push(last);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_page_apart() {
        let page = Page::read(
            "\u{feff}---\ntitle: A page\n---\n# Top\ntext\n## Part *one* #\n\n| A | B |\n|--|:-:|\n| 1 | 2\n\
             |3|\n\n```sh\n| x | y |\n|---|---|\n```\n<!-- hidden\nmore -->\n> | Q |\n> |---|\n> | q \\| r |\n\
             ### Deep\n[x]: ./x.md\n<table>\n## Part two\n",
        );
        assert_eq!(page.title, "A page");
        assert_eq!(page.path(2), ["Top", "Part one", "Deep"]);
        assert_eq!(page.path(3), ["Top", "Part two"]);
        let cells: Vec<_> =
            page.tables.iter().flat_map(|t| &t.rows).map(|r| &r.cells[..]).collect();
        assert_eq!(cells, [&["1", "2"][..], &["3"], &["q \\| r"]]);
        assert_eq!(page.tables[0].rows[1].line.number, 11);
        let prose: Vec<_> = page.prose.iter().map(|line| line.number).collect();
        assert_eq!(prose, [5, 24]);
        assert_eq!(page.html_tables.len(), 1);
    }

    #[test]
    fn an_unclosed_code_block_runs_to_the_end() {
        let page = Page::read("```\n| a |\n|---|\n| b |\n");
        assert!(page.tables.is_empty() && page.prose.is_empty());
    }
}
