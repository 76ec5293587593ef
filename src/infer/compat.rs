//! `--compat released`: the rules of choice and the constants of the authors' program, where ours differ by default.
//!
//! Their numbers are those of `chat.py`. What both have in common (the state before a token, reference points that stay,
//! no suppression of overlapping proposals, the sliding window) is in the networks and needs no switch. The list of all
//! differences is `models/oddities.md`.

use candle_core::{DType, Tensor};

use crate::{
    nn::{
        filtration::{FiltrationHead, select},
        sam2::ImageFeatures,
    },
    project::{Proposal, Size, Thresholds},
};

use super::{
    engine::Engine,
    error::InferResult,
    networks::LoadedModel,
    offer::{Kept, Scored},
};

/// Weight of the region score: the trained one never reaches the released program (oddity 51).
pub(super) const GAMMA: f32 = 0.1;
/// Proposals at or above this confidence are kept, else the best.
const THRESHOLD: f32 = 0.4;
/// At most so many per referent.
const CAP: usize = 16;
/// Boxes are kept if SAM2 itself finds them as credible as this, else the best.
const PRIOR: f32 = 0.35;
/// At most so many.
const PRIOR_KEEP: usize = 4;

impl Engine {
    /// An engine that answers as the released program does.
    ///
    /// # Errors
    /// If the device fails.
    pub fn as_released(mut model: LoadedModel) -> InferResult<Self> {
        model.networks.filtration = match model.networks.filtration {
            FiltrationHead::Released(head) => {
                let gamma = Tensor::new(GAMMA, &model.device)?.to_dtype(DType::F32)?;
                FiltrationHead::Released(head.with_gamma(gamma))
            }
            paper @ FiltrationHead::Paper(_) => paper,
        };
        Ok(Self::new(model).released())
    }

    /// The thresholds that the choice among proposals goes by: the model's, or those of the released rules.
    pub fn thresholds_in_force(&self) -> Thresholds {
        if self.is_released() {
            Thresholds {
                objectness: 0.0,
                keep: THRESHOLD,
                at_most: CAP as u32,
            }
        } else {
            self.model().project_thresholds()
        }
    }

    /// Boxes of each of `referents`, and all proposals, best confidence first.
    pub(super) fn choose_as_released(
        &self,
        scored: &Scored,
        referents: usize,
        features: &ImageFeatures,
        size: Size,
    ) -> InferResult<(Vec<Kept>, Vec<Proposal>)> {
        let sets = kept(&scored.confidence, scored.boxes.len());
        let boxes: Vec<Vec<[f32; 4]>> = select::align(sets.len(), referents)
            .into_iter()
            .map(|set| sets[set].iter().map(|&i| scored.boxes[i]).collect())
            .collect();
        let n = &self.model().networks;
        let rows_columns = (size.height as usize, size.width as usize);
        let boxes = n.credible_within(
            &boxes,
            &n.pyramid(features)?,
            rows_columns,
            (PRIOR, PRIOR_KEEP),
        )?;
        let mut all = match scored.confidence.first() {
            Some(_) => scored.seen_by(0, size),
            None => Vec::new(),
        };
        for proposal in &mut all {
            let corners = proposal.box_px;
            proposal.selected = boxes
                .iter()
                .flatten()
                .any(|b| super::preprocess::box_from_norm(*b, size) == corners);
        }
        all.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        Ok((boxes.into_iter().map(Some).collect(), all))
    }
}

/// Indices that each query keeps of `m` proposals.
fn kept(confidence: &[Vec<f32>], m: usize) -> Vec<Vec<usize>> {
    select::select(confidence, &vec![true; m], THRESHOLD, CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16 at inference, not the 100 of the training scripts, and never nothing.
    #[test]
    fn oddity_22_at_most_sixteen_boxes_per_token() {
        let many = vec![vec![0.9; 30]];
        assert_eq!(kept(&many, 30)[0].len(), 16);
        assert_eq!(kept(&[vec![0.1, 0.3, 0.2]], 3), [[1]]);
        assert_eq!(PRIOR_KEEP, 4);
    }
}
