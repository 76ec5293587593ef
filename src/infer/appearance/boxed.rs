//! Masks of boxes: what a person or the proposer drew a box around. Colours inside and around it are learnt and the box is
//! divided, by turns. Leaves the next frames to [`super::carried`].

use std::collections::BTreeMap;

use super::{
    AppearanceConfig, NEVER,
    canvas::{Area, Canvas},
    count,
    mixture::Mixture,
};
use crate::infer::{masks::LowRes, preprocess::Bounds};

/// Rounds of dividing and of learning colours anew.
const ROUNDS: usize = 4;
/// A division of a box into less than this part of it has lost the object.
const LEAST: f32 = 0.15;
/// Two masks whose IoU is smaller say something else.
const ALIKE: f32 = 0.7;
/// A round that leaves this IoU with the one before was the last.
const SETTLED: f32 = 0.99;
/// Where a box's object is looked for first: within this part of its half axes.
const CORE: f32 = 0.7;
/// A colour is unusual if it is less likely than this part of the surroundings are.
const UNUSUAL: f32 = 0.05;
/// What the middle of a box says for the object.
const CENTRED: f32 = 0.5;
/// Cells around a click, each way, that it speaks of.
const CLICK: isize = 2;

/// A person's word on a place in parts of the image: the object, or not.
pub(in crate::infer) type Click = ([f32; 2], bool);

/// What a person asked for: a box, in parts of the image, and clicks.
#[derive(Clone, Copy)]
pub(in crate::infer) struct Asked<'a> {
    pub(in crate::infer) bounds: Bounds,
    pub(in crate::infer) clicks: &'a [Click],
}

impl Asked<'_> {
    /// What the clicks say of each pixel near them: the nearest click counts, of equally near ones the last.
    fn said(&self, side: usize) -> Vec<(usize, bool)> {
        let mut said: BTreeMap<usize, (isize, bool)> = BTreeMap::new();
        let at = |v: f32| ((v * side as f32) as isize).clamp(0, side as isize - 1);
        for &([x, y], on) in self.clicks {
            for (dx, dy) in (-CLICK..=CLICK).flat_map(|y| (-CLICK..=CLICK).map(move |x| (x, y))) {
                let (x, y, far) = (at(x) + dx, at(y) + dy, dx * dx + dy * dy);
                let inside = |v: isize| (0..side as isize).contains(&v);
                if inside(x) && inside(y) {
                    let cell = said.entry(y as usize * side + x as usize);
                    let nearest = cell.or_insert((far, on));
                    if far <= nearest.0 {
                        *nearest = (far, on);
                    }
                }
            }
        }
        said.into_iter().map(|(i, (_, on))| (i, on)).collect()
    }
}

