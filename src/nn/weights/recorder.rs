//! What networks ask for, found out without any weights: every tensor is a single zero seen as the shape asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};

/// Writes down every request.
#[derive(Clone, Default)]
pub struct Recorder {
    asked: Arc<Mutex<BTreeMap<String, Vec<usize>>>>,
    present: Arc<BTreeSet<String>>,
}

impl Recorder {
    /// `present` answers networks that take a tensor only where a file holds it.
    pub fn new(present: impl IntoIterator<Item = String>) -> Self {
        Self {
            asked: Arc::default(),
            present: Arc::new(present.into_iter().collect()),
        }
    }

    /// A builder on the CPU.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, Device::Cpu)
    }

    /// Name and shape of everything asked for so far.
    pub fn asked(&self) -> BTreeMap<String, Vec<usize>> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl SimpleBackend for Recorder {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), shape.dims().to_vec());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor {name} is asked for without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.present.contains(name)
    }
}
