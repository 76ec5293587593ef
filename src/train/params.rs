//! The trainable tensors of a stage, by name. Leaves updating them to [`super::optim`].
//!
//! candle's `VarMap` draws initial values from the thread's own generator, so two runs never start equal. Here each
//! tensor's initial values are a function of the run's seed and the tensor's name alone: the order in which networks
//! are built does not matter, and a stage may be extended without moving what others start from.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::{
    Init, VarBuilder,
    init::{FanInOut, NormalOrUniform},
    var_builder::SimpleBackend,
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

/// Named variables, created on first use.
#[derive(Clone)]
pub struct Params {
    vars: Arc<Mutex<BTreeMap<String, Var>>>,
    seed: u64,
    device: Device,
}

impl Params {
    /// An empty set whose future tensors start from `seed`.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self {
            vars: Arc::default(),
            seed,
            device: device.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Var>> {
        self.vars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A builder that creates what it is asked for.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, self.device.clone())
    }

    /// All variables, sorted by name.
    pub fn all(&self) -> Vec<(String, Var)> {
        self.lock()
            .iter()
            .map(|(name, var)| (name.clone(), var.clone()))
            .collect()
    }

    /// The variables whose name `keep` accepts, sorted by name.
    pub fn matching(&self, keep: impl Fn(&str) -> bool) -> Vec<(String, Var)> {
        let mut all = self.all();
        all.retain(|(name, _)| keep(name));
        all
    }

    /// One variable.
    pub fn get(&self, name: &str) -> Option<Var> {
        self.lock().get(name).cloned()
    }

    /// Overwrites one variable's values; shapes must agree.
    ///
    /// # Errors
    /// If there is no such variable or its shape differs.
    pub fn set(&self, name: &str, value: &Tensor) -> Result<()> {
        match self.get(name) {
            Some(var) => var.set(
                &value
                    .to_device(&self.device)?
                    .to_dtype(DType::F32)?
                    .contiguous()?,
            ),
            None => candle_core::bail!("there is no tensor {name} to set"),
        }
    }

    /// Fills the variables that `tensors` names; returns how many were filled and the names that stayed as they were. A
    /// matrix, or a convolution's kernels, that has more columns than its namesake takes those and starts the others at zero: a
    /// layer that reads more than it used to begins as what it was.
    ///
    /// # Errors
    /// If a shape differs otherwise.
    pub fn fill(&self, tensors: &HashMap<String, Tensor>) -> Result<(usize, Vec<String>)> {
        let mut filled = 0;
        let mut untouched = Vec::new();
        for (name, var) in self.all() {
            match tensors.get(&name) {
                Some(value) => {
                    self.set(&name, &widened(value, var.shape())?)?;
                    filled += 1;
                }
                None => untouched.push(name),
            }
        }
        Ok((filled, untouched))
    }

    /// Number of scalars.
    pub fn count(&self) -> usize {
        self.all().iter().map(|(_, v)| v.elem_count()).sum()
    }

    fn fresh(&self, shape: &Shape, name: &str, init: Init) -> Result<Tensor> {
        let mut rng = named_rng(self.seed, name);
        let n = shape.elem_count();
        let data: Vec<f32> = match init {
            Init::Const(v) => vec![v as f32; n],
            Init::Uniform { lo, up } => (0..n).map(|_| rng.random_range(lo..up) as f32).collect(),
            Init::Randn { mean, stdev } => (0..n)
                .map(|_| (mean + stdev * normal(&mut rng)) as f32)
                .collect(),
            // The layers ask for candle's "default"; upstream's `nn.Linear` and `nn.Conv2d` draw from
            // ±1/√fan_in, which is what the recipe was found with, and a factor √6 narrower.
            Init::Kaiming { dist, .. } => {
                let fan = FanInOut::FanIn.for_shape(shape).max(1) as f64;
                match dist {
                    NormalOrUniform::Uniform => {
                        let bound = 1.0 / fan.sqrt();
                        (0..n)
                            .map(|_| rng.random_range(-bound..bound) as f32)
                            .collect()
                    }
                    NormalOrUniform::Normal => (0..n)
                        .map(|_| (normal(&mut rng) / (3.0 * fan).sqrt()) as f32)
                        .collect(),
                }
            }
        };
        Tensor::from_vec(data, shape, &self.device)
    }
}

