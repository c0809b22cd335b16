//! The command: parses arguments, runs, sets the exit code.
fn main() {}
