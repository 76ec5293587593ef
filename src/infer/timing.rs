//! How long each stage of the model takes on this machine: the same code that answers, with a clock around it.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{
    nn::sam2::FrameInfo,
    project::{BoxPx, FrameIndex, Provenance},
    task::{GroundOptions, Mode, Progress, Prompt, PropagateDirection},
};

use super::{
    bench::{self, StageTime},
    clip::Clip,
    engine::{Engine, PropagateOptions},
    error::InferResult,
    language::Opening,
    masks::ByColour,
    plan::Run,
};

/// Repetitions of a stage of which the quickest counts: the others had to share the machine.
const REPEATS: u32 = 5;

/// What decoding is called among the stages.
pub const DECODING: &str = "decode a frame";

/// All of them.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// In the order in which an answer needs them.
    pub stages: Vec<StageTime>,
    /// From a phrase on a clip that nothing is known of to the mask.
    pub phrase_to_mask_secs: f64,
    /// From a further phrase on the same clip to the mask.
    pub further_phrase_secs: f64,
    /// Frames per second of tracking one object, decoding included.
    pub tracking_fps: f64,
    /// Frames per second of tracking four objects, decoding included.
    pub tracking_fps_4: f64,
}

impl Engine {
    /// Times every stage on a clip, tracking over `frames` frames.
    ///
    /// # Errors
    /// [`InferError`] if something fails or it was cancelled.
    pub fn time_stages(
        &self,
        clip: &mut Clip,
        phrase: &str,
        frames: u32,
        progress: &mut Progress<'_>,
    ) -> InferResult<Timing> {
        let first = FrameIndex(0);
        let quiet = || Progress::new(progress.cancel.clone(), |_, _, _| {});
        let options = GroundOptions {
            thresholds: self.model().project_thresholds(),
            drawn_boxes: Vec::new(),
            tsf: Vec::new(),
        };
        let started = Instant::now();
        self.ground(clip, first, phrase, &options, &mut quiet())?;
        let phrase_to_mask_secs = started.elapsed().as_secs_f64();
        let started = Instant::now();
        self.ground(clip, first, phrase, &options, &mut quiet())?;
        let further_phrase_secs = started.elapsed().as_secs_f64();

        let mut stages = Vec::new();
        self.time_looking(clip, &mut stages)?;
        self.time_speaking(clip, phrase, &mut stages, &mut quiet())?;
        self.time_tracking_step(clip, &mut stages)?;
        let fps =
            |clip: &mut Clip, objects: u32| self.tracking_fps(clip, frames, objects, &mut quiet());
        let tracking_fps = fps(clip, 1)?;
        let tracking_fps_4 = fps(clip, 4)?;
        Ok(Timing {
            stages,
            phrase_to_mask_secs,
            further_phrase_secs,
            tracking_fps,
            tracking_fps_4,
        })
    }

    /// The quickest of several runs.
    fn timed<T>(
        &self,
        stages: &mut Vec<StageTime>,
        stage: &'static str,
        work: impl FnMut() -> InferResult<T>,
    ) -> InferResult<T> {
        self.quickest_of(REPEATS, stages, stage, work)
    }

    /// The quickest of so many runs; a GPU only notes down what it is asked to do, so each ends when it has done it.
    pub(super) fn quickest_of<T>(
        &self,
        runs: u32,
        stages: &mut Vec<StageTime>,
        stage: &'static str,
        mut work: impl FnMut() -> InferResult<T>,
    ) -> InferResult<T> {
        bench::quickest(stages, stage, (runs, Duration::ZERO), || {
            let done = work()?;
            self.model().device.synchronize()?;
            Ok(done)
        })
    }

    fn time_looking(&self, clip: &mut Clip, stages: &mut Vec<StageTime>) -> InferResult<()> {
        let side = self.config().sam2.image_size;
        let mut at = 0;
        let last = clip.frames();
        let frame = self.timed(stages, DECODING, || {
            at = (at + 1) % last;
            Ok(clip.frame(FrameIndex(at))?)
        })?;
        self.timed(stages, "frame to input", || self.image_of(&frame))?;
        let image = self.image(clip, FrameIndex(0))?;
        let features = self.timed(stages, "image encoder", || self.encode(&image))?;
        let n = &self.model().networks;
        if !self.config().proposer.shared_trunk {
            // From SAM2's input on: one of its own, at its own size. What it saw of the frame in view is kept otherwise.
            self.timed(stages, "proposer's image encoder", || {
                clip.proposer_maps = None;
                self.proposer_maps(clip, FrameIndex(0), &features)
            })?;
        }
        let maps = self.proposer_maps(clip, FrameIndex(0), &features)?;
        self.timed(stages, "proposer", || Ok(n.proposer.forward(&maps)?))?;
        let middle = [
            side as f32 * 0.25,
            side as f32 * 0.25,
            side as f32 * 0.75,
            side as f32 * 0.75,
        ];
        let (sight, canvas) = (self.sight(&features)?, self.canvas(clip, FrameIndex(0))?);
        let mut mask = self.timed(stages, "mask decoder", || {
            self.decode_boxes(&sight, ByColour::default(), &[middle], None)
        })?;
        if let Some(canvas) = canvas.as_deref() {
            mask = self.timed(stages, "mask decoder and division by colour", || {
                self.decode_boxes(&sight, ByColour::of(Some(canvas)), &[middle], None)
            })?;
        }
        let size = clip.size();
        self.timed(stages, "mask to run lengths", || {
            Ok(mask.to_mask(size, Provenance::Model))
        })?;
        Ok(())
    }

