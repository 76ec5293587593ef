//! A clock around a stage: the quickest of several runs, and what the kernels did in it.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::nn::ops::{Work, metered};

/// One stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageTime {
    /// What was done.
    pub stage: &'static str,
    /// Seconds of the quickest run.
    pub secs: f64,
    /// Seconds of processor time, all threads together, of the run that took least; `None` where the system does not
    /// tell. On a busy machine it says more than the clock on the wall.
    pub cpu_secs: Option<f64>,
    /// How often it was run.
    pub runs: u32,
    /// Arithmetic of one run in units of 10⁹; 0 for stages outside the networks.
    pub gflop: f64,
    /// Bytes that one run must read and write at least; 0 for stages outside the networks.
    pub bytes: u64,
}

impl StageTime {
    /// 10⁹ operations per second.
    pub fn gflops(&self) -> f64 {
        self.gflop / self.secs
    }

    /// 10⁹ bytes per second.
    pub fn gbytes(&self) -> f64 {
        self.bytes as f64 * 1e-9 / self.secs
    }
}

/// Processor time that this process has used so far in seconds, all its threads together. Linux only.
pub fn cpu_secs() -> Option<f64> {
    let mut nanoseconds = 0_u64;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        // A thread may end while the list is read.
        let Ok(text) = std::fs::read_to_string(task.ok()?.path().join("schedstat")) else {
            continue;
        };
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 * 1e-9)
}

/// Runs `work` at least `least` times and until `fill` has passed, and takes the quickest: other runs had to share the
/// machine.
pub(crate) fn quickest<T, E>(
    stages: &mut Vec<StageTime>,
    stage: &'static str,
    (least, fill): (u32, Duration),
    mut work: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let started = Instant::now();
    let mut best = StageTime {
        stage,
        secs: f64::INFINITY,
        cpu_secs: None,
        runs: 0,
        gflop: 0.0,
        bytes: 0,
    };
    loop {
        let cpu = cpu_secs();
        let one = Instant::now();
        let (value, Work { flop, bytes }) = metered(&mut work);
        let secs = one.elapsed().as_secs_f64();
        let value = value?;
        if let (Some(before), Some(after)) = (cpu, cpu_secs()) {
            let used = after - before;
            best.cpu_secs = Some(best.cpu_secs.map_or(used, |old| old.min(used)));
        }
        best.secs = best.secs.min(secs);
        best.runs += 1;
        best.gflop = flop as f64 * 1e-9;
        best.bytes = bytes;
        if best.runs >= least && started.elapsed() >= fill {
            stages.push(best);
            return Ok(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    #[test]
    fn runs_are_counted_and_work_is_that_of_one_run() {
        let x = Tensor::zeros((64, 32), DType::F32, &Device::Cpu).unwrap();
        let mut stages = Vec::new();
        let y = quickest(&mut stages, "product", (3, Duration::ZERO), || {
            crate::nn::ops::linear(&x, &x, None)
        });
        assert_eq!(y.unwrap().dims(), [64, 64]);
        let stage = &stages[0];
        assert_eq!((stage.stage, stage.runs), ("product", 3));
        assert!((stage.gflop - 2.0 * 64.0 * 64.0 * 32.0 * 1e-9).abs() < 1e-12);
        assert!(stage.secs > 0.0 && stage.gflops() > 0.0 && stage.gbytes() > 0.0);
        if cfg!(target_os = "linux") {
            assert!(stage.cpu_secs.is_some());
        }
        let failed: Result<(), &str> =
            quickest(&mut stages, "broken", (3, Duration::ZERO), || Err("no"));
        assert_eq!((failed, stages.len()), (Err("no"), 1));
    }
}
