use std::io::{self, Write};

use super::{
    DestinationEntry, Report, RuleEntry, witness,
    wording::{
        InputText, advice, allowlist, bytes, change, class_name, flag_meaning, frame, inputs,
        is_lost_proxy, limits, named_by, nodes, outcomes, patterns, permits, printable, profile,
        reached_by, seen_as, service, shortened, show_commands, spaced, unbound, verdict,
    },
};
use crate::verdict::{Class, Evidence, Flag, RuleFinding, Verdict};

/// How much a text report tells, and in which colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// How much.
    pub detail: Detail,
    /// With ANSI colours.
    pub colour: bool,
    /// Columns of the terminal; long lists are cut to it. `None` for no cut.
    pub width: Option<usize>,
}

/// How much a text report tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// A line for each finding that needs attention.
    Quiet,
    /// Those with their proof, and a line for each rule that applies.
    #[default]
    Normal,
    /// Everything that the JSON report has findings on.
    Verbose,
}

/// Writes the report as text that can be pasted into a ticket: what is blocked comes first, each
/// with stage, proof, reason and what to ask for.
///
/// # Errors
///
/// When writing fails.
pub fn write_text(report: &Report, out: &mut impl Write) -> io::Result<()> {
    write_text_with(report, TextOptions::default(), out)
}

/// Writes the report as text, with options.
///
/// # Errors
///
/// When writing fails.
pub fn write_text_with(
    report: &Report,
    options: TextOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    Text { report, options, out }.write()
}

/// Verdicts that need somebody's attention, worst first.
const SECTIONS: [(Verdict, &str); 3] = [
    (Verdict::Blocked, "BLOCKED"),
    (Verdict::Degraded, "DEGRADED: some attempts fail"),
    (Verdict::Inconclusive, "INCONCLUSIVE: the packets don't tell"),
];

/// Destinations that no active rule explains.
const CLASSES: [(Class, &str); 3] = [
    (Class::Unexpected, "UNEXPECTED: no rule explains these destinations"),
    (Class::Ambiguous, "AMBIGUOUS: several names are possible, or none can be known"),
    (Class::Conditional, "CONDITIONAL: a rule would explain these if its condition were on"),
];

/// Destinations that are as they should be, as far as the catalogs or the firewall's owner know.
const EXPECTED: [Class; 4] = [Class::Allowed, Class::Required, Class::Recommended, Class::Internal];

/// SGR parameters (ECMA-48 section 8.3.117).
#[derive(Clone, Copy)]
enum Style {
    Bold,
    Red,
    Green,
    Yellow,
    Dim,
}

struct Text<'r, W> {
    report: &'r Report,
    options: TextOptions,
    out: &'r mut W,
}

impl<'r, W: Write> Text<'r, W> {
    fn write(&mut self) -> io::Result<()> {
        if self.options.detail == Detail::Quiet {
            return self.quiet();
        }
        self.head()?;
        for (verdict, title) in SECTIONS {
            let found: Vec<_> = self.rules(verdict).collect();
            if !found.is_empty() {
                self.title(title, found.len(), verdict_style(verdict))?;
                found.into_iter().try_for_each(|rule| self.troubled(rule))?;
            }
        }
        self.destinations("PROXY NOT REACHED", Style::Red, is_lost_proxy)?;
        self.destinations(
            "PAST THE PROXY: reached directly, although the profile has one",
            Style::Yellow,
            |found| found.flags.contains(&Flag::ProxyBypass),
        )?;
        self.destinations("TO THE PROXY BY MISTAKE", Style::Yellow, |found| {
            found.flags.contains(&Flag::ProxySkipMissed)
        })?;
        for (class, title) in CLASSES {
            self.destinations(title, Style::Yellow, |found| found.class == class)?;
        }
        if let Some(witness) = &self.report.firewall_log {
            witness::write(witness, self.out)?;
        }
        if self.options.detail != Detail::Verbose {
            let title = "ALLOWED: only the firewall's allowlist explains these";
            self.explained(title, &[Class::Allowed])?;
        }
        self.list(Verdict::Reachable, "REACHABLE")?;
        self.list(Verdict::NotExercised, "NOT EXERCISED: nobody tried while the capture ran")?;
        if self.options.detail == Detail::Verbose {
            self.list(Verdict::NotApplicable, "NOT APPLICABLE: the rule's condition is off")?;
            let title = "EXPLAINED: rules, the allowlist or the profile account for these";
            self.explained(title, &EXPECTED)?;
        }
        self.gone()
    }

