//! From clips to what one step needs: images, prompts, target masks, cell and box targets. Plain numbers only, so that a
//! second thread can prepare the next batch.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use candle_core::{Device, Result};

use super::heads::{CellTargets, OwnedCell, UNNAMED};
use crate::{
    nn::{
        deformable_detr::Proposals,
        pixels::{Rgb8, recovered, sam_input},
    },
    train::synth::{Clip, HELD_OUT, SynthOptions, generate, picture_size},
};

/// SAM's normalisation, `models/nano.json`.
const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const STD: [f32; 3] = [58.395, 57.12, 57.375];

/// Points of a prompt that is given as points.
pub(super) const POINTS: usize = 3;

/// What a batch looks like.
#[derive(Clone, Debug)]
pub(super) struct BatchSpec {
    pub(super) clips: usize,
    pub(super) frames: usize,
    /// Side of the images in pixels.
    pub(super) px: usize,
    /// Objects prompted per clip at most.
    pub(super) objects: usize,
    /// Whether its pictures may be wide or high before they are made squares, as those of videos are.
    pub(super) squeezed: bool,
    pub(super) synth: SynthOptions,
}

/// An object that the proposer should find in an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    /// Its id in the clip.
    pub(super) id: u8,
    /// cx, cy, w, h as fractions.
    pub(super) cxcywh: [f32; 4],
    pub(super) colour: u32,
    pub(super) shape: u32,
    pub(super) texture: u32,
}

/// A prompted object.
#[derive(Clone, Debug)]
pub(super) struct Prompted {
    /// Clip within the batch.
    pub(super) clip: u32,
    /// Its id in the clip.
    pub(super) id: u8,
    pub(super) prompt: Prompt,
}

/// What frame 0 is told about an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prompt {
    /// x1, y1, x2, y2 in pixels.
    Box([f32; 4]),
    /// Points in pixels and labels.
    Points([([f32; 2], f32); POINTS]),
}

/// One batch. Images are clip-major: image `clip · frames + t`.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) clips: usize,
    pub(super) frames: usize,
    pub(super) px: usize,
    /// [`Proposals::aspect`] of its pictures before they were made squares.
    pub(super) aspect: f32,
    /// `(clips · frames, 3, px, px)`, normalised.
    pub(super) images: Vec<f32>,
    /// Prompted by box first, then by points.
    pub(super) objects: Vec<Prompted>,
    /// Per frame `(objects, px/2, px/2)`: part of each 2×2 tile that the object covers.
    pub(super) masks: Vec<Vec<f32>>,
    /// Per frame and object: a pixel of it is visible.
    pub(super) visible: Vec<Vec<bool>>,
    /// Per frame and object: enough of it is visible for a mask loss.
    pub(super) counts: Vec<Vec<bool>>,
    /// Strides 4, 8, 16.
    pub(super) levels: [CellTargets; 3],
    /// Per image.
    pub(super) truths: Vec<Vec<Truth>>,
    /// Per image, the id of the object that each pixel shows; 0 for none.
    pub(super) ids: Vec<Vec<u8>>,
}

