//! `--listen`: what a live audit knows, over HTTP.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::{Context, bail};
use egress_auditor::report::{Report, write_html, write_json};

use super::{
    http::{Answer, Request, serve},
    metrics::metrics,
    shared::Shared,
};

/// Where to show what.
#[derive(clap::Args)]
pub(super) struct ListenArgs {
    /// Serve the report (`/`, `/report.json`), `/metrics` and `/healthz` over HTTP, with -i; the
    /// report is made anew at the end of each --window, 60s unless said otherwise.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "interface", conflicts_with = "files")]
    listen: Option<SocketAddr>,

    /// Whoever asks must show what this file holds, as `Authorization: Bearer TOKEN`. Needed for
    /// addresses other than loopback. `/healthz` is open to all.
    #[arg(long, value_name = "FILE", requires = "listen")]
    listen_token_file: Option<PathBuf>,
}

/// Opened, but not answering yet.
pub(super) struct Listener {
    socket: TcpListener,
    token: Option<String>,
}

/// Too short a token can be guessed.
const MIN_TOKEN: usize = 16;

impl ListenArgs {
    pub(super) fn is_wanted(&self) -> bool {
        self.listen.is_some()
    }

    pub(super) fn open(&self) -> anyhow::Result<Option<Listener>> {
        let Some(address) = self.listen else { return Ok(None) };
        let token = self.listen_token_file.as_ref().map(read_token).transpose()?;
        if token.is_none() && !address.ip().is_loopback() {
            bail!(
                "--listen {address} shows the report to others than this host: give \
                 --listen-token-file, or listen on 127.0.0.1"
            );
        }
        let socket = TcpListener::bind(address)
            .with_context(|| format!("--listen {address}: cannot listen"))?;
        Ok(Some(Listener { socket, token }))
    }
}

fn read_token(path: &PathBuf) -> anyhow::Result<String> {
    let text =
        fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
    let token = text.trim();
    if token.len() < MIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!(
            "{}: a token has at least {MIN_TOKEN} printable characters, as from `openssl rand -hex 32`",
            path.display()
        );
    }
    Ok(token.to_owned())
}

impl Listener {
    /// Answers from now on. Says where.
    pub(super) fn start(self, shared: Arc<Shared>) {
        if let Ok(address) = self.socket.local_addr() {
            eprintln!("egress-auditor: listening on http://{address}/");
        }
        let (token, texts) = (self.token, Texts::default());
        serve(self.socket, move |request| answer(request, token.as_deref(), &shared, &texts));
    }
}

/// What is being sent of the latest report. A report of many destinations has a long text: whoever
/// asks at the same time gets the same one.
#[derive(Default)]
struct Texts(Mutex<Latest>);

#[derive(Default)]
struct Latest {
    of: Weak<Report>,
    /// By [`Form`].
    texts: [Weak<Vec<u8>>; 2],
}

/// A form of the report.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Page,
}

impl Texts {
    fn of(&self, report: &Arc<Report>, form: Form) -> Arc<Vec<u8>> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = Arc::downgrade(report);
        if !latest.of.ptr_eq(&of) {
            *latest = Latest { of, ..Latest::default() };
        }
        let known = &mut latest.texts[form as usize];
        known.upgrade().unwrap_or_else(|| {
            let text = Arc::new(match form {
                Form::Json => json(report),
                Form::Page => page(Some(report)),
            });
            *known = Arc::downgrade(&text);
            text
        })
    }
}

fn answer(request: &Request<'_>, token: Option<&str>, shared: &Shared, texts: &Texts) -> Answer {
    if request.path == "/healthz" {
        return match shared.is_alive() {
            true => Answer::text("200 OK", "ok\n"),
            false => Answer::text("503 Service Unavailable", "the capture hangs\n"),
        };
    }
    match token {
        Some(token) if !request.token.is_some_and(|given| is_same(given, token)) => {
            return Answer::text("401 Unauthorized", "Authorization: Bearer TOKEN\n");
        }
        // Whose name server a page's host has could make a browser here ask for it.
        None if !request.host.is_some_and(is_this_host) => {
            return Answer::text("403 Forbidden", "ask by address, or for localhost\n");
        }
        _ => {}
    }
    let report = shared.report();
    match (request.path, &report) {
        ("/metrics", _) => {
            let text = metrics(&shared.live(), &shared.tables(), report.as_deref());
            Answer::ok(
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                Arc::new(text.into_bytes()),
            )
        }
        ("/report.json", Some(report)) => {
            Answer::ok("application/json", texts.of(report, Form::Json))
        }
        ("/report.json", None) => {
            Answer::text("503 Service Unavailable", "the first window isn't over yet\n")
        }
        ("/", Some(report)) => Answer::ok(HTML, texts.of(report, Form::Page)),
        ("/", None) => Answer::ok(HTML, Arc::new(page(None))),
        _ => Answer::text("404 Not Found", "/ /report.json /metrics /healthz\n"),
    }
}

