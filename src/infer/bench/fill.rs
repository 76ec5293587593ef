//! Weights for timing: of a likely spread, made as fast as memory is written, and worth nothing else.

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, init::NormalOrUniform, var_builder::SimpleBackend};

/// A builder that makes every tensor up.
pub(super) fn var_builder(device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Fill), DType::F32, device.clone())
}

/// Numbers in ±`bound` around `mean`, the same for the same length.
pub(super) fn values(n: usize, mean: f32, bound: f32) -> Vec<f32> {
    (0..n as u64)
        .map(|i| {
            let mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mean + bound * ((mixed >> 40) as f32 / (1_u64 << 23) as f32 - 1.0)
        })
        .collect()
}

/// A tensor of such numbers around 0.
pub(super) fn tensor(shape: &[usize], bound: f32, device: &Device) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values(shape.iter().product(), 0.0, bound), shape, device)
}

struct Fill;

impl SimpleBackend for Fill {
    fn get(
        &self,
        shape: Shape,
        _: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        // A uniform spread of the same deviation as a normal one is √3 times as wide.
        let root = 3_f32.sqrt();
        let (mean, bound) = match init {
            Init::Const(v) => (v as f32, 0.0),
            Init::Uniform { lo, up } => (((lo + up) / 2.0) as f32, ((up - lo) / 2.0) as f32),
            Init::Randn { mean, stdev } => (mean as f32, root * stdev as f32),
            Init::Kaiming { dist, fan, .. } => {
                let deviation = 1.0 / (fan.for_shape(&shape).max(1) as f32).sqrt();
                match dist {
                    NormalOrUniform::Normal | NormalOrUniform::Uniform => (0.0, root * deviation),
                }
            }
        };
        let values = values(shape.elem_count(), mean, bound);
        Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor {name} cannot be made up without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        false
    }
}
