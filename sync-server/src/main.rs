//! The carepost-server program.

use std::process::ExitCode;

fn main() -> ExitCode {
    carepost_server::cli::main()
}
