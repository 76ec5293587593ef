//! Convolutions and pooling on NCHW maps.

use candle_core::{Result, Tensor};

fn add_bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(b) => y.broadcast_add(&b.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

/// Dense convolution: x `(b, c, h, w)`, weight `(o, c, kh, kw)`, bias `(o)` → `(b, o, h', w')`.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
) -> Result<Tensor> {
    add_bias(x.conv2d(weight, padding, stride, 1, 1)?, bias)
}

/// Depthwise convolution of stride 1: x `(b, c, h, w)`, weight `(c, 1, k, k)` → `(b, c, h + 2p − k + 1, …)`.
pub fn depthwise_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    padding: usize,
) -> Result<Tensor> {
    let groups = weight.dim(0)?;
    add_bias(x.conv2d(weight, padding, 1, 1, groups)?, bias)
}

/// Transposed convolution, kernel 2, stride 2: x `(b, c, h, w)`, weight `(c, o, 2, 2)` → `(b, o, 2h, 2w)`.
pub fn conv_transpose_2x2(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    add_bias(x.conv_transpose2d(weight, 0, 0, 2, 1)?, bias)
}

/// Maximum over 2×2 tiles: `(b, c, h, w)` → `(b, c, h/2, w/2)`; h and w are even.
pub fn max_pool_2x2(x: &Tensor) -> Result<Tensor> {
    x.max_pool2d(2)
}
