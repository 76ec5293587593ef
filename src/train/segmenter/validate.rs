//! What the stage has learnt, measured on held-out clips and drawn to look at: masks from a box, masks carried by memory,
//! proposals.

use candle_core::{Result, Tensor};

use super::{
    batch::normalised,
    model::{Nets, pick},
};
use crate::{
    nn::{
        filtration::{Cuttings, roi::rois},
        sam2::{BankEntry, DecodeOptions, FrameInfo, Prompts},
    },
    train::{
        Job, Log, TrainResult,
        boxes::iou,
        pictures::{PALETTE, Picture, sheet},
        synth::{Clip, HELD_OUT, SynthOptions, generate},
    },
};

const FRAMES: usize = 8;
/// Clips on the contact sheet.
const DRAWN: usize = 6;

/// Masks of one clip: per frame and object, logits at a quarter of the image.
struct Tracked {
    logits: Vec<Vec<Vec<f32>>>,
    /// Proposals on frame 0: x1, y1, x2, y2 as fractions, and objectness.
    proposals: Vec<([f32; 4], f32)>,
    /// Colour and shape classes read from each proposal.
    read: (Vec<u32>, Vec<u32>),
    /// Shape classes read from each proposal's region code; empty where the model has none.
    region_shapes: Vec<u32>,
}

/// Objects that are followed: visible enough on frame 0.
fn followed(clip: &Clip) -> Vec<u8> {
    let least = (clip.width * clip.width / 1024) as u32;
    clip.objects
        .iter()
        .filter(|o| o.areas[0] > least)
        .map(|o| o.id)
        .take(4)
        .collect()
}

fn track(nets: &Nets, clip: &Clip, ids: &[u8], job: &Job) -> Result<Tracked> {
    let px = clip.width;
    let k = ids.len();
    let boxes: Vec<f32> = ids
        .iter()
        .filter_map(|id| clip.object(*id)?.boxes[0])
        .flatten()
        .collect();
    let options = DecodeOptions {
        multimask: false,
        train: true,
        image_size: px,
    };
    let mut bank: Vec<BankEntry> = Vec::new();
    let mut out = Tracked {
        logits: Vec::new(),
        proposals: Vec::new(),
        read: (Vec::new(), Vec::new()),
        region_shapes: Vec::new(),
    };
    for (t, rgb) in clip.frames.iter().enumerate() {
        let image = Tensor::from_vec(normalised(rgb, px), (1, 3, px, px), &job.device)?;
        let features = nets.sam.encode_image(&image)?;
        if t == 0 {
            let config = nets.proposer.config();
            let found = nets.proposer.forward(&features.fpn[2..])?;
            let proposals = found.proposals(0, config.topk, config.score_power)?;
            let boxes: Vec<Vec<f32>> = proposals.boxes.to_vec2()?;
            let scores: Vec<f32> = proposals.scores.to_vec1()?;
            out.proposals = boxes
                .iter()
                .map(|b| [b[0], b[1], b[2], b[3]])
                .zip(scores)
                .collect();
            out.read = nets.heads.read_queries(&proposals.features)?;
            if let Some(code) = &nets.region_code {
                let mut rois = rois(&proposals.boxes, (px, px))?;
                let maps = [&features.high_res[0], &features.high_res[1]];
                let (masks, crops) = nets.cut_out(&features, &image, &mut rois, px)?;
                // As they are offered: drawn tight, if the model's are.
                for (proposal, roi) in out.proposals.iter_mut().zip(&rois) {
                    proposal.0 = roi.bounds.map(|v| v / px as f32);
                }
                let cut = Cuttings {
                    masks: masks.as_ref(),
                    crops: crops.as_ref(),
                    aspect: 0.0,
                };
                let codes = code.forward(maps, cut, &rois, px)?;
                out.region_shapes = nets.heads.read_regions(&codes, code.names())?;
            }
        }
        let rows = Tensor::zeros(k, candle_core::DType::U32, &job.device)?;
        let here = pick(&features, &rows)?;
        let (embed, prompts) = if t == 0 {
            let prompts = Prompts {
                boxes: Some(Tensor::from_slice(&boxes, (k, 4), &job.device)?),
                ..Prompts::default()
            };
            (nets.sam.add_no_mem(&here.embed)?, prompts)
        } else {
            let embed = nets
                .sam
                .condition(&here, &bank, FrameInfo::forward(t, FRAMES))?;
            (embed, Prompts::nothing(k, &here.embed)?)
        };
        let decoded = nets.sam.decode(&embed, &here.high_res, &prompts, options)?;
        let memory =
            nets.sam
                .encode_memory(&here.embed, &decoded.low_res, &decoded.object_score, t == 0)?;
        let pointer = nets
            .sam
            .object_pointer(&decoded.tokens.squeeze(1)?, &decoded.object_score)?;
        bank.push(BankEntry {
            frame: t,
            conditioning: t == 0,
            memory,
            pointer,
        });
        let present: Vec<f32> = decoded.object_score.flatten_all()?.to_vec1()?;
        let flat: Vec<Vec<f32>> = decoded.low_res.flatten_from(1)?.to_vec2()?;
        out.logits.push(
            flat.into_iter()
                .zip(present)
                .map(|(mask, score)| {
                    if score > 0.0 {
                        mask
                    } else {
                        vec![-1.0; mask.len()]
                    }
                })
                .collect(),
        );
    }
    Ok(out)
}

