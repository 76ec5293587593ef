//! Tensors of several files under the names that networks ask for.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor};

use super::{
    WeightError,
    blocks::Blocks,
    element::{Element, all_finite, to_tensor},
    file::{TensorFile, TensorInfo},
};
use crate::nn::stop;

/// A tensor's file, its name there, and what is known of it.
#[derive(Clone, Debug)]
struct Place {
    file: usize,
    inner: String,
    info: TensorInfo,
}

/// Name and form of a matrix that a file holds as bytes, in blocks; `None` for other tensors.
fn as_matrix(name: &str, info: &TensorInfo) -> Option<(String, TensorInfo)> {
    let (own, blocks) = Blocks::untagged(name)?;
    let shape = blocks.shape_of(&info.shape)?;
    let matrix = TensorInfo {
        element: Element::Blocks(blocks),
        shape,
    };
    (info.element == Element::U8).then(|| (own.to_owned(), matrix))
}

/// Tensors of several files; the file added last wins where two hold the same.
#[derive(Debug, Default)]
pub struct TensorSet {
    files: Vec<TensorFile>,
    places: BTreeMap<String, Place>,
}

impl TensorSet {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file's tensors under the names that `rename` gives them; `None` leaves one out.
    pub fn add(&mut self, file: TensorFile, rename: impl Fn(&str) -> Option<String>) {
        let mut found = Vec::new();
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for (inner, info) in file.tensors() {
            let Some(name) = rename(inner) else { continue };
            let matrix = as_matrix(&name, info);
            let own = matrix.as_ref().map_or(&name, |m| &m.0);
            *times.entry(own.clone()).or_default() += 1;
            found.push((name, inner, info, matrix));
        }
        for (name, inner, info, matrix) in found {
            // A matrix that a file holds twice keeps its name in the file, for others to say that nobody asks for it.
            let (name, info) = match matrix {
                Some((own, info)) if times.get(&own) == Some(&1) => (own, info),
                _ => (name, info.clone()),
            };
            let place = Place {
                file: self.files.len(),
                inner: inner.to_owned(),
                info,
            };
            self.places.insert(name, place);
        }
        self.files.push(file);
    }

    /// Keeps only the tensors whose name `keep` accepts.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.places.retain(|name, _| keep(name));
    }

    /// Names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Names in the order in which their numbers are best read: file by file.
    pub fn by_file(&self) -> Vec<&str> {
        let mut all: Vec<_> = self.places.iter().collect();
        all.sort_by_key(|(name, place)| (place.file, *name));
        all.into_iter().map(|(name, _)| name.as_str()).collect()
    }

    /// What is known of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.places.get(name).map(|p| &p.info)
    }

    /// The file that holds a tensor.
    pub fn path(&self, name: &str) -> Option<&Path> {
        let place = self.places.get(name)?;
        self.files.get(place.file).map(TensorFile::path)
    }

    /// A tensor's numbers as stored, checked to be finite.
    ///
    /// # Errors
    /// [`WeightError`] if it is missing, cannot be read, or holds NaN or infinity; [`WeightError::Stopped`].
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError> {
        if stop::asked() {
            return Err(WeightError::Stopped);
        }
        let missing = || WeightError::Read {
            path: name.into(),
            reason: "there is no such tensor".into(),
        };
        let place = self.places.get(name).ok_or_else(missing)?;
        let file = self.files.get(place.file).ok_or_else(missing)?;
        let bytes = file.read(&place.inner)?;
        if !all_finite(&bytes, place.info.element) {
            return Err(WeightError::NotFinite { name: name.into() });
        }
        Ok(bytes)
    }

    /// Whether two tensors are there and are the same, number by number and in the same type.
    ///
    /// # Errors
    /// As [`TensorSet::bytes`].
    pub fn are_same(&self, a: &str, b: &str) -> Result<bool, WeightError> {
        let (Some(first), Some(second)) = (self.info(a), self.info(b)) else {
            return Ok(false);
        };
        Ok(first == second && self.bytes(a)? == self.bytes(b)?)
    }

    /// The blocks of a matrix, as bytes.
    ///
    /// # Errors
    /// As [`TensorSet::bytes`].
    pub fn blocks(&self, name: &str) -> Result<Tensor, WeightError> {
        let bytes = self.bytes(name)?;
        Tensor::from_slice(&bytes, bytes.len(), &Device::Cpu).map_err(|e| WeightError::Read {
            path: self.path(name).unwrap_or(Path::new(name)).into(),
            reason: format!("tensor {name}: {e}"),
        })
    }

    /// A tensor of floating-point numbers as `dtype`.
    ///
    /// # Errors
    /// As [`TensorSet::bytes`], or if the numbers are not floating-point.
    pub fn tensor(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightError> {
        let bytes = self.bytes(name)?;
        let read = |reason: String| WeightError::Read {
            path: self.path(name).unwrap_or(Path::new(name)).into(),
            reason,
        };
        let info = self
            .info(name)
            .ok_or_else(|| read(format!("it holds no tensor {name}")))?;
        if !info.element.is_real() {
            return Err(WeightError::NotFloat {
                name: name.into(),
                found: info.element.name(),
            });
        }
        to_tensor(&bytes, info.element, &info.shape, dtype, device).map_err(|e| {
            read(format!(
                "tensor {name}: {}",
                e.to_string().lines().next().unwrap_or_default()
            ))
        })
    }
}
