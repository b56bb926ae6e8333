//! The carepost-agent program.

use std::process::ExitCode;

fn main() -> ExitCode {
    carepost_agent::cli::main()
}
