//! `sparrow train STAGE`: one stage of training. Stages meet in their checkpoints; see [`crate::train`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::{
    infer::model::{self, ModelInfo},
    project::counted,
    train::{
        Budget, Exported, Job, Recipe, TrainError, checkpoint, denormals, export, language,
        segmenter, synth::Vocabulary, towers, whole,
    },
};

use super::{
    Usage, numbers,
    output::{NewFile, keep_apart, make_parent, note, require_input, say},
    progress::cancel_on_ctrl_c,
};

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
    /// Stop after this many steps, those before a --resume included.
    #[arg(long, value_parser = numbers::some, allow_negative_numbers = true)]
    steps: Option<u64>,
    /// Stop after this many minutes, those before a --resume included.
    #[arg(long, value_parser = numbers::minutes, allow_negative_numbers = true)]
    minutes: Option<f64>,
    /// Continue from the checkpoint in the folder, with what --init named when it was begun.
    #[arg(long)]
    resume: bool,
    /// Weights or checkpoints to start from; later ones win.
    #[arg(long)]
    init: Vec<PathBuf>,
    /// Seed of weights and clips.
    #[arg(long, default_value_t = 1, value_parser = numbers::seed, allow_negative_numbers = true)]
    seed: u64,
    /// For `export`: the mean of the files of --init, each of which then holds everything, instead of the last one's tensors.
    #[arg(long)]
    mean: bool,
    /// For `export`: the confidence from which proposals are kept, 0 to 1, in place of what was fitted.
    #[arg(long, value_parser = numbers::share, allow_negative_numbers = true)]
    keep: Option<f32>,
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

/// The name of a stage's checkpoint; none where several stages are meant, or no training.
fn name_of(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Segmenter => Some(segmenter::STAGE),
        Stage::Refine => Some(segmenter::REFINE_STAGE),
        Stage::Memory => Some(segmenter::MEMORY_STAGE),
        Stage::Proposer => Some(segmenter::PROPOSER_STAGE),
        Stage::Regions => Some(segmenter::REGIONS_STAGE),
        Stage::Towers => Some(towers::STAGE),
        Stage::Language => Some(language::Part::Language.stage()),
        Stage::Filtration => Some(language::Part::Filtration.stage()),
        Stage::Nano | Stage::Export => None,
    }
}

/// Refuses to take the place of what an earlier run of the stage left in its folder.
fn keep_earlier(args: &TrainArgs, info: &ModelInfo) -> Result<()> {
    let checkpoint = |stage: &str| checkpoint::path_in(&args.out, stage);
    let left: Vec<PathBuf> = match (name_of(args.stage), args.stage) {
        (Some(name), _) => vec![checkpoint(name)],
        (None, Stage::Nano) => whole::stages()
            .map(checkpoint)
            .chain([args.out.join(&info.weights.file)])
            .collect(),
        (None, _) => Vec::new(),
    };
    if let Some(path) = left.iter().find(|path| path.exists()) {
        bail!(
            "{} exists already: choose another folder, go on from it with --resume, or add --force to begin anew",
            path.display()
        );
    }
    Ok(())
}

/// Whether there is something left to do, looked at before anything is loaded; where there is not, it is said.
fn is_left(args: &TrainArgs, stage: &str) -> Result<bool> {
    let path = checkpoint::path_in(&args.out, stage);
    if args.resume && path.exists() {
        let state = checkpoint::state(&path)?;
        let beyond = args.steps.is_some_and(|steps| state.step > steps);
        if beyond || whole::finished(stage, &state, Budget::new(args.steps, args.minutes)) {
            note(format!(
                "{} is already at step {}: nothing to do; --steps and --minutes count from the beginning",
                path.display(),
                state.step
            ));
            return Ok(false);
        }
    }
    let needs_start = args.stage == Stage::Filtration && args.init.is_empty();
    if needs_start && checkpoint::remembered(&args.out, stage)?.is_none_or(|f| f.is_empty()) {
        bail!(Usage(if args.resume {
            "what filtration was begun with is not written down there: give the same --init again"
                .into()
        } else {
            "filtration goes on from finished weights: name them with --init".to_owned()
        }));
    }
    Ok(true)
}

