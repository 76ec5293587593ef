//! From a [`Scene`] to frames and instance maps: distances give cheap antialiasing for colour, and hard masks.

use std::borrow::Cow;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{
    SynthOptions,
    paint::{clip_range, hash, mix},
    scene::{Camera, Part, Pose, Scene, Thing},
    shapes::{distance, part_distance},
    wild::{Bent, compressed, swung},
};

/// One frame: RGB bytes and instance ids (0 = background), row-major.
pub(super) struct Drawn {
    pub(super) rgb: Vec<u8>,
    pub(super) ids: Vec<u8>,
}

/// Draws all frames.
pub(super) fn render(scene: &Scene, options: &SynthOptions, rng: &mut ChaCha8Rng) -> Vec<Drawn> {
    (0..options.frames)
        .map(|f| {
            let mut frame = Drawn {
                rgb: behind(scene, scene.cameras[f], options),
                ids: vec![0; options.width * options.height],
            };
            for (i, thing) in scene.things.iter().enumerate() {
                draw_thing(&mut frame, thing, f, (i + 1) as u8, options);
            }
            if scene.blur {
                blur(&mut frame.rgb, options.width, options.height);
            }
            finish(&mut frame.rgb, scene, options.width, rng.random());
            if let Some(quality) = scene.quality {
                frame.rgb = compressed(frame.rgb, options.width, options.height, quality);
            }
            frame
        })
        .collect()
}

/// The background as the camera sees it.
fn behind(scene: &Scene, camera: Camera, options: &SynthOptions) -> Vec<u8> {
    let (w, h) = (options.width, options.height);
    let bg = &scene.background;
    if bg.width == w && bg.height == h {
        return bg.data.clone();
    }
    let mut out = Vec::with_capacity(w * h * 3);
    let inverse = 1.0 / camera.zoom;
    // The last whole pixel has a right and a lower neighbour.
    let last = |n: usize| (n - 2) as f32 + 0.999;
    let place = |v: usize, n: usize, from: usize, shift: f32| {
        let half = n as f32 * 0.5;
        ((v as f32 - half - shift) * inverse + from as f32 * 0.5).clamp(0.0, last(from))
    };
    let columns: Vec<(usize, u32)> = (0..w)
        .map(|x| {
            let sx = place(x, w, bg.width, camera.dx);
            (sx as usize, ((sx - sx.floor()) * 256.0) as u32)
        })
        .collect();
    for y in 0..h {
        let sy = place(y, h, bg.height, camera.dy);
        let (row, fy) = (sy as usize, ((sy - sy.floor()) * 256.0) as u32);
        let upper = &bg.data[row * bg.width * 3..(row + 1) * bg.width * 3];
        let lower = &bg.data[(row + 1) * bg.width * 3..(row + 2) * bg.width * 3];
        for &(x, fx) in &columns {
            let at = x * 3;
            let (w11, w01) = (fx * fy, (256 - fx) * fy);
            let (w10, w00) = (fx * (256 - fy), (256 - fx) * (256 - fy));
            for c in 0..3 {
                let v = u32::from(upper[at + c]) * w00
                    + u32::from(upper[at + 3 + c]) * w10
                    + u32::from(lower[at + c]) * w01
                    + u32::from(lower[at + 3 + c]) * w11;
                out.push((v >> 16) as u8);
            }
        }
    }
    out
}

fn draw_thing(frame: &mut Drawn, thing: &Thing, f: usize, id: u8, options: &SynthOptions) {
    let pose = thing.poses[f];
    if thing.shadow > 0.0 {
        shade(frame, thing, pose, options);
    }
    let bent = thing.flex.as_ref().map(|flex| flex.at(f));
    let parts = match bent {
        Some(bent) => Cow::Owned(swung(&thing.parts, bent)),
        None => Cow::Borrowed(thing.parts.as_slice()),
    };
    let reach = thing.reach() * pose.scale + 1.0;
    let (sin, cos) = (libm::sinf(pose.turn), libm::cosf(pose.turn));
    let inverse = 1.0 / pose.scale;
    for y in clip_range(pose.cy - reach, pose.cy + reach, options.height) {
        for x in clip_range(pose.cx - reach, pose.cx + reach, options.width) {
            let (dx, dy) = (
                (x as f32 + 0.5 - pose.cx) * inverse,
                (y as f32 + 0.5 - pose.cy) * inverse,
            );
            let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
            let (u, v) = match bent {
                Some(Bent { rows: [a, b], .. }) => (a[0] * u + a[1] * v, b[0] * u + b[1] * v),
                None => (u, v),
            };
            let Some((colour, cover)) = sample(thing, &parts, u, v, pose.scale) else {
                continue;
            };
            let gain = 1.0 - thing.shading * (dx + dy);
            let at = y * options.width + x;
            let px = &mut frame.rgb[at * 3..at * 3 + 3];
            for (p, c) in px.iter_mut().zip(colour) {
                let c = (c * gain).clamp(0.0, 255.0);
                *p = (f32::from(*p) + (c - f32::from(*p)) * cover) as u8;
            }
            if cover >= 0.5 {
                frame.ids[at] = id;
            }
        }
    }
}

