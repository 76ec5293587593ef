//! Masks through time. In tracking mode, every known mask of an object becomes a memory, and the frames between are
//! decoded in its light, in the order that [`super::plan`] decides; in framewise mode, as released, an emission's boxes and
//! `[SEG]` are decoded on each frame alone.
//!
//! Work is handed out frame by frame, so that the caller can show it, stop it (what is finished stays), or do something
//! else in between. Known frames are never computed, let alone overwritten.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::RangeInclusive,
};

use candle_core::Tensor;
use rayon::prelude::*;

use crate::{
    nn::sam2::{
        ImageFeatures, Prompts,
        bank::FrameInfo,
        memory::{BankEntry, Decoded, Memory},
    },
    project::{
        BoxPx, Emission, FrameIndex, FrameMask, Object, ObjectId, Proposal, Provenance, Rle, Size,
        Trace, measure,
    },
    task::{Mode, Progress, PropagateDirection},
};

use super::{
    appearance::Appearance,
    clip::{Clip, Emitted},
    engine::Engine,
    error::{InferError, InferResult},
    leash::{Leash, LeashConfig},
    masks::{LowRes, rows_tensor, sigmoid, values},
    plan::{self, Run},
    preprocess::{box_around, box_from_norm, box_to_model, box_to_norm},
};

/// Known frames that one frame looks at, chosen by [`conditioning`].
const CONDITIONING: usize = 4;

/// Pairs of cells that the objects of one group compare at most: six objects of the released model, whose keys and values of one
/// layer are 0.5 GB.
const MAX_SCORES: usize = 1 << 30;

/// Presence logit of an object whose mask the leash has taken: probability 0.12.
const NOT_THERE: f32 = -2.0;

/// What to carry, and how.
#[derive(Clone, Debug)]
pub struct PropagateOptions {
    /// Frames to fill.
    pub range: RangeInclusive<u32>,
    /// Which way from the known frames.
    pub direction: PropagateDirection,
    /// How.
    pub mode: Mode,
    /// Emissions that framewise mode applies; each object uses the first that lists it.
    pub emissions: Vec<Emission>,
}

/// A mask that was carried.
pub type CarriedMask = (ObjectId, FrameIndex, FrameMask);

pub(super) struct Carried {
    id: ObjectId,
    known: BTreeMap<u32, Rle>,
    /// Of the known frames and of those done so far: what the next ones are compared with.
    traces: BTreeMap<u32, Trace>,
}

impl Carried {
    fn new(object: &Object) -> Self {
        let given = object.frames.iter().filter(|(_, m)| m.is_given());
        let (known, traces) = given
            .map(|(f, m)| ((f.0, m.rle.clone()), (f.0, Trace::of(m))))
            .unzip();
        Self {
            id: object.id,
            known,
            traces,
        }
    }

    /// Notes a finished mask with its signs of drift. The frames on both sides count, so that a jump shows where two runs
    /// meet and where one ends at an anchor.
    fn measured(
        &mut self,
        frame: u32,
        mut mask: FrameMask,
        expected: Option<BoxPx>,
    ) -> CarriedMask {
        let beside = [frame.checked_sub(1), frame.checked_add(1)];
        let beside = beside.into_iter().flatten();
        let beside = beside.filter_map(|f| self.traces.get(&f).copied());
        mask.drift = measure(beside, &mask, expected);
        self.traces.insert(frame, Trace::of(&mask));
        (self.id, FrameIndex(frame), mask)
    }
}

/// A run in progress with its memory.
pub(super) struct Active {
    run: Run,
    done: u32,
    bank: Vec<BankEntry>,
    /// One per object of the run, if the model keeps its masks on leashes.
    leashes: Vec<Leash>,
    /// One per object of the run, if the model's masks are divided by colour; `None` where there is nothing to learn from.
    appearances: Vec<Option<Appearance>>,
}

/// One frame of a run.
pub(super) struct Tracked {
    frame: u32,
    /// As it is remembered.
    pub(super) decoded: Decoded,
    /// One per object, as it is shown: divided by colour, on finer cells than the decoder's.
    masks: Vec<LowRes>,
}

impl Active {
    pub(super) fn bank(&self) -> &[BankEntry] {
        &self.bank
    }
}

