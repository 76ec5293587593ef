//! Activations. candle's own GELU is tens of times slower than memory allows.

use candle_core::{Result, Tensor};

/// Exact GELU, `x · Φ(x)`; any shape.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// `x · σ(1.702 x)` (CLIP); any shape.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    x * candle_nn::ops::sigmoid(&(x * 1.702)?)?
}