    fn time_speaking(
        &self,
        clip: &mut Clip,
        phrase: &str,
        stages: &mut Vec<StageTime>,
        progress: &mut Progress<'_>,
    ) -> InferResult<()> {
        let frames = self.encoder_frames(clip, FrameIndex(0));
        let (spatial, temporal) = self.tower_inputs(clip, &frames, progress)?;
        let n = &self.model().networks;
        self.timed(stages, "CLIP", || Ok(n.spatial.forward(&spatial)?))?;
        self.timed(stages, "InternVideo2", || {
            Ok(n.temporal.forward(&temporal)?)
        })?;
        let block = self.timed(stages, "towers and projectors", || {
            self.visual_block(&spatial, &temporal)
        })?;
        let prefix = self.timed(stages, "visual prefix", || self.run_prefix(&block))?;
        let token = n.language.embed(&[0])?.unsqueeze(0)?;
        self.timed(stages, "one token", || {
            let hidden = n.language.forward(&token, &mut prefix.state.clone())?;
            Ok(n.language.logits(&hidden)?)
        })?;
        let read = self.model().words.read(phrase)?;
        let spoken = self.timed(stages, "phrase and answer", || {
            self.speak(&prefix, &read, None, Opening::Presupposed, progress)
        })?;
        let features = self.features(clip, FrameIndex(0))?;
        let d = self.config().filtration.seg_dim;
        let query = match spoken.boxes.first() {
            Some(q) => q.clone(),
            None => {
                candle_core::Tensor::zeros((1, d), candle_core::DType::F32, &self.model().device)?
            }
        };
        let pyramid = n.pyramid(&features)?;
        let boxes = self.offered(clip, FrameIndex(0), &features, &[])?.all;
        self.timed(stages, "filtration", || {
            Ok(n.filtration.score(&query, &boxes, &pyramid)?)
        })?;
        self.timed(stages, "proposer and filtration", || {
            // Kept since the phrase was asked: looked up, the proposer would cost nothing.
            (clip.offered, clip.followed) = (None, None);
            clip.sightings.clear();
            clip.proposer_maps = None;
            let offered = self.offered(clip, FrameIndex(0), &features, &[])?;
            let followed = self.follow(clip, FrameIndex(0), &features, &offered, progress)?;
            self.score(
                &features,
                &offered,
                followed.as_ref(),
                std::slice::from_ref(&query),
            )
        })?;
        Ok(())
    }

    fn time_tracking_step(&self, clip: &mut Clip, stages: &mut Vec<StageTime>) -> InferResult<()> {
        let objects = self.boxes_as_objects(clip, 1)?;
        let known = super::propagate::carried(&objects);
        let run = Run {
            objects: vec![0],
            from: 0,
            forward: true,
            frames: clip.frames().saturating_sub(1),
        };
        let mut active = self.start_run(clip, &known, run)?;
        let steps = REPEATS.min(clip.frames().saturating_sub(1));
        for frame in 1..=steps {
            self.features(clip, FrameIndex(frame))?;
        }
        if steps < REPEATS {
            return Ok(());
        }
        let features = self.features(clip, FrameIndex(1))?;
        let sam2 = &self.model().networks.sam2;
        let info = FrameInfo {
            frame: 1,
            num_frames: clip.frames() as usize,
            reverse: false,
            max_conditioning: None,
        };
        self.timed(stages, "memory attention", || {
            Ok(sam2.condition(&features, active.bank(), info)?)
        })?;
        let tracked = self.timed(stages, "track a frame", || self.track(clip, &mut active))?;
        let decoded = tracked.decoded;
        self.timed(stages, "memory encoder", || {
            let (mask, there) = (&decoded.low_res, &decoded.object_score);
            Ok(sam2.encode_memory(&features.embed, mask, there, false)?)
        })?;
        Ok(())
    }

    /// Objects that fill boxes of the first frame.
    fn boxes_as_objects(
        &self,
        clip: &mut Clip,
        count: u32,
    ) -> InferResult<Vec<crate::project::Object>> {
        let size = clip.size();
        let mut doc = crate::project::Document::new(
            clip.info().clone(),
            "",
            self.model().project_thresholds(),
        );
        for i in 0..count {
            let (w, h) = (size.width as f32, size.height as f32);
            let x = 0.2 * i as f32;
            let prompt = Prompt {
                box_px: Some(BoxPx {
                    x1: w * x,
                    y1: h * 0.2,
                    x2: w * (x + 0.3),
                    y2: h * 0.8,
                }),
                ..Prompt::default()
            };
            let mask = self.segment(clip, FrameIndex(0), &prompt, &mut Progress::silent())?;
            let mut object = doc.new_object("");
            object.id.0 += i;
            object.frames.insert(FrameIndex(0), mask);
            doc.objects.push(object);
        }
        Ok(doc.objects)
    }

    fn tracking_fps(
        &self,
        clip: &mut Clip,
        frames: u32,
        objects: u32,
        progress: &mut Progress<'_>,
    ) -> InferResult<f64> {
        let objects = self.boxes_as_objects(clip, objects)?;
        let last = frames.min(clip.frames().saturating_sub(1));
        let options = PropagateOptions {
            range: 0..=last,
            direction: PropagateDirection::Forward,
            mode: Mode::Track,
            emissions: Vec::new(),
        };
        clip.forget();
        let started = Instant::now();
        self.propagate(clip, &objects, &options, progress, &mut |_, _, _| ())?;
        Ok(f64::from(last) / started.elapsed().as_secs_f64())
    }
}
