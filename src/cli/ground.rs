//! `sparrow ground`: phrases become boxes and masks, and the masks are carried through the video. No window.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    infer::{
        clip::Clip,
        engine::{Engine, PropagateOptions},
        model::{ModelSource, device, device_words},
    },
    project::{
        BoxPx, Document, Edit, Emission, FrameIndex, FrameMask, Object, ObjectId, Provenance,
        Thresholds, VideoInfo, WhyNot, apply, counted, mark_lying,
    },
    task::{GroundOptions, Mode, Progress, Prompt, PropagateDirection},
    video,
};

use super::{
    Done, Usage,
    asked::AskedOf,
    ground_json::{EmissionJson, GroundAsked, GroundJson, ObjectJson, TimingJson, reasons},
    numbers,
    output::{JsonTarget, NewFolder, keep_apart, require_input, say},
    pictures,
    precision::PrecisionArg,
    progress::Reporter,
    tsf_boxes::{TsfBoxes, TsfFormat},
};

/// Find what a phrase says, and track it.
#[derive(Debug, Args)]
pub(super) struct GroundArgs {
    /// Video file or folder of images.
    video: PathBuf,
    /// What to look for, for example "the red circle"; may be given several times.
    #[arg(long, value_name = "TEXT")]
    phrase: Vec<String>,
    /// Model id, or the path of a weight file.
    #[arg(long, value_name = "ID", default_value = "nano")]
    model: String,
    /// The frame to look at, counted from 0.
    #[arg(long, value_name = "FRAME", default_value_t = 0, value_parser = numbers::frame, allow_negative_numbers = true)]
    at: u32,
    /// First and last frame to fill with masks, both included [default: all]. Where --at is none of them, its mask is kept in
    /// the --project alone.
    #[arg(long, value_name = "A..B")]
    range: Option<FrameRange>,
    /// Carry masks by memory, or apply the first frame's boxes to every frame as the released code does.
    /// [default: track; framewise with --compat released]
    #[arg(long, value_enum)]
    mode: Option<ModeArg>,
    /// A box around the object in pixels: one more proposal for the phrases; without a phrase, the prompt itself.
    #[arg(long = "box", value_name = "X1,Y1,X2,Y2", allow_hyphen_values = true)]
    box_px: Option<BoxArg>,
    /// Show the model a crop of --box as a target-specific token.
    #[arg(long, requires = "box_px", conflicts_with = "no_tsf")]
    tsf: bool,
    /// No target-specific tokens (the default).
    #[arg(long)]
    no_tsf: bool,
    /// Boxes of the target by another program, one line per frame: crops of them become target-specific tokens.
    #[arg(long, value_name = "FILE", requires = "tsf_format", conflicts_with_all = ["tsf", "no_tsf"])]
    tsf_boxes: Option<PathBuf>,
    /// What the four numbers of a line of --tsf-boxes are: two corners, or a corner and the size.
    #[arg(long, value_enum, value_name = "FORMAT", requires = "tsf_boxes")]
    tsf_format: Option<TsfFormat>,
    /// Folder for masks (PNG) and overlays (JPEG).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Project file to write, to be opened in the window.
    #[arg(long, value_name = "FILE")]
    project: Option<PathBuf>,
    /// Answer as the released program does, with the released weights: its rules of choice, its fixed weights, the first
    /// frame's boxes on every frame.
    #[arg(long, value_enum, value_name = "WHOSE")]
    compat: Option<CompatArg>,
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

impl GroundArgs {
    /// How masks get from frame to frame.
    fn carrying(&self) -> ModeArg {
        match (self.mode, self.compat) {
            (Some(mode), _) => mode,
            (None, Some(CompatArg::Released)) => ModeArg::Framewise,
            (None, None) => ModeArg::Track,
        }
    }
}

/// `--compat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CompatArg {
    /// The authors' program.
    Released,
}

/// `--mode`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// Memory propagation.
    Track,
    /// Each frame alone.
    Framewise,
}

impl ModeArg {
    fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Framewise => "framewise",
        }
    }
}

