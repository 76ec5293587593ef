//! Weights that nobody trained, and numbers to try networks on, the same on every machine: for tests and for the first
//! step of a training run.
//!
//! Each tensor's values follow from its name and the seed, not from the order in which networks ask for them, so adding a
//! tensor changes no other. Leaves what the values should become to training.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, init::NormalOrUniform, var_builder::SimpleBackend};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

/// Makes each tensor when it is first asked for, as its layer's hint says, and keeps it.
#[derive(Clone)]
pub struct RandomWeights {
    seed: u64,
    made: Arc<Mutex<BTreeMap<String, Tensor>>>,
}

impl RandomWeights {
    /// Values follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            made: Arc::default(),
        }
    }

    /// A builder that hands out f32 tensors on `device`.
    pub fn var_builder(&self, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, device.clone())
    }

    /// Everything made so far, by name.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Normally distributed f32 numbers on the CPU, mean 0 and deviation 1, that follow from `seed` alone.
    ///
    /// What [`Tensor::randn`] draws on the CPU cannot be seeded, so a test of it may fail on one run in a hundred.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn normal(seed: u64, shape: impl Into<Shape>) -> candle_core::Result<Tensor> {
        let shape = shape.into();
        let init = Init::Randn {
            mean: 0.0,
            stdev: 1.0,
        };
        Tensor::from_vec(
            Self::new(seed).values("", &shape, init),
            shape,
            &Device::Cpu,
        )
    }

    fn values(&self, name: &str, shape: &Shape, init: Init) -> Vec<f32> {
        let digest = Sha256::new()
            .chain_update(self.seed.to_le_bytes())
            .chain_update(name)
            .finalize();
        let mut rng = ChaCha8Rng::from_seed(digest.into());
        let n = shape.elem_count();
        // Twelve uniform numbers add up to something normal enough, and to the same bits everywhere.
        let normal = |rng: &mut ChaCha8Rng| (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
        match init {
            Init::Const(v) => vec![v as f32; n],
            Init::Uniform { lo, up } => (0..n)
                .map(|_| lo as f32 + (up - lo) as f32 * rng.random::<f32>())
                .collect(),
            Init::Randn { mean, stdev } => (0..n)
                .map(|_| mean as f32 + stdev as f32 * normal(&mut rng))
                .collect(),
            Init::Kaiming {
                dist,
                fan,
                non_linearity,
            } => {
                let fan = fan.for_shape(shape).max(1) as f64;
                let std = (non_linearity.gain() / fan.sqrt()) as f32;
                match dist {
                    NormalOrUniform::Normal => (0..n).map(|_| std * normal(&mut rng)).collect(),
                    NormalOrUniform::Uniform => {
                        let bound = 3_f32.sqrt() * std;
                        (0..n)
                            .map(|_| bound * (2.0 * rng.random::<f32>() - 1.0))
                            .collect()
                    }
                }
            }
        }
    }
}

impl SimpleBackend for RandomWeights {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = made.get(name) {
            if tensor.shape() != &shape {
                candle_core::bail!(
                    "tensor {name} is asked for as {shape:?} and as {:?}",
                    tensor.shape()
                );
            }
            return tensor.to_dtype(dtype);
        }
        let tensor = Tensor::from_vec(self.values(name, &shape, init), shape, device)?;
        made.insert(name.to_owned(), tensor.clone());
        tensor.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor {name} is missing: random weights need a shape")
    }

    /// Only what was made already: a network that looks for an older spelling shall take the usual one.
    fn contains_tensor(&self, name: &str) -> bool {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_from_name_and_seed_alone() {
        let init = candle_nn::init::DEFAULT_KAIMING_UNIFORM;
        let get = |seed, names: &[&str]| {
            let vb = RandomWeights::new(seed).var_builder(&Device::Cpu);
            let all: Vec<Vec<f32>> = names
                .iter()
                .map(|n| {
                    vb.get_with_hints((3, 4), n, init)
                        .unwrap()
                        .flatten_all()
                        .unwrap()
                })
                .map(|t| t.to_vec1().unwrap())
                .collect();
            all
        };
        let (ab, ba) = (get(1, &["a", "b"]), get(1, &["b", "a"]));
        assert_eq!(ab[0], ba[1]);
        assert_ne!(ab[0], ab[1]);
        assert_ne!(ab[0], get(2, &["a"])[0]);
        let bound = 3_f32.sqrt() * (2_f32).sqrt() / 2.0;
        assert!(ab[0].iter().all(|v| v.abs() <= bound));
    }
}
