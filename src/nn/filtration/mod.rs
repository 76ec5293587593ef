//! The filtration head: which proposals does a phrase mean? Two forms behind one interface.
//!
//! * [`FiltrationHead::Released`] (modules `proposal_selector`, `roi_helper`): a dot product of query and proposal plus
//!   the logarithm of the objectness plus, weighted by γ, a score from the proposal's pixels;
//! * [`FiltrationHead::Paper`] (equations 6 to 10): the pixels alone score, objectness joins as a power, boxes are refined.
//!
//! Queries are `(n, d)`, proposals come from [`super::deformable_detr`]. Choosing among scored proposals is [`select`],
//! checking a choice against SAM2's own mask is [`prior`].

mod motions;
mod names;
mod paper;
pub mod prior;
mod region_code;
mod released;
mod rivals;
pub(crate) mod roi;
pub mod select;
pub mod tighten;
pub mod travel;

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;

pub use self::{
    motions::Motions,
    names::Names,
    paper::PaperHead,
    region_code::{Codes, Cuttings, RegionCode, RegionGrids, crop},
    released::ReleasedHead,
    travel::Sighting,
};
use super::{config::FiltrationConfig, deformable_detr::Proposals};

/// The feature pyramid that regions are read from, finest first: SAM2's two high-resolution maps and its image
/// embedding, `no_mem_embed` included, each `(1, c, h, w)`.
pub type Pyramid = [Tensor; 3];

/// What a head says about `n` queries and `m` proposals.
#[derive(Clone, Debug)]
pub struct FilterOutput {
    /// `(n, m)`: the match of phrase and proposal, as a logit; the proposal's own objectness is left out (that of its rivals
    /// counts, if the head compares them).
    pub matches: Tensor,
    /// `(n, m)`: logit of the final confidence; −∞ where a proposal is not valid.
    pub logits: Tensor,
    /// `(n, m)`: logit that the phrase, without its superlative, could mean a proposal, if the head compares rivals
    /// and there are proposals.
    pub could_be: Option<Tensor>,
    /// `(n, m)`: final confidence 0..1.
    pub confidence: Tensor,
    /// `(n, m, 4)`: x1, y1, x2, y2 as fractions; the proposals' own unless the head refines them.
    pub boxes: Tensor,
    /// `(n, d)`: queries with what they attended to, if the head refines them.
    pub refined_queries: Option<Tensor>,
}

/// A filtration head of either form.
#[derive(Clone, Debug)]
pub enum FiltrationHead {
    /// As the released code computes.
    Released(ReleasedHead),
    /// As the paper describes.
    Paper(PaperHead),
}

impl FiltrationHead {
    /// The released form, which released weights need.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape.
    pub fn new(config: &FiltrationConfig, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self::Released(ReleasedHead::new(config, vb)?))
    }

    /// Proposals of a later frame as [`FiltrationHead::follow`] takes them; `None` if the head does not ask.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn sighting(&self, there: (&Proposals, &Pyramid)) -> Result<Option<Sighting>> {
        match self {
            Self::Released(head) => head.sighting(there),
            Self::Paper(_) => Ok(None),
        }
    }

    /// What became of `first`, the proposals of one frame, on later frames; `None` if the head does not ask.
    ///
    /// # Errors
    /// If widths do not fit, or there are not as many later frames as the configuration names.
    pub fn follow(
        &self,
        first: (&Proposals, &Pyramid),
        later: &[Sighting],
    ) -> Result<Option<Followed>> {
        match self {
            Self::Released(head) => head.follow(first, later),
            Self::Paper(_) => Ok(None),
        }
    }

    /// Logits of the words of motion `(m, words)` for what `candidates` have done; `None` if the head does not say them, or
    /// nothing was followed.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn motions(&self, candidates: &Candidates<'_>) -> Result<Option<Tensor>> {
        match self {
            Self::Released(head) => head.motions(candidates),
            Self::Paper(_) => Ok(None),
        }
    }

    /// Scores `proposals` for `queries (n, d)`; boxes are fractions of the square image that `pyramid` was made of. All
    /// proposals count as valid.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn score(
        &self,
        queries: &Tensor,
        proposals: &Proposals,
        pyramid: &Pyramid,
    ) -> Result<FilterOutput> {
        let candidates = Candidates::all_valid(proposals)?;
        self.score_candidates(queries, &candidates, pyramid)
    }

    /// [`FiltrationHead::score`] with a validity per proposal and a choice of image size.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn score_candidates(
        &self,
        queries: &Tensor,
        candidates: &Candidates<'_>,
        pyramid: &Pyramid,
    ) -> Result<FilterOutput> {
        match self {
            Self::Released(head) => head.score(queries, candidates, pyramid),
            Self::Paper(head) => head.score(queries, candidates, pyramid),
        }
    }
}

/// Amplitude of the place code: as loud as the features it stands beside, which are many. At 1 the places are learnt many
/// times slower than the colours.
const LOUDNESS: f32 = 4.0;