/// What a person should know of, said at once and written into the result.
struct Warnings<'a> {
    reporter: &'a Reporter,
    said: Vec<String>,
}

impl Warnings<'_> {
    fn say(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        self.reporter.note(&sentence);
        self.said.push(sentence);
    }
}

/// `A..B`, both included.
#[derive(Clone, Debug)]
struct FrameRange(RangeInclusive<u32>);

impl FromStr for FrameRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no range: write the first and the last frame, like 10..50");
        let (a, b) = text.split_once("..").ok_or_else(wrong)?;
        let b = b.strip_prefix('=').unwrap_or(b);
        let a: u32 = a.trim().parse().ok().ok_or_else(wrong)?;
        let b: u32 = b.trim().parse().ok().ok_or_else(wrong)?;
        if a > b {
            return Err(format!("the range {text} runs backwards: write {b}..{a}"));
        }
        Ok(Self(a..=b))
    }
}

/// `X1,Y1,X2,Y2`.
#[derive(Clone, Copy, Debug)]
struct BoxArg(BoxPx);

impl FromStr for BoxArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no box: write four numbers, like 10,20,110,220");
        let numbers: Vec<f32> = text
            .split(',')
            .map(|n| n.trim().parse::<f32>().ok().ok_or_else(wrong))
            .collect::<Result<_, _>>()?;
        let corners: [f32; 4] = numbers.try_into().ok().ok_or_else(wrong)?;
        if corners.iter().any(|c| !c.is_finite()) {
            return Err(wrong());
        }
        let b = BoxPx::from_array(corners);
        if b.area() <= 0.0 {
            return Err(format!(
                "the box {text} is empty: x2 must be larger than x1, and y2 than y1"
            ));
        }
        Ok(Self(b))
    }
}

/// What was asked for, checked against the video.
struct Plan {
    phrases: Vec<String>,
    at: FrameIndex,
    range: RangeInclusive<u32>,
    box_px: Option<BoxPx>,
    tsf_boxes: Option<TsfBoxes>,
}

fn check(args: &GroundArgs, video: &VideoInfo, warnings: &mut Warnings<'_>) -> Result<Plan> {
    if args.at >= video.frames {
        bail!(
            "--at {} is past the end: {} has {}, counted from 0",
            args.at,
            video.path,
            counted(video.frames, "frame")
        );
    }
    let last = video.frames - 1;
    let range = match &args.range {
        None => 0..=last,
        Some(FrameRange(range)) => {
            if *range.start() > last {
                bail!(
                    "--range {}..{} begins past the end: {} has {}, counted from 0",
                    range.start(),
                    range.end(),
                    video.path,
                    counted(video.frames, "frame")
                );
            }
            if *range.end() > last {
                warnings.say(format!(
                    "the video ends at frame {last}; the range is cut there"
                ));
            }
            *range.start()..=last.min(*range.end())
        }
    };
    let box_px = args.box_px.map(|BoxArg(b)| b);
    if let Some(b) = box_px {
        let inside = b.clamped(video.size);
        if inside.area() <= 0.0 {
            bail!(
                "the box {},{},{},{} lies outside the frame, which is {}×{} pixels",
                b.x1,
                b.y1,
                b.x2,
                b.y2,
                video.size.width,
                video.size.height
            );
        }
        if inside != b {
            warnings.say("the box reaches past the frame; the part inside is used");
        }
    }
    let tsf_boxes = match (&args.tsf_boxes, args.tsf_format) {
        (Some(file), Some(format)) => Some(TsfBoxes::read(file, format, video.size)?),
        _ => None,
    };
    Ok(Plan {
        tsf_boxes,
        phrases: args.phrase.clone(),
        at: FrameIndex(args.at),
        range,
        box_px: box_px.map(|b| b.clamped(video.size)),
    })
}

