//! Weights for timing: of a likely spread, made as fast as memory is written, and worth nothing else, except that a
//! language model can be given an answer that it will say whatever it sees.

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, init::NormalOrUniform, var_builder::SimpleBackend};

/// A builder that makes every tensor up.
pub(super) fn var_builder(device: &Device) -> VarBuilder<'static> {
    saying(Vec::new(), device)
}

/// [`var_builder`] for a language model that says each of `script` after the one before, the first of which ends its
/// prompt; no token may stand in it twice.
///
/// Noise would choose noise: it might never say `[SEG]`, nor ever end, and a timing of it would be of no answer at all. So
/// the words of the script are embedded so loudly that no layer drowns them, and the head's row of each looks for the
/// word before it. Every layer still computes what it always computes.
pub(super) fn saying(script: Vec<u32>, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Fill { script }), DType::F32, device.clone())
}

/// Embedding of a word in a script, against about 1 that a layer adds.
const LOUD: f32 = 64.0;
/// What the head answers to the word before, in units of what a row of noise answers, for each root of the width.
const SURE: f32 = 4.0;

/// Numbers in ±`bound` around `mean`, the same for the same seed.
fn values(seed: u64, n: usize, mean: f32, bound: f32) -> Vec<f32> {
    (1..=n as u64)
        .map(|i| {
            let mixed = (seed ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mean + bound * ((mixed >> 40) as f32 / (1_u64 << 23) as f32 - 1.0)
        })
        .collect()
}

/// A tensor of such numbers around 0.
pub(super) fn tensor(shape: &[usize], bound: f32, device: &Device) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values(0, shape.iter().product(), 0.0, bound), shape, device)
}

/// A number that follows from a name: layers of one shape must differ, or their outputs would all add up in one direction.
fn seed(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }) << 32
}

/// Signs by which a word of a script is known.
fn signs(word: u32, width: usize) -> impl Iterator<Item = f32> {
    let seed = seed("signs") ^ (u64::from(word) << 20);
    values(seed, width, 0.0, 1.0)
        .into_iter()
        .map(|v| if v < 0.0 { -1.0 } else { 1.0 })
}

struct Fill {
    script: Vec<u32>,
}

impl Fill {
    /// Writes the script into the word embedding or the head, `width` numbers a row.
    fn write_script(&self, name: &str, values: &mut [f32], width: usize) {
        for pair in self.script.windows(2) {
            let (row, scale) = match name {
                "model.embed_tokens.weight" => (pair[0], LOUD),
                "lm_head.weight" => (pair[1], SURE / (width as f32).sqrt()),
                _ => return,
            };
            let row = &mut values[row as usize * width..][..width];
            for (value, sign) in row.iter_mut().zip(signs(pair[0], width)) {
                *value = scale * sign;
            }
        }
    }
}

impl SimpleBackend for Fill {
    fn get(
        &self,
        shape: Shape,
        name: &str,
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
        let mut values = values(seed(name), shape.elem_count(), mean, bound);
        self.write_script(name, &mut values, shape.dims().last().copied().unwrap_or(0));
        Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor {name} cannot be made up without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        false
    }
}
