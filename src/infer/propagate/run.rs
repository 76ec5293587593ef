//! One run: the memory that it starts with, and its next frame, decoded in the light of that memory and remembered.
//!
//! Which frames a run has is [`super::super::plan`]'s, what becomes of the masks [`super`]'s.

use std::collections::BTreeMap;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::{
    infer::{
        appearance::{Appearance, Found},
        clip::Clip,
        engine::Engine,
        error::InferResult,
        leash::{Leash, LeashConfig},
        masks::{CERTAIN, LowRes, rows_tensor, sigmoid, values},
        plan::Run,
        preprocess::{box_to_model, box_to_norm},
    },
    nn::sam2::{
        ImageFeatures, Prompts,
        bank::FrameInfo,
        memory::{BankEntry, Decoded, Memory},
    },
    project::{FrameIndex, Rle},
};

use super::Carried;

/// Known frames that one frame looks at, chosen by [`conditioning`].
const CONDITIONING: usize = 4;

/// Pairs of cells that the objects of one group compare at most: six objects of the released model, whose keys and values of one
/// layer are 0.5 GB.
const MAX_SCORES: usize = 1 << 30;

/// Presence logit of an object whose mask its leash or its colours have taken: probability 0.12.
pub(super) const NOT_THERE: f32 = -2.0;

/// A run in progress with its memory.
pub(in crate::infer) struct Active {
    pub(super) run: Run,
    pub(super) done: u32,
    pub(super) bank: Vec<BankEntry>,
    /// One per object of the run, if the model keeps its masks on leashes.
    pub(super) leashes: Vec<Leash>,
    /// One per object of the run, if the model's masks are divided by colour; `None` where there is nothing to learn from.
    appearances: Vec<Option<Appearance>>,
}

/// One frame of a run.
pub(in crate::infer) struct Tracked {
    pub(super) frame: u32,
    /// As it is remembered.
    pub(in crate::infer) decoded: Decoded,
    /// One per object, as it is shown: divided by colour, on finer cells than the decoder's.
    pub(super) masks: Vec<LowRes>,
    /// One per object, see [`Appearance::left_out`]; empty if masks are not divided by colour.
    pub(super) left_out: Vec<f32>,
}

impl Active {
    pub(in crate::infer) fn bank(&self) -> &[BankEntry] {
        &self.bank
    }
}

impl Engine {
    /// Makes the memories of the known frames that a run looks at. Where the objects are gone as it starts, that is remembered
    /// as any frame of a run would be: it goes on from where they were seen last, with nothing of what was carried in between,
    /// which the person's word may have proved wrong.
    pub(in crate::infer) fn start_run(
        &self,
        clip: &mut Clip,
        objects: &[Carried],
        run: Run,
    ) -> InferResult<Active> {
        let known = &objects[run.objects[0]].known;
        let (frames, seen) = (conditioning(known, &run), seen_last(known, &run));
        let mut bank = Vec::with_capacity(frames.len() + 1);
        for &frame in &frames {
            let masks: Vec<&Rle> = run
                .objects
                .iter()
                .map(|&o| &objects[o].known[&frame])
                .collect();
            bank.push(self.remember_mask(clip, frame, &masks)?);
        }
        if seen != run.from {
            let nowhere = Rle::empty(clip.size());
            let masks = vec![&nowhere; run.objects.len()];
            bank.push(BankEntry {
                conditioning: false,
                ..self.remember_mask(clip, run.from, &masks)?
            });
        }
        let leash = |config: LeashConfig| {
            let start = |&o: &usize| {
                let mask = objects[o].known.get(&seen);
                let last = mask.and_then(|mask| Some(box_to_norm(mask.bounding_box()?, mask.size)));
                Leash::new(config, last).unseen_for(run.from.abs_diff(seen))
            };
            run.objects.iter().map(start).collect()
        };
        let leashes = self.model().info.leash.map(leash).unwrap_or_default();
        let appearances = self.appearances(clip, objects, (&run, seen), &frames)?;
        Ok(Active {
            run,
            done: 0,
            bank,
            leashes,
            appearances,
        })
    }