fn check_usage(args: &GroundArgs) -> Result<()> {
    if args.phrase.is_empty() && args.box_px.is_none() {
        bail!(Usage(
            "say what to look for: --phrase \"the red circle\", or --box X1,Y1,X2,Y2".into()
        ));
    }
    if args.phrase.iter().any(|p| p.trim().is_empty()) {
        bail!(Usage(
            "the phrase is empty: say what to look for, for example --phrase \"the red circle\""
                .into()
        ));
    }
    if args.phrase.is_empty() && matches!(args.carrying(), ModeArg::Framewise) {
        bail!(Usage(
            "framewise mode (that of --compat released, too) carries what a phrase has found: add --phrase \"the red circle\", or track the box with --mode track"
                .into()
        ));
    }
    // What would be passed over in silence is refused.
    let of_phrases = [
        ("--tsf", args.tsf),
        ("--no-tsf", args.no_tsf),
        ("--tsf-boxes", args.tsf_boxes.is_some()),
    ];
    if let Some((option, _)) = of_phrases.iter().find(|(_, given)| *given)
        && args.phrase.is_empty()
    {
        bail!(Usage(format!(
            "{option} is for phrases: add --phrase \"the red circle\", or leave it out"
        )));
    }
    require_input(&args.video, "a video or an image folder")
}

/// Where the results go, claimed before the work.
struct Targets {
    json: Option<JsonTarget>,
    folder: Option<NewFolder>,
    project: Option<super::project_file::NewProject>,
}

impl Targets {
    fn claim(args: &GroundArgs) -> Result<Self> {
        let outputs = [&args.json, &args.out, &args.project];
        let outputs: Vec<&Path> = outputs
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        let model = Path::new(&args.model);
        let mut inputs = vec![args.video.as_path()];
        inputs.extend(Some(model).filter(|m| m.exists()));
        keep_apart(&inputs, &outputs)?;
        Ok(Self {
            json: JsonTarget::claim(args.json.as_deref(), args.force)?,
            folder: args
                .out
                .as_deref()
                .map(|dir| NewFolder::claim(dir, args.force))
                .transpose()?,
            project: args
                .project
                .as_deref()
                .map(|file| super::project_file::NewProject::claim(file, args.force))
                .transpose()?,
        })
    }
}

pub(super) fn run(args: &GroundArgs) -> Result<Done> {
    check_usage(args)?;
    let targets = Targets::claim(args)?;
    let reporter = Reporter::new();
    let mut warnings = Warnings {
        reporter: &reporter,
        said: Vec::new(),
    };
    let source = video::open(&args.video)?;
    for warning in source.warnings() {
        warnings.say(warning);
    }
    let plan = check(args, source.info(), &mut warnings)?;
    let mut timing = TimingJson::default();

    let started = Instant::now();
    let model_source = ModelSource::find(&args.model)?;
    let engine = load(args, &model_source, &mut warnings)?;
    timing.load_secs = started.elapsed().as_secs_f64();
    tracing::info!(
        "{} on {} in {} loaded in {:.2} s",
        model_source.name(),
        device_words(&engine.model().device),
        engine.model().precision,
        timing.load_secs
    );

    let mut info = source.info().clone();
    info.hash = video::content_hash(&args.video, &mut reporter.progress())?;
    let thresholds = engine.model().project_thresholds();
    let mut doc = Document::new(info, model_source.name(), thresholds);
    let mut clip = Clip::new(source);

    let started = Instant::now();
    if plan.phrases.is_empty() {
        from_box(&engine, &mut clip, &plan, &mut doc, &reporter)?;
    }
    let asked = phrases(args, &engine, &mut clip, &plan, &mut doc, &mut warnings)?;
    timing.ground_secs = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let mode = args.carrying();
    let carried = carry(&engine, &mut clip, &plan, mode, &mut doc, &mut warnings);
    timing.propagate_secs = started.elapsed().as_secs_f64();
    // Damage is found as frames are decoded.
    for found in clip.news() {
        warnings.say(found);
    }

    // Whatever went wrong, what is finished is written, each output for itself.
    let partial = carried.is_err() || asked.stopped || asked.failed > 0;
    let of = targets.json.is_some().then(|| {
        let told = &mut reporter.progress();
        AskedOf::of(&model_source, &args.model, engine.model(), told)
    });
    let result = Finished {
        asked: of.map(|of| told(args, &plan, &engine, of)),
        warnings: &warnings.said,
        timing,
        partial,
        thresholds: engine.thresholds_in_force(),
        released: args.compat.is_some(),
    };
    let unwritten = write(targets, &mut doc, (&mut clip, &plan), &result, &reporter);
    let cancelled = reporter.cancel().is_cancelled();
    drop(reporter);
    let unsaid = summarise(args, &doc, &plan, partial).err();
    let mut wrong = Vec::new();
    match carried {
        Err(e) if !cancelled => wrong.push(format!(
            "tracking stopped: {e:#}; the finished frames are in the results"
        )),
        Ok(()) if !asked.stopped => {}
        _ => wrong.push("stopped; the frames that were finished are in the results".to_owned()),
    }
    if asked.failed > 0 {
        let others = if asked.failed < plan.phrases.len() {
            "; the others are done"
        } else {
            ""
        };
        wrong.push(format!(
            "{} of {} failed{others}",
            asked.failed,
            counted(plan.phrases.len(), "phrase")
        ));
    }
    wrong.extend(unwritten.iter().chain(&unsaid).map(|e| format!("{e:#}")));
    if wrong.is_empty() {
        Ok(Done)
    } else {
        bail!(wrong.join("; "))
    }
}

