//! The command line: one file per subcommand.

pub mod parity;

use std::process::ExitCode;

/// Parses the arguments, runs the subcommand and turns its result into an exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
