//! Masks of an object that is carried: its colours are known from a known frame, and where it is from the frame before and
//! from the decoder. What has all at once nothing of its colours is not the object: a small model's decoder paints something
//! wherever it is asked, and is as sure of it as ever. Leaves learning from a box to [`super::boxed`].

use std::sync::Arc;

use super::{
    AppearanceConfig, NEVER,
    canvas::{Area, Canvas},
    colours::{Colours, Known},
    count,
    mixture::Mixture,
};
use crate::infer::masks::LowRes;

/// As much of a mask must be left by the next frame.
const LEAST: f32 = 0.3;
/// A mask of which no more looks like the object, neither as it was given nor as it was seen last, is not the object's. Of 44
/// objects of drawn clips and six of DAVIS, those in sight looked at least 0.59 like themselves as they were given; what was
/// painted where one had left the frame or was hidden, at most 0.03.
const STRANGE: f32 = 0.1;

/// What colours make of a decoder's mask.
pub(in crate::infer) enum Found {
    /// It must stand as it is.
    AsPainted,
    /// Divided anew.
    Divided(LowRes),
    /// The object is not there.
    Nothing,
}

/// One object that is carried: its colours, and where it was last.
#[derive(Clone)]
pub(in crate::infer) struct Appearance {
    colours: Colours,
    /// What was around it on the frame before.
    around: Arc<Mixture>,
    last: Arc<Canvas>,
    mask: Vec<bool>,
    /// The most that anything right around it has looked like it where it was given.
    beside_given: f32,
    /// It was not seen on the frame before.
    lost: bool,
}

impl Appearance {
    /// Learns from known masks. The object starts from the one numbered `start`; what was learnt of it elsewhere it keeps in
    /// mind. `None` if there is too little of it, or of anything else.
    pub(in crate::infer) fn learn(
        known: &[Known],
        start: usize,
        config: &AppearanceConfig,
    ) -> Option<Self> {
        let colours = Colours::learn(known, config)?;
        let (canvas, mask) = known.get(start)?;
        let beside = known.iter().map(|(at, given)| colours.beside(at, given));
        Some(
            Self {
                beside_given: beside.fold(0.0, f32::max),
                around: Arc::clone(&colours.elsewhere),
                colours,
                last: Arc::clone(canvas),
                lost: !mask.contains(&true),
                mask: mask.clone(),
            }
            .with_surroundings(config),
        )
    }

    /// The same where it is gone: what comes back is where the decoder finds it.
    pub(in crate::infer) fn lost(self) -> Self {
        Self { lost: true, ..self }
    }

    /// How much more of what lies right around its mask looks like it than where it was given, 0..=1: something of it may have been
    /// left out. Nothing is left out of what is not there.
    pub(in crate::infer) fn left_out(&self) -> f32 {
        if self.lost {
            return 0.0;
        }
        let beside = self.colours.beside(&self.last, &self.mask);
        (beside - self.beside_given).max(0.0)
    }

    fn with_surroundings(mut self, config: &AppearanceConfig) -> Self {
        let side = self.last.side;
        if let Some(area) = Area::around(&self.mask, side) {
            let ring = area.surroundings(side);
            let pixels = self.last.of(|i| !self.mask[i] && ring.contains(i, side));
            if let Some(around) = Mixture::fit(&pixels, config.around()) {
                self.around = Arc::new(around);
            }
        }
        self
    }

    /// The decoder's mask on the next frame. An object that the decoder does not see is not looked for.
    pub(in crate::infer) fn carry(
        &self,
        canvas: &Arc<Canvas>,
        decoded: &LowRes,
        config: &AppearanceConfig,
    ) -> (Self, Found) {
        let side = canvas.side;
        let logits = decoded.spread(side);
        let painted: Vec<bool> = logits.iter().map(|v| *v > 0.0).collect();
        if !painted.contains(&true) {
            return (self.clone().lost(), Found::AsPainted);
        }
        // What comes back is where the decoder finds it.
        let expected = if self.lost {
            painted.clone()
        } else {
            self.moved(canvas, &painted)
        };
        let area_before = count(&expected).max(1);
        let reach = config.reach_of(area_before);
        let depth = depth(&expected, side);
        // Within reach of where it is expected, or where the decoder sees it: what was half out of the frame comes back whole.
        let possible = |i: usize| depth[i] > -reach || painted[i];
        let wanted: Vec<bool> = (0..side * side).map(possible).collect();
        let divided = Area::around(&wanted, side).map(|area| {
            let area = area.grown(1, 1, side);
            let mut evidence = vec![-NEVER; side * side];
            for i in area.pixels(side).filter(|i| wanted[*i]) {
                let at = |m: &Mixture| m.log_likelihood(canvas.pixels[i]);
                let odds =
                    at(&self.colours.object) - at(&self.around).max(at(&self.colours.elsewhere));
                evidence[i] = odds.clamp(-config.colour, config.colour)
                    + config.of_decoder(logits[i])
                    + config.of_place(depth[i], reach);
            }
            canvas.divide(area, &evidence, config.border)
        });
        let divided = divided.filter(|m| count(m) as f32 >= LEAST * area_before as f32);
        let mask = divided.as_ref().unwrap_or(&painted);
        if self.is_strange(canvas, mask, config) {
            return (self.clone().lost(), Found::Nothing);
        }
        let found = match &divided {
            Some(mask) => Found::Divided(decoded.divided(mask, side)),
            None => Found::AsPainted,
        };
        let next = Self {
            last: Arc::clone(canvas),
            mask: divided.unwrap_or(painted),
            lost: false,
            ..self.clone()
        };
        (next.with_surroundings(config), found)
    }

