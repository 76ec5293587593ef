//! Masks by colour. A small model's decoder says roughly where an object is; which pixels it has, the picture often says
//! better: colours of the object against colours around it, divided where the picture has edges (as `GrabCut` does, Rother et
//! al., SIGGRAPH 2004, with the decoder's logits and the mask of the frame before as further evidence).
//!
//! Off unless a model's description asks for it; SAM2 at full size needs none. Decoding is left to [`super::masks`], memory
//! to [`super::propagate`].

mod barrier;
mod boxed;
mod canvas;
mod carried;
mod clicks;
mod colours;
mod cut;
mod mended;
mod mixture;

use serde::{Deserialize, Serialize};

pub(super) use self::{
    boxed::{Asked, Divided, in_box},
    canvas::Canvas,
    carried::{Appearance, Found},
    clicks::Click,
    colours::{Colours, Known},
    mended::mended,
};

/// How masks are divided by colour. Evidence is in natural logarithms of odds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppearanceConfig {
    /// Side of the grid that is divided, over the whole frame.
    pub grid: usize,
    /// Groups of colours of an object; what is around it has twice as many.
    pub colours: usize,
    /// Most that a pixel's colour can say.
    pub colour: f32,
    /// Most that the decoder can say, whose logits count half: they are surer than they are right.
    pub decoder: f32,
    /// Most that the mask of the frame before can say, in its middle.
    pub place: f32,
    /// Cost of a border between two pixels of one colour.
    pub border: f32,
    /// How far a mask may move against where it is expected, in parts of the square root of its area; three cells at least,
    /// and wherever the decoder sees it.
    pub reach: f32,
    /// How far beyond a box its object may reach, in parts of its sides.
    pub slack: f32,
    /// A decoder that predicts at least this IoU of its mask of a box is believed where colours say something else.
    pub trust: f32,
}

impl AppearanceConfig {
    /// A clause about a number that nothing can be divided with; `decoder` is the side of the decoder's masks.
    pub(super) fn unreasonable(&self, decoder: usize) -> Option<String> {
        if !(decoder.max(8)..=2048).contains(&self.grid) || !(1..=64).contains(&self.colours) {
            let (grid, colours) = (self.grid, self.colours);
            return Some(format!(
                "appearance has a grid of {grid} and {colours} colours"
            ));
        }
        let parts = [
            self.colour,
            self.decoder,
            self.place,
            self.border,
            self.reach,
            self.slack,
            self.trust,
        ];
        let bad = parts.iter().any(|v| !(0.0..=100.0).contains(v));
        bad.then(|| "appearance has a number below 0 or above 100".to_owned())
    }

    /// For a box that a person drew: its object does not reach beyond it.
    pub(super) fn tight(self) -> Self {
        Self { slack: 0.0, ..self }
    }

    fn around(&self) -> usize {
        2 * self.colours
    }

    /// How far a mask of so many cells may move, in cells.
    fn reach_of(&self, cells: usize) -> f32 {
        (self.reach * (cells.max(1) as f32).sqrt()).max(3.0)
    }

    /// What it says for the object that a cell lies so deep in the mask that is expected.
    fn of_place(&self, depth: f32, reach: f32) -> f32 {
        self.place * (depth / reach).clamp(-1.0, 1.0)
    }

    fn of_decoder(&self, logit: f32) -> f32 {
        (0.5 * logit).clamp(-self.decoder, self.decoder)
    }
}

/// What cannot be: no other evidence outweighs it.
const NEVER: f32 = 100.0;

fn count(mask: &[bool]) -> usize {
    mask.iter().filter(|m| **m).count()
}

#[cfg(test)]
mod tests;
