//! `--tui`: a live audit on the terminal.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::bail;
use egress_auditor::{
    report::Report,
    source::LiveStats,
    verdict::{Class, Outcomes, Verdict},
};
use ratatui::{
    Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState},
};

use super::shared::Shared;

/// How often the screen is drawn.
const TICK: Duration = Duration::from_millis(250);

/// Refuses what no terminal is at the end of.
pub(super) fn check() -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("--tui needs a terminal; use --window for lines, or --listen for a page");
    }
    Ok(())
}

/// Shows what is known until `stop`, or until the user quits, which raises it.
pub(super) fn run(shared: &Shared, stop: &AtomicBool, reload: &AtomicBool) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let mut view = View::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    let mut result = Ok(());
    while !stop.load(Ordering::Relaxed) && result.is_ok() {
        view.update(shared.live(), shared.report(), shared.notes(), Instant::now());
        result = terminal.draw(|frame| view.draw(frame)).map(drop).and_then(|()| {
            if event::poll(TICK)?
                && let Event::Key(key) = event::read()?
            {
                match view.key(key) {
                    Asked::Nothing => {}
                    Asked::Quit => stop.store(true, Ordering::Relaxed),
                    Asked::Reload => reload.store(true, Ordering::Relaxed),
                }
            }
            Ok(())
        });
    }
    ratatui::restore();
    for note in shared.notes() {
        eprintln!("egress-auditor: {note}");
    }
    result
}

/// What a key asks of others.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Quit,
    Reload,
}

/// The two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Focus {
    Rules,
    Unexpected,
}

/// What is on the screen.
struct View {
    color: bool,
    live: Vec<LiveStats>,
    report: Option<Arc<Report>>,
    notes: Vec<String>,
    /// Frames a second, and when they were counted how many.
    rate: f64,
    counted: Option<(Instant, u64)>,
    focus: Focus,
    /// First line shown of each list.
    offsets: [usize; 2],
    help: bool,
}

impl View {
    fn new(color: bool) -> Self {
        Self {
            color,
            live: Vec::new(),
            report: None,
            notes: Vec::new(),
            rate: 0.0,
            counted: None,
            focus: Focus::Rules,
            offsets: [0; 2],
            help: false,
        }
    }

    fn update(
        &mut self,
        live: Vec<LiveStats>,
        report: Option<Arc<Report>>,
        notes: Vec<String>,
        now: Instant,
    ) {
        let frames = live.iter().map(|stats| stats.input.frames).sum();
        let (then, before) = *self.counted.get_or_insert((now, frames));
        let passed = now.saturating_duration_since(then);
        // The counters come each second.
        if passed >= Duration::from_secs(2) {
            self.rate = frames.saturating_sub(before) as f64 / passed.as_secs_f64();
            self.counted = Some((now, frames));
        }
        (self.live, self.report, self.notes) = (live, report, notes);
    }