/// What became of a frame's proposals on later frames, where they were found again.
#[derive(Clone, Debug)]
pub struct Followed {
    /// `(m, later · travel::WIDTH)`: where they went; where it is not known, zeros are read.
    pub travel: Tensor,
    /// `(m, width)`: their region codes on their own frame.
    pub code: Tensor,
    /// `(m, width)`: those averaged over all frames.
    pub looks: Tensor,
}

/// Proposals with all that scoring needs.
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    /// `(m, d)`.
    pub features: &'a Tensor,
    /// `(m)`: objectness 0..1.
    pub scores: &'a Tensor,
    /// `(m, 4)`: x1, y1, x2, y2 as fractions.
    pub boxes: &'a Tensor,
    /// Which may be chosen, `m` of them.
    pub valid: Vec<bool>,
    /// Rows and columns of the image in pixels; `None`: four times those of the pyramid's finest level.
    pub image: Option<(usize, usize)>,
    /// What became of them on later frames, see [`FiltrationHead::follow`]; `None`: not known.
    pub followed: Option<&'a Followed>,
    /// What is cut out for each box.
    pub cut: Cuttings<'a>,
}

impl<'a> Candidates<'a> {
    /// Every proposal, on the image that the pyramid tells.
    ///
    /// # Errors
    /// If the boxes are not a matrix.
    pub fn all_valid(proposals: &'a Proposals) -> Result<Self> {
        let m = proposals.boxes.dim(0)?;
        Ok(Self {
            features: &proposals.features,
            scores: &proposals.scores,
            boxes: &proposals.boxes,
            valid: vec![true; m],
            image: None,
            followed: None,
            cut: Cuttings::of(proposals),
        })
    }

    /// `(1, m)`: 0 where valid, −∞ elsewhere.
    fn barrier(&self, like: &Tensor) -> Result<Tensor> {
        let m = self.boxes.dim(0)?;
        if self.valid.len() != m {
            bail!("{} validity marks for {m} proposals", self.valid.len());
        }
        let row: Vec<f32> = self
            .valid
            .iter()
            .map(|v| if *v { 0.0 } else { f32::NEG_INFINITY })
            .collect();
        Tensor::from_vec(row, (1, m), like.device())?.to_dtype(like.dtype())
    }

    /// `(1, m)`: the logarithm of the objectness, which is at least 1e-6.
    fn log_objectness(&self) -> Result<Tensor> {
        self.scores.clamp(1e-6, f64::INFINITY)?.log()?.unsqueeze(0)
    }

    /// `(m, c + 4 · waves)`: the features, then [`LOUDNESS`] · cos(π k v) for k = 1 … waves of centre and root of the sides, so that a dot
    /// product can tell left from right and big from small.
    fn placed(&self, waves: usize) -> Result<Tensor> {
        if waves == 0 {
            return Ok(self.features.clone());
        }
        let boxes = self.boxes.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let mut code = Vec::with_capacity(boxes.len() * 4 * waves);
        for b in &boxes {
            let side = |a: f32, b: f32| (b - a).clamp(0.0, 1.0).sqrt();
            let centre = |a: f32, b: f32| f32::midpoint(a, b).clamp(0.0, 1.0);
            let place = [
                centre(b[0], b[2]),
                centre(b[1], b[3]),
                side(b[0], b[2]),
                side(b[1], b[3]),
            ];
            for v in place {
                let wave = |k: usize| LOUDNESS * (std::f32::consts::PI * k as f32 * v).cos();
                code.extend((1..=waves).map(wave));
            }
        }
        let code = Tensor::from_vec(code, (boxes.len(), 4 * waves), self.features.device())?;
        Tensor::cat(&[self.features, &code.to_dtype(self.features.dtype())?], 1)
    }

    /// `(n, m, 4)`: the proposals' boxes for every query.
    fn boxes_per_query(&self, n: usize) -> Result<Tensor> {
        let m = self.boxes.dim(0)?;
        self.boxes.unsqueeze(0)?.broadcast_as((n, m, 4))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn features_can_say_where_their_box_is() -> Result<()> {
        let device = &Device::Cpu;
        let proposals = Proposals {
            boxes: Tensor::new(&[[0.0_f32, 0.0, 0.5, 1.0], [0.5, 0.2, 1.0, 0.2]], device)?,
            scores: Tensor::new(&[0.5_f32, 0.5], device)?,
            features: Tensor::new(&[[7_f32, 8.0, 9.0], [1.0, 2.0, 3.0]], device)?,
            indices: vec![0, 1],
            masks: None,
            crops: None,
            aspect: 0.0,
        };
        let candidates = Candidates::all_valid(&proposals)?;
        assert_eq!(candidates.placed(0)?.dims(), [2, 3]);
        let placed = candidates.placed(2)?.to_vec2::<f32>()?;
        assert_eq!(placed[0].len(), 3 + 8);
        assert_eq!(placed[1][..3], [1.0, 2.0, 3.0]);
        let half = LOUDNESS * std::f32::consts::FRAC_1_SQRT_2;
        // Centre x, then y, then the roots of width and height.
        assert!((placed[0][3] - half).abs() < 1e-5 && (placed[1][3] + half).abs() < 1e-5);
        assert!((placed[0][9] + LOUDNESS).abs() < 1e-5 && (placed[1][9] - LOUDNESS).abs() < 1e-5);
        Ok(())
    }
}