    /// What the baseline had.
    fn gone(&mut self) -> io::Result<()> {
        let gone = self.report.baseline.iter().flat_map(|baseline| &baseline.gone);
        let gone: Vec<_> = gone.collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.title("GONE since the baseline", gone.len(), Style::Green)?;
        for one in gone {
            let what = one.rule.as_ref().or(one.destination.as_ref()).map_or("", String::as_str);
            let now = one.now.as_deref().unwrap_or("not in this report");
            let (what, now) = (printable(what), spaced(now));
            writeln!(self.out, "  {what}: was {}, is {now}", spaced(&one.was))?;
        }
        Ok(())
    }

    /// Only what needs attention, a line each.
    fn quiet(&mut self) -> io::Result<()> {
        let report = self.report;
        let troubled = |rule: &&RuleEntry| SECTIONS.iter().any(|(v, _)| *v == rule.verdict);
        for rule in report.rules.iter().filter(troubled) {
            let word = self.paint(verdict(rule.verdict), verdict_style(rule.verdict));
            let stage = rule.stage.map_or(String::new(), |stage| format!(" at {}", stage.as_str()));
            let what = shortened(&patterns(rule));
            let id = printable(&rule.id);
            writeln!(self.out, "{word} {id}{stage}: {what} {}", service(rule))?;
        }
        for found in report.destinations.iter().filter(|found| is_lost_proxy(found)) {
            let word = self.paint("proxy not reached", Style::Red);
            writeln!(self.out, "{word} {} {}", printable(&found.name), reached_by(found))?;
        }
        for (class, _) in CLASSES {
            for found in report.destinations.iter().filter(|found| found.class == class) {
                let word = self.paint(class_name(class), Style::Yellow);
                writeln!(self.out, "{word} {} {}", printable(&found.name), reached_by(found))?;
            }
        }
        Ok(())
    }

    fn head(&mut self) -> io::Result<()> {
        let report = self.report;
        let title = self.paint("Egress audit", Style::Bold);
        writeln!(self.out, "{title}")?;
        for InputText { path, size, damage, notes } in inputs(report) {
            writeln!(self.out, "  capture   {path}: {size}")?;
            if let Some(damage) = damage {
                let warning = self.paint("READ ONLY IN PART", Style::Red);
                writeln!(self.out, "            {warning}: {damage}")?;
            }
            notes.iter().try_for_each(|note| writeln!(self.out, "            {note}"))?;
        }
        writeln!(self.out, "  profile   {}", profile(report))?;
        for lack in unbound(report) {
            writeln!(self.out, "            {lack}")?;
        }
        if let Some((used, notes)) = allowlist(report) {
            writeln!(self.out, "  allowlist {used}")?;
            notes.iter().try_for_each(|note| writeln!(self.out, "            {note}"))?;
        }
        let limits = limits(report);
        if !limits.is_empty() {
            writeln!(self.out, "  coverage  {}", limits.join("; "))?;
        }
        if !report.nodes.is_empty() {
            let names: Vec<_> = report.nodes.iter().map(|node| &node.name).collect();
            writeln!(self.out, "  nodes     {}: {}", names.len(), shortened(&names))?;
        }
        if let Some(baseline) = &report.baseline {
            let (new, known, gone) = (baseline.new, baseline.known, baseline.gone.len());
            writeln!(self.out, "  baseline  {new} new, {known} known, {gone} gone")?;
        }
        let (rules, seen) = (report.summary.required, &report.summary);
        let blocked = self.paint_if(rules.blocked, "blocked", Style::Red);
        let degraded = self.paint_if(rules.degraded, "degraded", Style::Yellow);
        // Without an allowlist there can't be any.
        let has_list = report.profile.allowlist.is_some() || seen.allowed > 0;
        let allowed = if has_list { format!("{} allowed, ", seen.allowed) } else { String::new() };
        writeln!(
            self.out,
            "  required  {blocked}, {degraded}, {} inconclusive, {} reachable, {} not exercised",
            rules.inconclusive, rules.reachable, rules.not_exercised
        )?;
        writeln!(
            self.out,
            "  seen      {}, {} ambiguous, {} conditional, {allowed}{} internal destinations",
            self.paint_if(seen.unexpected, "unexpected", Style::Yellow),
            seen.ambiguous,
            seen.conditional,
            seen.internal
        )
    }

