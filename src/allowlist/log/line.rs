//! The text lines of the older logs.

/// What a line says: the request, and the sentences after it.
pub(super) struct Line<'a> {
    /// `HTTPS`, `TCP`.
    pub(super) protocol: &'a str,
    /// Address, mostly with port.
    pub(super) from: &'a str,
    /// Name or address, with port.
    pub(super) to: &'a str,
    rest: &'a str,
}

impl<'a> Line<'a> {
    /// Reads `PROTOCOL request from CLIENT to TARGET. Action: ...`; `None` for anything else.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (protocol, rest) = text.trim().split_once(" request from ")?;
        let (from, rest) = rest.split_once(" to ")?;
        let (to, rest) = rest.split_once(". ").unwrap_or((rest, ""));
        // Address translation says where it leads instead.
        (!to.contains(' ')).then_some(Self { protocol, from, to, rest })
    }

    /// What stands behind `key: `, up to the next sentence.
    pub(super) fn value(&self, key: &str) -> &'a str {
        let mut rest = self.rest;
        loop {
            if let Some(value) = rest.strip_prefix(key).and_then(|rest| rest.strip_prefix(": ")) {
                return end(value);
            }
            match rest.split_once(". ") {
                Some((_, next)) => rest = next,
                None => return "",
            }
        }
    }

    /// Why, when the line says so in a sentence of its own.
    pub(super) fn reason(&self) -> &'a str {
        match self.value("Reason") {
            "" if self.rest.contains("No rule matched") => "No rule matched",
            reason => reason,
        }
    }
}

/// A value ends where the next key or sentence begins: names may have dots in them.
fn end(value: &str) -> &str {
    let value = value.split(". ").next().unwrap_or_default();
    value.trim_end_matches('.')
}
