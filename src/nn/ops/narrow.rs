//! Fully connected layers whose weight is stored in 16 bits while everything else is f32: half the memory, and for a few
//! rows, which are bound by reading the weight, up to twice the speed.
//!
//! On the CPU weights are widened on the way into the arithmetic, a few rows of the weight at a time. Elsewhere the
//! product itself runs in the weight's type, as automatic mixed precision does. No gradient: these are for answering.

use candle_core::{CpuStorage, DType, Result, Storage, Tensor, bail};
use half::slice::HalfFloatSliceExt as _;
use rayon::prelude::{IndexedParallelIterator as _, ParallelIterator as _, ParallelSliceMut as _};

use super::cpu::{Strided, dots, product_into, simd};
use super::{bytes, meter, transpose_last};

/// With more rows than this the whole weight is widened first: its cost is then small beside the arithmetic.
const PANELS: usize = 64;
/// Values of a weight that are widened at a time: they stay in the second-level cache.
const PANEL: usize = 1 << 16;

simd! {
    /// bf16 is the upper half of an f32.
    fn widen_bf16(x: &[half::bf16], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = f32::from_bits(u32::from(x.to_bits()) << 16);
        }
    }
}

/// A stored weight.
#[derive(Clone, Copy)]
enum Narrow<'a> {
    F16(&'a [half::f16]),
    Bf16(&'a [half::bf16]),
}

impl Narrow<'_> {
    fn widen(self, from: usize, y: &mut [f32]) {
        match self {
            Self::F16(x) => x[from..from + y.len()].convert_to_f32_slice(y),
            Self::Bf16(x) => widen_bf16(&x[from..from + y.len()], y),
        }
    }
}

fn with_narrow<T>(weight: &Tensor, f: impl FnOnce(Narrow<'_>) -> Result<T>) -> Result<T> {
    let (storage, layout) = weight.storage_and_layout();
    let Some((from, to)) = layout.contiguous_offsets() else {
        bail!("a narrow weight must be contiguous");
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F16(data)) => f(Narrow::F16(&data[from..to])),
        Storage::Cpu(CpuStorage::BF16(data)) => f(Narrow::Bf16(&data[from..to])),
        _ => bail!("a narrow weight is f16 or bf16"),
    }
}

/// Whether a product of so many rows should widen the whole weight and go on in f32.
pub fn widens_whole(rows: usize) -> bool {
    rows > PANELS
}

/// The weight in f32.
pub fn widened(weight: &Tensor) -> Result<Tensor> {
    if !super::kernels_serve(weight.device()) || !matches!(weight.dtype(), DType::F16 | DType::BF16)
    {
        return weight.to_dtype(DType::F32);
    }
    let mut y = vec![0.0_f32; weight.elem_count()];
    with_narrow(weight, |w| {
        y.par_chunks_mut(PANEL)
            .enumerate()
            .for_each(|(i, y)| w.widen(i * PANEL, y));
        Ok(())
    })?;
    Tensor::from_vec(y, weight.shape(), weight.device())
}

/// `x · weightᵀ + bias` in f32: x `(…, i)` f32, weight `(o, i)` f16 or bf16, bias `(o)` f32 → `(…, o)`.
pub fn linear_narrow(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (o, i) = weight.dims2()?;
    let mut dims = x.dims().to_vec();
    match dims.last_mut() {
        Some(last) if *last == i => *last = o,
        _ => bail!("a layer of {i} inputs got {:?}", x.dims()),
    }
    let rows = x.contiguous()?.reshape(((), i))?;
    let n = rows.dim(0)?;
    if super::kernels_serve(x.device()) && widens_whole(n) {
        return super::linear(x, &widened(weight)?, bias);
    }
    meter::count(2 * n * i * o, bytes(&[x, weight]) + 4 * n * o);
    let y = if super::kernels_serve(x.device()) {
        panels(&rows, weight, (n, o, i))?
    } else {
        let y = rows.to_dtype(weight.dtype())?.matmul(&weight.t()?)?;
        y.to_dtype(DType::F32)?
    };
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    y.reshape(dims)
}

/// x `(n, i)` × weightᵀ, a few rows of the weight at a time.
fn panels(x: &Tensor, weight: &Tensor, (n, o, i): (usize, usize, usize)) -> Result<Tensor> {
    if n * o * i == 0 {
        return Tensor::zeros((n, o), DType::F32, x.device());
    }
    let (storage, layout) = x.storage_and_layout();
    let (Storage::Cpu(CpuStorage::F32(data)), Some((from, to))) =
        (&*storage, layout.contiguous_offsets())
    else {
        bail!("a layer of narrow weights takes f32");
    };
    let x_values = &data[from..to];
    let height = (PANEL / i).clamp(1, o);
    // Transposed, so that each panel writes what belongs to it alone.
    let mut y = vec![0.0_f32; o * n];
    with_narrow(weight, |w| {
        y.par_chunks_mut(height * n).enumerate().for_each_init(
            Vec::new,
            |wide: &mut Vec<f32>, (panel, y)| {
                let rows = y.len() / n;
                wide.resize(rows * i, 0.0);
                w.widen(panel * height * i, wide);
                if n == 1 {
                    dots(x_values, wide, i, 1.0, y);
                } else {
                    let (a, b) = (Strided::rows(wide, i), Strided::columns(x_values, i));
                    product_into((y, n), (rows, n, i), a, b, (0.0, 1.0));
                }
            },
        );
        Ok(())
    })?;
    let y = Tensor::from_vec(y, (o, n), x.device())?;
    if n == 1 {
        y.reshape((1, o))
    } else {
        transpose_last(&y)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::nn::ops::check::noise;

    #[test]
    fn narrow_weights_give_what_the_same_numbers_give_in_full_width() {
        for dtype in [DType::F16, DType::BF16] {
            for (n, i, o) in [(1, 50, 70), (5, 33, 2001), (64, 16, 8), (65, 16, 8)] {
                let (x, bias) = (noise((n, i)), noise(o));
                let weight = noise((o, i)).to_dtype(dtype).unwrap();
                let wide = widened(&weight).unwrap();
                let same = (&wide - weight.to_dtype(DType::F32).unwrap()).unwrap();
                assert_eq!(
                    same.abs()
                        .unwrap()
                        .max_all()
                        .unwrap()
                        .to_scalar::<f32>()
                        .unwrap(),
                    0.0
                );
                let got = linear_narrow(&x, &weight, Some(&bias)).unwrap();
                let want = super::super::linear(&x, &wide, Some(&bias)).unwrap();
                let diff = (got - want).unwrap().abs().unwrap().max_all().unwrap();
                assert!(diff.to_scalar::<f32>().unwrap() < 1e-4, "{dtype:?} {n}");
            }
        }
        let weight = Tensor::zeros((3, 4), DType::F16, &Device::Cpu).unwrap();
        let x = Tensor::zeros((2, 5), DType::F32, &Device::Cpu).unwrap();
        assert!(linear_narrow(&x, &weight, None).is_err());
    }
}
