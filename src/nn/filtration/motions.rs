//! What a proposal's way says in words, as logarithms of probabilities: how surely it is still, goes left, circles, grows.
//!
//! Nano's own, and the counterpart of [`super::names`]: a phrase asks for what is red *and* growing, and the selector's sum makes
//! such an "and" of logarithms. A sum cannot read a way, either: what circles has gone as far on one frame as what goes left,
//! and with a camera that moves everything goes. So two layers look at the way of a proposal beside the common way of all,
//! and at how its looks change. Which word stands for which number is settled where it is trained.

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;

use super::{Followed, names::SURELY_NOT, travel::WIDTH};
use crate::nn::layers::Linear;

/// Reads ways.
#[derive(Clone, Debug)]
pub struct Motions {
    hidden: Linear,
    read: Linear,
    words: usize,
}

impl Motions {
    /// Reads `hidden` and `read`, for `later` frames and region codes of `code` numbers; `[width, words]` are the sizes of the
    /// two layers.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape.
    pub fn new(
        [width, words]: [usize; 2],
        (later, code): (usize, usize),
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let known = 2 * later * WIDTH + 2 * code;
        Ok(Self {
            hidden: Linear::new(known, width, vb.pp("hidden"))?,
            read: Linear::new(width, words, vb.pp("read"))?,
            words,
        })
    }

    /// Logits `(m, words)` of proposals whose objectness is `scores (m)`.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn logits(&self, followed: &Followed, scores: &Tensor) -> Result<Tensor> {
        let dtype = scores.dtype();
        let travel = followed.travel.to_dtype(dtype)?;
        let (code, looks) = (
            followed.code.to_dtype(dtype)?,
            followed.looks.to_dtype(dtype)?,
        );
        let share = scores.broadcast_div(&(scores.sum_all()? + 1e-6)?)?;
        let common = share.unsqueeze(0)?.matmul(&travel)?;
        let common = common.broadcast_as(travel.shape())?;
        let known = Tensor::cat(
            &[&travel, &common.contiguous()?, &code, &(looks - &code)?],
            D::Minus1,
        )?;
        self.read.forward(&self.hidden.forward(&known)?.relu()?)
    }

    /// Natural logarithms of probabilities, −6..0, `(m, words)`, without a gradient: what is said stays what was learnt of ways.
    /// Of what was not followed, every motion may be true: zeros.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn forward(&self, followed: Option<&Followed>, scores: &Tensor) -> Result<Tensor> {
        let Some(followed) = followed else {
            let shape = (scores.dim(0)?, self.words);
            return Tensor::zeros(shape, scores.dtype(), scores.device());
        };
        let logits = self.logits(followed, scores)?.detach();
        candle_nn::ops::log_softmax(&logits, D::Minus1)?.clamp(SURELY_NOT, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::nn::random_weights::RandomWeights;

    #[test]
    fn a_way_is_read_beside_the_common_way() -> Result<()> {
        let device = &Device::Cpu;
        let vb = RandomWeights::new(1).var_builder(device);
        let motions = Motions::new([6, 4], (2, 3), &vb)?;
        let code = Tensor::ones((3, 3), DType::F32, device)?;
        let followed = |others: f32| -> Result<Followed> {
            let rows = [1.0, others, others].map(|v| vec![v; 2 * WIDTH]);
            Ok(Followed {
                travel: Tensor::new(rows.to_vec(), device)?,
                code: code.clone(),
                looks: code.clone(),
            })
        };
        let scores = Tensor::new(&[0.5_f32, 0.9, 0.1], device)?;
        let alone = motions
            .forward(Some(&followed(0.0)?), &scores)?
            .to_vec2::<f32>()?;
        let together = motions
            .forward(Some(&followed(1.0)?), &scores)?
            .to_vec2::<f32>()?;
        assert_eq!(alone[1], alone[2], "they have done the same");
        assert_ne!(
            alone[0], together[0],
            "the first went the same way, but not alone"
        );
        for row in alone.iter().chain(&together) {
            let sum: f32 = row.iter().map(|v| v.exp()).sum();
            assert!(
                (sum - 1.0).abs() < 0.02 && row.iter().all(|v| *v <= 0.0),
                "{row:?}"
            );
        }
        // Nothing to be sure of where there is no objectness at all.
        let none = motions.forward(Some(&followed(1.0)?), &scores.zeros_like()?)?;
        assert!(
            none.flatten_all()?
                .to_vec1::<f32>()?
                .iter()
                .all(|v| v.is_finite())
        );
        Ok(())
    }
}