/// Colour and coverage of an object at a point of its unit space; `None` where it covers nothing.
fn sample(thing: &Thing, parts: &[Part], u: f32, v: f32, scale: f32) -> Option<([f32; 3], f32)> {
    let coverage = |d: f32| (0.5 - d * scale).clamp(0.0, 1.0);
    let (bu, bv) = match &thing.wobble {
        Some(wobble) => {
            let r = (u * u + v * v).sqrt();
            let bend = 1.0 / (1.0 + wobble.at(u, v, r));
            (u * bend, v * bend)
        }
        None => (u, v),
    };
    let mut cover = coverage(distance(thing.shape, bu, bv, &thing.wave));
    let mut colour = None;
    let body = || match &thing.skin {
        Some(skin) => skin.at(u, v),
        None => thing.paint.at(u, v),
    };
    for part in parts {
        let (x, y) = (u - part.x, v - part.y);
        let (x, y) = (x * part.cos + y * part.sin, y * part.cos - x * part.sin);
        let over = coverage(part_distance(part.shape, x, y, part.a, part.b, &part.wave));
        if over > 0.0 {
            let base = colour.unwrap_or_else(body);
            // Where the part alone makes the edge, the body's colour must not bleed in.
            let share = if cover > 0.0 { over } else { 1.0 };
            let own = match &part.skin {
                Some(skin) => skin.at(x, y),
                None => part.paint.at(x, y),
            };
            colour = Some(mix(base, own, share));
            cover = cover.max(over);
        }
    }
    (cover > 0.0).then(|| (colour.unwrap_or_else(body), cover))
}

/// Darkens what lies below a thing: a soft ellipse at its feet.
fn shade(frame: &mut Drawn, thing: &Thing, pose: Pose, options: &SynthOptions) {
    let (a, b) = (1.2 * pose.scale, 0.5 * pose.scale);
    let (cx, cy) = (pose.cx + 0.15 * pose.scale, pose.cy + 0.8 * pose.scale);
    for y in clip_range(cy - b, cy + b, options.height) {
        for x in clip_range(cx - a, cx + a, options.width) {
            let (dx, dy) = ((x as f32 - cx) / a, (y as f32 - cy) / b);
            let deep = (1.0 - dx * dx - dy * dy).max(0.0);
            let gain = 1.0 - thing.shadow * deep;
            let at = (y * options.width + x) * 3;
            for p in &mut frame.rgb[at..at + 3] {
                *p = (f32::from(*p) * gain) as u8;
            }
        }
    }
}

/// Binomial 3×3 blur of the whole frame, edges kept.
pub(super) fn blur(rgb: &mut [u8], w: usize, h: usize) {
    let row = w * 3;
    let mut half = rgb.to_vec();
    for (out, line) in half.chunks_exact_mut(row).zip(rgb.chunks_exact(row)) {
        for i in 3..row - 3 {
            let sum = u16::from(line[i - 3]) + 2 * u16::from(line[i]) + u16::from(line[i + 3]);
            out[i] = (sum >> 2) as u8;
        }
    }
    for y in 1..h - 1 {
        for i in 0..row {
            let at = y * row + i;
            let sum =
                u16::from(half[at - row]) + 2 * u16::from(half[at]) + u16::from(half[at + row]);
            rgb[at] = (sum >> 2) as u8;
        }
    }
}

/// Light and sensor noise.
fn finish(rgb: &mut [u8], scene: &Scene, w: usize, salt: u32) {
    if scene.noise <= 0.0 && scene.light.is_none() {
        return;
    }
    let (lx, ly) = scene.light.unwrap_or((0.0, 0.0));
    let noise = scene.noise / 74.0;
    for (y, line) in rgb.chunks_exact_mut(w * 3).enumerate() {
        for (x, px) in line.chunks_exact_mut(3).enumerate() {
            let gain = 1.0 + lx * (x as f32 - w as f32 * 0.5) + ly * y as f32;
            let bits = hash(x as i32, y as i32, salt);
            for (c, p) in px.iter_mut().enumerate() {
                // Eight bits for each channel; a uniform of standard deviation 74.
                let n = f32::from((bits >> (8 * c)) as u8) - 127.5;
                *p = (f32::from(*p) * gain + n * noise).clamp(0.0, 255.0) as u8;
            }
        }
    }
}
