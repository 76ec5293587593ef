//! Weight files: strict loading, so that a missing, superfluous or wrongly shaped tensor is named before any work.
//!
//! A [`WeightStore`] hands networks their tensors, from memory or from files. Files are read tensor by tensor as they are
//! asked for, so that the host never holds a file next to the model made of it. [`file`] knows PyTorch's and safetensors'
//! formats, [`blocks`] matrices of small integers, [`folder`] the way that checkpoints are cut into shards, [`set`] puts
//! several files together under the names that networks ask for, [`bundle`] writes them into one file. Where files come
//! from is left to others.

pub mod blocks;
pub mod bundle;
pub mod element;
pub mod file;
pub mod folder;
mod pickle;
pub mod recorder;
pub mod set;
mod torch;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};

use self::{blocks::Blocks, element::Element, set::TensorSet};

/// What can be wrong with weights.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// A file cannot be read.
    #[error("cannot read weights from {path}: {reason}")]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A tensor holds NaN or infinity.
    #[error("tensor {name} holds a value that is not a number")]
    NotFinite {
        /// Tensor name.
        name: String,
    },
    /// A tensor does not hold floating-point numbers.
    #[error("tensor {name} holds {found}, where floating-point numbers are needed")]
    NotFloat {
        /// Tensor name.
        name: String,
        /// Number type.
        found: &'static str,
    },
    /// A number is too large for the type that it is to be stored in.
    #[error("tensor {name} holds numbers that f16 cannot hold: use bf16 or f32")]
    Overflow {
        /// Tensor name.
        name: String,
    },
    /// The output cannot be written.
    #[error("cannot write the weights: {reason}")]
    Write {
        /// Why.
        reason: String,
    },
    /// Whoever reads was asked to stop, see [`super::stop`].
    #[error("stopped on request")]
    Stopped,
    /// Tensors that no network asked for.
    #[error("{} superfluous tensors, the first is {first}", count)]
    Superfluous {
        /// How many.
        count: usize,
        /// The first by name.
        first: String,
    },
}

/// Where tensors are.
enum Held {
    Memory(HashMap<String, Tensor>),
    Files(TensorSet),
}

/// Tensors by name, remembering which were asked for.
#[derive(Clone)]
pub struct WeightStore {
    held: Arc<Held>,
    used: Arc<Mutex<BTreeSet<String>>>,
    device: Device,
}

impl WeightStore {
    /// From tensors already in memory.
    pub fn from_tensors(tensors: HashMap<String, Tensor>, device: &Device) -> Self {
        Self::holding(Held::Memory(tensors), device)
    }

    /// From files, each tensor read when it is asked for and checked to be finite then.
    pub fn from_files(files: TensorSet, device: &Device) -> Self {
        Self::holding(Held::Files(files), device)
    }

    fn holding(held: Held, device: &Device) -> Self {
        Self {
            held: Arc::new(held),
            used: Arc::default(),
            device: device.clone(),
        }
    }

    /// Reads one safetensors file. Values are widened to f32.
    ///
    /// # Errors
    /// If the file is not safetensors, is cut short, or holds NaN or infinity.
    pub fn read(path: &Path, device: &Device) -> Result<Self, WeightError> {
        let bytes = std::fs::read(path).map_err(|e| WeightError::Read {
            path: path.into(),
            reason: e.to_string(),
        })?;
        Self::from_bytes(&bytes, path, device)
    }

