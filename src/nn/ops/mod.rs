//! Our own kernels, each where candle's is slow on the CPU or has no gradient. Every function here is differentiable
//! and works on every device; on the CPU in f32 it takes the fast path.
//!
//! All images are NCHW, all token sequences have their features last.

mod activation;
mod attention;
#[cfg(test)]
pub(crate) mod check;
mod conv;
mod cpu;
mod deformable;
mod layout;
mod linear;
mod norm;
mod resize;
mod roi_align;

use candle_core::{DType, Tensor};

pub use activation::{gelu, quick_gelu};
pub use attention::{attention, softmax_last};
pub use conv::{conv_transpose_2x2, conv2d, depthwise_conv2d, max_pool_2x2};
pub use deformable::deformable_sampling;
pub use layout::{nchw_to_tokens, tokens_to_nchw, transpose_last};
pub use linear::linear;
pub use norm::{layer_norm, layer_norm_2d, rms_norm};
pub use resize::{resize_bicubic, resize_bilinear, resize_nearest};
pub use roi_align::{Roi, roi_align};

/// Whether our CPU kernels apply.
fn fast(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}