/// The model at work, by the rules that are asked for.
fn load(args: &GroundArgs, source: &ModelSource, warnings: &mut Warnings<'_>) -> Result<Engine> {
    let model = args.precision.load(source, &device(&args.device)?)?;
    if args.compat.is_none() {
        return Ok(Engine::new(model));
    }
    // A released model was never taught to say that there is nothing.
    if model.thresholds.presence > 0.0 {
        warnings.say(format!(
            "--compat released holds the rules of the released weights: by them, what {} answers means little",
            model.name
        ));
    }
    Ok(Engine::as_released(model)?)
}

/// How the phrases went.
#[derive(Clone, Copy, Debug, Default)]
struct Phrases {
    failed: usize,
    stopped: bool,
}

/// Asks all phrases; one that fails does not keep the others from being asked.
fn phrases(
    args: &GroundArgs,
    engine: &Engine,
    clip: &mut Clip,
    plan: &Plan,
    doc: &mut Document,
    warnings: &mut Warnings<'_>,
) -> Result<Phrases> {
    let mut end = Phrases::default();
    let thresholds = engine.thresholds_in_force();
    for phrase in &plan.phrases {
        let answered = from_phrase(engine, clip, plan, args.tsf, doc, phrase, warnings);
        let cancelled = warnings.reporter.cancel().is_cancelled();
        match answered {
            Ok(()) => {
                let Some(emission) = doc.emissions.last() else {
                    continue;
                };
                let why = reasons(emission, &thresholds, args.compat.is_some());
                let over = why.iter().filter(|w| **w == Some(WhyNot::AtMost)).count();
                if over > 0 {
                    warnings.say(format!(
                        "{phrase:?}: at most {} are kept; {over} more would have been",
                        thresholds.at_most
                    ));
                }
            }
            Err(e) if cancelled && doc.emissions.is_empty() => return Err(e),
            // What was answered before is written.
            Err(_) if cancelled => {
                end.stopped = true;
                break;
            }
            Err(e) => {
                end.failed += 1;
                warnings.say(format!("{phrase:?}: {e:#}"));
            }
        }
    }
    Ok(end)
}

/// What was asked, in the words of the result.
fn told(args: &GroundArgs, plan: &Plan, engine: &Engine, of: AskedOf) -> GroundAsked {
    GroundAsked {
        of,
        phrases: plan.phrases.clone(),
        at: plan.at.0,
        range: [*plan.range.start(), *plan.range.end()],
        mode: args.carrying().name(),
        compat: args.compat.map(|CompatArg::Released| "released"),
        box_px: plan.box_px.map(|b| b.to_array()),
        tsf: args.tsf,
        tsf_boxes: args.tsf_boxes.as_ref().map(|p| p.display().to_string()),
        tsf_format: args.tsf_format.map(TsfFormat::name),
        thresholds: engine.thresholds_in_force(),
    }
}

