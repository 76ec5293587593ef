//! `sparrow bench`: how long each stage takes on this machine beside what the machine could do; how it is printed is
//! [`super::bench_table`]'s.

use std::{path::PathBuf, time::Duration};

use anyhow::{Error, Result, bail};
use candle_core::Device;
use clap::Args;

use crate::{
    infer::{
        Clip, Engine, LoadedModel,
        bench::{
            Ceiling, STAGES, Sizes, StageTime, check_precision,
            end_to_end::{Task, time_end_to_end},
            scripted, time_networks,
        },
        engine::DECODING,
        model::{ModelSource, device, device_words},
    },
    nn::precision::Precision,
    project::Size,
    video::{self, FrameSource, SyntheticSource},
};

use super::{
    Usage,
    bench_table::{BenchJson, Timed, table},
    output::{JsonTarget, require_input},
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
    /// Frames that are tracked [default: 30]; with --end-to-end, frames from pixels to masks [default: 64].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    frames: Option<u32>,
    /// Model id, or the path of a weight file.
    #[arg(
        long,
        value_name = "ID",
        default_value = "nano",
        conflicts_with = "random"
    )]
    model: String,
    /// Random weights, the networks alone unless --end-to-end: nano, tiny, released-layers or released.
    #[arg(long, value_name = "SIZES")]
    random: Option<String>,
    /// With --random: this stage only; may be given several times.
    #[arg(
        long,
        value_name = "STAGE",
        requires = "random",
        conflicts_with = "end_to_end"
    )]
    stage: Vec<String>,
    /// A phrase from pixels to the masks of all frames, and a second phrase on the same clip.
    #[arg(long)]
    end_to_end: bool,
    /// With --end-to-end: the first phrase once more as the authors' program goes about it, which keeps nothing from one
    /// token to the next.
    #[arg(long, requires = "end_to_end")]
    as_authors: bool,
    /// With --end-to-end: the second phrase.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "the blue circle",
        requires = "end_to_end"
    )]
    second_phrase: String,
    /// With --end-to-end: tokens of the answer, its end among them, at most; on random weights exactly so many [default
    /// there: 8].
    #[arg(long, value_name = "N", requires = "end_to_end", value_parser = clap::value_parser!(u32).range(3..))]
    tokens: Option<u32>,
    /// With --random or --end-to-end: runs of each stage at least, of which the quickest counts [default: 3; end to end 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
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

pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let json = JsonTarget::claim(args.json.as_deref(), args.force)?;
    let device = device(&args.device)?;
    let reporter = Reporter::new();
    let (model, timed) = match &args.random {
        _ if args.end_to_end => end_to_end(args, &device, &reporter)?,
        Some(name) => {
            let timed = networks(args, name, &device, &reporter)?;
            (format!("random {name}"), timed)
        }
        None => whole(args, &device, &reporter)?,
    };
    reporter.note("measuring what this machine does at best");
    let ceiling = Ceiling::measure(&device, timed.precision(), reporter.cancel())?;
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

/// The clip that was named, or one that is drawn, of so many frames at such a rate.
fn source(args: &BenchArgs, frames: u32, fps: f64) -> Result<Box<dyn FrameSource>> {
    Ok(match &args.video {
        None => Box::new(SyntheticSource::new(Size::new(1280, 720), frames, fps)),
        Some(path) => {
            require_input(path, "a video or an image folder")?;
            video::open(path)?
        }
    })
}

/// A model on a clip, decoding and caches included.
fn whole(args: &BenchArgs, device: &Device, reporter: &Reporter) -> Result<(String, Timed)> {
    let frames = args.frames.unwrap_or(30);
    let source = source(args, frames.saturating_add(1), 25.0)?;
    let source_model = ModelSource::find(&args.model)?;
    let engine = Engine::new(args.precision.load(&source_model, device)?);
    let mut clip = Clip::new(source);
    let size = clip.size();
    reporter.note("timing every stage");
    let mut timing =
        engine.time_stages(&mut clip, &args.phrase, frames, &mut reporter.progress())?;
    if args.video.is_none() {
        // The clip is drawn: nothing of it is decoded.
        timing.stages.retain(|s| s.stage != DECODING);
    }
    let timed = Timed::Model {
        width: size.width,
        height: size.height,
        precision: engine.model().precision,
        placed: engine.model().placed,
        timing,
    };
    Ok((source_model.name(), timed))
}

/// Sizes by name.
fn sizes(name: &str) -> Result<Sizes> {
    Sizes::by_name(name)?.ok_or_else(|| {
        Error::new(Usage(format!(
            "there are no sizes {name:?}: use {}",
            Sizes::NAMES.join(", ")
        )))
    })
}

/// The precision of random weights: as a model that fits is loaded, unless something else is asked for.
fn precision(args: &BenchArgs, device: &Device) -> Result<Precision> {
    let precision = args.precision.or_best(device);
    check_precision(device, precision).map_err(Error::msg)?;
    Ok(precision)
}

/// The networks alone.
fn networks(args: &BenchArgs, name: &str, device: &Device, reporter: &Reporter) -> Result<Timed> {
    let sizes = sizes(name)?;
    if let Some(unknown) = args.stage.iter().find(|s| !STAGES.contains(&s.as_str())) {
        bail!(Usage(format!(
            "there is no stage {unknown:?}: use {}",
            STAGES.join(", ")
        )));
    }
    let precision = precision(args, device)?;
    let wanted = |stage: &str| args.stage.is_empty() || args.stage.iter().any(|s| s == stage);
    let runs = (args.runs.unwrap_or(3), Duration::from_millis(300));
    let each = |stage: &StageTime| {
        reporter.note(format!("{}: {:.2} ms", stage.stage, stage.secs * 1e3));
    };
    let told = (reporter.cancel(), each);
    let stages = time_networks(&sizes, (device, precision), wanted, runs, told)?;
    Ok(Timed::Networks {
        precision,
        sizes: Box::new(sizes),
        stages,
    })
}

/// A phrase from pixels to the masks of all frames.
fn end_to_end(args: &BenchArgs, device: &Device, reporter: &Reporter) -> Result<(String, Timed)> {
    let frames = args.frames.unwrap_or(64);
    // The released program takes a frame a second, and of those 64 at most.
    let mut source = source(args, frames, 1.0)?;
    let (name, sizes, model) = match &args.random {
        Some(name) => {
            let sizes = sizes(name)?;
            let tokens = args.tokens.unwrap_or(8) as usize;
            let precision = precision(args, device)?;
            reporter.note("making up weights");
            let model = scripted(&sizes, tokens, device, precision)?;
            (format!("random {name}"), Some(Box::new(sizes)), model)
        }
        None => {
            let source = ModelSource::find(&args.model)?;
            let mut model: LoadedModel = args.precision.load(&source, device)?;
            if let Some(tokens) = args.tokens {
                model.info.prompt.max_new_tokens = tokens as usize;
            }
            (source.name(), None, model)
        }
    };
    let size = source.info().size;
    let (precision, placed) = (model.precision, model.placed);
    let task = Task {
        frames,
        phrases: [&args.phrase, &args.second_phrase],
        runs: args.runs.unwrap_or(1),
        as_authors: args.as_authors,
    };
    let timing = time_end_to_end(model, source.as_mut(), &task, &mut reporter.progress())?;
    let timed = Timed::EndToEnd {
        width: size.width,
        height: size.height,
        precision,
        placed,
        sizes,
        timing: Box::new(timing),
    };
    Ok((name, timed))
}
