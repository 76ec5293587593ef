//! `sparrow train STAGE`: one stage of training. Stages meet in their checkpoints; see [`crate::train`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::{
    infer::model::{self, ModelInfo},
    train::{
        Budget, Exported, Job, checkpoint, denormals, export, language, segmenter,
        synth::Vocabulary, towers, whole,
    },
};

use super::output::{NewFile, keep_apart, make_parent};

/// What can be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Everything: all stages in turn, then the weight file in --out.
    Nano,
    /// Segmenter and proposer on one trunk, on masks and boxes.
    Segmenter,
    /// A finished segmenter goes on, near and at the size that images are used at.
    Refine,
    /// A finished segmenter's memory alone, on longer clips.
    Memory,
    /// The proposer alone, on a finished segmenter.
    Proposer,
    /// Region codes alone, on a finished segmenter.
    Regions,
    /// No training: merge what the stages left (--init, later files win) into one weight file, --out.
    Export,
    /// Both vision towers, on words of tokens.
    Towers,
    /// The language model and its prompts, with the towers frozen; with SAM2's weights given, filtration and masks too.
    Language,
    /// On from "language" with the final proposer.
    Filtration,
}

/// Words that objects are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Words {
    /// The easiest to tell apart.
    Core,
    /// All.
    Full,
}

/// Arguments of `train`.
#[derive(Args)]
pub(super) struct TrainArgs {
    /// Stage.
    #[arg(value_enum)]
    stage: Stage,
    /// Folder for the checkpoint, the log and pictures; the file to write for `export`.
    #[arg(long)]
    out: PathBuf,
    /// Model whose sizes and words are trained.
    #[arg(long, default_value = "nano")]
    model: String,
    /// Stop after this many steps.
    #[arg(long)]
    steps: Option<u64>,
    /// Stop after this many minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// Continue from the checkpoint in the folder.
    #[arg(long)]
    resume: bool,
    /// Weights or checkpoints to start from; later ones win.
    #[arg(long)]
    init: Vec<PathBuf>,
    /// Seed of weights and clips.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Words that objects are drawn from.
    #[arg(long, value_enum, default_value = "full")]
    words: Words,
    /// auto, cpu, cuda or metal.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Begin anew where an earlier run left a checkpoint, replace a weight file that exists.
    #[arg(long)]
    force: bool,
}

/// Refuses to take the place of what an earlier run of the stage left in its folder.
fn keep_earlier(args: &TrainArgs, info: &ModelInfo) -> Result<()> {
    let checkpoint = |stage: &str| checkpoint::path_in(&args.out, stage);
    let left = match args.stage {
        Stage::Segmenter => vec![checkpoint(segmenter::STAGE)],
        Stage::Refine => vec![checkpoint(segmenter::REFINE_STAGE)],
        Stage::Memory => vec![checkpoint(segmenter::MEMORY_STAGE)],
        Stage::Proposer => vec![checkpoint(segmenter::PROPOSER_STAGE)],
        Stage::Regions => vec![checkpoint(segmenter::REGIONS_STAGE)],
        Stage::Towers => vec![checkpoint(towers::STAGE)],
        Stage::Language => vec![checkpoint(language::Part::Language.stage())],
        Stage::Filtration => vec![checkpoint(language::Part::Filtration.stage())],
        Stage::Nano => whole::stages()
            .map(checkpoint)
            .chain([args.out.join(&info.weights.file)])
            .collect(),
        Stage::Export => Vec::new(),
    };
    if let Some(path) = left.iter().find(|path| path.exists()) {
        bail!(
            "{} exists already: choose another folder, go on from it with --resume, or add --force to begin anew",
            path.display()
        );
    }
    Ok(())
}

/// Says what was written.
fn tell(path: &Path, done: Exported) {
    tracing::info!(
        "{}: {} tensors, {} parameters; {} tensors of training alone left out",
        path.display(),
        done.tensors,
        done.parameters,
        done.dropped
    );
}

/// Runs the stage.
pub(super) fn run(args: TrainArgs) -> Result<()> {
    let info = ModelInfo::by_id(&args.model)?;
    if args.stage == Stage::Export {
        let inputs: Vec<&Path> = args.init.iter().map(PathBuf::as_path).collect();
        keep_apart(&inputs, &[&args.out])?;
        make_parent(&args.out)?;
        // The export writes it whole or not at all; this only says early that it could not.
        drop(NewFile::claim(&args.out, args.force)?);
        let done = export(&args.init, &info, &args.out)?;
        tell(&args.out, done);
        return Ok(());
    }
    ensure!(
        args.steps.is_some() || args.minutes.is_some(),
        "say how long to train: --steps N or --minutes M"
    );
    if !args.resume && !args.force {
        keep_earlier(&args, &info)?;
    }
    denormals::flush();
    let mut job = Job {
        budget: Budget::new(args.steps, args.minutes),
        out: args.out,
        resume: args.resume,
        init: args.init,
        device: model::device(&args.device)?,
        seed: args.seed,
    };
    let words = match args.words {
        Words::Core => Vocabulary::Core,
        Words::Full => Vocabulary::Full,
    };
    if args.stage == Stage::Nano {
        let total = whole::Total {
            steps: args.steps,
            minutes: args.minutes,
        };
        let done = whole::run(&job, total, &info, words)?;
        tell(&job.out.join(&info.weights.file), done);
        return Ok(());
    }
    match args.stage {
        Stage::Segmenter => segmenter::run(&mut job, &info),
        Stage::Refine => segmenter::run_refine(&mut job, &info),
        Stage::Memory => segmenter::run_memory(&mut job, &info),
        Stage::Proposer => segmenter::run_proposer(&mut job, &info),
        Stage::Regions => segmenter::run_regions(&mut job, &info),
        Stage::Nano | Stage::Export => return Ok(()),
        Stage::Towers => towers::run(&mut job, &info, words),
        Stage::Language => language::run(&mut job, &info, language::Part::Language, words),
        Stage::Filtration => language::run(&mut job, &info, language::Part::Filtration, words),
    }
    .with_context(|| format!("training in {} stopped", job.out.display()))
}
