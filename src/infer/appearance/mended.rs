//! A mask that a person mends by clicks. Each click speaks of the surface that it lies on, as far as no edge of the picture
//! parts it from the click, and of nothing far off: what was right stays as it is. Leaves masks from a box to
//! [`super::boxed`].

use super::{
    AppearanceConfig, NEVER,
    barrier::{barriers, threshold},
    canvas::{Area, Canvas},
    clicks::{Click, cell, said},
};

/// How far a click reaches, in parts of the longer side of the mask's box, and in cells at least.
const REACH: f32 = 0.15;
const LEAST_REACH: f32 = 10.0;
/// What the mask says of itself beside a click; more the farther off, and beyond its reach everything.
const PRIOR: f32 = 8.0;
/// What a click says of the surface that it lies on.
const SURFACE: f32 = 16.0;
/// Share of a click's reach within which it is sure of itself.
const SURE: f32 = 0.5;

/// The mask with the clicks heeded.
pub(in crate::infer) fn mended(
    canvas: &Canvas,
    mask: &[bool],
    clicks: &[Click],
    config: &AppearanceConfig,
) -> Vec<bool> {
    let side = canvas.side;
    let longest = Area::around(mask, side).map_or(side / 4, |a| a.width().max(a.height()));
    let reach = (REACH * longest as f32).clamp(LEAST_REACH, side as f32);
    // How near the nearest click is, and what all of them say.
    let (mut near, mut spoken) = (vec![0_f32; mask.len()], vec![0_f32; mask.len()]);
    let mut all: Option<Area> = None;
    for &click in clicks {
        let (window, heard) = surface(canvas, mask, click, reach);
        for (i, heard, same) in heard {
            near[i] = near[i].max(heard);
            spoken[i] += if click.1 { same } else { -same };
        }
        all = Some(all.map_or(window, |a| a.joined(window)));
    }
    let Some(area) = all else {
        return mask.to_vec();
    };
    let area = area.grown(1, 1, side);
    let mut evidence = vec![0.0; mask.len()];
    for i in area.pixels(side) {
        let prior = (PRIOR / near[i]).min(NEVER);
        let held = if mask[i] { prior } else { -prior };
        evidence[i] = held + SURFACE * spoken[i].clamp(-1.0, 1.0);
    }
    for (i, on) in said(clicks, side) {
        evidence[i] = if on { NEVER } else { -NEVER };
    }
    let divided = canvas.divide(area, &evidence, config.border);
    let mut after = mask.to_vec();
    for i in area.pixels(side) {
        after[i] = divided[i];
    }
    after
}

/// The window of a click, and for each pixel in it how near it is, 0 out of `reach` to 1 beside the click, and how surely it lies
/// on the click's surface, 0 to as much.
fn surface(
    canvas: &Canvas,
    mask: &[bool],
    (place, on): Click,
    reach: f32,
) -> (Area, Vec<(usize, f32, f32)>) {
    let side = canvas.side;
    let (x, y) = cell(place, side);
    let window = Area {
        x: (x, x + 1),
        y: (y, y + 1),
    }
    .grown(reach as usize, reach as usize, side);
    let far = |i: usize| {
        let (dx, dy) = ((i % side).abs_diff(x), (i / side).abs_diff(y));
        (dx as f32 / reach).hypot(dy as f32 / reach)
    };
    let high = barriers(canvas, window, |i| i == y * side + x);
    let within: Vec<f32> = window.pixels(side).map(|i| high[i]).collect();
    let edge = threshold(&within);
    // What is out of reach and of the other kind: a surface that goes on there is not the one that is meant.
    let other = barriers(canvas, window.grown(2, 2, side), |i| {
        mask[i] != on && far(i) > 1.0
    });
    let hear = |i: usize| {
        let heard = ((1.0 - far(i)) / (1.0 - SURE)).clamp(0.0, 1.0);
        let same = 2.0 * (edge - high[i]) / edge;
        let apart = if other[i].is_finite() {
            2.0 * (other[i] - high[i]) / (other[i] + high[i]).max(1.0)
        } else {
            1.0
        };
        (i, heard, same.min(apart).clamp(0.0, 1.0) * heard)
    };
    (window, window.pixels(side).map(hear).collect())
}