fn add_object(
    doc: &mut Document,
    phrase: &str,
    frame: FrameIndex,
    mask: FrameMask,
) -> Result<ObjectId> {
    let mut object = doc.new_object(phrase);
    let id = object.id;
    object.frames.insert(frame, mask);
    apply(doc, Edit::add_object(object)).context("the object cannot be kept")?;
    Ok(id)
}

fn from_box(
    engine: &Engine,
    clip: &mut Clip,
    plan: &Plan,
    doc: &mut Document,
    reporter: &Reporter,
) -> Result<()> {
    let prompt = Prompt {
        box_px: plan.box_px,
        ..Prompt::default()
    };
    let mut mask = Engine::sparing(clip, |clip| {
        engine.segment(clip, plan.at, &prompt, &mut reporter.progress())
    })?;
    mask.provenance = Provenance::Human;
    add_object(doc, "", plan.at, mask)?;
    Ok(())
}

fn from_phrase(
    engine: &Engine,
    clip: &mut Clip,
    plan: &Plan,
    tsf: bool,
    doc: &mut Document,
    phrase: &str,
    warnings: &mut Warnings<'_>,
) -> Result<()> {
    let reporter = warnings.reporter;
    let options = GroundOptions {
        thresholds: doc.thresholds,
        drawn_boxes: plan.box_px.into_iter().collect(),
        tsf: match (&plan.tsf_boxes, plan.box_px) {
            (Some(boxes), _) => boxes.of(&engine.encoder_frames(clip, plan.at)),
            (None, Some(b)) if tsf => vec![(plan.at, b)],
            _ => Vec::new(),
        },
    };
    let grounded = Engine::sparing(clip, |clip| {
        engine.ground(clip, plan.at, phrase, &options, &mut reporter.progress())
    })?;
    for warning in &grounded.warnings {
        warnings.say(format!("{phrase:?}: {warning}"));
    }
    let mut emission: Emission = grounded.emission;
    for mask in grounded.masks {
        let id = add_object(doc, phrase, plan.at, mask)?;
        emission.objects.push(id);
    }
    if emission.objects.is_empty() {
        warnings.say(format!(
            "{phrase:?}: nothing matches on frame {}",
            plan.at.0
        ));
    }
    apply(doc, Edit::add_emission(emission)).context("the emission cannot be kept")?;
    Ok(())
}

/// Carries every object through the range. What is finished is in the document, also where this fails, beside the mask that it
/// began with.
fn carry(
    engine: &Engine,
    clip: &mut Clip,
    plan: &Plan,
    mode: ModeArg,
    doc: &mut Document,
    warnings: &mut Warnings<'_>,
) -> Result<()> {
    if doc.objects.is_empty() {
        return Ok(());
    }
    let objects: Vec<Object> = doc.objects.clone();
    let options = PropagateOptions {
        range: plan.range.clone(),
        direction: PropagateDirection::Both,
        mode: match mode {
            ModeArg::Track => Mode::Track,
            ModeArg::Framewise => Mode::Framewise,
        },
        emissions: doc.emissions.clone(),
    };
    // A second try with less memory begins again; what the first has finished stays where the second does not come.
    let mut carried: BTreeMap<(ObjectId, FrameIndex), FrameMask> = BTreeMap::new();
    let mut progress: Progress<'_> = warnings.reporter.progress();
    let end = Engine::sparing(clip, |clip| {
        engine.propagate(
            clip,
            &objects,
            &options,
            &mut progress,
            &mut |id, frame, mask| {
                carried.insert((id, frame), mask);
            },
        )
    });
    drop(progress);
    for ((id, frame), mask) in carried {
        if let Some(object) = doc.objects.iter_mut().find(|o| o.id == id) {
            object.frames.entry(frame).or_insert(mask);
        }
    }
    for object in &mut doc.objects {
        object
            .frames
            .retain(|f, _| plan.range.contains(&f.0) || *f == plan.at);
    }
    mark_lying(&mut doc.objects);
    for warning in end? {
        warnings.say(warning);
    }
    Ok(())
}

