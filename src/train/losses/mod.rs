//! The released training losses, exactly: masks, text, filtration ([`proposal`]), detector ([`set`]). What fine-tunes
//! released weights must pull the way they were made; the lighter terms of nano's own stages live with those stages.
//!
//! Everything is differentiable and small, so it is composed from tensor operations.

pub mod proposal;
pub mod set;

use candle_core::{D, DType, Result, Tensor, bail};

/// Keeps the dice sums small; part of the formula because of the epsilon beside them.
const DICE_SCALE: f64 = 1000.0;
const DICE_EPSILON: f64 = 1e-6;
/// A label that no loss looks at.
pub const IGNORED_LABEL: i64 = -100;

/// `(targets with ignored pixels as 0, 1 where a pixel counts)` of targets that are negative where ignored.
fn split_ignored(targets: &Tensor) -> Result<(Tensor, Tensor)> {
    let counts = targets.ge(0.0)?.to_dtype(DType::F32)?;
    Ok(((targets * &counts)?, counts))
}

/// Binary cross entropy of every logit, without overflow: logits and targets of one shape.
pub fn bce_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let tail = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    (logits.relu()? - (logits * targets)?)? + tail
}

/// Cross entropy summed over rows: logits and targets `(n, h, w)`; a target is 0, 1 or negative (ignored). Each row is
/// divided by all its pixels, ignored ones included.
///
/// # Errors
/// If the shapes differ.
pub fn mask_bce(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (_, h, w) = logits.dims3()?;
    let (targets, counts) = split_ignored(targets)?;
    let terms = (bce_with_logits(logits, &targets)? * counts)?;
    terms.sum_all()? / (h * w).max(1) as f64
}

/// Dice loss summed over rows, shapes as in [`mask_bce`]. A row without a pixel that counts gives 0.
///
/// # Errors
/// If the shapes differ.
pub fn mask_dice(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (targets, counts) = split_ignored(targets)?;
    let on = (candle_nn::ops::sigmoid(logits)? * counts)?;
    let sum = |t: &Tensor| -> Result<Tensor> { t.flatten_from(1)?.sum(1)? / DICE_SCALE };
    let common = ((sum(&(&on * &targets)?)? * 2.0)? + DICE_EPSILON)?;
    let both = ((sum(&on)? + sum(&targets)?)? + DICE_EPSILON)?;
    (1.0 - (common / both)?)?.sum_all()
}

/// Masks of one sample.
#[derive(Clone, Copy, Debug)]
pub struct MaskSample<'a> {
    /// `(t, n, h, w)` logits at the size of the targets, padded to a fixed number of rows.
    pub logits: &'a Tensor,
    /// `(n, t, h, w)`: 0, 1 or negative (ignored, as padding rows are).
    pub targets: &'a Tensor,
}