    fn key(&mut self, key: KeyEvent) -> Asked {
        if key.kind == KeyEventKind::Release {
            return Asked::Nothing;
        }
        let offset = &mut self.offsets[self.focus as usize];
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Asked::Quit;
            }
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = !self.help,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Char('q') => return Asked::Quit,
            KeyCode::Char('r') => return Asked::Reload,
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = match self.focus {
                    Focus::Rules => Focus::Unexpected,
                    Focus::Unexpected => Focus::Rules,
                }
            }
            KeyCode::Down | KeyCode::Char('j') => *offset = offset.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => *offset = offset.saturating_sub(1),
            KeyCode::PageDown => *offset = offset.saturating_add(10),
            KeyCode::PageUp => *offset = offset.saturating_sub(10),
            KeyCode::Home => *offset = 0,
            _ => {}
        }
        Asked::Nothing
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let heights = [
            Constraint::Length(2),
            Constraint::Fill(3),
            Constraint::Fill(2),
            Constraint::Length(1),
        ];
        let [head, rules, unexpected, foot] = Layout::vertical(heights).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        self.rules(frame, rules);
        self.unexpected(frame, unexpected);
        let keys = "q quit  Tab other list  arrows scroll  r reload  ? help";
        let foot_text =
            self.notes.last().map_or_else(|| keys.to_owned(), |note| format!("{note}  (? help)"));
        let dim = self.style(Color::Reset).add_modifier(Modifier::DIM);
        frame.render_widget(Paragraph::new(foot_text).style(dim), foot);
        if self.help {
            help(frame);
        }
    }

    fn head(&self) -> Vec<Line<'static>> {
        let names: Vec<_> =
            self.live.iter().map(|stats| stats.input.path.display().to_string()).collect();
        let sum = |of: fn(&LiveStats) -> u64| self.live.iter().map(of).sum::<u64>();
        let lost = sum(|stats| stats.kernel.dropped + stats.kernel.if_dropped);
        let away = self.live.iter().filter(|s| s.gaps.last().is_some_and(|gap| gap.to.is_none()));
        let away = match away.count() {
            0 => String::new(),
            count => format!("  {count} INTERFACES AWAY"),
        };
        let first = format!(
            "egress audit on {}: {} frames, {:.0}/s, {lost} lost, {} gaps{away}",
            names.join(", "),
            sum(|stats| stats.input.frames),
            self.rate,
            sum(|stats| stats.gap_count),
        );
        let second = self.report.as_ref().map_or_else(
            || "the first report comes in two seconds".to_owned(),
            |report| {
                let (required, all) = (report.summary.required, &report.summary);
                let allowed = match all.allowed {
                    0 => String::new(),
                    count => format!(", {count} allowed"),
                };
                format!(
                    "required: {} blocked, {} degraded, {} inconclusive, {} reachable, {} not \
                     exercised; {} unexpected, {} ambiguous{allowed}",
                    required.blocked,
                    required.degraded,
                    required.inconclusive,
                    required.reachable,
                    required.not_exercised,
                    all.unexpected,
                    all.ambiguous
                )
            },
        );
        let alarm = lost > 0 || !away.is_empty();
        let style = self.style(if alarm { Color::Red } else { Color::Reset });
        vec![Line::styled(first, style.add_modifier(Modifier::BOLD)), Line::from(second)]
    }

    fn rules(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let found = self.report.iter().flat_map(|report| &report.rules);
        let found = found.filter(|rule| rule.verdict != Verdict::NotApplicable);
        let rows: Vec<_> = found
            .map(|rule| {
                let tried = rule.destinations.iter().filter(|target| target.attempts > 0);
                let mut outcomes = Outcomes::new();
                for (&outcome, &count) in tried.flat_map(|target| &target.outcomes) {
                    *outcomes.entry(outcome).or_default() += count;
                }
                let patterns = rule.destinations.iter().map(|target| target.pattern.clone());
                let (verdict, color) = state(rule.verdict);
                Row::new([
                    Cell::from(verdict).style(self.style(color)),
                    Cell::from(rule.level.name()),
                    Cell::from(rule.id.clone()),
                    Cell::from(patterns.collect::<Vec<_>>().join(" ")),
                    Cell::from(counted(&outcomes)),
                ])
            })
            .collect();
        let widths = [
            Constraint::Length(13),
            Constraint::Length(11),
            Constraint::Max(34),
            Constraint::Fill(3),
            Constraint::Fill(2),
        ];
        let title = format!(" Rules ({}) ", rows.len());
        let head = ["state", "level", "rule", "destinations", "outcomes"];
        self.list(frame, area, Focus::Rules, title, head, rows, widths);
    }

    fn unexpected(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let found = self.report.iter().flat_map(|report| &report.destinations);
        let mut found: Vec<_> = found.filter(|d| d.class == Class::Unexpected).collect();
        // What appears is on top.
        found.sort_by_key(|found| std::cmp::Reverse(found.first));
        let rows: Vec<_> = found
            .iter()
            .map(|found| {
                let service = match (found.transport, found.port) {
                    (Some(transport), Some(port)) => format!("{transport} {port}"),
                    _ => "lookup".to_owned(),
                };
                let clients: Vec<_> = found.clients.iter().map(ToString::to_string).collect();
                Row::new([
                    Cell::from(found.first.to_string().get(11..19).unwrap_or("").to_owned()),
                    Cell::from(found.name.clone()),
                    Cell::from(service),
                    Cell::from(clients.join(" ")),
                    Cell::from(counted(&found.outcomes)),
                ])
            })
            .collect();
        let widths = [
            Constraint::Length(8),
            Constraint::Fill(3),
            Constraint::Length(9),
            Constraint::Fill(1),
            Constraint::Fill(2),
        ];
        let title = format!(" Unexpected ({}) ", rows.len());
        let head = ["first", "destination", "service", "clients", "outcomes"];
        self.list(frame, area, Focus::Unexpected, title, head, rows, widths);
    }

    #[allow(clippy::too_many_arguments)]
    fn list(
        &mut self,
        frame: &mut Frame<'_>,
        area: Rect,
        which: Focus,
        title: String,
        head: [&'static str; 5],
        rows: Vec<Row<'_>>,
        widths: [Constraint; 5],
    ) {
        // As far as the last line is on the last row.
        let shown = usize::from(area.height.saturating_sub(3));
        let offset = &mut self.offsets[which as usize];
        *offset = (*offset).min(rows.len().saturating_sub(shown));
        let mut state = TableState::new().with_offset(*offset);
        let modifier = if self.focus == which { Modifier::BOLD } else { Modifier::DIM };
        let block =
            Block::bordered().title(title).border_style(Style::new().add_modifier(modifier));
        let head = Row::new(head).style(Style::new().add_modifier(Modifier::UNDERLINED));
        let table = Table::new(rows, widths).header(head).block(block);
        frame.render_stateful_widget(table, area, &mut state);
    }

    fn style(&self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }
}

