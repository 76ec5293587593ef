//! `sparrow bench`: how long each stage takes on this machine beside what the machine could do, as a table or JSON.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::{
    infer::{
        Clip, Engine,
        bench::{Ceiling, STAGES, Sizes, StageTime, time_networks},
        engine::Timing,
        model::{ModelSource, device, device_words},
    },
    project::Size,
    video::{self, FrameSource, SyntheticSource},
};

use super::{
    Usage,
    output::{JsonTarget, require_input, say},
    precision::PrecisionArg,
    progress::Reporter,
};

/// Time every stage of the model on this machine.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Video or image folder [default: a synthetic clip of 1280×720].
    #[arg(long, conflicts_with = "random")]
    video: Option<PathBuf>,
    /// The phrase that is asked.
    #[arg(long, value_name = "TEXT", default_value = "the red square")]
    phrase: String,
    /// Frames that are tracked.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Model id, or the path of a weight file.
    #[arg(
        long,
        value_name = "ID",
        default_value = "nano",
        conflicts_with = "random"
    )]
    model: String,
    /// The networks alone, on random weights: nano, tiny or released-layers.
    #[arg(long, value_name = "SIZES")]
    random: Option<String>,
    /// With --random: this stage only; may be given several times.
    #[arg(long, value_name = "STAGE", requires = "random")]
    stage: Vec<String>,
    /// With --random: runs of each stage at least, of which the quickest counts.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// auto, cpu, cuda or metal.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// How the model's weights are stored: auto, f32, f16, bf16, q8 or q4.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "auto",
        conflicts_with = "random"
    )]
    precision: PrecisionArg,
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
    ceiling: Ceiling,
    #[serde(flatten)]
    timed: Timed,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Timed {
    Model {
        width: u32,
        height: u32,
        precision: &'static str,
        /// Bytes of the weights as stored.
        placed: u64,
        #[serde(flatten)]
        timing: Timing,
    },
    Networks {
        sizes: Box<Sizes>,
        stages: Vec<StageTime>,
    },
}

pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let json = JsonTarget::claim(args.json.as_deref(), args.force)?;
    let device = device(&args.device)?;
    let reporter = Reporter::new();
    let (model, timed) = match &args.random {
        Some(name) => (format!("random {name}"), networks(args, name, &reporter)?),
        None => whole(args, &reporter)?,
    };
    reporter.note("measuring what this machine does at best");
    let ceiling = Ceiling::measure(&device)?;
    drop(reporter);
    let result = BenchJson {
        schema: 1,
        model,
        device: device_words(&device),
        threads: rayon::current_num_threads(),
        ceiling,
        timed,
    };
    match json {
        Some(target) => target.finish(&result),
        None => table(&result),
    }
}

/// A model on a clip, decoding and caches included.
fn whole(args: &BenchArgs, reporter: &Reporter) -> Result<(String, Timed)> {
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
    let source_model = ModelSource::find(&args.model)?;
    let engine = Engine::new(args.precision.load(&source_model, &device(&args.device)?)?);
    let mut clip = Clip::new(source);
    let size = clip.size();
    reporter.note("timing every stage");
    let timing = engine.time_stages(
        &mut clip,
        &args.phrase,
        args.frames,
        &mut reporter.progress(),
    )?;
    let timed = Timed::Model {
        width: size.width,
        height: size.height,
        precision: engine.model().precision.name(),
        placed: engine.model().placed,
        timing,
    };
    Ok((source_model.name(), timed))
}

/// The networks alone.
fn networks(args: &BenchArgs, name: &str, reporter: &Reporter) -> Result<Timed> {
    let Some(sizes) = Sizes::by_name(name)? else {
        bail!(Usage(format!(
            "there are no sizes {name:?}: use {}",
            Sizes::NAMES.join(", ")
        )));
    };
    if let Some(unknown) = args.stage.iter().find(|s| !STAGES.contains(&s.as_str())) {
        bail!(Usage(format!(
            "there is no stage {unknown:?}: use {}",
            STAGES.join(", ")
        )));
    }
    let wanted = |stage: &str| args.stage.is_empty() || args.stage.iter().any(|s| s == stage);
    let runs = (args.runs, Duration::from_millis(300));
    let device = device(&args.device)?;
    let stages = time_networks(&sizes, &device, wanted, runs, |stage| {
        reporter.note(format!("{}: {:.2} ms", stage.stage, stage.secs * 1e3));
    })?;
    Ok(Timed::Networks {
        sizes: Box::new(sizes),
        stages,
    })
}

fn table(result: &BenchJson) -> Result<()> {
    let size = match &result.timed {
        Timed::Model {
            width,
            height,
            precision,
            ..
        } => format!(", {precision}, {width}×{height}"),
        Timed::Networks { .. } => String::new(),
    };
    say(format!("{} on {}{size}", result.model, result.device))?;
    let Ceiling { gflops, gbytes } = result.ceiling;
    say(format!(
        "{:<26}{gflops:>9.1} GFLOP/s in a large product, {gbytes:.1} GB/s in a large copy",
        "this machine"
    ))?;
    let stages = match &result.timed {
        Timed::Model { timing, .. } => &timing.stages,
        Timed::Networks { stages, .. } => stages,
    };
    for stage in stages {
        say(row(stage, result.ceiling))?;
    }
    let Timed::Model { timing, .. } = &result.timed else {
        return Ok(());
    };
    for (what, value, unit) in [
        ("phrase to mask", timing.phrase_to_mask_secs * 1e3, "ms"),
        (
            "further phrase to mask",
            timing.further_phrase_secs * 1e3,
            "ms",
        ),
        ("tracking one object", timing.tracking_fps, "frames/s"),
        ("tracking four objects", timing.tracking_fps_4, "frames/s"),
    ] {
        say(format!("{what:<26}{value:>9.2} {unit}"))?;
    }
    Ok(())
}

/// A stage's time, and what share of the machine's best it reached: of arithmetic or of traffic, whichever binds it.
fn row(stage: &StageTime, best: Ceiling) -> String {
    let time = format!("{:<26}{:>9.2} ms", stage.stage, stage.secs * 1e3);
    if stage.bytes == 0 {
        return time;
    }
    let (arithmetic, traffic) = (stage.gflops() / best.gflops, stage.gbytes() / best.gbytes);
    format!(
        "{time}{:>10.3} GFLOP{:>9.1} GFLOP/s ({:>3.0} %){:>9.1} MB{:>7.1} GB/s ({:>3.0} %)",
        stage.gflop,
        stage.gflops(),
        arithmetic * 1e2,
        stage.bytes as f64 * 1e-6,
        stage.gbytes(),
        traffic * 1e2
    )
}