/// Makes the batch whose first clip has seed `seed`; those of the others follow it, and wrap before they are held out. All of a
/// batch have the same form.
///
/// # Errors
/// If a picture cannot be made a square.
pub(super) fn make(seed: u64, spec: &BatchSpec) -> Result<Batch> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0062_6174_6368);
    let px = spec.px;
    let size = if spec.squeezed {
        picture_size(seed, px)
    } else {
        (px, px)
    };
    let mut batch = Batch {
        clips: spec.clips,
        frames: spec.frames,
        px,
        aspect: Proposals::aspect_of(size.0, size.1),
        images: Vec::with_capacity(spec.clips * spec.frames * 3 * px * px),
        ..Batch::default()
    };
    let mut clips = Vec::with_capacity(spec.clips);
    for c in 0..spec.clips {
        let clip = shortened((seed + c as u64) % HELD_OUT, (spec, size), &mut rng);
        let clip = squeezed(clip, px)?;
        prompts(&clip, c, spec, &mut rng, &mut batch.objects);
        for t in 0..spec.frames {
            batch.images.extend(normalised(&clip.frames[t], px));
            let image = c * spec.frames + t;
            for (level, targets) in batch.levels.iter_mut().enumerate() {
                cells(&clip, t, image, 4 << level, targets);
            }
            batch.truths.push(truths(&clip, t));
            batch.ids.push(clip.ids[t].clone());
        }
        clips.push(clip);
    }
    batch
        .objects
        .sort_by_key(|o| matches!(o.prompt, Prompt::Points(_)));
    for t in 0..spec.frames {
        let area = |o: &Prompted| {
            clips[o.clip as usize]
                .object(o.id)
                .map_or(0, |i| i.areas[t])
        };
        batch.masks.push(
            batch
                .objects
                .iter()
                .flat_map(|o| halved(&clips[o.clip as usize].ids[t], px, o.id))
                .collect(),
        );
        batch
            .visible
            .push(batch.objects.iter().map(|o| area(o) > 0).collect());
        let least = (px * px / 2048) as u32;
        batch
            .counts
            .push(batch.objects.iter().map(|o| area(o) > least).collect());
    }
    Ok(batch)
}

/// A clip of as many frames as wanted: one or two frames apart, forwards or backwards.
fn shortened(
    seed: u64,
    (spec, (width, height)): (&BatchSpec, (usize, usize)),
    rng: &mut ChaCha8Rng,
) -> Clip {
    let stride = if spec.frames > 1 {
        rng.random_range(1..3)
    } else {
        1
    };
    let options = SynthOptions {
        width,
        height,
        frames: (spec.frames - 1) * stride + 1,
        phrases: 0,
        ..spec.synth.clone()
    };
    let mut clip = generate(seed, &options);
    let mut keep: Vec<usize> = (0..spec.frames).map(|t| t * stride).collect();
    if rng.random::<bool>() {
        keep.reverse();
    }
    clip.frames = keep
        .iter()
        .map(|&t| std::mem::take(&mut clip.frames[t]))
        .collect();
    clip.ids = keep
        .iter()
        .map(|&t| std::mem::take(&mut clip.ids[t]))
        .collect();
    for object in &mut clip.objects {
        object.boxes = keep.iter().map(|&t| object.boxes[t]).collect();
        object.areas = keep.iter().map(|&t| object.areas[t]).collect();
    }
    clip
}

/// The clip with square pictures, as SAM2 is given those of a video; what is known of its objects goes with them.
fn squeezed(mut clip: Clip, px: usize) -> Result<Clip> {
    let (w, h) = (clip.width, clip.height);
    if (w, h) == (px, px) {
        return Ok(clip);
    }
    for frame in &mut clip.frames {
        let picture = Rgb8::new(w, h, std::mem::take(frame))?;
        let input = sam_input(&picture, px, MEAN, STD, &Device::Cpu)?;
        *frame = recovered(&input.squeeze(0)?, MEAN, STD)?.data().to_vec();
    }
    for ids in &mut clip.ids {
        // The pixel that lies under the middle of each.
        let under = |at: usize, of: usize| (2 * at + 1) * of / (2 * px);
        let row = |y: usize| &ids[under(y, h) * w..][..w];
        *ids = (0..px)
            .flat_map(|y| (0..px).map(move |x| row(y)[under(x, w)]))
            .collect();
    }
    let (sx, sy) = (px as f32 / w as f32, px as f32 / h as f32);
    for object in &mut clip.objects {
        for [x1, y1, x2, y2] in object.boxes.iter_mut().flatten() {
            (*x1, *x2) = (*x1 * sx, *x2 * sx);
            (*y1, *y2) = (*y1 * sy, *y2 * sy);
        }
        for area in &mut object.areas {
            *area = (*area as f32 * sx * sy).round() as u32;
        }
    }
    (clip.width, clip.height) = (px, px);
    Ok(clip)
}

