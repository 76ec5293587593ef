//! The command line: one file per subcommand.
//!
//! Data goes to stdout or files, everything else to stderr. Exit code 0 is done, 1 failed, 2 bad usage, 130 interrupted: what was
//! finished before is written. What the window does to data, these commands do too.

mod asked;
mod bench;
mod bench_table;
mod doctor;
mod eval;
mod export;
mod ground;
mod ground_json;
mod import;
mod models;
mod numbers;
mod output;
pub mod parity;
mod pictures;
mod precision;
mod progress;
mod project_file;
mod synth;
mod train;
mod tsf_boxes;
mod window;

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use output::note;

/// Find, track and correct things in video by asking for them.
#[derive(Parser)]
#[command(name = "sparrow", version, args_conflicts_with_subcommands = true)]
struct Cli {
    /// Video, image folder or project to open in the window; none: the start page.
    path: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Ground(ground::GroundArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Eval(eval::EvalArgs),
    /// Write synthetic clips with exact masks and phrases.
    Synth(synth::SynthArgs),
    /// Train one stage of a model.
    Train(train::TrainArgs),
    /// Which models there are, and whether they are whole.
    Models {
        #[command(subcommand)]
        command: models::ModelsCommand,
    },
    /// Compare the networks with stored cases of the released code.
    Parity {
        /// Folder of .safetensors cases.
        folder: PathBuf,
        /// Where the networks run: auto, cpu, cuda or metal.
        #[arg(long, value_name = "NAME", default_value = "cpu")]
        device: String,
    },
    Bench(bench::BenchArgs),
    /// What this machine and this build have, and what is missing.
    Doctor,
}

/// A subcommand did everything it was asked to do.
struct Done;

/// The command was not written as it should be; ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Whether the command was at fault rather than what it met: a name that nothing has is a misspelt command.
fn is_usage(error: &anyhow::Error) -> bool {
    use crate::{eval::EvalError, formats::FormatError, infer::model::ModelError};
    error.is::<Usage>()
        || matches!(
            error.downcast_ref(),
            Some(ModelError::Unknown { .. } | ModelError::UnknownDevice(_))
        )
        || matches!(error.downcast_ref(), Some(FormatError::UnknownFormat(_)))
        || matches!(error.downcast_ref(), Some(EvalError::UnknownFormat(_)))
}

/// Parses the arguments, runs the subcommand and turns its result into an exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(as_typed(std::env::args_os())) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no failure and go to stdout; clap knows.
            let code = u8::try_from(e.exit_code()).unwrap_or(2);
            drop(e.print());
            return ExitCode::from(code);
        }
    };
    limit_threads(cli.command.is_none());
    log_to_stderr();
    match run(cli) {
        Ok(Done) => ExitCode::SUCCESS,
        Err(e) => {
            note(format!("error: {e:#}"));
            ExitCode::from(match is_usage(&e) {
                true => 2,
                // Whatever did not come to its end then, it was asked not to.
                false if progress::interrupted() => 130,
                false => 1,
            })
        }
    }
}

/// Commands whose first argument says what they do, as a subcommand would.
const WITH_TASKS: [&str; 2] = ["eval", "train"];

/// The arguments, `help eval rvos` as `eval --help`: what a task is, is told there.
fn as_typed(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let with_task = |name: &OsString| WITH_TASKS.iter().any(|with| name == with);
    if let [_, help, command, _] = &args[..]
        && help == "help"
        && with_task(command)
    {
        args.remove(1);
        args[2] = "--help".into();
    }
    args
}

fn run(cli: Cli) -> Result<Done> {
    match cli.command {
        None => window::run(cli.path.as_deref())?,
        Some(Command::Ground(args)) => return ground::run(&args),
        Some(Command::Export(args)) => export::run(&args)?,
        Some(Command::Import(args)) => import::run(&args)?,
        Some(Command::Eval(args)) => eval::run(&args)?,
        Some(Command::Synth(args)) => synth::run(&args)?,
        Some(Command::Train(args)) => train::run(args)?,
        Some(Command::Models { command }) => models::run(&command)?,
        Some(Command::Parity { folder, device }) => {
            output::require_input(&folder, "a folder of stored cases")?;
            let device = crate::infer::model::device(&device)?;
            let outcome = parity::run_folder_on(&folder, &device, &mut io::stdout().lock())?;
            if outcome.failed > 0 {
                bail!("{} failed", crate::project::counted(outcome.failed, "case"));
            }
        }
        Some(Command::Bench(args)) => bench::run(&args)?,
        Some(Command::Doctor) => doctor::run()?,
    }
    Ok(Done)
}

/// Warnings by default; `RUST_LOG` says otherwise.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,train=info"));
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .try_init();
    if logging.is_err() {
        note("logging is set up already");
    }
}

/// The window keeps one core for itself; a command takes them all. Candle's own pool for element-wise work gets none: its
/// caller spins until the others are done, which on a busy machine costs three times the arithmetic and starves the
/// window. What the user has set stays.
#[expect(
    unsafe_code,
    reason = "the libraries that do the arithmetic read their number of threads from the environment alone"
)]
fn limit_threads(window: bool) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if window {
        cores.saturating_sub(1)
    } else {
        cores
    }
    .max(1);
    for (name, value) in [("RAYON_NUM_THREADS", threads), ("CANDLE_NUM_THREADS", 1)] {
        if std::env::var_os(name).is_none() {
            // SAFETY: this is called first of all in `main`, while no other thread exists that could read the environment.
            unsafe { std::env::set_var(name, value.to_string()) };
        }
    }
}