/// What the result holds beside the document.
struct Finished<'a> {
    asked: Option<GroundAsked>,
    warnings: &'a [String],
    timing: TimingJson,
    partial: bool,
    thresholds: Thresholds,
    released: bool,
}

/// Writes every output; gives what could not be written, and why. Leaves in the document what lies in the range.
fn write(
    targets: Targets,
    doc: &mut Document,
    (clip, plan): (&mut Clip, &Plan),
    result: &Finished<'_>,
    reporter: &Reporter,
) -> Vec<anyhow::Error> {
    let mut results = Vec::new();
    if let Some(project) = targets.project {
        // The project is opened from elsewhere, too.
        let mut doc = doc.clone();
        if let Ok(whole) = std::path::absolute(&doc.video.path) {
            doc.video.path = whole.display().to_string();
        }
        results.push(project.finish(&doc));
    }
    // A project goes on from the mask that all was carried from; for the others that is a frame like any other.
    for object in &mut doc.objects {
        object.frames.retain(|f, _| plan.range.contains(&f.0));
    }
    if let Some(folder) = targets.folder {
        let mut progress = if reporter.cancel().is_cancelled() {
            reporter.finishing()
        } else {
            reporter.progress()
        };
        let pictures = pictures::write(&folder.path(), doc, clip, &mut progress);
        results.push(pictures.and_then(|()| folder.finish()));
    }
    if let Some(json) = targets.json {
        let emission = |e| EmissionJson::new(e, result.thresholds, result.released);
        let value = GroundJson {
            schema: 1,
            video: (&doc.video).into(),
            model: doc.model.clone(),
            emissions: doc.emissions.iter().map(emission).collect(),
            objects: doc
                .objects
                .iter()
                .map(|o| ObjectJson::new(o, |f| clip.pts_secs(FrameIndex(f))))
                .collect(),
            timing: result.timing,
            partial: result.partial,
            warnings: result.warnings,
            asked: result.asked.as_ref(),
        };
        results.push(json.finish(&value));
    }
    results.into_iter().filter_map(Result::err).collect()
}

/// One line per object on stdout, unless the JSON goes there.
fn summarise(args: &GroundArgs, doc: &Document, plan: &Plan, partial: bool) -> Result<()> {
    if args.json.as_deref() == Some(Path::new("-")) {
        return Ok(());
    }
    for emission in doc.emissions.iter().filter(|e| e.objects.is_empty()) {
        say(format!("{}: nothing", emission.phrase))?;
    }
    let all = plan.range.clone().count();
    for object in &doc.objects {
        let seen = object.frames.values().filter(|m| !m.rle.is_empty()).count();
        let end = if partial && object.frames.len() < all {
            ", stopped"
        } else {
            ""
        };
        let id = format!("object {}", object.id.0);
        // What was not asked for in words is called by its number already.
        let who = match object.name == id {
            true => id,
            false => format!("{}: {id}", object.name),
        };
        let look = match object.worth_a_look().len() {
            0 => String::new(),
            n => format!(", {n} of them worth a look"),
        };
        say(format!(
            "{who} on {seen} of {}{look}{end}",
            counted(all, "frame")
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_boxes_are_read_or_refused_with_a_sentence() {
        let range = |t: &str| t.parse::<FrameRange>().map(|r| r.0);
        assert_eq!(range("3..9"), Ok(3..=9));
        assert_eq!(range("3..=9"), Ok(3..=9));
        assert_eq!(range("4..4"), Ok(4..=4));
        assert!(range("9..3").unwrap_err().contains("write 3..9"));
        for bad in ["", "3", "..", "a..b", "-1..4", "1..99999999999"] {
            assert!(range(bad).unwrap_err().contains("like 10..50"), "{bad}");
        }
        let parse = |t: &str| t.parse::<BoxArg>().map(|b| b.0.to_array());
        assert_eq!(parse("1, 2,3.5,4"), Ok([1.0, 2.0, 3.5, 4.0]));
        assert!(parse("5,5,1,9").unwrap_err().contains("empty"));
        for bad in ["1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,inf,4", ""] {
            assert!(parse(bad).unwrap_err().contains("four numbers"), "{bad}");
        }
    }
}