    /// Reads safetensors from memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`WeightStore::read`].
    pub fn from_bytes(bytes: &[u8], path: &Path, device: &Device) -> Result<Self, WeightError> {
        let read = |reason: String| WeightError::Read {
            path: path.into(),
            reason,
        };
        let raw = candle_core::safetensors::load_buffer(bytes, device)
            .map_err(|e| read(e.to_string()))?;
        let mut tensors = HashMap::with_capacity(raw.len());
        let sorted: BTreeMap<_, _> = raw.into_iter().collect();
        for (name, tensor) in sorted {
            let tensor = tensor
                .to_dtype(DType::F32)
                .map_err(|e| read(e.to_string()))?;
            // The sum is not finite as soon as one value is not.
            let sum = tensor
                .flatten_all()
                .and_then(|t| t.abs()?.max(0)?.to_scalar::<f32>())
                .unwrap_or(0.0);
            let total = tensor
                .sum_all()
                .and_then(|t| t.to_scalar::<f32>())
                .unwrap_or(0.0);
            if !sum.is_finite() || total.is_nan() {
                return Err(WeightError::NotFinite { name });
            }
            tensors.insert(name, tensor);
        }
        Ok(Self::from_tensors(tensors, device))
    }

    /// A builder whose `get`s are remembered; a missing or misshapen tensor is an error that names it.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, self.device.clone())
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        match &*self.held {
            Held::Memory(tensors) => {
                let mut names: Vec<_> = tensors.keys().cloned().collect();
                names.sort();
                names
            }
            Held::Files(files) => files.names().map(str::to_owned).collect(),
        }
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match &*self.held {
            Held::Memory(tensors) => tensors.get(name).map(Tensor::dims),
            Held::Files(files) => files.info(name).map(|i| i.shape.as_slice()),
        }
    }

    /// The own name of a matrix that is stored in the blocks that `name` says.
    fn in_blocks<'n>(&self, name: &'n str) -> Option<&'n str> {
        let (own, blocks) = Blocks::untagged(name)?;
        let stored = match &*self.held {
            Held::Memory(_) => return None,
            Held::Files(files) => files.info(own)?.element,
        };
        (stored == Element::Blocks(blocks)).then_some(own)
    }

    /// Tensors that no network has asked for, except those `ignore` accepts.
    pub fn unused(&self, ignore: impl Fn(&str) -> bool) -> Vec<String> {
        let used = self
            .used
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.names()
            .into_iter()
            .filter(|n| !used.contains(n) && !ignore(n))
            .collect()
    }

    /// # Errors
    /// [`WeightError::Superfluous`] if a tensor was not asked for.
    pub fn check_all_used(&self, ignore: impl Fn(&str) -> bool) -> Result<(), WeightError> {
        let unused = self.unused(ignore);
        match unused.first() {
            None => Ok(()),
            Some(first) => Err(WeightError::Superfluous {
                count: unused.len(),
                first: first.clone(),
            }),
        }
    }
}

impl SimpleBackend for WeightStore {
    fn get(
        &self,
        s: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        dev: &Device,
    ) -> candle_core::Result<Tensor> {
        if let Some(found) = self.shape(name)
            && found != s.dims()
        {
            candle_core::bail!(
                "tensor {name} has shape {found:?}, the configuration needs {:?}",
                s.dims()
            );
        }
        self.get_unchecked(name, dtype, dev)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, dev: &Device) -> candle_core::Result<Tensor> {
        let own = self.in_blocks(name);
        let tensor = match &*self.held {
            Held::Files(files) if let Some(own) = own => files
                .blocks(own)
                .map_err(|e| candle_core::Error::Msg(e.to_string()))?,
            Held::Memory(tensors) => match tensors.get(name) {
                Some(tensor) => tensor.to_device(dev)?.to_dtype(dtype)?,
                None => candle_core::bail!("tensor {name} is missing"),
            },
            Held::Files(files) if files.info(name).is_some() => files
                .tensor(name, dtype, dev)
                .map_err(|e| candle_core::Error::Msg(e.to_string()))?,
            Held::Files(_) => candle_core::bail!("tensor {name} is missing"),
        };
        self.used
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(own.unwrap_or(name).to_owned());
        Ok(tensor)
    }

    /// A matrix that is stored in blocks is there twice: as floats under its own name, and under its name in the file, as bytes.
    fn contains_tensor(&self, name: &str) -> bool {
        self.shape(name).is_some() || self.in_blocks(name).is_some()
    }
}