/// Interleaved RGB bytes → three normalised planes.
pub(super) fn normalised(rgb: &[u8], px: usize) -> Vec<f32> {
    let mut out = vec![0.0; 3 * px * px];
    for (c, plane) in out.chunks_exact_mut(px * px).enumerate() {
        for (v, p) in plane.iter_mut().zip(rgb.chunks_exact(3)) {
            *v = (f32::from(p[c]) - MEAN[c]) / STD[c];
        }
    }
    out
}

/// Part of each 2×2 tile that is `id`.
pub(super) fn halved(ids: &[u8], px: usize, id: u8) -> Vec<f32> {
    let half = px / 2;
    let mut out = vec![0.0; half * half];
    for (y, line) in ids.chunks_exact(px).enumerate() {
        let row = &mut out[(y / 2) * half..(y / 2 + 1) * half];
        for (x, _) in line.iter().enumerate().filter(|(_, v)| **v == id) {
            row[x / 2] += 0.25;
        }
    }
    out
}

/// A word's class, where words hold.
fn name(clip: &Clip, class: usize) -> u32 {
    if clip.wild { UNNAMED } else { class as u32 }
}

fn truths(clip: &Clip, t: usize) -> Vec<Truth> {
    let side = clip.width as f32;
    let least = (clip.width * clip.width / 1600) as u32;
    clip.objects
        .iter()
        .filter(|o| o.areas[t] > least)
        .filter_map(|o| {
            let [x1, y1, x2, y2] = o.boxes[t]?;
            Some(Truth {
                id: o.id,
                cxcywh: [
                    (x1 + x2) / 2.0 / side,
                    (y1 + y2) / 2.0 / side,
                    (x2 - x1) / side,
                    (y2 - y1) / side,
                ],
                colour: name(clip, o.colour.index()),
                shape: name(clip, o.shape.index()),
                texture: name(clip, o.texture.index()),
            })
        })
        .collect()
}

fn cells(clip: &Clip, t: usize, image: usize, stride: usize, out: &mut CellTargets) {
    let px = clip.width;
    let n = px / stride;
    let mut counts = vec![[0_u16; 8]; n * n];
    for (y, line) in clip.ids[t].chunks_exact(px).enumerate() {
        let row = &mut counts[(y / stride) * n..(y / stride + 1) * n];
        for (x, id) in line.iter().enumerate() {
            row[x / stride][usize::from(*id) & 7] += 1;
        }
    }
    let area = (stride * stride) as f32;
    for (i, count) in counts.iter().enumerate() {
        out.cover.push(1.0 - f32::from(count[0]) / area);
        let Some((id, most)) = (1..8).map(|id| (id, count[id])).max_by_key(|(_, n)| *n) else {
            continue;
        };
        // Stride 4 is asked for coverage alone.
        if stride == 4 || f32::from(most) < 0.45 * area {
            continue;
        }
        let Some(object) = clip.object(id as u8) else {
            continue;
        };
        let Some([x1, y1, x2, y2]) = object.boxes[t] else {
            continue;
        };
        let (cx, cy) = (
            ((i % n) * stride) as f32 + 0.5 * stride as f32,
            ((i / n) * stride) as f32 + 0.5 * stride as f32,
        );
        let side = px as f32;
        out.owned.push(OwnedCell {
            cell: (image * n * n + i) as u32,
            colour: name(clip, object.colour.index()),
            shape: name(clip, object.shape.index()),
            sides: [
                (cx - x1) / side,
                (cy - y1) / side,
                (x2 - cx) / side,
                (y2 - cy) / side,
            ],
        });
    }
}