    /// A rule with its failing destinations, proof, source and advice.
    fn troubled(&mut self, rule: &RuleEntry) -> io::Result<()> {
        let stage = rule.stage.map_or(String::new(), |stage| format!(" at {}", stage.as_str()));
        let id = self.paint(&printable(&rule.id), Style::Bold);
        writeln!(self.out, "\n  {id} [{}]{stage}", rule.level.name())?;
        for target in rule.destinations.iter().filter(|target| target.attempts > 0) {
            writeln!(
                self.out,
                "    {} {}{}: {}, {}",
                printable(&target.pattern),
                service(rule),
                seen_as(target),
                self.paint(verdict(target.verdict), verdict_style(target.verdict)),
                outcomes(&target.outcomes)
            )?;
        }
        self.marks(change(rule.change), &nodes(&rule.nodes))?;
        self.evidence(&rule.evidence)?;
        for command in show_commands(&rule.evidence, self.report) {
            writeln!(self.out, "    show with   {command}")?;
        }
        let RuleFinding { purpose, source, .. } = &rule.finding;
        writeln!(self.out, "    needed for  {}", printable(purpose))?;
        let (document, section) = (printable(&source.document), printable(&source.section));
        writeln!(self.out, "    stated in   {document}, \"{section}\"")?;
        if let Some(advice) = advice(rule) {
            writeln!(self.out, "    ask for     {}", printable(&advice))?;
        }
        Ok(())
    }

    fn destinations(
        &mut self,
        title: &str,
        style: Style,
        fits: impl Fn(&DestinationEntry) -> bool,
    ) -> io::Result<()> {
        let report = self.report;
        let found: Vec<_> = report.destinations.iter().filter(|found| fits(found)).collect();
        if found.is_empty() {
            return Ok(());
        }
        self.title(title, found.len(), style)?;
        found.into_iter().try_for_each(|found| self.destination(found))
    }

    fn destination(&mut self, found: &DestinationEntry) -> io::Result<()> {
        let name = self.paint(&printable(&found.name), Style::Bold);
        writeln!(self.out, "\n  {name} {}: {}", reached_by(found), outcomes(&found.outcomes))?;
        let (sent, received) = (bytes(found.bytes.out), bytes(found.bytes.inward));
        writeln!(
            self.out,
            "    from {}, {sent} out, {received} in, first {}",
            shortened(&found.clients),
            found.first
        )?;
        if self.options.detail == Detail::Verbose {
            let stage = found.stage.map_or("none", |stage| stage.as_str());
            writeln!(self.out, "    {}, stage {stage}", verdict(found.verdict))?;
        }
        if !found.addresses.is_empty() {
            let (addresses, source) = (shortened(&found.addresses), named_by(found.named_by));
            writeln!(self.out, "    address {addresses}, named by {source}")?;
        }
        if found.candidates.len() > 1 {
            let names = shortened(&found.candidates);
            writeln!(self.out, "    DNS gave this address for {names}")?;
        }
        if let (Some(condition), Some(rule)) = (&found.condition, found.rules.first()) {
            let (rule, condition) = (printable(rule), printable(condition));
            writeln!(self.out, "    {rule} applies when: {condition}")?;
        }
        permits(found).iter().try_for_each(|line| writeln!(self.out, "    {line}"))?;
        self.marks(change(found.change), &nodes(&found.nodes))?;
        for meaning in found.flags.iter().filter_map(|flag| flag_meaning(*flag)) {
            writeln!(self.out, "    note: {meaning}")?;
        }
        self.evidence(&found.evidence)
    }