fn state(verdict: Verdict) -> (&'static str, Color) {
    match verdict {
        Verdict::Blocked => ("BLOCKED", Color::Red),
        Verdict::Degraded => ("degraded", Color::Yellow),
        Verdict::Inconclusive => ("inconclusive", Color::Yellow),
        Verdict::Reachable => ("reachable", Color::Green),
        Verdict::NotExercised => ("not exercised", Color::Reset),
        Verdict::NotApplicable => ("", Color::Reset),
    }
}

fn counted(outcomes: &Outcomes) -> String {
    let each = outcomes.iter().map(|(outcome, count)| format!("{} {count}", outcome.as_str()));
    each.collect::<Vec<_>>().join(", ")
}

fn help(frame: &mut Frame<'_>) {
    const TEXT: [&str; 14] = [
        "Verdicts are about all that was captured since the beginning.",
        "",
        "blocked        attempts fail, and none succeeds",
        "degraded       some attempts fail",
        "inconclusive   the packets don't tell",
        "not exercised  nobody tried",
        "unexpected     no rule explains it; the newest is on top",
        "",
        "Tab            the other list",
        "arrows, j k    scroll; also Page Up, Page Down, Home",
        "r              read profile, catalogs and allowlist anew (as SIGHUP does)",
        "q, Ctrl-C      end with the report",
        "? h F1         this help",
        "",
    ];
    let area = frame.area();
    let (width, height) = (68.min(area.width), (TEXT.len() as u16 + 2).min(area.height));
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let text: Vec<_> = TEXT.iter().map(|&line| Line::from(line)).collect();
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" Help ")), place);
}

