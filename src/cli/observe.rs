use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use egress_auditor::{extract::Observation, flow::Endpoint, scan::Sink, verdict::flows};

use super::{
    EXIT_ERROR, Inputs,
    read::{Reading, read},
    site,
};

/// Print what the packets say, one JSON object a line.
///
/// Names, answers and errors come as they are read; a line for each flow comes at the end.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  egress-auditor observe node.pcap
  egress-auditor observe captures/ | jq 'select(.event == \"tls_client_hello\") | .sni'
  tcpdump -w - -i eth0 | egress-auditor observe -
  egress-auditor observe -i eth0

Exit codes: 0 read to the end or until Ctrl-C, 2 usage or input error (what could be read is printed).")]
pub(crate) struct Args {
    #[command(flatten)]
    inputs: Inputs,

    /// The site: resolvers on unusual ports, and which networks are captured.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    #[cfg(feature = "live")]
    #[command(flatten)]
    sandbox: super::sandbox::SandboxArgs,
}

/// Writes observations as they come.
struct Lines<W> {
    out: W,
    failed: Option<io::Error>,
}

impl<W: Write> Sink for Lines<W> {
    fn observe(&mut self, make: impl FnOnce() -> Observation) {
        if self.failed.is_none() {
            let written = serde_json::to_writer(&mut self.out, &make())
                .map_err(io::Error::from)
                .and_then(|()| self.out.write_all(b"\n"));
            self.failed = written.err();
        }
    }
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        // Live, whoever reads the lines wants each at once.
        let out: Box<dyn Write> = match self.inputs.is_live() {
            true => Box::new(io::stdout().lock()),
            false => Box::new(io::BufWriter::new(io::stdout().lock())),
        };
        let mut lines = Lines { out, failed: None };
        let profile = site::load_profile(self.profile.as_deref())?;
        let reading = self.read(site::resolvers(&profile), &mut lines)?;
        if let Some(error) = lines.failed {
            return Err(error.into());
        }
        for flow in flows(&reading.census, &profile) {
            serde_json::to_writer(&mut lines.out, &flow)?;
            lines.out.write_all(b"\n")?;
        }
        lines.out.flush()?;
        for error in &reading.errors {
            eprintln!("egress-auditor: {error}");
        }
        Ok(if reading.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_ERROR) })
    }

    fn read(&self, resolvers: Arc<[Endpoint]>, sink: &mut impl Sink) -> anyhow::Result<Reading> {
        #[cfg(feature = "live")]
        if self.inputs.is_live() {
            return super::read::capture(&self.inputs.live, &self.sandbox, resolvers, sink);
        }
        read(&self.inputs, resolvers, false, sink)
    }
}
