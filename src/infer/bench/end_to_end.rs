//! A whole answer on a clip of so many frames: from pixels to the masks of every frame, a second phrase on the clip that is
//! known by then, and, if wished, the first again as the authors' program goes about it.
//!
//! Both ways run the same networks by the released rules (the first frame's boxes on every frame, each decoded alone), so
//! what lies between them is the procedure: keys and values that are kept or not, towers that are run once or for every
//! token. The authors' way is [`super::authors`]'s; made-up models whose answers have a given length are [`super::scripted`]'s.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    infer::{
        Clip, Engine, Grounded, LoadedModel, PropagateOptions,
        error::{InferError, InferResult},
        language::{Opening, Spoken},
    },
    project::{Document, FrameIndex, ObjectId, Rle},
    task::{GroundOptions, Mode, Progress, PropagateDirection},
    video::FrameSource,
};

use super::{StageTime, held::Held};

/// Stages of the first phrase.
pub const FIRST: [&str; 4] = [
    "first phrase: towers and visual prefix",
    "first phrase: words and answer",
    "first phrase: proposals and mask",
    "first phrase: masks of other frames",
];
/// Stages of the second phrase. Frames of which a clip could not keep the features are encoded again.
pub const SECOND: [&str; 3] = [
    "second phrase: words and answer",
    "second phrase: proposals and mask",
    "second phrase: masks of other frames",
];
/// Stages of the first phrase as the authors' program goes about it.
pub const AUTHORS: [&str; 3] = [
    "as the authors: answer",
    "as the authors: proposals and mask",
    "as the authors: masks of other frames",
];

/// What is timed.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Frames that are read, beginning with the clip's first.
    pub frames: u32,
    /// The first and the second phrase.
    pub phrases: [&'a str; 2],
    /// How often everything is done, once at least; of each stage the quickest counts.
    pub runs: u32,
    /// Whether the first phrase is asked as the authors' program asks it, too.
    pub as_authors: bool,
}

/// What one phrase took.
#[derive(Clone, Debug, Serialize)]
pub struct PhraseTime {
    /// The phrase.
    pub phrase: String,
    /// Objects that were found.
    pub objects: usize,
    /// Boxes that prompt each frame's masks.
    pub boxes: usize,
    /// Until the last token of the answer.
    pub answer_secs: f64,
    /// Until the mask on the frame that was asked about.
    pub to_mask_secs: f64,
    /// Until the masks on all frames.
    pub to_all_masks_secs: f64,
    /// Frames over that.
    pub frames_per_sec: f64,
}

