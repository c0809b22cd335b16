//! When each destination was tried: a bar from its first packet to its last, a mark for each frame
//! that shows an outcome.

use super::{class_tone, esc};
use crate::{
    base::Timestamp,
    report::{
        DestinationEntry, Report,
        wording::{class_name, outcomes, reached_by, verdict, verdict_name},
    },
    verdict::{Class, Meaning, Verdict},
};

const WIDTH: f64 = 1060.0;
/// Where time begins: names stand before.
const LEFT: f64 = 330.0;
const RIGHT: f64 = 20.0;
const ROW: f64 = 22.0;
const TOP: f64 = 34.0;
/// Rows drawn; what fails comes first.
const MAX_ROWS: usize = 60;
/// Characters of a name that fit.
const NAME: usize = 40;

/// True when there is something to draw.
pub(super) fn shows(report: &Report) -> bool {
    !report.destinations.is_empty()
}

/// Writes the figure.
pub(super) fn timeline(report: &Report, page: &mut String) {
    let mut rows: Vec<_> = report.destinations.iter().collect();
    rows.sort_by_key(|found| (importance(found), found.first));
    let hidden = rows.len().saturating_sub(MAX_ROWS);
    rows.truncate(MAX_ROWS);
    let Some(first) = rows.iter().map(|found| found.first).min() else { return };
    let last = rows.iter().map(|found| found.last).max().unwrap_or(first);
    // Within the rows shown, time runs downwards.
    rows.sort_by_key(|found| (found.first, found.name.clone(), found.port));
    page.push_str(&format!(
        "<section aria-labelledby=\"when\">\n<h2 id=\"when\">Timeline</h2>\n\
         <p class=\"note\">From the first packet of each destination to the last, beginning at {first}. Marks are the frames that show how an attempt went.{}</p>\n<figure>\n",
        match hidden {
            0 => String::new(),
            _ => format!(" {hidden} destinations that are as expected aren't drawn."),
        }
    ));
    let scale = Scale::new(first, last);
    draw(&rows, &scale, page);
    page.push_str("<figcaption>Round: answered. Cross: failed. Square: the packets don't tell. The tables below have the same, with times.</figcaption>\n</figure>\n</section>\n");
}

fn importance(found: &DestinationEntry) -> u8 {
    match (found.verdict, found.class) {
        (Verdict::Blocked | Verdict::Degraded, _) => 0,
        (_, Class::Unexpected) => 1,
        (Verdict::Inconclusive, _) | (_, Class::Ambiguous | Class::Conditional) => 2,
        (_, Class::Allowed | Class::Required | Class::Recommended) => 3,
        _ => 4,
    }
}

/// Time to a place on the page.
struct Scale {
    first: Timestamp,
    nanos: u64,
}

impl Scale {
    fn new(first: Timestamp, last: Timestamp) -> Self {
        Self { first, nanos: last.nanos().saturating_sub(first.nanos()).max(1) }
    }

    #[allow(clippy::cast_precision_loss)]
    fn x(&self, time: Timestamp) -> f64 {
        let since = time.nanos().saturating_sub(self.first.nanos()).min(self.nanos);
        LEFT + since as f64 / self.nanos as f64 * (WIDTH - LEFT - RIGHT)
    }

    /// Round times, at most seven of them, with their words.
    fn ticks(&self) -> Vec<(Timestamp, String)> {
        let steps = TICKS.iter().find(|(step, _, _)| self.nanos / step <= 6);
        let (step, unit, word) = steps.copied().unwrap_or_else(|| {
            let days = self.nanos / DAY / 6 + 1;
            (days * DAY, DAY, "d")
        });
        (0..=self.nanos / step)
            .map(|n| {
                let at = Timestamp::from_nanos(self.first.nanos().saturating_add(n * step));
                (at, format!("+{} {word}", n * step / unit))
            })
            .collect()
    }
}

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000 * MICRO;
const SECOND: u64 = 1_000 * MILLI;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Distances of ticks, their unit and its word.
const TICKS: [(u64, u64, &str); 27] = [
    (10 * MICRO, MICRO, "µs"),
    (50 * MICRO, MICRO, "µs"),
    (100 * MICRO, MICRO, "µs"),
    (500 * MICRO, MICRO, "µs"),
    (MILLI, MILLI, "ms"),
    (2 * MILLI, MILLI, "ms"),
    (5 * MILLI, MILLI, "ms"),
    (10 * MILLI, MILLI, "ms"),
    (20 * MILLI, MILLI, "ms"),
    (50 * MILLI, MILLI, "ms"),
    (100 * MILLI, MILLI, "ms"),
    (200 * MILLI, MILLI, "ms"),
    (500 * MILLI, MILLI, "ms"),
    (SECOND, SECOND, "s"),
    (2 * SECOND, SECOND, "s"),
    (5 * SECOND, SECOND, "s"),
    (10 * SECOND, SECOND, "s"),
    (20 * SECOND, SECOND, "s"),
    (MINUTE, MINUTE, "min"),
    (2 * MINUTE, MINUTE, "min"),
    (5 * MINUTE, MINUTE, "min"),
    (10 * MINUTE, MINUTE, "min"),
    (20 * MINUTE, MINUTE, "min"),
    (HOUR, HOUR, "h"),
    (3 * HOUR, HOUR, "h"),
    (6 * HOUR, HOUR, "h"),
    (DAY, DAY, "d"),
];