/// The mask of a box. `None` where colours do not tell: the decoder's mask is the better one.
pub(in crate::infer) fn in_box(
    canvas: &Canvas,
    decoded: &LowRes,
    asked: Asked<'_>,
    config: &AppearanceConfig,
) -> Option<LowRes> {
    let side = canvas.side;
    let [x1, y1, x2, y2] = asked.bounds;
    let (x, y) = (config.slack * (x2 - x1), config.slack * (y2 - y1));
    let area = Area::of([x1 - x, y1 - y, x2 + x, y2 + y], side);
    let ring = area.surroundings(side);
    let said = asked.said(side);
    let inside = |i: usize| area.contains(i, side);
    let logits = decoded.spread(side);
    // 0 in the middle, 1 where the box's sides are met.
    let radius = |i: usize| {
        let at = |v: usize, (a, b): (usize, usize)| {
            (2.0 * (v as f32 + 0.5) - (a + b) as f32) / (b - a) as f32
        };
        at(i % side, area.x).hypot(at(i / side, area.y))
    };
    let enough = LEAST * (area.width() * area.height()) as f32;
    let mut mask = core(canvas, (area, ring), (&logits, enough), config);
    for &(i, on) in &said {
        mask[i] = on && inside(i);
    }
    let outside = ring.pixels(side).any(|i| !inside(i));
    let mut found = false;
    for round in 0..ROUNDS {
        // A box around everything has nothing beside it.
        let beside = |i: usize| !inside(i) || ((round > 0 || !outside) && !mask[i]);
        let around = canvas.of(|i| ring.contains(i, side) && beside(i));
        let (Some(object), Some(around)) = (
            Mixture::fit(&canvas.of(|i| mask[i]), config.colours),
            Mixture::fit(&around, config.around()),
        ) else {
            break;
        };
        let mut evidence = vec![-NEVER; side * side];
        for i in area.pixels(side) {
            let colour = canvas.pixels[i];
            let odds = object.log_likelihood(colour) - around.log_likelihood(colour);
            evidence[i] = odds.clamp(-config.colour, config.colour)
                + config.of_decoder(logits[i])
                + CENTRED * (1.0 - radius(i));
        }
        for &(i, on) in said.iter().filter(|(i, _)| inside(*i)) {
            evidence[i] = if on { NEVER } else { -NEVER };
        }
        // With a rim that is not the object: a border through one colour costs where the box cuts through it, too.
        let now = canvas.divide(area.grown(1, 1, side), &evidence, config.border);
        // What a person has clicked on may be as thin as it is.
        let least = if said.is_empty() { enough } else { 1.0 };
        if (count(&now) as f32) < least {
            break;
        }
        let settled = found && alike(&mask, |i| now[i]) >= SETTLED;
        (mask, found) = (now, true);
        if settled {
            break;
        }
    }
    // Two opinions that differ much: a decoder that is sure of itself is mostly right, on what it was trained on.
    let overruled = said.is_empty()
        && decoded.iou >= config.trust
        && alike(&mask, |i| inside(i) && logits[i] > 0.0) < ALIKE;
    (found && !overruled).then(|| decoded.divided(&mask, side))
}

/// Where a box's object is looked for first: near its middle, where the decoder sees it and where colours are not those
/// around the box; of these conditions, as many as leave something.
fn core(
    canvas: &Canvas,
    (area, ring): (Area, Area),
    (logits, enough): (&[f32], f32),
    config: &AppearanceConfig,
) -> Vec<bool> {
    let side = canvas.side;
    let mut mask = vec![false; side * side];
    let half = |(a, b): (usize, usize)| (0.5 * (a + b) as f32, 0.5 * (b - a) as f32 * CORE);
    let ((cx, rx), (cy, ry)) = (half(area.x), half(area.y));
    for i in area.pixels(side) {
        let (x, y) = ((i % side) as f32 + 0.5, (i / side) as f32 + 0.5);
        mask[i] = ((x - cx) / rx).hypot((y - cy) / ry) < 1.0;
    }
    let painted = area.pixels(side).filter(|i| logits[*i] > 0.0).count();
    if painted as f32 >= enough {
        for (m, logit) in mask.iter_mut().zip(logits) {
            *m &= *logit > 0.0;
        }
    }
    let outside = canvas.of(|i| ring.contains(i, side) && !area.contains(i, side));
    if let Some(usual) = Mixture::fit(&outside, config.around()) {
        let mut all: Vec<f32> = outside.iter().map(|c| usual.log_likelihood(*c)).collect();
        let at = (all.len() as f32 * UNUSUAL) as usize;
        let (_, threshold, _) = all.select_nth_unstable_by(at, f32::total_cmp);
        let unusual: Vec<bool> = mask
            .iter()
            .zip(&canvas.pixels)
            .map(|(m, c)| *m && usual.log_likelihood(*c) < *threshold)
            .collect();
        if count(&unusual) as f32 >= 0.5 * enough {
            return unusual;
        }
    }
    mask
}

/// Intersection over union of a mask with what `other` says.
fn alike(mask: &[bool], other: impl Fn(usize) -> bool) -> f32 {
    let (mut both, mut either) = (0_u32, 0_u32);
    for (i, &m) in mask.iter().enumerate() {
        let o = other(i);
        both += u32::from(m && o);
        either += u32::from(m || o);
    }
    both as f32 / either.max(1) as f32
}