/// `(weighted BCE, weighted dice)`: sums over samples, frames and rows, divided by the number of rows, padding included.
///
/// # Errors
/// If shapes do not fit.
pub fn mask_losses(
    samples: &[MaskSample<'_>],
    (bce, dice): (f64, f64),
) -> Result<(Tensor, Tensor)> {
    let mut rows = 0;
    let mut sums: Option<(Tensor, Tensor)> = None;
    for sample in samples {
        let (t, n, h, w) = sample.logits.dims4()?;
        let logits = sample.logits.reshape((t * n, h, w))?;
        let targets = sample.targets.transpose(0, 1)?.contiguous()?;
        let targets = targets.reshape((t * n, h, w))?;
        let (b, d) = (mask_bce(&logits, &targets)?, mask_dice(&logits, &targets)?);
        sums = Some(match sums {
            Some((bs, ds)) => ((bs + b)?, (ds + d)?),
            None => (b, d),
        });
        rows += t * n;
    }
    let Some((b, d)) = sums else {
        bail!("mask losses need at least one sample");
    };
    let rows = rows as f64 + 1e-8;
    Ok(((b * (bce / rows))?, (d * (dice / rows))?))
}

/// Cross entropy of the next token: logits `(b, s, v)`, labels `(b, s)` row by row, [`IGNORED_LABEL`] where not
/// supervised. The mean over the supervised; 0 if there is none.
///
/// # Errors
/// If a label is neither ignored nor in the vocabulary, or the counts do not fit.
pub fn next_token_loss(logits: &Tensor, labels: &[i64]) -> Result<Tensor> {
    let (b, s, v) = logits.dims3()?;
    if labels.len() != b * s {
        bail!("{} labels for {b} x {s} tokens", labels.len());
    }
    let mut rows = Vec::new();
    let mut classes = Vec::new();
    for (at, &label) in labels.iter().enumerate() {
        // The token before predicts this one; the first of a sequence is predicted by none.
        if at % s == 0 || label == IGNORED_LABEL {
            continue;
        }
        if !(0..v as i64).contains(&label) {
            bail!("label {label} is outside a vocabulary of {v}");
        }
        rows.push(at as u32 - 1);
        classes.push(label as u32);
    }
    let k = rows.len();
    if k == 0 {
        return logits.sum_all()? * 0.0;
    }
    let device = logits.device();
    let picked = logits.reshape((b * s, v))?;
    let picked = picked.index_select(&Tensor::from_vec(rows, k, device)?, 0)?;
    let log_p = candle_nn::ops::log_softmax(&picked, D::Minus1)?;
    let classes = Tensor::from_vec(classes, (k, 1), device)?;
    log_p.gather(&classes, 1)?.sum_all()? / -(k as f64)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::nn::ops::check::gradients_agree;

    fn var(values: &[f32], shape: &[usize]) -> Var {
        let t = Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
        Var::from_tensor(&t).unwrap()
    }

    const LOGITS: [f32; 12] = [
        0.4, -1.2, 2.0, 0.1, -0.6, 1.1, 0.3, -2.0, 0.9, -0.2, 1.7, 0.5,
    ];

    #[test]
    fn mask_losses_have_the_gradients_of_their_values() {
        let x = var(&LOGITS, &[2, 2, 3]);
        let t = [
            1.0_f32, 0.0, 1.0, -1.0, 0.0, 1.0, 0.0, 0.0, -1.0, 1.0, 1.0, 0.0,
        ];
        let t = Tensor::from_slice(&t, (2, 2, 3), &Device::Cpu).unwrap();
        gradients_agree(&[&x], |a| mask_bce(&a[0], &t)?.reshape(1));
        // Sums of a thousandth are hard on differences in f32; a factor brings them into reach.
        gradients_agree(&[&x], |a| (mask_dice(&a[0], &t)? * 10.0)?.reshape(1));
    }

    #[test]
    fn a_row_without_a_counting_pixel_costs_nothing() -> Result<()> {
        let x = var(&LOGITS, &[2, 2, 3]);
        let ignored = (Tensor::ones((2, 2, 3), DType::F32, &Device::Cpu)? * -1.0)?;
        assert_eq!(mask_bce(&x, &ignored)?.to_scalar::<f32>()?, 0.0);
        assert_eq!(mask_dice(&x, &ignored)?.to_scalar::<f32>()?, 0.0);
        Ok(())
    }

    /// A padding row costs nothing and counts all the same: with as many of them as rows, half of the loss is left.
    #[test]
    fn oddity_21_the_mean_is_over_padded_rows_too() -> Result<()> {
        let logits = Tensor::from_slice(&LOGITS, (1, 2, 2, 3), &Device::Cpu)?;
        let targets = logits.gt(0.0)?.to_dtype(DType::F32)?.transpose(0, 1)?;
        let none = (Tensor::ones((2, 1, 2, 3), DType::F32, &Device::Cpu)? * -1.0)?;
        let padded = (
            Tensor::cat(&[&logits, &logits], 1)?,
            Tensor::cat(&[&targets, &none], 0)?,
        );
        let loss = |logits: &Tensor, targets: &Tensor| -> Result<[f32; 2]> {
            let (bce, dice) = mask_losses(&[MaskSample { logits, targets }], (2.0, 0.5))?;
            Ok([bce.to_scalar()?, dice.to_scalar()?])
        };
        let (alone, among) = (loss(&logits, &targets)?, loss(&padded.0, &padded.1)?);
        for (alone, among) in alone.iter().zip(among) {
            assert!(
                *alone > 0.01 && (alone / 2.0 - among).abs() < 1e-6,
                "{alone} {among}"
            );
        }
        Ok(())
    }

    #[test]
    fn tokens_learn_from_the_next_label_only() -> Result<()> {
        let x = var(&LOGITS, &[1, 3, 4]);
        // The first label has no predecessor, the second is ignored: only row 1 predicts class 2.
        let loss = next_token_loss(&x, &[3, IGNORED_LABEL, 2])?;
        let grads = loss.backward()?;
        let grad = grads.get(&x).unwrap().flatten_all()?.to_vec1::<f32>()?;
        assert!(grad[..4].iter().chain(&grad[8..]).all(|g| *g == 0.0));
        assert!(grad[6] < 0.0 && grad[4] > 0.0);
        gradients_agree(&[&x], |a| next_token_loss(&a[0], &[3, 1, 2])?.reshape(1));
        assert!(next_token_loss(&x, &[0, 4, 0]).is_err());
        assert_eq!(
            next_token_loss(&x, &[IGNORED_LABEL; 3])?.to_scalar::<f32>()?,
            0.0
        );
        Ok(())
    }
}