#[allow(clippy::cast_precision_loss)]
fn draw(rows: &[&DestinationEntry], scale: &Scale, page: &mut String) {
    let height = TOP + ROW * rows.len() as f64 + 6.0;
    page.push_str(&format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Figure: timeline\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"line-t line-d\">\n\
         <title id=\"line-t\">Timeline of attempts</title>\n\
         <desc id=\"line-d\">A row for each of {} destinations; the tables below have the same.</desc>\n",
        rows.len()
    ));
    for (index, _) in rows.iter().enumerate().filter(|(index, _)| index % 2 == 0) {
        let y = TOP + ROW * index as f64;
        page.push_str(&format!(
            "<rect class=\"row\" x=\"0\" y=\"{y}\" width=\"{WIDTH}\" height=\"{ROW}\"/>\n"
        ));
    }
    for (time, word) in scale.ticks() {
        let x = scale.x(time);
        let anchor = if x > WIDTH - 60.0 { "s e" } else { "s" };
        page.push_str(&format!(
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"20\" x2=\"{x:.1}\" y2=\"{height}\"/>\
             <text class=\"{anchor}\" x=\"{x:.1}\" y=\"14\">{word}</text>\n"
        ));
    }
    for (index, found) in rows.iter().enumerate() {
        row(found, TOP + ROW * index as f64, scale, page);
    }
    page.push_str("</svg></div>\n");
}

fn row(found: &DestinationEntry, y: f64, scale: &Scale, page: &mut String) {
    let middle = y + ROW / 2.0;
    let (start, end) = (scale.x(found.first), scale.x(found.last));
    let tone = match found.verdict {
        Verdict::Blocked => "bad",
        Verdict::Degraded | Verdict::Inconclusive => "warn",
        _ => class_tone(found.class),
    };
    let kinds = format!("{} {}", class_name(found.class), verdict_name(found.verdict));
    page.push_str(&format!(
        "<g><title>{} {}: {}, {} ({}), {kinds} from {} to {}</title>\n\
         <rect class=\"{tone}\" x=\"4\" y=\"{:.1}\" width=\"4\" height=\"12\" rx=\"2\"/>\
         <text class=\"m\" x=\"14\" y=\"{:.1}\">{}</text>\
         <text class=\"s e\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
         <rect class=\"bar\" x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"6\" rx=\"3\"/>\n",
        esc(&found.name),
        esc(&reached_by(found)),
        class_name(found.class),
        verdict(found.verdict),
        esc(&outcomes(&found.outcomes)),
        found.first,
        found.last,
        middle - 6.0,
        middle + 4.0,
        esc(&cut(&found.name)),
        LEFT - 8.0,
        middle + 4.0,
        if found.port.is_some() { esc(&reached_by(found)) } else { "lookup".to_owned() },
        middle - 3.0,
        (end - start).max(3.0)
    ));
    for item in &found.evidence {
        mark(item.outcome.meaning(), scale.x(item.ts), middle, page);
    }
    page.push_str("</g>\n");
}

fn mark(meaning: Meaning, x: f64, y: f64, page: &mut String) {
    page.push_str(&match meaning {
        Meaning::Reached => format!("<circle class=\"good\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>\n"),
        Meaning::Blocked => format!(
            "<path class=\"bad\" d=\"M{:.1} {:.1}l2-2 3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3z\"/>\n",
            x - 5.0,
            y - 3.0
        ),
        Meaning::Open => format!(
            "<rect class=\"idle\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>\n",
            x - 3.5,
            y - 3.5
        ),
    });
}

/// A name's end tells more than its beginning.
fn cut(name: &str) -> String {
    let count = name.chars().count();
    match count > NAME {
        false => name.to_owned(),
        true => ['…'].into_iter().chain(name.chars().skip(count - NAME + 1)).collect(),
    }
}