/// Logit of a quarter-size map at a full-size pixel, bilinear.
fn logit_at(map: &[f32], side: usize, x: usize, y: usize) -> f32 {
    let place = |v: usize| ((v as f32 + 0.5) / 4.0 - 0.5).clamp(0.0, side as f32 - 1.0);
    let (fx, fy) = (place(x), place(y));
    let (x0, y0) = (fx as usize, fy as usize);
    let (x1, y1) = ((x0 + 1).min(side - 1), (y0 + 1).min(side - 1));
    let (tx, ty) = (fx - x0 as f32, fy - y0 as f32);
    let row = |y: usize| map[y * side + x0] * (1.0 - tx) + map[y * side + x1] * tx;
    row(y0) * (1.0 - ty) + row(y1) * ty
}

fn jaccard(map: &[f32], ids: &[u8], px: usize, id: u8) -> f64 {
    let (mut both, mut either) = (0_u32, 0_u32);
    for (i, v) in ids.iter().enumerate() {
        let a = logit_at(map, px / 4, i % px, i / px) > 0.0;
        let b = *v == id;
        both += u32::from(a && b);
        either += u32::from(a || b);
    }
    if either == 0 {
        1.0
    } else {
        f64::from(both) / f64::from(either)
    }
}

#[derive(Default)]
struct Mean {
    sum: f64,
    n: f64,
}

impl Mean {
    fn add(&mut self, v: f64) {
        self.sum += v;
        self.n += 1.0;
    }
    fn get(&self) -> f64 {
        self.sum / self.n.max(1.0)
    }
}

/// Part of the objects found at all that the fitted threshold must keep.
const KEPT: f64 = 0.97;

/// The highest objectness that still keeps nearly every object that some proposal finds.
fn fitted_objectness(mut best_scores: Vec<f32>) -> f32 {
    best_scores.sort_by(f32::total_cmp);
    let lost = ((1.0 - KEPT) * best_scores.len() as f64) as usize;
    // A little below the last one kept: scores of other clips scatter.
    best_scores
        .get(lost)
        .map_or(0.05, |s| (0.8 * s * 1000.0).round() / 1000.0)
}

