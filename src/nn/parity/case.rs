//! One stored case: a safetensors file of weights, inputs, intermediate and final values, and its sizes as JSON.
//!
//! Keys that start with `input.`, `mid.` or `output.` are data, every other key is a weight under its checkpoint name.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::nn::weights::WeightStore;

/// Why a case could not be run at all; a wrong number is a failed stage of the report instead.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// The file or its JSON cannot be read.
    #[error("cannot read case {path}: {reason}")]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A tensor that the case should hold.
    #[error("the case holds no tensor {name}")]
    MissingTensor {
        /// Key in the file.
        name: String,
    },
    /// A value that the JSON should hold, or one of another kind.
    #[error("the case's JSON has no usable {path}: {reason}")]
    Config {
        /// Dotted path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The network refused.
    #[error(transparent)]
    Compute(#[from] candle_core::Error),
}

/// A stored case.
#[derive(Clone, Debug)]
pub struct Case {
    /// File name without its extension.
    pub name: String,
    /// Sizes and switches.
    pub config: Value,
    /// Everything in the file, in the stored types.
    pub tensors: HashMap<String, Tensor>,
    /// Where the tensors are and the networks run.
    pub device: Device,
    /// Keys that a comparison asked for; clones share it.
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Case {
    /// Reads `<name>.safetensors`; its JSON is the file's metadata under `config`, else `<name>.json` beside it.
    ///
    /// # Errors
    /// If either cannot be read.
    pub fn read(path: &Path) -> Result<Self, ParityError> {
        Self::read_on(path, &Device::Cpu)
    }

    /// [`Case::read`] onto a device, where the networks then run.
    ///
    /// # Errors
    /// As [`Case::read`], or if the device has no room.
    pub fn read_on(path: &Path, device: &Device) -> Result<Self, ParityError> {
        let fail = |reason: String| ParityError::Read {
            path: path.into(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
        let (_, header) =
            safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| fail(format!("{e:?}")))?;
        let stored = header.metadata().as_ref().and_then(|m| m.get("config"));
        let text = match stored {
            Some(text) => text.clone(),
            None => std::fs::read_to_string(path.with_extension("json"))
                .map_err(|e| fail(e.to_string()))?,
        };
        let config = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, device)
            .map_err(|e| fail(e.to_string()))?;
        let name = path
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(Self {
            name,
            config,
            tensors,
            device: device.clone(),
            asked: Arc::default(),
        })
    }

    /// Whether the file holds this key.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor as stored.
    ///
    /// # Errors
    /// If the file does not hold it.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, ParityError> {
        let found = self.tensors.get(name);
        if found.is_some() {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.insert(name.to_owned());
        }
        found.ok_or_else(|| ParityError::MissingTensor { name: name.into() })
    }

    /// Stored intermediate and final values that nothing has asked for yet, sorted.
    pub fn unasked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = self.names("mid.");
        names.extend(self.names("output."));
        names.retain(|name| !asked.contains(name));
        names
    }

    /// A tensor as f32 (a stored u8 keeps its number).
    ///
    /// # Errors
    /// If the file does not hold it.
    pub fn float(&self, name: &str) -> Result<Tensor, ParityError> {
        Ok(self.tensor(name)?.to_dtype(DType::F32)?)
    }

    /// A stored u8 image as the network's input, `(u8 − 128) / 64`.
    ///
    /// # Errors
    /// If the file does not hold it.
    pub fn image(&self, name: &str) -> Result<Tensor, ParityError> {
        Ok(((self.float(name)? - 128.0)? / 64.0)?)
    }

    /// Integers (ids, indices, bytes) in row-major order.
    ///
    /// # Errors
    /// If the file does not hold them.
    pub fn ints(&self, name: &str) -> Result<Vec<i64>, ParityError> {
        Ok(self
            .tensor(name)?
            .flatten_all()?
            .to_dtype(DType::I64)?
            .to_vec1()?)
    }

    /// Keys that start with `prefix`, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<_> = self
            .tensors
            .keys()
            .filter(|k| k.starts_with(prefix))
            .cloned()
            .collect();
        names.sort();
        names
    }

    /// The weights under `prefix` (with its dot; `""` = all), named without it.
    pub fn weights(&self, prefix: &str) -> WeightStore {
        let data = |k: &str| {
            ["input.", "mid.", "output."]
                .iter()
                .any(|p| k.starts_with(p))
        };
        let tensors = self
            .tensors
            .iter()
            .filter(|(k, _)| !data(k))
            .filter_map(|(k, t)| Some((k.strip_prefix(prefix)?.to_owned(), t.clone())))
            .collect();
        WeightStore::from_tensors(tensors, &self.device)
    }

    /// [`Case::weights`] as a builder.
    pub fn var_builder(&self, prefix: &str) -> VarBuilder<'static> {
        self.weights(prefix).var_builder()
    }

    /// [`Case::var_builder`] that gives zeros for weights that the case omits because nothing it compares depends on
    /// them: those whose name holds one of `omitted`.
    pub fn var_builder_omitting(
        &self,
        prefix: &str,
        omitted: &'static [&'static str],
    ) -> VarBuilder<'static> {
        let backend = Omitting {
            store: self.weights(prefix),
            omitted,
        };
        VarBuilder::from_backend(Box::new(backend), DType::F32, self.device.clone())
    }

    /// The JSON value at a dotted path (`model.d_model`, `runs.0.tag`).
    pub fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.config, |at, part| match at {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        })
    }

    /// The JSON value at a dotted path as `T`.
    ///
    /// # Errors
    /// If it is absent or of another kind.
    pub fn value<T: DeserializeOwned>(&self, path: &str) -> Result<T, ParityError> {
        let fail = |reason: String| ParityError::Config {
            path: path.into(),
            reason,
        };
        let value = self.get(path).ok_or_else(|| fail("absent".into()))?;
        serde_json::from_value(value.clone()).map_err(|e| fail(e.to_string()))
    }
}

/// Weights of which some parts are missing on purpose.
struct Omitting {
    store: WeightStore,
    omitted: &'static [&'static str],
}

impl SimpleBackend for Omitting {
    fn get(
        &self,
        s: Shape,
        name: &str,
        h: Init,
        dtype: DType,
        dev: &Device,
    ) -> candle_core::Result<Tensor> {
        let may_miss = self.omitted.iter().any(|part| name.contains(part));
        if may_miss && !self.store.contains_tensor(name) {
            return Tensor::zeros(s, dtype, dev);
        }
        SimpleBackend::get(&self.store, s, name, h, dtype, dev)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, dev: &Device) -> candle_core::Result<Tensor> {
        self.store.get_unchecked(name, dtype, dev)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.store.contains_tensor(name)
    }
}