    /// What the objects of a run look like on the known frames `frames`, and where they were `seen` last as it starts.
    fn appearances(
        &self,
        clip: &mut Clip,
        objects: &[Carried],
        (run, seen): (&Run, u32),
        frames: &[u32],
    ) -> InferResult<Vec<Option<Appearance>>> {
        let (Some(config), Some(start)) = (
            self.model().info.appearance,
            frames.iter().position(|f| *f == seen),
        ) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::with_capacity(run.objects.len());
        for &o in &run.objects {
            let masks = frames
                .iter()
                .map(|f| (FrameIndex(*f), &objects[o].known[f]));
            let known = self.known_masks(clip, masks, &config)?;
            let learnt = Appearance::learn(&known, start, &config);
            found.push(match seen == run.from {
                true => learnt,
                false => learnt.map(Appearance::lost),
            });
        }
        Ok(found)
    }

    /// The memories of one object's masks on frames other than `frame` that are nearest to it, nearest first.
    pub(in crate::infer) fn remember_known(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        known: &[(FrameIndex, Rle)],
    ) -> InferResult<Vec<BankEntry>> {
        let elsewhere = known.iter().filter(|(f, m)| *f != frame && !m.is_empty());
        let mut nearest: Vec<_> = elsewhere.collect();
        nearest.sort_by_key(|(f, _)| f.0.abs_diff(frame.0));
        nearest.truncate(CONDITIONING);
        nearest
            .into_iter()
            .map(|(f, mask)| self.remember_mask(clip, f.0, &[mask]))
            .collect()
    }

    /// The memory of given masks, one per object, on one frame. An empty one is an absent object's.
    pub(super) fn remember_mask(
        &self,
        clip: &mut Clip,
        frame: u32,
        masks: &[&Rle],
    ) -> InferResult<BankEntry> {
        let features = self.features(clip, FrameIndex(frame))?;
        // All of them together until memory has run out: there is no attention over memories here, which is what is large.
        self.remember_in(&features, frame, masks, &groups(masks.len(), clip.at_once))
    }