/// What one object is prompted with on every frame.
struct Framewise {
    id: ObjectId,
    text: Tensor,
    boxes: Vec<[f32; 4]>,
    /// The box around those boxes, which a mask should fill.
    expected: Option<BoxPx>,
    skip: BTreeSet<u32>,
}

enum Work {
    Track {
        runs: VecDeque<Run>,
        active: Option<Active>,
    },
    Framewise {
        prompts: Vec<Framewise>,
        frames: VecDeque<u32>,
    },
}

/// A propagation half-way through.
pub struct Propagation {
    size: Size,
    range: RangeInclusive<u32>,
    objects: Vec<Carried>,
    work: Work,
    done: u64,
    total: u64,
    /// One sentence each.
    pub warnings: Vec<String>,
}

impl Propagation {
    /// Frames done and frames in all.
    pub fn progress(&self) -> (u64, u64) {
        (self.done, self.total)
    }
}

/// Objects with their known frames.
pub(super) fn carried(objects: &[Object]) -> Vec<Carried> {
    objects.iter().map(Carried::new).collect()
}

impl Engine {
    /// Plans a propagation; nothing is computed yet, except that framewise mode may have to ask the model again.
    ///
    /// # Errors
    /// [`InferError`] if no object has a mask to start from, or an emission cannot be made again.
    pub fn begin(
        &self,
        clip: &mut Clip,
        objects: &[Object],
        options: &PropagateOptions,
        progress: &mut Progress<'_>,
    ) -> InferResult<Propagation> {
        self.claim(clip);
        let last = clip.frames().saturating_sub(1);
        let range = *options.range.start()..=(*options.range.end()).min(last);
        let mut warnings = Vec::new();
        let mut carried = Vec::new();
        for object in objects.iter().filter(|o| !o.locked) {
            let object_carried = Carried::new(object);
            let known = &object_carried.known;
            if known.is_empty() {
                warnings.push(format!("{} has no mask to start from", object.name));
            } else if known.values().any(|m| m.size != clip.size()) {
                return Err(InferError::Prompt(format!(
                    "the masks of {} are not of the video's size",
                    object.name
                )));
            } else {
                carried.push(object_carried);
            }
        }
        if carried.is_empty() {
            return Err(InferError::Prompt(
                "nothing to carry: no object that is not locked has a mask to start from".into(),
            ));
        }
        let (work, total) = match options.mode {
            Mode::Track => {
                let sets: Vec<BTreeSet<u32>> = carried
                    .iter()
                    .map(|c| c.known.keys().copied().collect())
                    .collect();
                let runs = plan::runs(&sets, &range, options.direction);
                let total = runs.iter().map(|r| u64::from(r.frames)).sum();
                let work = Work::Track {
                    runs: runs.into(),
                    active: None,
                };
                (work, total)
            }
            Mode::Framewise => {
                let prompts = self.framewise(clip, &carried, options, &mut warnings, progress)?;
                let frames: VecDeque<u32> = range.clone().collect();
                let total = frames.len() as u64;
                (Work::Framewise { prompts, frames }, total)
            }
        };
        Ok(Propagation {
            size: clip.size(),
            range,
            objects: carried,
            work,
            done: 0,
            total,
            warnings,
        })
    }

