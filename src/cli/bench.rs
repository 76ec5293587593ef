//! `sparrow bench`: how long each stage takes on this machine, as a table or JSON.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::{
    infer::{
        Clip, Engine, LoadedModel,
        engine::Timing,
        model::{ModelSource, device, device_words},
    },
    project::Size,
    video::{self, FrameSource, SyntheticSource},
};

use super::{
    output::{JsonTarget, require_input, say},
    progress::Reporter,
};

/// Time every stage of the model on this machine.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Video or image folder [default: a synthetic clip of 1280×720].
    #[arg(long)]
    video: Option<PathBuf>,
    /// The phrase that is asked.
    #[arg(long, value_name = "TEXT", default_value = "the red square")]
    phrase: String,
    /// Frames that are tracked.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Model id, or the path of a weight file.
    #[arg(long, value_name = "ID", default_value = "nano")]
    model: String,
    /// auto, cpu, cuda or metal.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// File for the result as JSON, - for standard output.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Replace outputs that exist.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct BenchJson {
    schema: u32,
    model: String,
    device: String,
    threads: usize,
    width: u32,
    height: u32,
    #[serde(flatten)]
    timing: Timing,
}

pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let json = JsonTarget::claim(args.json.as_deref(), args.force)?;
    let source: Box<dyn FrameSource> = match &args.video {
        None => Box::new(SyntheticSource::new(
            Size::new(1280, 720),
            args.frames + 1,
            25.0,
        )),
        Some(path) => {
            require_input(path, "a video or an image folder")?;
            video::open(path)?
        }
    };
    let device = device(&args.device)?;
    let source_model = ModelSource::find(&args.model)?;
    let engine = Engine::new(LoadedModel::load(&source_model, &device)?);
    let mut clip = Clip::new(source);
    let size = clip.size();
    let reporter = Reporter::new();
    reporter.note("timing every stage");
    let timing = engine.time_stages(
        &mut clip,
        &args.phrase,
        args.frames,
        &mut reporter.progress(),
    )?;
    drop(reporter);
    let result = BenchJson {
        schema: 1,
        model: source_model.name(),
        device: device_words(&device),
        threads: rayon::current_num_threads(),
        width: size.width,
        height: size.height,
        timing,
    };
    match json {
        Some(target) => target.finish(&result),
        None => table(&result),
    }
}

fn table(result: &BenchJson) -> Result<()> {
    say(format!(
        "{} on {}, {}×{}",
        result.model, result.device, result.width, result.height
    ))?;
    for stage in &result.timing.stages {
        say(format!("{:<26}{:>9.2} ms", stage.stage, stage.secs * 1e3))?;
    }
    let t = &result.timing;
    say(format!(
        "{:<26}{:>9.2} ms",
        "phrase to mask",
        t.phrase_to_mask_secs * 1e3
    ))?;
    say(format!(
        "{:<26}{:>9.2} ms",
        "further phrase to mask",
        t.further_phrase_secs * 1e3
    ))?;
    say(format!(
        "{:<26}{:>9.2} frames/s",
        "tracking one object", t.tracking_fps
    ))?;
    say(format!(
        "{:<26}{:>9.2} frames/s",
        "tracking four objects", t.tracking_fps_4
    ))
}
