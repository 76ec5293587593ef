//! Softmax and scaled dot-product attention.

use candle_core::{D, Result, Tensor};

/// Softmax over the last axis.
pub fn softmax_last(x: &Tensor) -> Result<Tensor> {
    let max = x.max_keepdim(D::Minus1)?.detach();
    let e = x.broadcast_sub(&max)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// `softmax(q kᵀ · scale + mask) v`: q `(b, h, n, d)`, k `(b, h, m, d)`, v `(b, h, m, e)` → `(b, h, n, e)`.
/// `mask` is additive and broadcasts to `(b, h, n, m)`; it gets no gradient.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f64,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let scores = (q.contiguous()?.matmul(&k.transpose(2, 3)?.contiguous()?)? * scale)?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    softmax_last(&scores)?.matmul(&v.contiguous()?)
}
