//! What an object looks like, learnt from frames where its mask is known. What is made of it on another frame is left to
//! [`super::boxed`] and [`super::carried`].

use std::sync::Arc;

use super::{
    AppearanceConfig,
    canvas::{Area, Canvas},
    carried::distances,
    count,
    mixture::{Mixture, Rgb},
};

/// An object that is known from several frames may look different on each; so many of them get groups of colours of their own.
const SIDES: usize = 2;

/// Width of what lies right around a mask, in sizes of it: roots of its pixels.
const BESIDE: f32 = 0.25;

/// A frame and which cells of its grid are the object.
pub(in crate::infer) type Known = (Arc<Canvas>, Vec<bool>);

/// Colours of an object, and of all else.
#[derive(Clone)]
pub(in crate::infer) struct Colours {
    pub(super) object: Arc<Mixture>,
    /// All that was not the object there.
    pub(super) elsewhere: Arc<Mixture>,
}

impl Colours {
    /// `None` if there is too little of the object, or of anything else.
    pub(in crate::infer) fn learn(known: &[Known], config: &AppearanceConfig) -> Option<Self> {
        let colours = |object: bool| -> Vec<Rgb> {
            let of = |(canvas, mask): &Known| canvas.of(|i| mask[i] == object);
            known.iter().flat_map(of).collect()
        };
        let sides = known.len().clamp(1, SIDES);
        Some(Self {
            object: Arc::new(Mixture::fit(&colours(true), sides * config.colours)?),
            elsewhere: Arc::new(Mixture::fit(&colours(false), sides * config.around())?),
        })
    }

    /// How much of what lies right around a mask, within [`BESIDE`], looks like the object, as [`Colours::likeness`]; 0 around an
    /// empty one. What is left out of a mask lies there.
    pub(super) fn beside(&self, canvas: &Canvas, mask: &[bool]) -> f32 {
        let side = canvas.side;
        let Some(area) = Area::around(mask, side) else {
            return 0.0;
        };
        let reach = BESIDE * (count(mask) as f32).sqrt();
        let by = reach.ceil() as usize;
        let away = distances(mask, side, true);
        let ring = area.grown(by, by, side);
        let mut close = vec![false; mask.len()];
        for i in ring.pixels(side) {
            close[i] = away[i] > 0.0 && away[i] < reach;
        }
        match close.contains(&true) {
            true => self.likeness(canvas, &close),
            // It fills the picture.
            false => 0.0,
        }
    }

    /// How much of a mask looks like the object rather than like anything else where it was known, 0..=1; 1 of an empty one.
    pub(super) fn likeness(&self, canvas: &Canvas, mask: &[bool]) -> f32 {
        let (mut sum, mut cells) = (0.0, 0.0);
        for colour in canvas.of(|i| mask[i]) {
            let at = |m: &Mixture| m.log_likelihood(colour);
            sum += 1.0 / (1.0 + (at(&self.elsewhere) - at(&self.object)).exp());
            cells += 1.0;
        }
        if cells > 0.0 { sum / cells } else { 1.0 }
    }
}