const HTML: &str = "text/html; charset=utf-8";

fn json(report: &Report) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to memory doesn't fail.
    let _ = write_json(report, &mut text);
    text
}

/// The report as a page that loads itself anew.
fn page(report: Option<&Report>) -> Vec<u8> {
    const REFRESH: &[u8] = b"<meta http-equiv=\"refresh\" content=\"10\">\n";
    const LINKS: &[u8] = b"<p><a href=\"report.json\">report.json</a> \
                           <a href=\"metrics\">metrics</a></p>\n";
    let mut page = Vec::new();
    match report {
        // Writing to memory doesn't fail.
        Some(report) => drop(write_html(report, &mut page)),
        None => page.extend_from_slice(
            b"<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
              <title>Egress audit</title>\n<main>\n<p>The first window isn't over yet.</p>\n\
              </main>\n</html>\n",
        ),
    }
    // What comes from the wire has no markup: these are the page's own tags.
    for (tag, before) in [("<title>", REFRESH), ("</main>", LINKS)] {
        if let Some(at) = memchr::memmem::find(&page, tag.as_bytes()) {
            page.splice(at..at, before.iter().copied());
        }
    }
    page
}

/// Takes as long whatever the first difference is.
fn is_same(given: &str, token: &str) -> bool {
    let differ = given.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == token.len() && std::hint::black_box(differ) == 0
}

/// True for an address, or `localhost`, with a port or without.
fn is_this_host(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use egress_auditor::{
        catalog::{Profile, Site},
        report::ProfileUsed,
        scan::{Limits, Place, Scanner},
        verdict::judge,
    };

    use super::*;

    fn ask(path: &str, host: &str, token: Option<&str>, shared: &Shared) -> String {
        let wanted = token.map(|_| "0123456789abcdef");
        let request = Request { path, host: Some(host), token };
        let answer = answer(&request, wanted, shared, &Texts::default());
        format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
    }

    #[test]
    fn names_of_others_and_wrong_tokens_are_refused() {
        let shared = Shared::new(1);
        for host in ["127.0.0.1:9469", "localhost", "[::1]:9469", "[::1]"] {
            assert!(ask("/metrics", host, None, &shared).starts_with("200"), "{host}");
        }
        assert!(ask("/metrics", "evil.example:9469", None, &shared).starts_with("403"));
        assert!(ask("/healthz", "evil.example", None, &shared).starts_with("200"));
        assert!(ask("/metrics", "node7", Some("0123456789abcdef"), &shared).starts_with("200"));
        for token in ["", "0123456789abcdeg", "0123456789abcdef0"] {
            assert!(ask("/metrics", "node7", Some(token), &shared).starts_with("401"), "{token}");
        }
    }

    #[test]
    fn who_asks_at_the_same_time_gets_the_same_text() {
        let report = || {
            let scanner = Scanner::new(Place::Beginning, Limits::default(), [].into());
            let site = Site::new(&[], Profile::default(), None);
            let census = scanner.conclude(&mut ());
            let used = ProfileUsed::new(None, site.profile(), &[]);
            Arc::new(Report::new(&[], &census, used, judge(&census, &site)))
        };
        let (texts, first, second) = (Texts::default(), report(), report());
        let text = texts.of(&first, Form::Json);
        assert!(Arc::ptr_eq(&text, &texts.of(&first, Form::Json)));
        assert!(text.starts_with(b"{") && texts.of(&first, Form::Page).starts_with(b"<!"));
        assert!(!Arc::ptr_eq(&text, &texts.of(&second, Form::Json)));
    }

    #[test]
    fn before_the_first_report() {
        let shared = Shared::new(1);
        assert!(ask("/report.json", "localhost", None, &shared).starts_with("503"));
        let page = ask("/", "localhost", None, &shared);
        assert!(page.contains("isn't over yet") && page.contains("\"refresh\""), "{page}");
        assert!(ask("/metrics", "localhost", None, &shared).ends_with("# EOF\n"));
        assert!(ask("/nothing", "localhost", None, &shared).starts_with("404"));
    }
}
