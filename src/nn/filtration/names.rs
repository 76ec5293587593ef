//! What a region code says in words, as logarithms of probabilities: how surely the region is of each colour, shape and
//! texture, and one thing at all.
//!
//! Nano's own. The selector's score is linear in what it knows of a proposal, and a phrase is a conjunction: "the red circle"
//! is true of what is red *and* a circle. Logarithms of probabilities are what a sum makes a conjunction of. The code alone
//! says how much there is of a circle and not how much more of an oval, so that loud colours would outvote a wrong shape.
//! Which word stands for which number is settled where it is trained; what a phrase makes of them, in the selector.

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;

use crate::nn::layers::Linear;

/// No word is more surely wrong than this, a natural logarithm: no other evidence would count.
pub(super) const SURELY_NOT: f64 = -6.0;

/// Reads region codes.
#[derive(Clone, Debug)]
pub struct Names {
    read: Linear,
    groups: Vec<usize>,
}

impl Names {
    /// Reads `weight` and `bias` for codes of `width` numbers; of the words of each group one is true.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape.
    pub fn new(width: usize, groups: &[usize], vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            read: Linear::new(width, numbers(groups), vb)?,
            groups: groups.to_vec(),
        })
    }

    /// Logits of codes `(k, width)`: `(k, n)` of each group, and `(k, 1)` of there being one thing, in this order.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn logits(&self, codes: &Tensor) -> Result<Vec<Tensor>> {
        let all = self.read.forward(codes)?;
        let mut from = 0;
        let parts = self.groups.iter().copied().chain([1]);
        parts
            .map(|n| {
                let part = all.narrow(D::Minus1, from, n)?;
                from += n;
                part.contiguous()
            })
            .collect()
    }

    /// Natural logarithms of probabilities, −6..0, of codes `(k, width)`: `(k, Σ groups + 1)`.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn forward(&self, codes: &Tensor) -> Result<Tensor> {
        let mut parts = self.logits(codes)?;
        let thing = parts.pop();
        let mut out = Vec::with_capacity(parts.len() + 1);
        for part in &parts {
            out.push(candle_nn::ops::log_softmax(part, D::Minus1)?);
        }
        // ln σ(x) as the first of two, of which the other has logit 0.
        if let Some(x) = thing {
            let both = Tensor::cat(&[&x, &x.zeros_like()?], D::Minus1)?;
            out.push(candle_nn::ops::log_softmax(&both, D::Minus1)?.narrow(D::Minus1, 0, 1)?);
        }
        Tensor::cat(&out, D::Minus1)?.clamp(SURELY_NOT, 0.0)
    }
}

/// How many numbers are read for these groups.
pub(super) fn numbers(groups: &[usize]) -> usize {
    groups.iter().sum::<usize>() + 1
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::nn::random_weights::RandomWeights;

    #[test]
    fn each_group_is_a_choice_and_nothing_is_ruled_out() -> Result<()> {
        let vb = RandomWeights::new(3).var_builder(&Device::Cpu);
        let names = Names::new(4, &[3, 2], vb)?;
        let codes = Tensor::new(
            &[[0.5_f32, -1.0, 2.0, 0.0], [90.0, 80.0, -70.0, 60.0]],
            &Device::Cpu,
        )?;
        let read = names.forward(&codes)?;
        assert_eq!(read.dims(), [2, 6]);
        let rows = read.to_vec2::<f32>()?;
        for group in [0..3, 3..5] {
            let sum: f32 = rows[0][group].iter().map(|v| v.exp()).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        }
        // Loud codes are sure, and still leave something.
        assert!(rows.iter().flatten().all(|v| (-6.0..=0.0).contains(v)));
        assert!(rows[1].iter().any(|v| *v < -5.9), "{:?}", rows[1]);
        let thing = &names.logits(&codes)?[2];
        let x = thing.to_vec2::<f32>()?[0][0];
        assert!((rows[0][5] - (1.0 / (1.0 + (-x).exp())).ln()).abs() < 1e-5);
        Ok(())
    }
}