/// Measures `clips` held-out clips at `px` pixels, logs the means and draws a sheet. Returns the objectness below which
/// proposals need not be offered.
pub(super) fn report(
    nets: &Nets,
    job: &Job,
    stage: &str,
    (px, clips): (usize, u64),
    log: &mut Log,
) -> TrainResult<f32> {
    let options = SynthOptions {
        width: px,
        height: px,
        frames: FRAMES,
        phrases: 0,
        ..SynthOptions::default()
    };
    let [
        mut first,
        mut carried,
        mut last,
        mut recall,
        mut confident,
        mut colour,
        mut shape,
        mut region_shape,
    ] = <[Mean; 8]>::default();
    let mut rows = Vec::new();
    let mut best_scores = Vec::new();
    for n in 0..clips {
        let clip = generate(HELD_OUT + n, &options);
        let ids = followed(&clip);
        if ids.is_empty() {
            continue;
        }
        let tracked = track(nets, &clip, &ids, job)?;
        for (t, masks) in tracked.logits.iter().enumerate() {
            for (mask, id) in masks.iter().zip(&ids) {
                let j = jaccard(mask, &clip.ids[t], px, *id);
                if t == 0 {
                    first.add(j);
                } else {
                    carried.add(j);
                }
                if t + 1 == FRAMES {
                    last.add(j);
                }
            }
        }
        let side = px as f32;
        for id in &ids {
            let Some(object) = clip.object(*id) else {
                continue;
            };
            let Some(truth) = object.boxes[0].map(|b| b.map(|v| v / side)) else {
                continue;
            };
            let best = tracked
                .proposals
                .iter()
                .enumerate()
                .map(|(i, (b, s))| (iou(*b, truth), *s, i))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let Some((overlap, score, i)) = best else {
                continue;
            };
            let hit = overlap >= 0.5;
            let fitting = tracked
                .proposals
                .iter()
                .filter(|(b, _)| iou(*b, truth) >= 0.5)
                .map(|(_, score)| *score);
            best_scores.extend(fitting.max_by(f32::total_cmp));
            recall.add(f64::from(u8::from(hit)));
            confident.add(f64::from(u8::from(hit && score > 0.4)));
            if hit {
                colour.add(f64::from(u8::from(
                    tracked.read.0[i] as usize == object.colour.index(),
                )));
                shape.add(f64::from(u8::from(
                    tracked.read.1[i] as usize == object.shape.index(),
                )));
                if let Some(read) = tracked.region_shapes.get(i) {
                    region_shape.add(f64::from(u8::from(*read as usize == object.shape.index())));
                }
            }
        }
        if rows.len() < DRAWN {
            rows.push(draw(&clip, &ids, &tracked));
        }
    }
    let step = job.budget.step();
    sheet(&rows).save(&job.out.join(format!("{stage}-{step:06}.png")))?;
    let objectness = fitted_objectness(best_scores);
    log.line(
        "val",
        step,
        job.budget.secs(),
        &[
            ("px", px as f64),
            ("clips", clips as f64),
            ("j_box", first.get()),
            ("j_carried", carried.get()),
            ("j_last", last.get()),
            ("recall", recall.get()),
            ("recall_at_0.4", confident.get()),
            ("query_colour", colour.get()),
            ("query_shape", shape.get()),
            ("region_shape", region_shape.get()),
            ("objectness", f64::from(objectness)),
        ],
    )?;
    Ok(objectness)
}

/// Frame 0 with truth, masks and proposals; then masks on frames 2, 4 and 7.
fn draw(clip: &Clip, ids: &[u8], tracked: &Tracked) -> Vec<Picture> {
    let px = clip.width;
    let plain = |t: usize| Picture::from_rgb(px, px, &clip.frames[t]);
    let mut truth = plain(0);
    for (i, id) in ids.iter().enumerate() {
        truth.overlay(
            |x, y| clip.ids[0][y * px + x] == *id,
            PALETTE[i % PALETTE.len()],
        );
    }
    let masked = |t: usize| {
        let mut out = plain(t);
        for (i, mask) in tracked.logits[t].iter().enumerate() {
            out.overlay(
                |x, y| logit_at(mask, px / 4, x, y) > 0.0,
                PALETTE[i % PALETTE.len()],
            );
        }
        out
    };
    let mut proposed = plain(0);
    for (i, (b, _)) in tracked.proposals.iter().take(8).enumerate() {
        proposed.outline(b.map(|v| v * px as f32), PALETTE[i % PALETTE.len()]);
    }
    vec![
        truth,
        masked(0),
        proposed,
        masked(2),
        masked(4),
        masked(FRAMES - 1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fitted_objectness_keeps_nearly_all() {
        let scores: Vec<f32> = (1..=100).map(|i| i as f32 / 100.0).collect();
        let at = fitted_objectness(scores.clone());
        let kept = scores.iter().filter(|s| **s >= at).count();
        assert!(kept >= 97 && at > 0.01, "{at} keeps {kept}");
        assert_eq!(fitted_objectness(Vec::new()), 0.05);
    }

    #[test]
    fn quarter_size_maps_land_on_their_pixels() {
        let mut map = vec![-1.0_f32; 64];
        map[8 + 1] = 1.0;
        let mut ids = vec![0_u8; 32 * 32];
        for y in 4..8 {
            ids[y * 32 + 4..y * 32 + 8].fill(1);
        }
        // The cell's own sixteen pixels are all that is above zero, but for its blurred corners.
        assert!(jaccard(&map, &ids, 32, 1) > 0.7);
        assert!(logit_at(&map, 8, 31, 31) < 0.0);
    }
}
