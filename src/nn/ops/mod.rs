//! Our own kernels, each where candle's is slow on the CPU or has no gradient. Every function here is differentiable
//! and works on every device; on the CPU in f32 it takes the fast path.
//!
//! All images are NCHW, all token sequences have their features last.

mod activation;
mod attention;
mod conv;
mod norm;
mod resize;

pub use activation::{gelu, quick_gelu};
pub use attention::{attention, softmax_last};
pub use conv::{conv_transpose_2x2, conv2d, depthwise_conv2d, max_pool_2x2};
pub use norm::{layer_norm, layer_norm_2d, rms_norm};
pub use resize::{resize_bicubic, resize_bilinear, resize_nearest};