    /// Whether a mask has nothing of the object's colours. What turns or walks into the shade changes them, but has still those
    /// of the frame before.
    fn is_strange(&self, canvas: &Canvas, mask: &[bool], config: &AppearanceConfig) -> bool {
        if self.colours.likeness(canvas, mask) >= STRANGE {
            return false;
        }
        let pixels = self.last.of(|i| self.mask[i]);
        let lately = Mixture::fit(&pixels, config.colours).map(|object| Colours {
            object: Arc::new(object),
            elsewhere: Arc::clone(&self.around),
        });
        lately.is_some_and(|lately| lately.likeness(canvas, mask) < STRANGE)
    }

    /// The last mask where its pixels are now; they are looked for near where they were and near `painted`.
    fn moved(&self, canvas: &Canvas, painted: &[bool]) -> Vec<bool> {
        let side = canvas.side;
        let middle = |mask: &[bool]| {
            let area = Area::around(mask, side)?;
            let sum = |(a, b): (usize, usize)| (a + b) as isize;
            Some((sum(area.x), sum(area.y)))
        };
        let mut starts = vec![(0, 0)];
        if let (Some(from), Some(to)) = (middle(&self.mask), middle(painted)) {
            starts.push(((to.0 - from.0) / 2, (to.1 - from.1) / 2));
        }
        let (dx, dy) = canvas.shift(&self.last, &self.mask, &starts);
        let mut moved = vec![false; self.mask.len()];
        for (i, _) in self.mask.iter().enumerate().filter(|(_, m)| **m) {
            let x = (i % side).checked_add_signed(dx).filter(|x| *x < side);
            let y = (i / side).checked_add_signed(dy).filter(|y| *y < side);
            if let (Some(x), Some(y)) = (x, y) {
                moved[y * side + x] = true;
            }
        }
        if moved.contains(&true) {
            moved
        } else {
            self.mask.clone()
        }
    }
}

/// How deep each pixel lies inside a mask, negative outside: about its distance from the border, in pixels.
pub(super) fn depth(mask: &[bool], side: usize) -> Vec<f32> {
    let inside = distances(mask, side, false);
    let outside = distances(mask, side, true);
    inside.iter().zip(outside).map(|(a, b)| a - b).collect()
}

/// Distance of each pixel from the nearest one of a value: two passes of a 3-4 chamfer.
pub(super) fn distances(mask: &[bool], side: usize, of: bool) -> Vec<f32> {
    const FAR: u32 = u32::MAX / 2;
    let mut d: Vec<u32> = mask
        .iter()
        .map(|m| if *m == of { 0 } else { FAR })
        .collect();
    let nearer = |d: &mut [u32], i: usize, j: Option<usize>, cost: u32| {
        if let Some(j) = j {
            d[i] = d[i].min(d[j] + cost);
        }
    };
    let last = side - 1;
    for i in 0..d.len() {
        let x = i % side;
        nearer(&mut d, i, (x > 0).then(|| i - 1), 3);
        nearer(&mut d, i, i.checked_sub(side), 3);
        nearer(&mut d, i, i.checked_sub(side + 1).filter(|_| x > 0), 4);
        nearer(&mut d, i, i.checked_sub(last).filter(|_| x < last), 4);
    }
    for i in (0..d.len()).rev() {
        let (x, n) = (i % side, d.len());
        nearer(&mut d, i, (x < last).then(|| i + 1), 3);
        nearer(&mut d, i, Some(i + side).filter(|j| *j < n), 3);
        nearer(
            &mut d,
            i,
            Some(i + side + 1).filter(|j| *j < n && x < last),
            4,
        );
        nearer(&mut d, i, Some(i + last).filter(|j| *j < n && x > 0), 4);
    }
    d.iter().map(|v| *v as f32 / 3.0).collect()
}
