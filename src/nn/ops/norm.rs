//! Norms. Variances are biased, statistics in f32.

use candle_core::{D, Result, Tensor};

/// Layer norm over the last axis: `(…, d)`, weight and bias `(d)`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.mean_keepdim(D::Minus1)?;
    let centred = x.broadcast_sub(&mean)?;
    let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred
        .broadcast_div(&(var + eps)?.sqrt()?)?
        .broadcast_mul(weight)?
        .broadcast_add(bias)
}

/// Layer norm over the channels of `(b, c, h, w)`, weight and bias `(c)`.
pub fn layer_norm_2d(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let x = x.permute((0, 2, 3, 1))?.contiguous()?;
    layer_norm(&x, weight, bias, eps)?
        .permute((0, 3, 1, 2))?
        .contiguous()
}

/// RMS norm over the last axis: `(…, d)`, weight `(d)`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean_sq = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean_sq + eps)?.sqrt()?)?
        .broadcast_mul(weight)
}