    /// Computes one frame; `None` once everything is done. A frame that only leads to the range gives no masks.
    ///
    /// # Errors
    /// [`InferError`]; the frames handed out before stay valid.
    pub fn step(
        &self,
        clip: &mut Clip,
        propagation: &mut Propagation,
    ) -> InferResult<Option<Vec<CarriedMask>>> {
        self.claim(clip);
        let size = propagation.size;
        let masks = match &mut propagation.work {
            Work::Track { runs, active } => {
                if active.is_none() {
                    let Some(run) = runs.front().cloned() else {
                        return Ok(None);
                    };
                    // Left in the queue until it has begun: a step that failed can be taken again.
                    *active = Some(self.start_run(clip, &propagation.objects, run)?);
                    runs.pop_front();
                }
                let Some(current) = active else {
                    return Ok(None);
                };
                let Tracked {
                    frame,
                    masks: found,
                    ..
                } = self.track(clip, current)?;
                let mut masks = Vec::new();
                if propagation.range.contains(&frame) {
                    for (row, low_res) in found.into_iter().enumerate() {
                        let object = &mut propagation.objects[current.run.objects[row]];
                        let mask = low_res.to_mask(size, Provenance::Propagated);
                        masks.push(object.measured(frame, mask, None));
                    }
                }
                if current.done == current.run.frames {
                    *active = None;
                }
                masks
            }
            Work::Framewise { prompts, frames } => {
                let Some(frame) = frames.front().copied() else {
                    return Ok(None);
                };
                let asked = |f: &u32| prompts.iter().any(|p| !p.skip.contains(f));
                if asked(&frame) && propagation.done > 0 {
                    self.look_ahead(clip, frames.iter().copied().filter(asked))?;
                }
                let mut decoded = Vec::new();
                for prompt in prompts.iter().filter(|p| !p.skip.contains(&frame)) {
                    let features = self.features(clip, FrameIndex(frame))?;
                    let canvas = self.canvas(clip, FrameIndex(frame))?;
                    let low_res = self.decode_boxes(
                        &features,
                        (canvas.as_deref(), None),
                        &prompt.boxes,
                        Some(&prompt.text),
                    )?;
                    decoded.push((prompt, low_res.to_mask(size, Provenance::Propagated)));
                }
                let mut masks = Vec::new();
                for (prompt, mask) in decoded {
                    let of = propagation.objects.iter_mut().find(|o| o.id == prompt.id);
                    masks.extend(of.map(|object| object.measured(frame, mask, prompt.expected)));
                }
                frames.pop_front();
                masks
            }
        };
        propagation.done += 1;
        Ok(Some(masks))
    }

    /// Plans and does everything; `on_mask` gets each mask as soon as it is there. Answers what was not carried and why, one
    /// sentence each.
    ///
    /// # Errors
    /// [`InferError`], also when cancelled; what was handed to `on_mask` before stays valid.
    pub fn propagate(
        &self,
        clip: &mut Clip,
        objects: &[Object],
        options: &PropagateOptions,
        progress: &mut Progress<'_>,
        on_mask: &mut dyn FnMut(ObjectId, FrameIndex, FrameMask),
    ) -> InferResult<Vec<String>> {
        let mut work = self.begin(clip, objects, options, progress)?;
        loop {
            let (done, total) = work.progress();
            progress.step(done, total, "tracking")?;
            let Some(masks) = self.step(clip, &mut work)? else {
                return Ok(work.warnings);
            };
            for (id, frame, mask) in masks {
                on_mask(id, frame, mask);
            }
        }
    }

    /// Makes the memories of the known frames that a run looks at.
    pub(super) fn start_run(
        &self,
        clip: &mut Clip,
        objects: &[Carried],
        run: Run,
    ) -> InferResult<Active> {
        let frames = conditioning(&objects[run.objects[0]].known, &run);
        let mut bank = Vec::with_capacity(frames.len());
        for &frame in &frames {
            let masks: Vec<&Rle> = run
                .objects
                .iter()
                .map(|&o| &objects[o].known[&frame])
                .collect();
            bank.push(self.remember_mask(clip, frame, &masks)?);
        }
        let leash = |config: LeashConfig| {
            let start = |&o: &usize| {
                let mask = &objects[o].known[&run.from];
                let last = mask.bounding_box().map(|b| box_to_norm(b, mask.size));
                Leash::new(config, last)
            };
            run.objects.iter().map(start).collect()
        };
        let leashes = self.model().info.leash.map(leash).unwrap_or_default();
        let appearances = self.appearances(clip, objects, &run, &frames)?;
        Ok(Active {
            run,
            done: 0,
            bank,
            leashes,
            appearances,
        })
    }

    /// What the objects of a run look like on the known frames `frames`, and where they are as it starts.
    fn appearances(
        &self,
        clip: &mut Clip,
        objects: &[Carried],
        run: &Run,
        frames: &[u32],
    ) -> InferResult<Vec<Option<Appearance>>> {
        let (Some(config), Some(start)) = (
            self.model().info.appearance,
            frames.iter().position(|f| *f == run.from),
        ) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::with_capacity(run.objects.len());
        for &o in &run.objects {
            let masks = frames
                .iter()
                .map(|f| (FrameIndex(*f), &objects[o].known[f]));
            let known = self.known_masks(clip, masks, &config)?;
            found.push(Appearance::learn(&known, start, &config));
        }
        Ok(found)
    }

