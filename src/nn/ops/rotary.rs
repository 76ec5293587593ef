//! Rotary positions in one pass, on the CPU in f32 without a gradient; elsewhere composed by whoever holds the tables.

use candle_core::{CpuStorage, Result, Storage, Tensor, bail};
use rayon::prelude::{
    IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _,
};

use super::cpu::simd;
use super::{fast, passed, tracked};

simd! {
    /// `(a, b)` → `(a cos − b sin, b cos + a sin)` for the halves of a row.
    fn turn_halves(x: &[f32], cos: &[f32], sin: &[f32], y: &mut [f32]) {
        let half = cos.len();
        let (a, b) = x.split_at(half);
        let (ya, yb) = y.split_at_mut(half);
        for i in 0..half {
            ya[i] = a[i] * cos[i] - b[i] * sin[i];
        }
        for i in 0..half {
            yb[i] = b[i] * cos[i] + a[i] * sin[i];
        }
    }
}

simd! {
    /// The same for adjacent pairs; the tables repeat each value.
    fn turn_pairs(x: &[f32], cos: &[f32], sin: &[f32], y: &mut [f32]) {
        let pairs = x.chunks_exact(2).zip(cos.chunks_exact(2)).zip(sin.chunks_exact(2));
        for (y, ((x, c), s)) in y.chunks_exact_mut(2).zip(pairs) {
            y[0] = x[0] * c[0] - x[1] * s[0];
            y[1] = x[1] * c[0] + x[0] * s[0];
        }
    }
}

/// Turns the halves of each head's features: x `(b, h, n, d)` with adjacent features, tables `(b or 1, 1, n, d/2)`;
/// `None` where the kernel does not apply.
pub fn rotate_half(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Option<Tensor>> {
    let (b, h, n, d) = x.dims4()?;
    if !fast(x) || tracked(&[x]) || x.stride()[3] != 1 || !d.is_multiple_of(2) {
        return Ok(None);
    }
    let (rows, one, m, half) = cos.dims4()?;
    if sin.dims() != cos.dims() || one != 1 || m != n || 2 * half != d || (rows != 1 && rows != b) {
        bail!("rotary tables {:?} do not fit {:?}", cos.dims(), x.dims());
    }
    passed(x, &[cos, sin]);
    let (cos, sin) = (cos.contiguous()?, sin.contiguous()?);
    let ((xs, xl), (cs, cl), (ss, sl)) = (
        x.storage_and_layout(),
        cos.storage_and_layout(),
        sin.storage_and_layout(),
    );
    let (
        Storage::Cpu(CpuStorage::F32(xs)),
        Storage::Cpu(CpuStorage::F32(cs)),
        Storage::Cpu(CpuStorage::F32(ss)),
    ) = (&*xs, &*cs, &*ss)
    else {
        bail!("rotary tables must be f32 on the CPU");
    };
    let (x_from, stride) = (xl.start_offset(), xl.stride().to_vec());
    let (cs, ss) = (&cs[cl.start_offset()..], &ss[sl.start_offset()..]);
    let mut y = vec![0.0_f32; b * h * n * d];
    y.par_chunks_mut((n * d).max(1))
        .enumerate()
        .for_each(|(i, y)| {
            let (image, head) = (i / h, i % h);
            let base = x_from + image * stride[0] + head * stride[1];
            let table = if rows == 1 { 0 } else { image * n * half };
            for (row, y) in y.chunks_exact_mut(d).enumerate() {
                let at = table + row * half;
                let x = &xs[base + row * stride[2]..][..d];
                turn_halves(x, &cs[at..at + half], &ss[at..at + half], y);
            }
        });
    Tensor::from_vec(y, (b, h, n, d), x.device()).map(Some)
}

/// Turns adjacent pairs of features: x `(…, n, d)` as a whole number of maps of `n` tokens, tables `(n, d)` whose values
/// stand twice; `None` where the kernel does not apply.
pub fn rotate_pairs(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Option<Tensor>> {
    let (n, d) = cos.dims2()?;
    if !fast(x) || tracked(&[x]) || !d.is_multiple_of(2) {
        return Ok(None);
    }
    if sin.dims() != [n, d] || n * d == 0 || !x.elem_count().is_multiple_of(n * d) {
        bail!("rotary tables {:?} do not fit {:?}", cos.dims(), x.dims());
    }
    passed(x, &[cos, sin]);
    let (x, cos, sin) = (x.contiguous()?, cos.contiguous()?, sin.contiguous()?);
    let ((xs, xl), (cs, cl), (ss, sl)) = (
        x.storage_and_layout(),
        cos.storage_and_layout(),
        sin.storage_and_layout(),
    );
    let (
        Storage::Cpu(CpuStorage::F32(xs)),
        Storage::Cpu(CpuStorage::F32(cs)),
        Storage::Cpu(CpuStorage::F32(ss)),
    ) = (&*xs, &*cs, &*ss)
    else {
        bail!("rotary tables must be f32 on the CPU");
    };
    let xs = &xs[xl.start_offset()..][..x.elem_count()];
    let (cs, ss) = (&cs[cl.start_offset()..], &ss[sl.start_offset()..]);
    let mut y = vec![0.0_f32; xs.len()];
    y.par_chunks_mut(d)
        .zip(xs.par_chunks(d))
        .with_min_len(64)
        .enumerate()
        .for_each(|(row, (y, x))| {
            let at = row % n * d;
            turn_pairs(x, &cs[at..at + d], &ss[at..at + d], y);
        });
    Tensor::from_vec(y, x.shape(), x.device()).map(Some)
}