#[cfg(test)]
mod tests {
    use egress_auditor::{
        catalog::{Profile, Site, builtin},
        report::ProfileUsed,
        scan::{Limits, Place, Scanner},
        source::{Capture, Format, InputStats, KernelStats, LinkType},
        verdict::judge,
    };
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    /// The report on a fixture.
    fn report(case: &str) -> Arc<Report> {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
        let path = format!("{fixtures}/{case}/capture.pcap");
        let mut capture = Capture::open(std::path::Path::new(&path), 0).unwrap();
        let mut scanner = Scanner::new(Place::Beginning, Limits::default(), Vec::new().into());
        capture
            .for_each(|frame| {
                scanner.push(&frame, &mut ());
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        let census = scanner.finish().conclude(&mut ());
        let profile = Profile::default();
        let site = Site::new(&[builtin("aks").unwrap()], profile.clone(), None);
        let used = ProfileUsed::new(None, &profile, &[]);
        Arc::new(Report::new(&[], &census, used, judge(&census, &site)))
    }

    fn live(frames: u64, dropped: u64) -> Vec<LiveStats> {
        let input = InputStats {
            path: "eth0".into(),
            format: Format::Live,
            link_types: vec![LinkType::ETHERNET],
            frames,
            bytes: 0,
            first: None,
            last: None,
            dropped: Some(dropped),
            truncated: None,
        };
        let kernel = KernelStats { dropped, ..KernelStats::default() };
        vec![LiveStats { input, kernel, gaps: Vec::new(), gap_count: 0, cut: None }]
    }

    fn screen(view: &mut View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 30)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn press(view: &mut View, code: KeyCode) -> Asked {
        view.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn shows_blocked_rules_and_unexpected_destinations() {
        let mut view = View::new(false);
        let begin = Instant::now();
        view.update(live(0, 0), None, Vec::new(), begin);
        assert!(screen(&mut view).contains("the first report comes"));
        view.update(live(100, 3), Some(report("syn-dropped")), Vec::new(), begin + 4 * TICK);
        view.update(live(500, 3), Some(report("syn-dropped")), Vec::new(), begin + 20 * TICK);
        let text = screen(&mut view);
        assert!(text.contains("egress audit on eth0: 500 frames, 100/s, 3 lost"), "{text}");
        assert!(text.contains("BLOCKED       required    aks/core/mcr"), "{text}");
        assert!(text.contains("tcp_no_answer"), "{text}");
        view.update(live(500, 3), Some(report("unexpected")), Vec::new(), begin + 21 * TICK);
        let text = screen(&mut view);
        assert!(
            text.contains("Unexpected (1)") && text.contains("telemetry.example.net"),
            "{text}"
        );
    }

    #[test]
    fn keys_scroll_help_reload_and_quit() {
        let mut view = View::new(true);
        view.update(live(1, 0), Some(report("reachable")), vec!["reloaded".into()], Instant::now());
        let before = screen(&mut view);
        assert!(before.contains("reloaded"));
        press(&mut view, KeyCode::Down);
        press(&mut view, KeyCode::PageDown);
        for _ in 0..1000 {
            press(&mut view, KeyCode::PageDown);
        }
        assert!(!screen(&mut view).is_empty());
        assert!(view.offsets[0] < 1000, "stays in the list");
        press(&mut view, KeyCode::Home);
        assert_eq!(screen(&mut view), before);
        press(&mut view, KeyCode::Tab);
        assert_eq!(view.focus, Focus::Unexpected);
        press(&mut view, KeyCode::Char('?'));
        assert!(screen(&mut view).contains("nobody tried"));
        press(&mut view, KeyCode::Esc);
        assert!(!screen(&mut view).contains("nobody tried"));
        assert_eq!(press(&mut view, KeyCode::Char('r')), Asked::Reload);
        assert_eq!(press(&mut view, KeyCode::Char('q')), Asked::Quit);
    }

    #[test]
    fn fits_the_smallest_terminal() {
        let mut view = View::new(true);
        view.update(live(1, 0), Some(report("reachable")), Vec::new(), Instant::now());
        view.help = true;
        for (width, height) in [(1, 1), (20, 5), (300, 3)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| view.draw(frame)).unwrap();
        }
    }
}