    /// [`Engine::remember_mask`] of one group of objects after the other.
    pub(super) fn remember_in(
        &self,
        features: &ImageFeatures,
        frame: u32,
        masks: &[&Rle],
        groups: &[(usize, usize)],
    ) -> InferResult<BankEntry> {
        let sam2 = &self.model().networks.sam2;
        let (mut memories, mut pointers) = (Vec::new(), Vec::new());
        for &(at, n) in groups {
            let masks = &masks[at..at + n];
            let logits = self.mask_logits(masks, self.config().sam2.image_size)?;
            let (pointer, presence) = if self.model().info.mask_prompts {
                let decoded = sam2.decode_mask(features, &logits)?;
                (decoded.pointer, decoded.object_score)
            } else {
                self.pointer_from_boxes(features, masks)?
            };
            let memory = sam2.encode_memory(&features.embed, &logits, &presence, true)?;
            memories.push(memory.features);
            pointers.push(pointer);
        }
        Ok(BankEntry {
            frame: frame as usize,
            conditioning: true,
            memory: Memory {
                features: Tensor::cat(&memories, 0)?,
            },
            pointer: Tensor::cat(&pointers, 0)?,
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
    pub(super) fn objects_at_once(
        &self,
        features: &ImageFeatures,
        most: usize,
    ) -> InferResult<usize> {
        let (h, w) = features.grid()?;
        let slots = CONDITIONING + self.config().sam2.num_maskmem.saturating_sub(1);
        let scores = (h * w) * (h * w) * slots;
        Ok((MAX_SCORES / scores).clamp(1, most.max(1)))
    }

    /// Decodes the objects of a bank on a frame, one group after the other: none looks at another.
    pub(super) fn decode_next(
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
    pub(in crate::infer) fn track(
        &self,
        clip: &mut Clip,
        active: &mut Active,
    ) -> InferResult<Tracked> {
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
        let mut scores = values(&decoded.object_score)?;
        let mut masks = rows(&decoded, &scores)?;
        let mut taken = false;
        let mut take = |mask: &mut LowRes, score: &mut f32| {
            *score = score.min(NOT_THERE);
            mask.score = sigmoid(*score);
            taken = true;
        };
        for ((mask, leash), score) in masks.iter_mut().zip(&mut leashes).zip(&mut scores) {
            if !leash.hold(mask) {
                // All that was painted lies where the object cannot be.
                take(mask, score);
            }
        }
        let mut left_out = Vec::new();
        let cells = masks.first().map_or((0, 0), |m| (m.rows, m.columns));
        if let (Some(config), false) = (self.model().info.appearance, appearances.is_empty())
            && let Some(canvas) = self.canvas(clip, FrameIndex(frame))?
        {
            // Each object has colours of its own, and dividing by them is most of a frame's work on a CPU.
            let each = masks.par_iter().zip(&mut appearances);
            let found: Vec<Found>;
            (found, left_out) = each
                .map(|(mask, appearance)| {
                    let Some(before) = appearance else {
                        return (Found::AsPainted, 0.0);
                    };
                    let (now, found) = before.carry(&canvas, mask, &config);
                    *before = now;
                    (found, before.left_out())
                })
                .unzip();
            for (row, found) in found.into_iter().enumerate() {
                let mask = &mut masks[row];
                match found {
                    Found::AsPainted => continue,
                    Found::Divided(divided) => *mask = divided,
                    Found::Nothing => {
                        mask.logits.fill(-CERTAIN);
                        take(mask, &mut scores[row]);
                    }
                }
                // The object is where the colours say, not where the decoder has painted.
                if let Some(leash) = leashes.get_mut(row) {
                    *leash = active.leashes[row];
                    leash.seen(mask);
                }
            }
        }
        if taken {
            let (shape, device) = (decoded.object_score.shape(), decoded.object_score.device());
            decoded.object_score =
                Tensor::from_vec(scores, shape, device)?.to_dtype(decoded.object_score.dtype())?;
            // Its pointer was made while it still seemed to be there.
            decoded.pointer = sam2.present_or_absent(&decoded.pointer, &decoded.object_score)?;
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
            left_out,
        })
    }
}

/// The known frame behind a run on which its objects are there: the one that it starts from, unless they are gone there.
pub(super) fn seen_last(known: &BTreeMap<u32, Rle>, run: &Run) -> u32 {
    let behind = if run.forward {
        known.range(..=run.from).next_back()
    } else {
        known.range(run.from..).next()
    };
    behind.map_or(run.from, |(f, _)| *f)
}

/// Known frames that a run looks at, in order: where its objects were seen last, the next one ahead, which no number of frames
/// close together behind makes up for, and of the others those nearest to any of its frames. Of frames on which the objects are
/// gone there is none in `known`: they say nothing of what to look for.
pub(super) fn conditioning(known: &BTreeMap<u32, Rle>, run: &Run) -> Vec<u32> {
    let end = run.indices().last().unwrap_or(run.from);
    let ahead = if run.forward {
        known.range(run.from + 1..).next()
    } else {
        known.range(..run.from).next_back()
    };
    let sure = [Some(seen_last(known, run)), ahead.map(|(f, _)| *f)];
    let off = |f: u32| f.abs_diff(run.from).min(f.abs_diff(end));
    let mut frames: Vec<u32> = known.keys().copied().collect();
    frames.sort_by_key(|f| (!sure.contains(&Some(*f)), off(*f), *f));
    frames.truncate(CONDITIONING);
    frames.sort_unstable();
    frames
}

/// `k` objects as groups of at most `at_once`: where each begins, and how many it has.
pub(super) fn groups(k: usize, at_once: usize) -> Vec<(usize, usize)> {
    let starts = (0..k).step_by(at_once);
    starts.map(|at| (at, at_once.min(k - at))).collect()
}

/// The rows of a decoded batch.
fn rows(decoded: &Decoded, scores: &[f32]) -> InferResult<Vec<LowRes>> {
    let (k, _, rows, columns) = decoded.low_res.dims4()?;
    let logits = values(&decoded.low_res)?;
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