/// Prompts some of the clip's objects.
fn prompts(
    clip: &Clip,
    index: usize,
    spec: &BatchSpec,
    rng: &mut ChaCha8Rng,
    out: &mut Vec<Prompted>,
) {
    let least = (spec.px * spec.px / 1024) as u32;
    let mut ids: Vec<u8> = clip
        .objects
        .iter()
        .filter(|o| o.areas[0] > least)
        .map(|o| o.id)
        .collect();
    while ids.len() > spec.objects {
        let drop = rng.random_range(0..ids.len());
        ids.swap_remove(drop);
    }
    for id in ids {
        let Some(Some([x1, y1, x2, y2])) = clip.object(id).map(|o| o.boxes[0]) else {
            continue;
        };
        let (w, h) = (x2 - x1, y2 - y1);
        let mut jitter = |v: f32, size: f32| {
            // A sum of three uniforms has standard deviation ½: 6 % of the size in all.
            let n: f32 = (0..3).map(|_| rng.random::<f32>() - 0.5).sum();
            (v + n * 0.12 * size).clamp(0.0, spec.px as f32)
        };
        let near = [jitter(x1, w), jitter(y1, h), jitter(x2, w), jitter(y2, h)];
        let none = ([0.0, 0.0], -1.0);
        let prompt = match rng.random_range(0..10) {
            0..5 => Prompt::Box(near),
            5..7 => Prompt::Points([([near[0], near[1]], 2.0), ([near[2], near[3]], 3.0), none]),
            7..9 => match inside(clip, id, rng) {
                Some(p) => Prompt::Points([(p, 1.0), none, none]),
                None => Prompt::Box(near),
            },
            _ => match (
                inside(clip, id, rng),
                inside(clip, id, rng),
                outside(clip, id, rng),
            ) {
                (Some(a), Some(b), Some(c)) => Prompt::Points([(a, 1.0), (b, 1.0), (c, 0.0)]),
                _ => Prompt::Box(near),
            },
        };
        out.push(Prompted {
            clip: index as u32,
            id,
            prompt,
        });
    }
}

/// A pixel of the object, away from its edge where a few tries find one.
fn inside(clip: &Clip, id: u8, rng: &mut ChaCha8Rng) -> Option<[f32; 2]> {
    let w = clip.width;
    let ids = &clip.ids[0];
    let [x1, y1, x2, y2] = clip.object(id)?.boxes[0]?;
    let mut any = None;
    for _ in 0..40 {
        let (x, y) = (
            rng.random_range(x1 as usize..x2 as usize),
            rng.random_range(y1 as usize..y2 as usize),
        );
        if ids[y * w + x] != id {
            continue;
        }
        let at = [x as f32, y as f32];
        let deep = x >= 2
            && y >= 2
            && x + 2 < w
            && y + 2 < clip.height
            && [
                (y - 2) * w + x,
                (y + 2) * w + x,
                y * w + x - 2,
                y * w + x + 2,
            ]
            .iter()
            .all(|&i| ids[i] == id);
        if deep {
            return Some(at);
        }
        any = Some(at);
    }
    any
}