/// The first phrase as the authors' program goes about it, beside ours.
#[derive(Clone, Debug, Serialize)]
pub struct AsAuthors {
    /// How often towers and language model were run over everything: once a token, and once before.
    pub passes: usize,
    /// What one of them took.
    pub secs_per_pass: f64,
    /// Until the last token of the answer.
    pub answer_secs: f64,
    /// Until the masks on all frames.
    pub to_all_masks_secs: f64,
    /// Frames over that.
    pub frames_per_sec: f64,
    /// Its time for an answer of this length over ours.
    pub times_as_long_answer: f64,
    /// Its time for the masks of all frames over ours.
    pub times_as_long: f64,
    /// Every token is the one that is said in our way.
    pub same_answer: bool,
    /// Pixels of all masks that are on in one way and off in the other.
    pub pixels_apart: u64,
    /// Pixels of all frames and objects.
    pub pixels: u64,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct EndToEnd {
    /// In the order in which they are done.
    pub stages: Vec<StageTime>,
    /// Frames from whose pixels it began.
    pub frames: u32,
    /// Tokens of the first phrase's prompt, those of the frames among them.
    pub prompt_tokens: usize,
    /// Tokens of the frames.
    pub visual_tokens: usize,
    /// Tokens of the first phrase's answer, its end among them. A longer answer is where keeping gains most.
    pub answer_tokens: usize,
    /// What a further token takes in our way, the phrase's own tokens spread over the answer's.
    pub secs_per_token: f64,
    /// The first phrase, on a clip that nothing is known of.
    pub first: PhraseTime,
    /// The second phrase, on the same clip.
    pub second: PhraseTime,
    /// The first phrase in the authors' way.
    pub as_authors: Option<AsAuthors>,
}

/// Times a model on the first frames of a clip, by the released rules.
///
/// # Errors
/// [`InferError`] if a phrase holds no word, the first finds nothing, a frame cannot be read, the device fails, or it was
/// cancelled.
pub fn time_end_to_end(
    model: LoadedModel,
    source: &mut dyn FrameSource,
    task: &Task<'_>,
    progress: &mut Progress<'_>,
) -> InferResult<EndToEnd> {
    let held = Held::read(source, task.frames)?;
    let engine = Engine::as_released(model)?;
    if engine.images(held.info().frames) < engine.config().visual.num_frames {
        // Else the frames of a clip would be compared with a single picture.
        let reason = "a single picture cannot be timed end to end: give two frames or more";
        return Err(InferError::Prompt(reason.to_owned()));
    }
    let bench = Bench {
        engine: &engine,
        held: &held,
        task,
    };
    progress.step(0, u64::from(task.runs), "warming up")?;
    bench.warm_up(progress)?;
    let mut best = bench.once(progress)?;
    for run in 1..task.runs {
        progress.step(u64::from(run), u64::from(task.runs), "from pixels to masks")?;
        best = best.quicker(bench.once(progress)?);
    }
    bench.report(best)
}

/// One way's answer to a phrase.
struct Answered {
    said: Vec<String>,
    objects: usize,
    boxes: usize,
    masks: BTreeMap<(ObjectId, FrameIndex), Rle>,
}

/// Everything once.
struct Once {
    stages: Vec<StageTime>,
    first: Answered,
    second: Answered,
    authors: Option<(Answered, usize)>,
}

impl Once {
    /// The same with the quicker run of each stage: the slower had to share the machine.
    fn quicker(mut self, other: Self) -> Self {
        for stage in &mut self.stages {
            let Some(again) = other.stages.iter().find(|s| s.stage == stage.stage) else {
                continue;
            };
            let cpu = [stage.cpu_secs, again.cpu_secs].into_iter().flatten();
            stage.cpu_secs = cpu.reduce(f64::min);
            stage.secs = stage.secs.min(again.secs);
            stage.runs += again.runs;
        }
        self
    }

    /// Seconds of these stages together.
    fn secs(&self, stages: &[&str]) -> f64 {
        let taken = self.stages.iter().filter(|s| stages.contains(&s.stage));
        taken.map(|s| s.secs).sum()
    }
}

struct Bench<'a> {
    engine: &'a Engine,
    held: &'a Held,
    task: &'a Task<'a>,
}

