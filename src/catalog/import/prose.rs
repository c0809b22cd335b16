//! Sentences that look like requirements. They are for people to read.

use super::{
    super::{Destination, PortRange},
    cells,
    draft::Draft,
    endpoint::endpoint,
    markdown::{Line, Page},
};

/// Reports every sentence outside of tables that names a destination or a port.
pub(super) fn report(page: &Page<'_>, draft: &mut Draft) {
    for &line in &page.prose {
        report_line(line, "outside of a table", draft);
    }
}

/// Reports the sentences of a line that name a destination or a port.
pub(super) fn report_line(line: Line<'_>, place: &str, draft: &mut Draft) {
    for sentence in sentences(line.text) {
        let what = match (names_destination(sentence), names_port(sentence)) {
            (Some(name), _) => format!("`{name}`"),
            (None, true) => "a port".into(),
            (None, false) => continue,
        };
        draft.report(line.number, sentence, format!("names {what} {place}: a requirement?"));
    }
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(". ").map(str::trim)
}

/// A destination in code marks, quotes or bold, or a pattern anywhere.
fn names_destination(sentence: &str) -> Option<Destination> {
    let marked = marked_parts(sentence).find_map(|part| {
        // Placeholders may hold spaces, so marks come off before words are taken apart.
        cells::plain(part).text.split_whitespace().find_map(destination)
    });
    marked.or_else(|| {
        let plain = cells::plain(sentence).text;
        plain.split_whitespace().filter(|word| word.contains(['*', '{'])).find_map(destination)
    })
}

/// The texts between pairs of code marks, quotes and bold marks.
fn marked_parts(text: &str) -> impl Iterator<Item = &str> {
    ["`", "\"", "**", "__"].into_iter().flat_map(move |mark| text.split(mark).skip(1).step_by(2))
}

fn destination(word: &str) -> Option<Destination> {
    let word = word.trim_end_matches([',', ';', ')']).trim_start_matches('(');
    let found = endpoint(word)?.destination;
    // `kubernetes.example/name` is the key of an annotation or the like.
    if word.contains('/') && !word.contains("://") && !matches!(found, Destination::Cidr(_)) {
        return None;
    }
    let counts = match &found {
        Destination::Fqdn(name) => !FILE_ENDINGS.contains(&name.rsplit('.').next()?),
        Destination::ServiceTag(_) => true,
        Destination::Cidr(text) => !text.starts_with('{'),
        Destination::Any | Destination::Role(_) => false,
    };
    counts.then_some(found)
}

/// `port 443`, `ports 80 and 443`, `5001 port`.
fn names_port(sentence: &str) -> bool {
    let plain = cells::plain(sentence).text.to_lowercase();
    let words: Vec<_> = plain
        .split(|c: char| !(c.is_alphanumeric() || c == '-'))
        .filter(|word| !word.is_empty())
        .collect();
    let number = |word: Option<&&str>| word.is_some_and(|word| PortRange::parse(word).is_some());
    words.iter().enumerate().any(|(at, word)| {
        matches!(*word, "port" | "ports")
            && (number(words.get(at + 1)) || number(at.checked_sub(1).and_then(|at| words.get(at))))
    })
}

/// What looks like a host name in a text about software.
const FILE_ENDINGS: [&str; 24] = [
    "cer", "cfg", "conf", "crt", "csv", "dll", "exe", "htm", "html", "js", "json", "key", "log",
    "md", "msi", "pem", "png", "ps", "sh", "toml", "txt", "xml", "yaml", "yml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_requirements_from_other_text() {
        for sentence in [
            "Traffic to \"md-*.blob.x.example\" may be needed",
            "Allow `Storage.<region>`",
            "Allow __outbound__ access on __port 445__.",
            "Pods talk on 5001 port in other namespaces",
            "Open `127.0.0.1` for it",
            "Allow *.x.example as well",
        ] {
            let found = names_destination(sentence).is_some() || names_port(sentence);
            assert!(found, "{sentence}");
        }
        for sentence in [
            "Replace `<region>` with the region of your workspace.",
            "Edit `values.yaml`, see [the guide](https://docs.x.example/a.md)",
            "The port list below, 3 nodes in each pool",
            "Use `kubectl get pods` in `kube-system`.",
            "Annotate pods with `kubernetes.x.example/set-host`.",
        ] {
            let found = names_destination(sentence).is_some() || names_port(sentence);
            assert!(!found, "{sentence}");
        }
    }
}
