//! Masks through time. In tracking mode, every known mask of an object becomes a memory, and the frames between are
//! decoded in its light, in the order that [`super::plan`] decides; in framewise mode, as released, an emission's boxes and
//! `[SEG]` are decoded on each frame alone. Where a person says that an object is not there, it gets no mask in either, and
//! between two such frames with nothing known in between it is as a tracked object that is gone: a carried mask without a pixel.
//!
//! Work is handed out frame by frame, so that the caller can show it, stop it (what is finished stays), or do something
//! else in between. Known frames are never computed, let alone overwritten.

mod run;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::RangeInclusive,
};

use candle_core::Tensor;

use crate::{
    project::{
        BoxPx, DriftSignal, Emission, FrameIndex, FrameMask, Object, ObjectId, Proposal,
        Provenance, Rle, Size, Trace, Usual,
    },
    task::{Mode, Progress, PropagateDirection},
};

use super::{
    clip::{Clip, Emitted},
    engine::Engine,
    error::{InferError, InferResult},
    heed::heeding,
    masks::ByColour,
    plan::{self, KnownFrames, Run, Seen},
    preprocess::{box_around, box_from_norm, box_to_model},
};

use run::{Active, Tracked};

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
    frames: KnownFrames,
    /// Masks of the known frames on which it is there.
    known: BTreeMap<u32, Rle>,
    /// Of those and of the frames done so far: what the next ones are compared with.
    traces: BTreeMap<u32, Trace>,
    /// What those done so far are compared with, wherever they lie.
    usual: Usual,
}

impl Carried {
    fn new(object: &Object) -> Self {
        let given = || object.frames.iter().filter(|(_, m)| m.is_given());
        let seen = |m: &FrameMask| match m.says_absent() {
            true => Seen::Gone,
            false => Seen::There,
        };
        let there = given().filter(|(_, m)| !m.says_absent());
        let (known, traces) = there
            .map(|(f, m)| ((f.0, m.rle.clone()), (f.0, Trace::of(m))))
            .unzip();
        Self {
            id: object.id,
            frames: given().map(|(f, m)| (f.0, seen(m))).collect(),
            known,
            traces,
            usual: Usual::of(given().map(|(_, m)| m)),
        }
    }

    /// Notes a finished mask with its signs of drift. The frames on both sides count, so that a jump shows where two runs
    /// meet and where one ends at an anchor. Next to a frame on which a person says that it is not there, that it has vanished is
    /// no sign: it had to, somewhere.
    fn measured(
        &mut self,
        frame: u32,
        mut mask: FrameMask,
        (expected, left_out): (Option<BoxPx>, f32),
    ) -> CarriedMask {
        mask.drift = if mask.rle.is_empty() && plan::beside_gone(&self.frames, frame) {
            DriftSignal::default()
        } else {
            let beside = [frame.checked_sub(1), frame.checked_add(1)];
            let beside = beside.into_iter().flatten();
            let beside = beside.filter_map(|f| self.traces.get(&f).copied());
            self.usual.measure(beside, &mask, (expected, left_out))
        };
        self.traces.insert(frame, Trace::of(&mask));
        (self.id, FrameIndex(frame), mask)
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
    /// Frames that are left without some of the objects, and which.
    left: BTreeMap<u32, Vec<usize>>,
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

/// The mask of an object that is not there, as a tracked one that is gone has it.
fn nothing(size: Size) -> FrameMask {
    FrameMask {
        rle: Rle::empty(size),
        score: 0.0,
        iou: 0.0,
        provenance: Provenance::Propagated,
        anchor: false,
        drift: DriftSignal::default(),
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
            let mut given = object.frames.values().filter(|m| m.is_given());
            if object_carried.known.is_empty() {
                warnings.push(format!("{} has no mask to start from", object.name));
            } else if given.any(|m| m.rle.size != clip.size()) {
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
        let mut left: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, object) in carried.iter().enumerate() {
            for frame in plan::left_gone(&object.frames, &range) {
                left.entry(frame).or_default().push(at);
            }
        }
        let (work, total) = match options.mode {
            Mode::Track => {
                let known: Vec<KnownFrames> = carried.iter().map(|c| c.frames.clone()).collect();
                let runs = plan::runs(&known, &range, options.direction);
                let total: u64 = runs.iter().map(|r| u64::from(r.frames)).sum();
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
            total: total + left.len() as u64,
            left,
            work,
            done: 0,
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
        if let Some((frame, without)) = propagation.left.pop_first() {
            let mask =
                |at: usize| propagation.objects[at].measured(frame, nothing(size), (None, 0.0));
            let masks = without.into_iter().map(mask).collect();
            propagation.done += 1;
            return Ok(Some(masks));
        }
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
                    left_out,
                    ..
                } = self.track(clip, current)?;
                let mut masks = Vec::new();
                if propagation.range.contains(&frame) {
                    for (row, low_res) in found.into_iter().enumerate() {
                        let object = &mut propagation.objects[current.run.objects[row]];
                        let mask = low_res.to_mask(size, Provenance::Propagated);
                        let left_out = left_out.get(row).copied().unwrap_or_default();
                        masks.push(object.measured(frame, mask, (None, left_out)));
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
                    let sight = self.sight(&features)?;
                    let low_res = self.decode_boxes(
                        &sight,
                        ByColour::of(canvas.as_deref()),
                        &prompt.boxes,
                        Some(&prompt.text),
                    )?;
                    decoded.push((prompt, low_res.to_mask(size, Provenance::Propagated)));
                }
                let mut masks = Vec::new();
                for (prompt, mask) in decoded {
                    let of = propagation.objects.iter_mut().find(|o| o.id == prompt.id);
                    masks.extend(
                        of.map(|object| object.measured(frame, mask, (prompt.expected, 0.0))),
                    );
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
            let stepped = heeding(&progress.cancel, || self.step(clip, &mut work))?;
            let Some(masks) = stepped else {
                return Ok(work.warnings);
            };
            for (id, frame, mask) in masks {
                on_mask(id, frame, mask);
            }
        }
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
            let left = plan::left_gone(&object.frames, &options.range);
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
                skip: object.frames.keys().copied().chain(left).collect(),
            });
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