impl Bench<'_> {
    fn clip(&self) -> Clip {
        Clip::new(Box::new(self.held.clone()))
    }

    fn options(&self) -> GroundOptions {
        GroundOptions {
            thresholds: self.engine.model().project_thresholds(),
            drawn_boxes: Vec::new(),
            tsf: Vec::new(),
        }
    }

    /// Runs a stage until the device has done it, once: a second run would find what the first has kept.
    fn stage<T>(
        &self,
        stages: &mut Vec<StageTime>,
        stage: &'static str,
        work: impl FnMut() -> InferResult<T>,
    ) -> InferResult<T> {
        self.engine.quickest_of(1, stages, stage, work)
    }

    /// Fresh memory is touched, kernels are loaded, constants are made; a clip of its own keeps what comes of it.
    fn warm_up(&self, progress: &mut Progress<'_>) -> InferResult<()> {
        let mut clip = self.clip();
        let [phrase, _] = self.task.phrases;
        let options = self.options();
        let found = self
            .engine
            .ground(&mut clip, FrameIndex(0), phrase, &options, progress)?;
        if found.masks.is_empty() {
            return Err(InferError::Prompt(format!(
                "by the released rules the model finds nothing for {phrase:?} in the first frame, so there is no mask to time: give another --phrase or --video"
            )));
        }
        Ok(())
    }

    fn once(&self, progress: &mut Progress<'_>) -> InferResult<Once> {
        let mut stages = Vec::new();
        let mut clip = self.clip();
        self.engine.claim(&mut clip);
        let [first, second] = self.task.phrases;
        let [towers, words, here, there] = FIRST;
        self.stage(&mut stages, towers, || {
            self.engine.prefix(&mut clip, FrameIndex(0), progress)
        })?;
        let spoken = self.spoken(&mut stages, words, &mut clip, first, progress)?;
        let names = [here, there];
        let first = self.finish(&mut stages, names, &mut clip, (first, spoken), progress)?;
        let [words, here, there] = SECOND;
        let spoken = self.spoken(&mut stages, words, &mut clip, second, progress)?;
        let names = [here, there];
        let second = self.finish(&mut stages, names, &mut clip, (second, spoken), progress)?;
        drop(clip);
        let authors = match self.task.as_authors {
            true => Some(self.authors(&mut stages, progress)?),
            false => None,
        };
        Ok(Once {
            stages,
            first,
            second,
            authors,
        })
    }

    /// The answer to a phrase on what is kept of the clip.
    fn spoken(
        &self,
        stages: &mut Vec<StageTime>,
        stage: &'static str,
        clip: &mut Clip,
        phrase: &str,
        progress: &mut Progress<'_>,
    ) -> InferResult<Spoken> {
        let read = self.engine.model().words.read(phrase)?;
        self.stage(stages, stage, || {
            let prefix = self.engine.prefix(clip, FrameIndex(0), progress)?;
            self.engine
                .speak(&prefix, &read, None, Opening::Free, progress)
        })
    }

    /// From an answer to the mask on the first frame, and from there to those on the others.
    fn finish(
        &self,
        stages: &mut Vec<StageTime>,
        [here, there]: [&'static str; 2],
        clip: &mut Clip,
        (phrase, spoken): (&str, Spoken),
        progress: &mut Progress<'_>,
    ) -> InferResult<Answered> {
        let said = spoken
            .tokens
            .iter()
            .map(|(token, _)| token.clone())
            .collect();
        let (options, at) = (self.options(), (FrameIndex(0), phrase));
        let grounded = self.stage(stages, here, || {
            let spoken = spoken.clone();
            self.engine.point_at(clip, at, spoken, &options, progress)
        })?;
        let selected = |g: &Grounded| g.emission.proposals.iter().filter(|p| p.selected).count();
        let (objects, boxes) = (grounded.masks.len(), selected(&grounded));
        let masks = self.stage(stages, there, || self.carry(clip, &grounded, progress))?;
        Ok(Answered {
            said,
            objects,
            boxes,
            masks,
        })
    }

    /// Masks on all frames from those on the first.
    fn carry(
        &self,
        clip: &mut Clip,
        grounded: &Grounded,
        progress: &mut Progress<'_>,
    ) -> InferResult<BTreeMap<(ObjectId, FrameIndex), Rle>> {
        let mut masks = BTreeMap::new();
        if grounded.masks.is_empty() {
            return Ok(masks);
        }
        let doc = Document::new(
            clip.info().clone(),
            "",
            self.engine.model().project_thresholds(),
        );
        let mut emission = grounded.emission.clone();
        let mut objects = Vec::with_capacity(grounded.masks.len());
        for (i, mask) in grounded.masks.iter().enumerate() {
            let mut object = doc.new_object(emission.phrase.clone());
            object.id.0 += i as u32;
            object.frames.insert(emission.frame, mask.clone());
            masks.insert((object.id, emission.frame), mask.rle.clone());
            emission.objects.push(object.id);
            objects.push(object);
        }
        let options = PropagateOptions {
            range: 0..=clip.frames().saturating_sub(1),
            direction: PropagateDirection::Forward,
            mode: Mode::Framewise,
            emissions: vec![emission],
        };
        let keep = &mut |id, frame, mask: crate::project::FrameMask| {
            masks.insert((id, frame), mask.rle);
        };
        self.engine
            .propagate(clip, &objects, &options, progress, keep)?;
        Ok(masks)
    }

    /// The first phrase in the authors' way, on a clip of its own, one image at a time; also how often everything was run.
    fn authors(
        &self,
        stages: &mut Vec<StageTime>,
        progress: &mut Progress<'_>,
    ) -> InferResult<(Answered, usize)> {
        let mut clip = self.clip();
        self.engine.claim(&mut clip);
        clip.at_once = 1;
        let [phrase, _] = self.task.phrases;
        let read = self.engine.model().words.read(phrase)?;
        let [words, here, there] = AUTHORS;
        let answer = self.stage(stages, words, || {
            self.engine.speak_as_authors(&mut clip, &read, progress)
        })?;
        let asked = (phrase, answer.spoken);
        let finished = self.finish(stages, [here, there], &mut clip, asked, progress)?;
        Ok((finished, answer.passes))
    }

    fn report(&self, best: Once) -> InferResult<EndToEnd> {
        let frames = self.held.info().frames;
        let model = self.engine.model();
        let config = self.engine.config();
        let [phrase, second] = self.task.phrases;
        let read = model.words.read(phrase)?;
        let template = &model.info.prompt.template;
        // One place for all frames, in whose stead their tokens stand.
        let text = model.words.prompt(template, &read, 1, 0)?.ids.len() - 1;
        let time = |phrase: &str, answered: &Answered, stages: &[&str], answer: usize| {
            let all = best.secs(stages);
            PhraseTime {
                phrase: phrase.to_owned(),
                objects: answered.objects,
                boxes: answered.boxes,
                answer_secs: best.secs(&stages[..answer]),
                to_mask_secs: best.secs(&stages[..stages.len() - 1]),
                to_all_masks_secs: all,
                frames_per_sec: f64::from(frames) / all,
            }
        };
        let first = time(phrase, &best.first, &FIRST, 2);
        let second = time(second, &best.second, &SECOND, 1);
        let as_authors = match &best.authors {
            Some((answered, passes)) => {
                let theirs = time(phrase, answered, &AUTHORS, 1);
                let (apart, pixels) = apart(&best.first.masks, &answered.masks)?;
                Some(AsAuthors {
                    passes: *passes,
                    secs_per_pass: theirs.answer_secs / *passes as f64,
                    times_as_long_answer: theirs.answer_secs / first.answer_secs,
                    times_as_long: theirs.to_all_masks_secs / first.to_all_masks_secs,
                    answer_secs: theirs.answer_secs,
                    to_all_masks_secs: theirs.to_all_masks_secs,
                    frames_per_sec: theirs.frames_per_sec,
                    same_answer: answered.said == best.first.said,
                    pixels_apart: apart,
                    pixels,
                })
            }
            None => None,
        };
        let answer_tokens = best.first.said.len();
        Ok(EndToEnd {
            frames,
            prompt_tokens: text + config.visual_tokens(),
            visual_tokens: config.visual_tokens(),
            answer_tokens,
            secs_per_token: best.secs(&FIRST[1..2]) / answer_tokens.max(1) as f64,
            first,
            second,
            as_authors,
            stages: best.stages,
        })
    }
}

/// Pixels that are on in one set of masks alone, and pixels in all; a mask that only one set has counts whole.
fn apart(
    a: &BTreeMap<(ObjectId, FrameIndex), Rle>,
    b: &BTreeMap<(ObjectId, FrameIndex), Rle>,
) -> InferResult<(u64, u64)> {
    let (mut apart, mut all) = (0, 0);
    for (key, ours) in a {
        all += ours.size.area();
        apart += match b.get(key) {
            Some(theirs) => {
                let (both, either) = ours
                    .overlap(theirs)
                    .map_err(|e| InferError::Prompt(e.to_string()))?;
                either - both
            }
            None => ours.size.area(),
        };
    }
    let alone = b.iter().filter(|(key, _)| !a.contains_key(key));
    let alone: u64 = alone.map(|(_, theirs)| theirs.size.area()).sum();
    Ok((apart + alone, all + alone))
}

#[cfg(test)]
mod tests;
