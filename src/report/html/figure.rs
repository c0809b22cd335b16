//! Where attempts end: one band from left to right that loses what dies on its way.

use std::collections::BTreeMap;

use super::esc;
use crate::{
    decode::Transport,
    report::{DestinationEntry, Report},
    verdict::{Class, Flag, Meaning, Outcome, Stage},
};

const WIDTH: f64 = 1060.0;
/// Height of the band with everything in it.
const BAND: f64 = 90.0;
const TOP: f64 = 46.0;
const LEFT: f64 = 24.0;

/// The stages in the order in which an attempt meets them.
const STEPS: [(&str, &[Stage]); 5] = [
    ("DNS", &[Stage::Dns]),
    ("TCP, UDP", &[Stage::Tcp, Stage::Udp]),
    ("Proxy", &[Stage::Proxy]),
    ("TLS, QUIC", &[Stage::Tls, Stage::Quic]),
    ("HTTP", &[Stage::Http]),
];

/// What ended at one stage.
#[derive(Default)]
struct Ends {
    blocked: BTreeMap<Outcome, u64>,
    open: BTreeMap<Outcome, u64>,
}

struct Flow {
    steps: Vec<Ends>,
    reached: u64,
    total: u64,
}

/// True when there is something to draw.
pub(super) fn shows(report: &Report) -> bool {
    flow(report).total > 0
}

/// Writes the figure, with the same as a table.
pub(super) fn figure(report: &Report, page: &mut String) {
    let flow = flow(report);
    if flow.total == 0 {
        return;
    }
    page.push_str(&format!(
        "<section aria-labelledby=\"where\">\n<h2 id=\"where\">Where attempts end</h2>\n\
         <p class=\"note\">{} connections and failed lookups that leave the site, from the first stage to an answer at the layer that counts.</p>\n<figure>\n",
        flow.total
    ));
    draw(&flow, page);
    page.push_str("<figcaption>Red is turned away or left without an answer; grey is what the packets don't tell.</figcaption>\n");
    as_table(&flow, page);
    page.push_str("</figure>\n</section>\n");
}

/// Traffic inside the site is no egress; a proxy is, when it can't be reached.
fn counts(found: &DestinationEntry) -> bool {
    found.class != Class::Internal || found.flags.contains(&Flag::Proxy)
}

fn flow(report: &Report) -> Flow {
    let mut flow =
        Flow { steps: STEPS.iter().map(|_| Ends::default()).collect(), reached: 0, total: 0 };
    for found in report.destinations.iter().filter(|found| counts(found)) {
        let proxy = found.flags.contains(&Flag::Proxy);
        for (outcome, count) in &found.outcomes {
            let meaning = outcome.meaning();
            if meaning == Meaning::Reached {
                // What went through the proxy is counted at its destination.
                let count = if proxy { 0 } else { *count };
                flow.reached += count;
                flow.total += count;
                continue;
            }
            let stage = outcome.stage().unwrap_or_else(|| stage_of(found));
            let step = STEPS.iter().position(|(_, stages)| stages.contains(&stage));
            let ends = &mut flow.steps[step.unwrap_or(1)];
            let side = if meaning == Meaning::Blocked { &mut ends.blocked } else { &mut ends.open };
            *side.entry(*outcome).or_default() += count;
            flow.total += count;
        }
    }
    flow
}

/// The stage of an outcome that has none of its own. Among several outcomes, the destination's
/// stage may be another one's.
fn stage_of(found: &DestinationEntry) -> Stage {
    match (found.stage, found.transport) {
        (Some(stage), _) if found.outcomes.len() == 1 => stage,
        (_, Some(Transport::Udp)) => Stage::Udp,
        (_, Some(Transport::Tcp)) => Stage::Tcp,
        (_, None) => Stage::Dns,
    }
}

fn sum(outcomes: &BTreeMap<Outcome, u64>) -> u64 {
    outcomes.values().sum()
}

/// A count as a length on the page. Precise enough: it is only drawn.
#[allow(clippy::cast_precision_loss)]
fn scaled(count: u64, total: u64) -> f64 {
    if count == 0 { 0.0 } else { (count as f64 / total as f64 * BAND).max(2.0) }
}