    /// The memory of given masks, one per object, on one frame.
    fn remember_mask(&self, clip: &mut Clip, frame: u32, masks: &[&Rle]) -> InferResult<BankEntry> {
        let sam2 = &self.model().networks.sam2;
        let features = self.features(clip, FrameIndex(frame))?;
        let logits = self.mask_logits(masks, self.config().sam2.image_size)?;
        let (pointer, presence) = if self.model().info.mask_prompts {
            let decoded = sam2.decode_mask(&features, &logits)?;
            (decoded.pointer, decoded.object_score)
        } else {
            self.pointer_from_boxes(&features, masks)?
        };
        let memory = sam2.encode_memory(&features.embed, &logits, &presence, true)?;
        Ok(BankEntry {
            frame: frame as usize,
            conditioning: true,
            memory,
            pointer,
        })
    }

    /// Pointers `(k, d)` and presence `(k, 1)` of masks, made from their boxes; an empty mask is an absent object.
    fn pointer_from_boxes(
        &self,
        features: &ImageFeatures,
        masks: &[&Rle],
    ) -> InferResult<(Tensor, Tensor)> {
        let (sam2, side) = (&self.model().networks.sam2, self.config().sam2.image_size);
        let device = &self.model().device;
        let boxes: Vec<Option<[f32; 4]>> = masks
            .iter()
            .map(|m| Some(box_to_model(m.bounding_box()?, m.size, side)))
            .collect();
        let presence: Vec<f32> = boxes
            .iter()
            .map(|b| if b.is_some() { 1.0 } else { -1.0 })
            .collect();
        let boxes: Vec<[f32; 4]> = boxes.into_iter().map(Option::unwrap_or_default).collect();
        let prompts = Prompts {
            boxes: Some(rows_tensor(&boxes, device)?),
            ..Prompts::default()
        };
        let embed = sam2.add_no_mem(&features.embed)?;
        let options = self.decode_options(false);
        let out = sam2.decode(&embed, &features.high_res, &prompts, options)?;
        let presence = Tensor::from_vec(presence, (masks.len(), 1), device)?;
        let token = out.tokens.narrow(1, 0, 1)?.squeeze(1)?;
        Ok((sam2.object_pointer(&token, &presence)?, presence))
    }

    /// Objects that are carried together at most: all of nano's, few of a large model's, whose attention looks from every cell at
    /// every cell of its memories.
    fn objects_at_once(&self, features: &ImageFeatures, most: usize) -> InferResult<usize> {
        let (h, w) = features.grid()?;
        let slots = CONDITIONING + self.config().sam2.num_maskmem.saturating_sub(1);
        let scores = (h * w) * (h * w) * slots;
        Ok((MAX_SCORES / scores).clamp(1, most.max(1)))
    }

    /// Decodes the objects of a bank on a frame, one group after the other: none looks at another.
    fn decode_next(
        &self,
        features: &ImageFeatures,
        bank: &[BankEntry],
        info: FrameInfo,
        groups: &[(usize, usize)],
    ) -> InferResult<Decoded> {
        let sam2 = &self.model().networks.sam2;
        let options = self.decode_options(self.config().sam2.multimask_output_for_tracking);
        let mut parts = Vec::with_capacity(groups.len());
        for &(at, n) in groups {
            let theirs = bank.iter().map(|entry| {
                Ok(BankEntry {
                    frame: entry.frame,
                    conditioning: entry.conditioning,
                    memory: Memory {
                        features: entry.memory.features.narrow(0, at, n)?,
                    },
                    pointer: entry.pointer.narrow(0, at, n)?,
                })
            });
            let theirs: Vec<BankEntry> = theirs.collect::<candle_core::Result<_>>()?;
            let embed = sam2.condition(features, &theirs, info)?;
            let prompts = Prompts::nothing(n, &embed)?;
            parts.push(sam2.decode_object(&embed, &features.high_res, &prompts, options)?);
        }
        let joined = |of: fn(&Decoded) -> &Tensor| {
            let rows: Vec<&Tensor> = parts.iter().map(of).collect();
            Tensor::cat(&rows, 0)
        };
        Ok(Decoded {
            low_res: joined(|d| &d.low_res)?,
            iou: joined(|d| &d.iou)?,
            object_score: joined(|d| &d.object_score)?,
            pointer: joined(|d| &d.pointer)?,
        })
    }

