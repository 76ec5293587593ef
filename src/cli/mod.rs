//! The command line: one file per subcommand. Progress goes to stderr, data to stdout or files.

pub mod parity;
mod synth;
mod train;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Find, track and correct things in video by asking for them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write synthetic clips with exact masks and phrases.
    Synth(synth::SynthArgs),
    /// Train one stage of a model.
    Train(train::TrainArgs),
    /// Run stored cases of the released code and report every stage.
    #[command(hide = true)]
    Parity {
        /// Folder of cases.
        folder: PathBuf,
    },
}

/// Parses the arguments, runs the subcommand and turns its result into an exit code: 0 done, 1 failed, 2 bad usage.
pub fn main() -> ExitCode {
    // Clap itself leaves with 2 on bad usage and 0 on `--help`.
    let arguments = Arguments::parse();
    log_to_stderr();
    match run(arguments.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs a subcommand; `false` means that some of it failed and was reported.
fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Synth(args) => synth::run(&args).map(|()| true),
        Command::Train(args) => train::run(args).map(|()| true),
        Command::Parity { folder } => {
            let outcome = parity::run_folder(&folder, &mut std::io::stdout().lock())?;
            Ok(outcome.failed == 0)
        }
    }
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,sparrow=info,train=info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .without_time()
        .with_writer(std::io::stderr);
    // A second subscriber in one process (tests) is refused; the first keeps working.
    if let Err(error) = subscriber.try_init() {
        tracing::debug!("logging was already set up: {error}");
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the one place where a failed command speaks"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
