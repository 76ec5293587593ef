//! `sparrow eval`: a task on a dataset, by the protocol of its benchmark.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    eval::{self, EngineSubject, Given, Task},
    formats::davis,
    infer::{
        Engine,
        model::{ModelSource, device},
    },
    task::Mode,
};

use super::{
    output::{JsonTarget, require_input, say},
    precision::PrecisionArg,
    progress::Reporter,
};

/// Measure a model on a dataset.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// What to measure.
    #[arg(value_enum)]
    task: TaskArg,
    /// The dataset's folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Layout of the dataset: davis or synth.
    #[arg(long, value_name = "NAME")]
    format: String,
    /// Model id, or the path of a weight file.
    #[arg(long, value_name = "ID", default_value = "nano")]
    model: String,
    /// davis: only the sequences of `ImageSets/*/NAME.txt` [default: all].
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// At most this many sequences.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Carry masks by memory, or apply the first frame's boxes to every frame.
    #[arg(long, value_enum, default_value_t = ModeArg::Track)]
    mode: ModeArg,
    /// rvos: also ask every phrase without [BOX], and with target-specific tokens of anchors.
    #[arg(long)]
    ablate: bool,
    /// vos: what prompts the first frame.
    #[arg(long, value_enum, default_value_t = PromptArg::Box)]
    prompt: PromptArg,
    /// vos: true boxes given on each object's worst frame after the first pass.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1))]
    corrections: u32,
    /// auto, cpu, cuda or metal.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// How weights are stored: auto, f32, f16, bf16, q8 or q4.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    precision: PrecisionArg,
    /// File for the result as JSON, - for standard output.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Replace outputs that exist.
    #[arg(long)]
    force: bool,
}

/// Tasks of the contract that there are runners for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TaskArg {
    /// Phrases: referring video object segmentation.
    Rvos,
    /// Boxes or clicks on the first frame: video object segmentation. Each object's mask is scored by itself, overlaps
    /// included; the official protocol scores one label map per frame.
    Vos,
    /// Class-agnostic proposals. One proposal may meet several true boxes; COCO's recall matches one to one.
    Proposals,
}

/// `--prompt`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PromptArg {
    /// The true mask's bounding box.
    Box,
    /// One click, on the pixel that lies deepest in the true mask.
    Click,
}

/// `--mode`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// Memory propagation.
    Track,
    /// Each frame alone.
    Framewise,
}

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    require_input(&args.data, "a dataset's folder")?;
    let json = JsonTarget::claim(args.json.as_deref(), args.force)?;
    let to_stdout = matches!(json, Some(JsonTarget::Stdout));
    let source = ModelSource::find(&args.model)?;
    let engine = Engine::new(args.precision.load(&source, &device(&args.device)?)?);
    let request = eval::Request {
        task: match args.task {
            TaskArg::Rvos => Task::Rvos,
            TaskArg::Vos => Task::Vos,
            TaskArg::Proposals => Task::Proposals,
        },
        data: args.data.clone(),
        format: args.format.clone(),
        split: args.split.clone(),
        limit: args.limit.map(|n| n as usize),
        mode: match args.mode {
            ModeArg::Track => Mode::Track,
            ModeArg::Framewise => Mode::Framewise,
        },
        ablate: args.ablate,
        given: match args.prompt {
            PromptArg::Box => Given::Box,
            PromptArg::Click => Given::Click,
        },
        corrections: args.corrections,
    };
    let reporter = Reporter::new();
    if args.format == "davis" && args.split.is_none() {
        let splits = davis::splits(&args.data);
        if !splits.is_empty() {
            reporter.note(format!(
                "all sequences are measured; --split measures those of a list: {}",
                splits.join(", ")
            ));
        }
    }
    let mut subject = EngineSubject::new(&engine);
    let report = eval::run(&request, &mut subject, &mut reporter.progress())?;
    drop(reporter);
    if let Some(json) = json {
        json.finish(&report)?;
    }
    if !to_stdout {
        for line in report.lines() {
            say(line)?;
        }
    }
    if let Some(first) = report.failed().first() {
        bail!(
            "{} sequences failed, the others are measured; the first is {}: {}",
            report.failed().len(),
            first.name,
            first.error
        );
    }
    Ok(())
}
