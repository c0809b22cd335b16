//! From a publisher's document to a catalog to look over.
//!
//! [`import_markdown`] reads the tables of a page, [`import_environment_checker`] the Environment
//! Checker's list of targets. Only tables and lists become rules. Whatever looks like a
//! requirement and isn't one of the result's is in [`Imported::not_understood`], with its line.
//!
//! Nothing of the text is trusted: the result always is a catalog that parses.

mod cells;
mod clouds;
mod columns;
mod conditions;
mod draft;
mod endpoint;
mod environment_checker;
mod markdown;
mod ports;
mod prose;
mod table;

pub use environment_checker::{EnvironmentCheckerError, import_environment_checker};

use super::Catalog;
use draft::Draft;
use table::Tables;

/// What an import gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The rules, in the document's order. Levels and conditions are those that headings, columns
    /// and check marks state; conditions in sentences are for people to add.
    pub catalog: Catalog,
    /// What has to be looked at, in the order of lines.
    pub not_understood: Vec<NotUnderstood>,
}

/// A place in a document that states, or may state, what the catalog doesn't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUnderstood {
    /// 1-based line.
    pub line: usize,
    /// The text in question, on one line and at most 160 characters.
    pub text: String,
    /// What is the matter with it.
    pub why: String,
}

/// Reads the tables of a Markdown page that list destinations or ports.
///
/// `name` becomes the catalog's name, in lower-case words joined by `-`; `document` is what rules
/// give as their source.
pub fn import_markdown(text: &str, name: &str, document: &str) -> Imported {
    let page = markdown::Page::read(text);
    let mut draft = Draft::new(name, document, &page.title);
    Tables::new(&page).read(&mut draft);
    prose::report(&page, &mut draft);
    draft.finish()
}

/// Lower-case words of `a-z` and `0-9`, joined by `-`; empty when there are none.
fn slug(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// On one line, without control characters, and not longer than `most` characters.
fn shortened(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let words: String = text.chars().map(clean).take(most * 4).collect();
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((cut, _)) => format!("{}..", line[..cut].trim_end()),
        None => line,
    }
}

#[cfg(test)]
mod tests;
