//! Held-out clips under conditions that training does not draw: turned, small, compressed, dark, out of focus, painted.
//! Masks and phrases stay true; phrases that would not are dropped.

use super::{Clip, Motion, PhraseKind, extent, paint::hash, render::blur, wild::compressed};

/// What is done to a finished clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Turned by 20°, the gaps filled from the edge. Places and directions are no longer as said: such phrases go.
    Rotate,
    /// Everything at 0.6 of its size, the rest filled from the edge.
    Scale,
    /// Through a JPEG encoder of quality 12.
    Compression,
    /// A quarter of the light, bluish, with the noise of a camera at its limit.
    Night,
    /// Out of focus by several pixels.
    Blur,
    /// Few flat shades and dark outlines.
    Cartoon,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Rotate,
        Self::Scale,
        Self::Compression,
        Self::Night,
        Self::Blur,
        Self::Cartoon,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::Scale => "scale",
            Self::Compression => "compression",
            Self::Night => "night",
            Self::Blur => "blur",
            Self::Cartoon => "cartoon",
        }
    }

    /// Changes `clip`; `seed` rules the noise.
    pub fn apply(self, clip: &mut Clip, seed: u64) {
        let (w, h) = (clip.width, clip.height);
        match self {
            Self::Rotate => {
                let (sin, cos) = (libm::sinf(0.349), libm::cosf(0.349));
                resample(clip, |x, y| (x * cos + y * sin, y * cos - x * sin));
                clip.phrases.retain(|p| {
                    let turns = p
                        .slots
                        .motion
                        .is_some_and(|m| m.direction().is_some() || m == Motion::Bouncing);
                    p.kind != PhraseKind::Position && !turns
                });
            }
            Self::Scale => resample(clip, |x, y| (x / 0.6, y / 0.6)),
            Self::Compression => {
                for rgb in &mut clip.frames {
                    *rgb = compressed(std::mem::take(rgb), w, h, 12);
                }
            }
            Self::Night => {
                for (f, rgb) in clip.frames.iter_mut().enumerate() {
                    let salt = (seed as u32).wrapping_add(f as u32);
                    night(rgb, w, salt);
                }
            }
            Self::Blur => {
                for rgb in &mut clip.frames {
                    (0..8).for_each(|_| blur(rgb, w, h));
                }
            }
            Self::Cartoon => {
                for rgb in &mut clip.frames {
                    cartoon(rgb, w, h);
                }
            }
        }
    }
}

/// Takes every pixel from where `from` says, in pixels from the centre; past the edge, from the edge's background.
fn resample(clip: &mut Clip, from: impl Fn(f32, f32) -> (f32, f32)) {
    let (w, h) = (clip.width, clip.height);
    let (cx, cy) = (w as f32 * 0.5, h as f32 * 0.5);
    let places: Vec<(usize, bool)> = (0..w * h)
        .map(|i| {
            let (x, y) = from((i % w) as f32 + 0.5 - cx, (i / w) as f32 + 0.5 - cy);
            let (x, y) = ((x + cx).floor(), (y + cy).floor());
            let inside = x >= 0.0 && y >= 0.0 && x < w as f32 && y < h as f32;
            let clamp = |v: f32, n: usize| (v.max(0.0) as usize).min(n - 1);
            (clamp(y, h) * w + clamp(x, w), inside)
        })
        .collect();
    for (rgb, ids) in clip.frames.iter_mut().zip(&mut clip.ids) {
        let pixels: Vec<u8> = places
            .iter()
            .flat_map(|&(at, _)| [rgb[at * 3], rgb[at * 3 + 1], rgb[at * 3 + 2]])
            .collect();
        // What is smeared over the edge is nobody's.
        let labels = places
            .iter()
            .map(|&(at, inside)| if inside { ids[at] } else { 0 });
        *ids = labels.collect();
        *rgb = pixels;
    }
    let ids = &clip.ids;
    for object in &mut clip.objects {
        let seen: Vec<_> = ids.iter().map(|ids| extent(ids, w, object.id)).collect();
        object.boxes = seen.iter().map(|s| s.0).collect();
        object.areas = seen.iter().map(|s| s.1).collect();
    }
    // Who has left the first frame can no longer be asked for there.
    let objects = &clip.objects;
    let there = |id: &u8| {
        objects
            .iter()
            .any(|o| o.id == *id && o.areas.first() > Some(&0))
    };
    clip.phrases.retain(|p| p.referents.iter().all(there));
}

fn night(rgb: &mut [u8], w: usize, salt: u32) {
    for (i, px) in rgb.chunks_exact_mut(3).enumerate() {
        let bits = hash((i % w) as i32, (i / w) as i32, salt);
        for (c, (p, tint)) in px.iter_mut().zip([0.2, 0.24, 0.33]).enumerate() {
            let noise = f32::from((bits >> (8 * c)) as u8) / 127.5 - 1.0;
            *p = (f32::from(*p) * tint + 9.0 * noise + 4.0).clamp(0.0, 255.0) as u8;
        }
    }
}

fn cartoon(rgb: &mut [u8], w: usize, h: usize) {
    (0..2).for_each(|_| blur(rgb, w, h));
    let flat: Vec<u8> = rgb.iter().map(|&v| (v / 52).min(4) * 52 + 23).collect();
    for y in 1..h {
        for x in 1..w {
            let at = (y * w + x) * 3;
            let edge = (0..3)
                .any(|c| flat[at + c] != flat[at + c - 3] || flat[at + c] != flat[at + c - 3 * w]);
            for c in 0..3 {
                rgb[at + c] = if edge { flat[at + c] / 3 } else { flat[at + c] };
            }
        }
    }
}