/// How a run that was stopped is gone on with.
fn stopped(out: &Path) -> String {
    format!(
        "stopped; the step was finished and what was reached is in {}: the same command with --resume goes on from there",
        out.display()
    )
}

/// Says what was written.
fn tell(path: &Path, done: Exported) -> Result<()> {
    let mut line = format!(
        "{} with {} parameters written to {}",
        counted(done.tensors, "tensor"),
        done.parameters,
        path.display()
    );
    if done.dropped > 0 {
        line += &format!("; {} of training alone left out", done.dropped);
    }
    say(line)
}

/// What an export needs, and what it has no use for.
fn check_export(args: &TrainArgs) -> Result<()> {
    if args.steps.is_some() || args.minutes.is_some() || args.resume {
        bail!(Usage(
            "--steps, --minutes and --resume are for stages that train; `train export` only writes what they left".into()
        ));
    }
    if args.init.is_empty() {
        bail!(Usage(
            "name the weights or checkpoints that the file is made of with --init".into()
        ));
    }
    for path in &args.init {
        require_input(path, "weights or a checkpoint")?;
        ensure!(
            path.is_file(),
            "{} is a folder: give the path of weights or a checkpoint",
            path.display()
        );
    }
    Ok(())
}

/// Runs the stage.
pub(super) fn run(args: TrainArgs) -> Result<()> {
    let info = ModelInfo::by_id(&args.model)?;
    if args.stage == Stage::Export {
        check_export(&args)?;
        let inputs: Vec<&Path> = args.init.iter().map(PathBuf::as_path).collect();
        keep_apart(&inputs, &[&args.out])?;
        make_parent(&args.out)?;
        // The export writes it whole or not at all; this only says early that it could not.
        drop(NewFile::claim(&args.out, args.force)?);
        let recipe = Recipe {
            mean: args.mean,
            keep: args.keep,
        };
        let done = export(&args.init, recipe, &info, &args.out)?;
        return tell(&args.out, done);
    }
    if args.mean || args.keep.is_some() {
        bail!(Usage(
            "--mean and --keep are for `train export`, which makes a weight file".into()
        ));
    }
    ensure!(
        args.steps.is_some() || args.minutes.is_some(),
        "say how long to train: --steps N or --minutes M"
    );
    if !args.resume && !args.force {
        keep_earlier(&args, &info)?;
    }
    if let Some(stage) = name_of(args.stage)
        && !is_left(&args, stage)?
    {
        return Ok(());
    }
    denormals::flush();
    let cancel = cancel_on_ctrl_c();
    note("training; Ctrl-C finishes the step and saves what was reached");
    let mut job = Job {
        budget: Budget::new(args.steps, args.minutes).heeding(cancel.clone()),
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
        let done = match whole::run(&job, total, &info, words) {
            Err(TrainError::Stopped) => bail!(stopped(&job.out)),
            done => done?,
        };
        return tell(&job.out.join(&info.weights.file), done);
    }
    let trained = match args.stage {
        Stage::Segmenter => segmenter::run(&mut job, &info),
        Stage::Refine => segmenter::run_refine(&mut job, &info),
        Stage::Memory => segmenter::run_memory(&mut job, &info),
        Stage::Proposer => segmenter::run_proposer(&mut job, &info),
        Stage::Regions => segmenter::run_regions(&mut job, &info),
        Stage::Nano | Stage::Export => return Ok(()),
        Stage::Towers => towers::run(&mut job, &info, words),
        Stage::Language => language::run(&mut job, &info, language::Part::Language, words),
        Stage::Filtration => language::run(&mut job, &info, language::Part::Filtration, words),
    };
    trained.with_context(|| format!("training in {} stopped", job.out.display()))?;
    if let Some(stage) = name_of(args.stage)
        && cancel.is_cancelled()
    {
        let state = checkpoint::state(&checkpoint::path_in(&job.out, stage))?;
        // It may have been its last step.
        let budget = Budget::new(args.steps, args.minutes);
        ensure!(whole::finished(stage, &state, budget), stopped(&job.out));
    }
    Ok(())
}
