//! What this machine does at best: one large product of matrices, one large copy.
//!
//! The product is in the type in which a network of that precision multiplies here, and says which, since a GPU is many
//! times as fast in halves as in f32. What the networks make of it is left to [`super::networks`].

use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::{
    IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _,
};
use serde::Serialize;

use crate::{
    infer::{InferError, InferResult},
    nn::{ops, precision::Precision},
    task::CancelToken,
};

use super::stopwatch::quickest;

/// Side of the matrices on a CPU.
const SIDE: usize = 2048;
/// On a GPU, whose units a product of the other size does not even fill.
const GPU_SIDE: usize = 8192;
/// Bytes that are copied: more than any cache holds.
const COPIED: usize = 256 << 20;
/// Runs, and how long they go on.
const RUNS: (u32, Duration) = (3, Duration::from_millis(400));

/// Measured rates.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ceiling {
    /// 10⁹ operations per second of a product of square matrices.
    pub gflops: f64,
    /// What they hold: f32 on a CPU, where all arithmetic is, else the type of the precision's matrices.
    pub precision: &'static str,
    /// Rows and columns of each.
    pub side: usize,
    /// 10⁹ bytes per second of a copy, read and written.
    pub gbytes: f64,
}

impl Ceiling {
    /// Measures both for networks of a precision, which takes about a second.
    ///
    /// # Errors
    /// If the device fails; [`InferError::Cancelled`].
    pub fn measure(
        device: &Device,
        precision: Precision,
        cancel: &CancelToken,
    ) -> InferResult<Self> {
        let (dtype, side) = if device.is_cpu() {
            (DType::F32, SIDE)
        } else {
            (precision.matrices(), GPU_SIDE)
        };
        let matrix = || Tensor::rand(-1_f32, 1.0, (side, side), device)?.to_dtype(dtype);
        let (a, b) = (matrix()?, matrix()?);
        let mut stages = Vec::new();
        quickest(&mut stages, "product", RUNS, || {
            cancel.check()?;
            let y = ops::linear(&a, &b, None)?;
            device.synchronize()?;
            Ok::<_, InferError>(y)
        })?;
        let gflops = stages[0].gflops();
        let secs = if device.is_cpu() {
            let from = vec![1_u8; COPIED];
            let mut to = vec![0_u8; COPIED];
            let run = || {
                cancel.check()?;
                to.par_chunks_mut(1 << 20)
                    .zip(from.par_chunks(1 << 20))
                    .for_each(|(to, from)| to.copy_from_slice(from));
                Ok::<_, InferError>(())
            };
            quickest(&mut stages, "copy", RUNS, run)?;
            stages[1].secs
        } else {
            let from = Tensor::zeros(COPIED / 4, DType::F32, device)?;
            quickest(&mut stages, "copy", RUNS, || {
                cancel.check()?;
                let to = from.copy()?;
                device.synchronize()?;
                Ok::<_, InferError>(to)
            })?;
            stages[1].secs
        };
        Ok(Self {
            gflops,
            precision: dtype.as_str(),
            side,
            gbytes: 2.0 * COPIED as f64 * 1e-9 / secs,
        })
    }
}
