use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use egress_auditor::{extract::Observation, scan::Sink};

use super::{EXIT_ERROR, Inputs, read::read};

/// Print what the packets say, one JSON object a line.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    inputs: Inputs,
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
        let mut lines = Lines { out: io::BufWriter::new(io::stdout().lock()), failed: None };
        let reading = read(&self.inputs, Arc::from([]), &mut lines)?;
        lines.out.flush()?;
        if let Some(error) = lines.failed {
            return Err(error.into());
        }
        for error in &reading.errors {
            eprintln!("egress-auditor: {error}");
        }
        Ok(if reading.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_ERROR) })
    }
}
