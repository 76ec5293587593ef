//! Weight files: strict loading, so that a missing, superfluous or wrongly shaped tensor is named before any work.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};

/// What can be wrong with weights.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The file cannot be read as safetensors.
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
    /// Tensors that no network asked for.
    #[error("{} superfluous tensors, the first is {first}", count)]
    Superfluous {
        /// How many.
        count: usize,
        /// The first by name.
        first: String,
    },
}

/// Tensors held in memory, remembering which were asked for.
#[derive(Clone)]
pub struct WeightStore {
    tensors: Arc<HashMap<String, Tensor>>,
    used: Arc<Mutex<BTreeSet<String>>>,
    device: Device,
}

impl WeightStore {
    /// From tensors already in memory.
    pub fn from_tensors(tensors: HashMap<String, Tensor>, device: &Device) -> Self {
        Self {
            tensors: Arc::new(tensors),
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
        let mut names: Vec<_> = self.tensors.keys().cloned().collect();
        names.sort();
        names
    }

    /// A tensor by name, without a shape check.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
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
        let tensor = self.get_unchecked(name, dtype, dev)?;
        if tensor.shape() != &s {
            candle_core::bail!(
                "tensor {name} has shape {:?}, the configuration needs {s:?}",
                tensor.shape()
            );
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, dev: &Device) -> candle_core::Result<Tensor> {
        let Some(tensor) = self.tensors.get(name) else {
            candle_core::bail!("tensor {name} is missing");
        };
        self.used
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(name.to_owned());
        tensor.to_device(dev)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}
