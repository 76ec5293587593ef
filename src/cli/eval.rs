//! `sparrow eval`: a task on a dataset, by the protocol of its benchmark.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{
    eval::{self, CorrectAt, EngineSubject, Given, Task},
    formats::davis,
    infer::{
        Engine,
        model::{ModelSource, device},
    },
    project::counted,
    task::Mode,
};

use super::{
    Usage,
    asked::AskedOf,
    numbers,
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
    /// Layout of the dataset.
    #[arg(long, value_name = "NAME", value_parser = ["davis", "synth"])]
    format: String,
    /// Model id, or the path of a weight file.
    #[arg(long, value_name = "ID", default_value = "nano")]
    model: String,
    /// davis: only the sequences of `ImageSets/*/NAME.txt` [default: all].
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// At most this many sequences.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    limit: Option<u32>,
    /// Carry masks by memory, or apply the first frame's boxes to every frame [default: track].
    #[arg(long, value_enum, help_heading = "Options of rvos and vos")]
    mode: Option<ModeArg>,
    /// Also ask every phrase without [BOX], and with target-specific tokens of anchors.
    #[arg(long, help_heading = "Options of rvos")]
    ablate: bool,
    /// What prompts the first frame [default: box].
    #[arg(long, value_enum, help_heading = "Options of vos")]
    prompt: Option<PromptArg>,
    /// True boxes given on one frame of each object after the first pass [default: 0].
    #[arg(long, value_name = "0|1", value_parser = numbers::none_or_one, allow_negative_numbers = true, help_heading = "Options of vos")]
    corrections: Option<u32>,
    /// On which frame: the worst, or where the strongest mark of drift is [default: worst].
    #[arg(long, value_enum, help_heading = "Options of vos")]
    at: Option<AtArg>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TaskArg {
    /// Phrases: referring video object segmentation. J and F are means over every annotated frame.
    Rvos,
    /// Boxes or clicks on the first frame: video object segmentation. As DAVIS does, J and F leave out the clip's first and last
    /// frame. Each object's mask is scored by itself, overlaps included; the official protocol scores one label map per frame.
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

/// `--at`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum AtArg {
    /// The worst of those on which the object is to be seen: what one correction can bring.
    Worst,
    /// The one whose mark is strongest, and none if nothing is marked: what it brings to who goes by the marks.
    Marked,
}

/// `--mode`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// Memory propagation.
    Track,
    /// Each frame alone.
    Framewise,
}

impl EvalArgs {
    /// Refuses options that the task would pass over in silence.
    fn check(&self) -> Result<()> {
        use TaskArg::{Proposals, Rvos, Vos};
        let options = [
            ("--ablate", self.ablate, &[Rvos][..], "rvos"),
            ("--prompt", self.prompt.is_some(), &[Vos], "vos"),
            ("--corrections", self.corrections.is_some(), &[Vos], "vos"),
            ("--at", self.at.is_some(), &[Vos], "vos"),
            ("--mode", self.mode.is_some(), &[Rvos, Vos], "rvos and vos"),
        ];
        let wrong = options
            .iter()
            .find(|(_, given, tasks, _)| *given && !tasks.contains(&self.task));
        if let Some((option, _, _, tasks)) = wrong {
            let task = match self.task {
                Rvos => "rvos",
                Vos => "vos",
                Proposals => "proposals",
            };
            bail!(Usage(format!(
                "{option} is for {tasks} and says nothing about {task}: leave it out"
            )));
        }
        if self.at.is_some() && self.corrections != Some(1) {
            bail!(Usage(
                "--at says where to correct, and nothing is corrected: add --corrections 1, or leave it out".to_owned()
            ));
        }
        if self.split.is_some() && self.format != "davis" {
            bail!(Usage(format!(
                "--split is for datasets in davis layout, and {} has no splits: leave it out",
                self.format
            )));
        }
        Ok(())
    }
}

/// What `--json` writes.
#[derive(Serialize)]
struct EvalJson<'a> {
    #[serde(flatten)]
    report: &'a eval::Report,
    asked: EvalAsked<'a>,
}

/// What was asked, and of what. Options that the task has no use for are none.
#[derive(Serialize)]
struct EvalAsked<'a> {
    #[serde(flatten)]
    of: AskedOf,
    data: String,
    format: &'a str,
    split: Option<&'a str>,
    limit: Option<u32>,
    mode: Option<&'static str>,
    ablate: Option<bool>,
    prompt: Option<&'static str>,
    corrections: Option<u32>,
    at: Option<CorrectAt>,
}

impl<'a> EvalAsked<'a> {
    fn new(args: &'a EvalArgs, request: &eval::Request, of: AskedOf) -> Self {
        let (by_phrase, by_prompt) = (args.task == TaskArg::Rvos, args.task == TaskArg::Vos);
        let mode = match request.mode {
            Mode::Track => "track",
            Mode::Framewise => "framewise",
        };
        let prompt = match request.given {
            Given::Box => "box",
            Given::Click => "click",
        };
        Self {
            of,
            data: args.data.display().to_string(),
            format: &args.format,
            split: args.split.as_deref(),
            limit: args.limit,
            mode: (by_phrase || by_prompt).then_some(mode),
            ablate: by_phrase.then_some(request.ablate),
            prompt: by_prompt.then_some(prompt),
            corrections: by_prompt.then_some(u32::from(request.correct.is_some())),
            at: request.correct.filter(|_| by_prompt),
        }
    }
}

fn request(args: &EvalArgs) -> eval::Request {
    eval::Request {
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
            None | Some(ModeArg::Track) => Mode::Track,
            Some(ModeArg::Framewise) => Mode::Framewise,
        },
        ablate: args.ablate,
        given: match args.prompt {
            None | Some(PromptArg::Box) => Given::Box,
            Some(PromptArg::Click) => Given::Click,
        },
        correct: (args.corrections == Some(1)).then_some(match args.at {
            None | Some(AtArg::Worst) => CorrectAt::Worst,
            Some(AtArg::Marked) => CorrectAt::Marked,
        }),
    }
}

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    args.check()?;
    require_input(&args.data, "a dataset's folder")?;
    let json = JsonTarget::claim(args.json.as_deref(), args.force)?;
    let to_stdout = matches!(json, Some(JsonTarget::Stdout));
    let source = ModelSource::find(&args.model)?;
    let engine = Engine::new(args.precision.load(&source, &device(&args.device)?)?);
    let request = request(args);
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
    let of = json.is_some().then(|| {
        let told = &mut reporter.progress();
        AskedOf::of(&source, &args.model, engine.model(), told)
    });
    let mut subject = EngineSubject::new(&engine);
    let report = eval::run(&request, &mut subject, &mut reporter.progress())?;
    drop(reporter);
    if let (Some(json), Some(of)) = (json, of) {
        json.finish(&EvalJson {
            report: &report,
            asked: EvalAsked::new(args, &request, of),
        })?;
    }
    if !to_stdout {
        for line in report.lines() {
            say(line)?;
        }
    }
    let mut wrong = Vec::new();
    if let Some((done, asked)) = report.stopped_after() {
        wrong.push(format!(
            "stopped; the result is that of {done} of {}",
            counted(asked, "sequence")
        ));
    }
    if let Some(first) = report.failed().first() {
        wrong.push(format!(
            "{} failed, the others are measured; the first is {}: {}",
            counted(report.failed().len(), "sequence"),
            first.name,
            first.error
        ));
    }
    ensure!(wrong.is_empty(), wrong.join("; "));
    Ok(())
}
