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
mod depthwise;
mod flash;
mod fused;
mod layout;
mod linear;
mod meter;
mod narrow;
mod norm;
mod resize;
mod roi_align;
mod rotary;

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Result, Tensor};

pub use activation::{gelu, quick_gelu};
pub use attention::{Band, MASKED, attention, causal_attention, softmax_last};
pub use conv::{conv_transpose_2x2, conv2d, max_pool_2x2};
pub use deformable::deformable_sampling;
pub use depthwise::depthwise_conv2d;
pub use fused::{Activation, add, linear_activated, linear_added, mlp, swiglu};
pub use layout::{merge_heads, nchw_to_tokens, tokens_to_nchw, transpose_last};
pub use linear::linear;
pub use meter::{Work, metered};
pub use narrow::{linear_narrow, widened, widens_whole};
pub use norm::{layer_norm, layer_norm_2d, layer_norm_2d_gelu, rms_norm};
pub use resize::{resize_bicubic, resize_bilinear, resize_nearest};
pub use roi_align::{Roi, roi_align};
pub use rotary::{rotate_half, rotate_pairs};

/// `a · b` over the last two axes; the leading ones are equal.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let y = a.matmul(b)?;
    meter::count(
        2 * y.elem_count() * a.dim(a.rank() - 1)?,
        bytes(&[a, b, &y]),
    );
    Ok(y)
}

/// Bytes of tensors, as if each were stored in full.
fn bytes(tensors: &[&Tensor]) -> usize {
    tensors
        .iter()
        .map(|t| t.elem_count() * t.dtype().size_in_bytes())
        .sum()
}

/// Whether a gradient may be asked of any of them: the kernels that have none step back.
fn tracked(tensors: &[&Tensor]) -> bool {
    tensors.iter().any(|t| t.track_op())
}

/// Accounts for element-wise work: the arguments read, a result of the first one's size written.
fn passed(x: &Tensor, others: &[&Tensor]) {
    meter::count(0, 2 * bytes(&[x]) + bytes(others));
}

/// Set once by [`compose_only`].
static COMPOSED: AtomicBool = AtomicBool::new(false);

/// From now on every function here is composed of candle's own operations, on the CPU too: what a GPU computes, where none
/// is at hand. For the whole process, and many times slower.
pub fn compose_only() {
    COMPOSED.store(true, Ordering::Relaxed);
}

/// Whether our CPU kernels serve a device.
pub(crate) fn kernels_serve(device: &Device) -> bool {
    device.is_cpu() && !COMPOSED.load(Ordering::Relaxed)
}

/// Whether our CPU kernels apply.
fn fast(x: &Tensor) -> bool {
    kernels_serve(x.device()) && x.dtype() == DType::F32
}
