//! The thin binary: everything it does is in the library, so that tests call the same code.

use std::process::ExitCode;

fn main() -> ExitCode {
    sparrow::cli::main()
}