    /// Decodes the next frame of a run and remembers it.
    pub(super) fn track(&self, clip: &mut Clip, active: &mut Active) -> InferResult<Tracked> {
        let config = &self.config().sam2;
        let sam2 = &self.model().networks.sam2;
        let step = active.done + 1;
        let frame = if active.run.forward {
            active.run.from + step
        } else {
            active.run.from - step
        };
        // The first mask of a run is shown as soon as it can be; the rest is looked at together.
        if step > 1 {
            self.look_ahead(clip, active.run.indices().skip(active.done as usize))?;
        }
        let features = self.features(clip, FrameIndex(frame))?;
        let info = FrameInfo {
            frame: frame as usize,
            num_frames: clip.frames() as usize,
            reverse: !active.run.forward,
            max_conditioning: Some(CONDITIONING),
        };
        let groups = groups(
            active.run.objects.len(),
            self.objects_at_once(&features, clip.at_once)?,
        );
        let mut decoded = self.decode_next(&features, &active.bank, info, &groups)?;
        // Taken over once the frame is remembered: a step that fails can be taken again.
        let (mut leashes, mut appearances) = (active.leashes.clone(), active.appearances.clone());
        let mut masks = rows(&decoded)?;
        if !leashes.is_empty() {
            let mut scores = values(&decoded.object_score)?;
            let mut taken = false;
            for ((mask, leash), score) in masks.iter_mut().zip(&mut leashes).zip(&mut scores) {
                if !leash.hold(mask) {
                    // All that was painted lies where the object cannot be.
                    *score = score.min(NOT_THERE);
                    mask.score = sigmoid(*score);
                    taken = true;
                }
            }
            let (shape, device) = (decoded.object_score.shape(), decoded.object_score.device());
            decoded.object_score =
                Tensor::from_vec(scores, shape, device)?.to_dtype(decoded.object_score.dtype())?;
            if taken {
                // Its pointer was made while it still seemed to be there.
                decoded.pointer =
                    sam2.present_or_absent(&decoded.pointer, &decoded.object_score)?;
            }
        }
        let cells = masks.first().map_or((0, 0), |m| (m.rows, m.columns));
        if let (Some(config), false) = (self.model().info.appearance, appearances.is_empty())
            && let Some(canvas) = self.canvas(clip, FrameIndex(frame))?
        {
            // Each object has colours of its own, and dividing by them is most of a frame's work on a CPU.
            let each = masks.par_iter_mut().zip(&mut appearances);
            let divided: Vec<bool> = each
                .map(|(mask, appearance)| {
                    let Some(before) = appearance else {
                        return false;
                    };
                    let (now, divided) = before.carry(&canvas, mask, &config);
                    *before = now;
                    let Some(divided) = divided else {
                        return false;
                    };
                    *mask = divided;
                    true
                })
                .collect();
            for (row, mask) in masks.iter().enumerate().filter(|(row, _)| divided[*row]) {
                // The object is where the colours say, not where the decoder has painted.
                if let Some(leash) = leashes.get_mut(row) {
                    *leash = active.leashes[row];
                    leash.seen(mask);
                }
            }
        }
        if !(leashes.is_empty() && appearances.is_empty()) {
            // Before it is remembered: what leaked once would be looked for on every frame after.
            let logits = masks.iter().flat_map(|m| m.shrunk(cells.0, cells.1));
            let (shape, device) = (decoded.low_res.shape(), decoded.low_res.device());
            decoded.low_res = Tensor::from_vec(logits.collect::<Vec<f32>>(), shape, device)?
                .to_dtype(decoded.low_res.dtype())?;
        }
        let remembered = groups.iter().map(|&(at, n)| {
            let (masks, scores) = (&decoded.low_res, &decoded.object_score);
            let (masks, scores) = (masks.narrow(0, at, n)?, scores.narrow(0, at, n)?);
            let memory = sam2.encode_memory(&features.embed, &masks, &scores, false)?;
            Ok(memory.features)
        });
        let remembered: Vec<Tensor> = remembered.collect::<candle_core::Result<_>>()?;
        active.bank.push(BankEntry {
            frame: frame as usize,
            conditioning: false,
            memory: Memory {
                features: Tensor::cat(&remembered, 0)?,
            },
            pointer: decoded.pointer.clone(),
        });
        let reach = config.num_maskmem.max(config.max_obj_ptrs_in_encoder) as u32;
        active
            .bank
            .retain(|e| e.conditioning || frame.abs_diff(e.frame as u32) < reach);
        active.leashes = leashes;
        active.appearances = appearances;
        active.done = step;
        Ok(Tracked {
            frame,
            decoded,
            masks,
        })
    }