/// `value` with columns of zeros behind, up to those of `shape`; itself where that does not apply.
fn widened(value: &Tensor, shape: &Shape) -> Result<Tensor> {
    let (has, wants) = (value.dims(), shape.dims());
    if has.len() < 2 || has.len() != wants.len() || has[0] != wants[0] || has[2..] != wants[2..] {
        return Ok(value.clone());
    }
    let missing = wants[1].saturating_sub(has[1]);
    value.to_dtype(DType::F32)?.pad_with_zeros(1, 0, missing)
}

/// A generator that depends on the seed and the name alone.
fn named_rng(seed: u64, name: &str) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// One standard normal value (Box–Muller, one half of the pair).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = rng.random_range(f64::MIN_POSITIVE..1.0);
    let v: f64 = rng.random();
    libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)
}

impl SimpleBackend for Params {
    fn get(&self, s: Shape, name: &str, init: Init, _: DType, _: &Device) -> Result<Tensor> {
        if let Some(var) = self.get(name) {
            if var.shape() != &s {
                candle_core::bail!(
                    "tensor {name} is asked for as {s:?} and exists as {:?}",
                    var.shape()
                );
            }
            return Ok(var.as_tensor().clone());
        }
        let var = Var::from_tensor(&self.fresh(&s, name, init)?)?;
        let tensor = var.as_tensor().clone();
        self.lock().insert(name.to_owned(), var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        match self.get(name) {
            Some(var) => Ok(var.as_tensor().clone()),
            None => candle_core::bail!("tensor {name} is missing and its shape unknown"),
        }
    }

    /// Only what was made already: a network that looks for an older spelling shall take the usual one.
    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(seed: u64, names: &[&str]) -> Vec<Vec<f32>> {
        let params = Params::new(seed, &Device::Cpu);
        let vb = params.var_builder();
        for name in names {
            vb.get_with_hints((3, 4), name, candle_nn::init::DEFAULT_KAIMING_UNIFORM)
                .unwrap();
        }
        params
            .all()
            .iter()
            .map(|(_, v)| v.flatten_all().unwrap().to_vec1().unwrap())
            .collect()
    }

    #[test]
    fn start_depends_on_seed_and_name_alone() {
        assert_eq!(values(1, &["a", "b"]), values(1, &["b", "a"]));
        assert_ne!(values(1, &["a", "b"]), values(2, &["a", "b"]));
        assert_ne!(values(1, &["a"]), values(1, &["b"]));
        assert!(values(1, &["a"])[0].iter().all(|v| v.abs() <= 0.5));
    }

    #[test]
    fn a_matrix_that_has_grown_starts_as_what_it_was() {
        let params = Params::new(0, &Device::Cpu);
        params.var_builder().get((2, 3), "w").unwrap();
        let old = Tensor::new(&[[1_f32], [2.0]], &Device::Cpu).unwrap();
        params
            .fill(&HashMap::from([("w".to_owned(), old)]))
            .unwrap();
        let w: Vec<Vec<f32>> = params.get("w").unwrap().to_vec2().unwrap();
        assert_eq!(w, [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]);
        params.var_builder().get((1, 2, 1, 2), "kernel").unwrap();
        let old = Tensor::new(&[[[[3_f32, 4.0]]]], &Device::Cpu).unwrap();
        params
            .fill(&HashMap::from([("kernel".to_owned(), old)]))
            .unwrap();
        let kernel = params.get("kernel").unwrap().flatten_all().unwrap();
        assert_eq!(kernel.to_vec1::<f32>().unwrap(), [3.0, 4.0, 0.0, 0.0]);
        let taller = Tensor::zeros((3, 3), DType::F32, &Device::Cpu).unwrap();
        let refused = params.fill(&HashMap::from([("w".to_owned(), taller)]));
        assert!(refused.is_err());
    }

    #[test]
    fn fill_says_what_it_left_alone() {
        let params = Params::new(0, &Device::Cpu);
        let vb = params.var_builder();
        vb.get((2,), "a").unwrap();
        vb.get((2,), "b").unwrap();
        let a = Tensor::new(&[5_f32, 6.0], &Device::Cpu).unwrap();
        let (filled, left) = params.fill(&HashMap::from([("a".to_owned(), a)])).unwrap();
        assert_eq!((filled, left), (1, vec!["b".to_owned()]));
        assert_eq!(
            params.get("a").unwrap().to_vec1::<f32>().unwrap(),
            [5.0, 6.0]
        );
        let wrong = Tensor::new(&[1_f32], &Device::Cpu).unwrap();
        assert!(params.set("a", &wrong).is_err());
    }
}
