//! What this machine does at best: one large product of matrices, one large copy.

use std::time::Duration;

use candle_core::{Device, Tensor};
use rayon::prelude::{
    IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _,
};
use serde::Serialize;

use crate::nn::ops;

use super::stopwatch::quickest;

/// Side of the matrices.
const SIDE: usize = 2048;
/// Bytes that are copied: more than any cache holds.
const COPIED: usize = 256 << 20;
/// Runs, and how long they go on.
const RUNS: (u32, Duration) = (3, Duration::from_millis(400));

/// Measured rates.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ceiling {
    /// 10⁹ operations per second of a 2048³ product in f32.
    pub gflops: f64,
    /// 10⁹ bytes per second of a copy, read and written.
    pub gbytes: f64,
}

impl Ceiling {
    /// Measures both, which takes about a second.
    ///
    /// # Errors
    /// If the device fails.
    pub fn measure(device: &Device) -> candle_core::Result<Self> {
        let matrix = || Tensor::rand(-1_f32, 1.0, (SIDE, SIDE), device);
        let (a, b) = (matrix()?, matrix()?);
        let mut stages = Vec::new();
        quickest(&mut stages, "product", RUNS, || {
            let y = ops::linear(&a, &b, None)?;
            device.synchronize()?;
            Ok::<_, candle_core::Error>(y)
        })?;
        let gflops = stages[0].gflops();
        let secs = if device.is_cpu() {
            let from = vec![1_u8; COPIED];
            let mut to = vec![0_u8; COPIED];
            let run = || {
                to.par_chunks_mut(1 << 20)
                    .zip(from.par_chunks(1 << 20))
                    .for_each(|(to, from)| to.copy_from_slice(from));
                Ok::<_, candle_core::Error>(())
            };
            quickest(&mut stages, "copy", RUNS, run)?;
            stages[1].secs
        } else {
            let from = Tensor::zeros(COPIED / 4, candle_core::DType::F32, device)?;
            quickest(&mut stages, "copy", RUNS, || {
                let to = from.copy()?;
                device.synchronize()?;
                Ok::<_, candle_core::Error>(to)
            })?;
            stages[1].secs
        };
        Ok(Self {
            gflops,
            gbytes: 2.0 * COPIED as f64 * 1e-9 / secs,
        })
    }
}