    /// The prompts of framewise mode: the emission that lists the object, asked again if its embeddings are gone.
    fn framewise(
        &self,
        clip: &mut Clip,
        objects: &[Carried],
        options: &PropagateOptions,
        warnings: &mut Vec<String>,
        progress: &mut Progress<'_>,
    ) -> InferResult<Vec<Framewise>> {
        let (size, side) = (clip.size(), self.config().sam2.image_size);
        let mut out = Vec::new();
        for object in objects {
            let found = options.emissions.iter().find_map(|e| {
                let referent = e.objects.iter().position(|id| *id == object.id)?;
                Some((e, referent))
            });
            let Some((emission, referent)) = found else {
                warnings.push(format!(
                    "object {} came of no phrase: only tracking mode can carry it",
                    object.id.0
                ));
                continue;
            };
            let emitted: Emitted = self.emitted(clip, emission, warnings, progress)?;
            let Some(text) = emitted.seg.get(referent) else {
                warnings.push(format!(
                    "the model no longer finds object {} by its phrase",
                    object.id.0
                ));
                continue;
            };
            let kept = emitted.boxes.get(referent).cloned().unwrap_or_default();
            let in_model = |b: &[f32; 4]| b.map(|c| c * side as f32);
            let boxes: Vec<_> = if emission.objects.len() == 1 {
                // What is selected now counts, whoever selected it. A proposer's box may leave the image, and prompts as it
                // is; the one that is shown was cut off at the frame's edge.
                let whole = |p: &Proposal| {
                    let shown = |b: &&[f32; 4]| box_from_norm(**b, size) == p.box_px;
                    kept.iter().find(shown).map(in_model)
                };
                let selected = emission.proposals.iter().filter(|p| p.selected);
                selected
                    .map(|p| whole(p).unwrap_or_else(|| box_to_model(p.box_px, size, side)))
                    .collect()
            } else {
                kept.iter().map(in_model).collect()
            };
            out.push(Framewise {
                id: object.id,
                text: text.clone(),
                expected: box_around(&boxes)
                    .map(|b| box_from_norm(b.map(|c| c / side as f32), size)),
                boxes,
                skip: object.known.keys().copied().collect(),
            });
        }
        Ok(out)
    }
}

/// Known frames that a run looks at, in order: where it starts, the next one ahead, which no number of frames close together behind
/// makes up for, and of the others those nearest to any of its frames.
fn conditioning(known: &BTreeMap<u32, Rle>, run: &Run) -> Vec<u32> {
    let end = run.indices().last().unwrap_or(run.from);
    let ahead = if run.forward {
        known.range(run.from + 1..).next()
    } else {
        known.range(..run.from).next_back()
    };
    let ahead = ahead.map(|(f, _)| *f);
    let off = |f: u32| f.abs_diff(run.from).min(f.abs_diff(end));
    let mut frames: Vec<u32> = known.keys().copied().collect();
    frames.sort_by_key(|f| (Some(*f) != ahead, off(*f), *f));
    frames.truncate(CONDITIONING);
    frames.sort_unstable();
    frames
}

/// `k` objects as groups of at most `at_once`: where each begins, and how many it has.
fn groups(k: usize, at_once: usize) -> Vec<(usize, usize)> {
    let starts = (0..k).step_by(at_once);
    starts.map(|at| (at, at_once.min(k - at))).collect()
}

/// The rows of a decoded batch.
fn rows(decoded: &Decoded) -> InferResult<Vec<LowRes>> {
    let (k, _, rows, columns) = decoded.low_res.dims4()?;
    let logits = values(&decoded.low_res)?;
    let scores = values(&decoded.object_score)?;
    let ious = values(&decoded.iou)?;
    Ok((0..k)
        .map(|i| LowRes {
            logits: logits[i * rows * columns..(i + 1) * rows * columns].to_vec(),
            rows,
            columns,
            score: sigmoid(scores[i]),
            iou: ious[i].clamp(0.0, 1.0),
        })
        .collect())
}

#[cfg(test)]
mod tests;