/// A pixel near the object that is not of it.
fn outside(clip: &Clip, id: u8, rng: &mut ChaCha8Rng) -> Option<[f32; 2]> {
    let (w, h) = (clip.width as i64, clip.height as i64);
    let [x1, y1, x2, y2] = clip.object(id)?.boxes[0]?.map(|v| v as i64);
    for _ in 0..20 {
        let (mx, my) = ((x2 - x1) / 4 + 3, (y2 - y1) / 4 + 3);
        let x = rng.random_range(x1 - mx..x2 + mx).clamp(0, w - 1);
        let y = rng.random_range(y1 - my..y2 + my).clamp(0, h - 1);
        if clip.ids[0][(y * w + x) as usize] != id {
            return Some([x as f32, y as f32]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(frames: usize) -> BatchSpec {
        BatchSpec {
            clips: 3,
            frames,
            px: 64,
            objects: 2,
            squeezed: false,
            synth: SynthOptions::default(),
        }
    }

    #[test]
    fn sizes_fit_together() {
        let b = make(11, &spec(3)).unwrap();
        assert_eq!(b.images.len(), 9 * 3 * 64 * 64);
        assert_eq!(b.truths.len(), 9);
        assert!(!b.objects.is_empty() && b.objects.len() <= 6);
        assert_eq!(b.masks[2].len(), b.objects.len() * 32 * 32);
        for (level, stride) in [4, 8, 16].into_iter().enumerate() {
            let n = 64 / stride;
            assert_eq!(b.levels[level].cover.len(), 9 * n * n);
            assert!(
                b.levels[level]
                    .owned
                    .iter()
                    .all(|c| (c.cell as usize) < 9 * n * n)
            );
        }
        let first_points = b
            .objects
            .iter()
            .position(|o| matches!(o.prompt, Prompt::Points(_)));
        if let Some(first) = first_points {
            assert!(
                b.objects[first..]
                    .iter()
                    .all(|o| matches!(o.prompt, Prompt::Points(_)))
            );
        }
    }

    #[test]
    fn what_is_known_of_objects_goes_with_wide_pictures() {
        let wide = BatchSpec {
            squeezed: true,
            px: 128,
            ..spec(1)
        };
        let (mut forms, mut seen) = (std::collections::BTreeSet::new(), 0);
        for seed in 0..30 {
            let b = make(seed, &wide).unwrap();
            assert_eq!(b.images.len(), 3 * 3 * 128 * 128);
            let (w, h) = picture_size(seed, 128);
            assert_eq!(b.aspect, (w as f32 / h as f32).ln());
            forms.insert((w, h));
            for (truths, ids) in b.truths.iter().zip(&b.ids) {
                for truth in truths {
                    let own = (0..ids.len()).filter(|i| ids[*i] == truth.id);
                    let (mut x, mut y) = ((f32::MAX, 0.0_f32), (f32::MAX, 0.0_f32));
                    for i in own {
                        let (cx, cy) = ((i % 128) as f32, (i / 128) as f32);
                        x = (x.0.min(cx), x.1.max(cx + 1.0));
                        y = (y.0.min(cy), y.1.max(cy + 1.0));
                    }
                    let [cx, cy, w, h] = truth.cxcywh.map(|v| v * 128.0);
                    let off = [
                        x.0 - (cx - w / 2.0),
                        x.1 - (cx + w / 2.0),
                        y.0 - (cy - h / 2.0),
                        y.1 - (cy + h / 2.0),
                    ];
                    // A tip that is thinner than a pixel may lie between two.
                    assert!(off.iter().all(|v| v.abs() <= 3.0), "{seed}: {off:?}");
                    seen += 1;
                }
            }
        }
        assert_eq!(forms.len(), 4, "{forms:?}");
        assert!(seen > 50);
    }

    #[test]
    fn no_clip_of_a_batch_is_held_out() {
        let wanted = |clips| BatchSpec { clips, ..spec(1) };
        let last = make(HELD_OUT - 1, &wanted(2)).unwrap().images;
        let first = make(0, &wanted(1)).unwrap().images;
        assert!(last[first.len()..] == first, "the seeds start again at 0");
    }

    #[test]
    fn clicks_lie_where_they_should() {
        for seed in 0..30 {
            let s = BatchSpec {
                clips: 1,
                ..spec(1)
            };
            let b = make(seed, &s).unwrap();
            for (k, o) in b.objects.iter().enumerate() {
                let Prompt::Points(points) = o.prompt else {
                    continue;
                };
                for ([x, y], label) in points {
                    let at = (y as usize).min(63) / 2 * 32 + (x as usize).min(63) / 2;
                    let cover = b.masks[0][k * 32 * 32 + at];
                    if label == 1.0 {
                        assert!(cover > 0.0);
                    } else if label == 0.0 {
                        assert!(cover < 1.0);
                    }
                }
            }
        }
    }
}