#[allow(clippy::cast_precision_loss)]
fn draw(flow: &Flow, page: &mut String) {
    let lines = flow.steps.iter().map(|ends| ends.blocked.len() + ends.open.len()).max();
    let lines = lines.unwrap_or(0);
    let below = TOP + BAND + 44.0;
    let height = below + 14.0 + 17.0 * lines as f64;
    let step = (WIDTH - LEFT - 200.0) / STEPS.len() as f64;
    page.push_str(&format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Figure: where attempts end\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"flow-t flow-d\">\n\
         <title id=\"flow-t\">Where attempts end</title>\n<desc id=\"flow-d\">{}</desc>\n",
        esc(&told(flow))
    ));
    let mut left = flow.total;
    let mut bottom = TOP + scaled(left, flow.total);
    let mut x = LEFT;
    page.push_str(&format!(
        "<rect class=\"band\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>\n",
        step * 0.25,
        bottom - TOP
    ));
    for ((name, _), ends) in STEPS.iter().zip(&flow.steps) {
        let (blocked, open) = (sum(&ends.blocked), sum(&ends.open));
        let ended = blocked + open;
        left -= ended;
        let (edge, end) = (x + step * 0.25, x + step * 1.25);
        let stays = TOP + scaled(left, flow.total);
        page.push_str(&format!(
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\n\
             <text class=\"h\" x=\"{:.1}\" y=\"22\">{name}</text>\n",
            TOP - 12.0,
            height,
            x + 8.0
        ));
        let lost = bottom - stays;
        if left > 0 {
            page.push_str(&format!(
                "<rect class=\"band\" x=\"{edge:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>\n",
                end - edge,
                stays - TOP
            ));
        }
        if ended > 0 {
            let split = stays + lost * blocked as f64 / ended as f64;
            drop("haze", edge, [split, bottom], below - 8.0, page);
            drop("drop", edge, [stays, split], below - 8.0, page);
        }
        let mut y = below + 8.0;
        for (class, outcomes) in [("bad", &ends.blocked), ("idle", &ends.open)] {
            for (outcome, count) in outcomes {
                page.push_str(&format!(
                    "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/><text x=\"{:.1}\" y=\"{y:.1}\">{count} {}</text>\n",
                    x + 12.0,
                    y - 4.0,
                    x + 22.0,
                    outcome.as_str().replace('_', " ")
                ));
                y += 17.0;
            }
        }
        bottom = stays;
        x += step;
    }
    let middle = TOP + scaled(left, flow.total) / 2.0;
    let tip = x + step * 0.25;
    if left > 0 {
        page.push_str(&format!(
            "<path class=\"good\" d=\"M{tip:.1} {:.1}l14 {:.1}l-14 {:.1}z\"/>\n",
            TOP - 4.0,
            middle - TOP + 4.0,
            middle - TOP + 4.0
        ));
    }
    page.push_str(&format!(
        "<text class=\"h\" x=\"{:.1}\" y=\"{:.1}\">{} answered</text>\n\
         <text class=\"s\" x=\"{:.1}\" y=\"{:.1}\">of {}</text>\n</svg></div>\n",
        tip + 22.0,
        middle.max(TOP + 8.0),
        flow.reached,
        tip + 22.0,
        middle.max(TOP + 8.0) + 15.0,
        flow.total
    ));
}

/// What leaves the band: from its lower edge down to the words below.
fn drop(class: &str, x: f64, [from, to]: [f64; 2], bottom: f64, page: &mut String) {
    let width = to - from;
    if width <= 0.01 {
        return;
    }
    // Both edges bend down together; the inner one turns first.
    let inner = x + 14.0 + (BAND + TOP - to).max(0.0) * 0.25;
    let outer = inner + width;
    page.push_str(&format!(
        "<path class=\"{class}\" d=\"M{x:.1} {from:.1}C{outer:.1} {from:.1} {outer:.1} {from:.1} {outer:.1} {bottom:.1}L{inner:.1} {bottom:.1}C{inner:.1} {to:.1} {inner:.1} {to:.1} {x:.1} {to:.1}z\"/>\n"
    ));
}

/// The figure in words.
fn told(flow: &Flow) -> String {
    let mut parts = vec![format!("Of {} attempts, {} were answered.", flow.total, flow.reached)];
    for ((name, _), ends) in STEPS.iter().zip(&flow.steps) {
        for (outcomes, how) in [(&ends.blocked, "fail"), (&ends.open, "stay open")] {
            if !outcomes.is_empty() {
                parts.push(format!("{} {how} at {name}.", sum(outcomes)));
            }
        }
    }
    parts.join(" ")
}

fn as_table(flow: &Flow, page: &mut String) {
    page.push_str("<details><summary>The same as a table</summary>\n<table><thead><tr><th scope=\"col\">Stage</th><th scope=\"col\">Outcome</th><th scope=\"col\" class=\"num\">Attempts</th></tr></thead>\n<tbody>\n");
    for ((name, _), ends) in STEPS.iter().zip(&flow.steps) {
        for (outcome, count) in ends.blocked.iter().chain(&ends.open) {
            page.push_str(&format!(
                "<tr><th scope=\"row\">{name}</th><td>{}</td><td class=\"num\">{count}</td></tr>\n",
                outcome.as_str().replace('_', " ")
            ));
        }
    }
    page.push_str(&format!(
        "<tr><th scope=\"row\">answered</th><td>established</td><td class=\"num\">{}</td></tr>\n</tbody></table></details>\n",
        flow.reached
    ));
}
