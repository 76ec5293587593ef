//! How much work the kernels did: arithmetic and memory traffic, counted where it is asked for.
//!
//! Counted per calling thread, so what other threads compute at the same time does not enter. A product of `m·k` by `k·n`
//! counts `2·m·n·k` operations; traffic is every argument read once and every result written once, in the width in which
//! it is stored: what the memory must carry at least, not what a cache happens to save. Element-wise work counts as
//! traffic alone.

use std::cell::Cell;

/// Work done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Multiplications and additions.
    pub flop: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

thread_local! {
    static DONE: Cell<Work> = const { Cell::new(Work { flop: 0, bytes: 0 }) };
}

/// Adds to this thread's account.
pub(super) fn count(flop: usize, bytes: usize) {
    DONE.with(|done| {
        let mut work = done.get();
        work.flop += flop as u64;
        work.bytes += bytes as u64;
        done.set(work);
    });
}

/// Runs `work` and says how much the kernels called on this thread did for it.
pub fn metered<T>(work: impl FnOnce() -> T) -> (T, Work) {
    let before = DONE.with(Cell::get);
    let value = work();
    let after = DONE.with(Cell::get);
    let done = Work {
        flop: after.flop - before.flop,
        bytes: after.bytes - before.bytes,
    };
    (value, done)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{Work, metered};
    use crate::nn::ops;

    #[test]
    fn products_convolutions_and_attention_count_what_they_must() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let (x, w) = (zeros(&[2, 5, 7]), zeros(&[11, 7]));
        let (_, linear) = metered(|| ops::linear(&x, &w, None).unwrap());
        let want = Work {
            flop: 2 * 10 * 7 * 11,
            bytes: 4 * (70 + 77 + 110),
        };
        assert_eq!(linear, want);
        let (x, w) = (zeros(&[1, 3, 8, 8]), zeros(&[6, 3, 3, 3]));
        let (_, conv) = metered(|| ops::conv2d(&x, &w, None, 1, 1).unwrap());
        assert_eq!(conv.flop, 2 * 6 * 64 * 27);
        let (q, k) = (zeros(&[1, 2, 3, 4]), zeros(&[1, 2, 9, 4]));
        let (_, attention) = metered(|| ops::attention(&q, &k, &k, 1.0, None).unwrap());
        assert_eq!(attention.flop, 2 * 2 * 3 * 9 * (4 + 4));
        assert_eq!(attention.bytes, 4 * (24 + 72 + 72 + 24));
        assert_eq!(metered(|| ()).1, Work::default());
    }
}