    /// What the baseline and other nodes know of a finding.
    fn marks(&mut self, change: &str, nodes: &str) -> io::Result<()> {
        if !change.is_empty() {
            writeln!(self.out, "    baseline    {change}")?;
        }
        if !nodes.is_empty() {
            writeln!(self.out, "    nodes       {}", printable(nodes))?;
        }
        Ok(())
    }

    fn evidence(&mut self, evidence: &[Evidence]) -> io::Result<()> {
        for item in evidence {
            let (place, detail) = (frame(item, self.report), printable(&item.detail));
            writeln!(self.out, "    {place}  {}  {detail}", item.ts)?;
        }
        Ok(())
    }

    /// Rules that need nobody's attention, a line each.
    fn list(&mut self, wanted: Verdict, title: &str) -> io::Result<()> {
        let found: Vec<_> = self.rules(wanted).collect();
        if found.is_empty() {
            return Ok(());
        }
        self.title(title, found.len(), verdict_style(wanted))?;
        for rule in found {
            let line = format!(
                "{:<32} {} {}",
                printable(&rule.id),
                service(rule),
                shortened(&patterns(rule))
            );
            writeln!(self.out, "  {}", self.fitted(&line, 2))?;
        }
        Ok(())
    }

    /// Destinations that something explains, a line each, and the allowlist's entries.
    fn explained(&mut self, title: &str, classes: &[Class]) -> io::Result<()> {
        let fits = |found: &&DestinationEntry| classes.contains(&found.class);
        let found: Vec<_> = self.report.destinations.iter().filter(fits).collect();
        if found.is_empty() {
            return Ok(());
        }
        self.title(title, found.len(), Style::Green)?;
        for found in found {
            let line = format!(
                "{:<11} {:<13} {} {}, {} out, {} in",
                class_name(found.class),
                verdict(found.verdict),
                printable(&found.name),
                reached_by(found),
                bytes(found.bytes.out),
                bytes(found.bytes.inward)
            );
            writeln!(self.out, "  {}", self.fitted(&line, 2))?;
            permits(found).iter().try_for_each(|line| writeln!(self.out, "    {line}"))?;
        }
        Ok(())
    }

    fn title(&mut self, title: &str, count: usize, style: Style) -> io::Result<()> {
        let title = self.paint(&format!("{title} ({count})"), style);
        writeln!(self.out, "\n{title}")
    }

    fn rules(&self, wanted: Verdict) -> impl Iterator<Item = &'r RuleEntry> + use<'r, W> {
        self.report.rules.iter().filter(move |rule| rule.verdict == wanted)
    }

    /// A line cut to the terminal's width.
    fn fitted(&self, line: &str, indent: usize) -> String {
        match self.options.width.map(|width| width.saturating_sub(indent).max(40)) {
            Some(width) if line.chars().count() > width => {
                line.chars().take(width - 1).chain(['…']).collect()
            }
            _ => line.to_owned(),
        }
    }

    fn paint_if(&self, count: u64, what: &str, style: Style) -> String {
        let text = format!("{count} {what}");
        if count > 0 { self.paint(&text, style) } else { text }
    }

    fn paint(&self, text: &str, style: Style) -> String {
        if !self.options.colour {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => "1",
            Style::Red => "1;31",
            Style::Green => "1;32",
            Style::Yellow => "1;33",
            Style::Dim => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

const fn verdict_style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Blocked => Style::Red,
        Verdict::Degraded | Verdict::Inconclusive => Style::Yellow,
        Verdict::Reachable => Style::Green,
        Verdict::NotExercised | Verdict::NotApplicable => Style::Dim,
    }
}
