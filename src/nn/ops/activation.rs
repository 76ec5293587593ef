//! Activations. candle's own GELU is tens of times slower than memory allows.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::{
    IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _,
};

use super::cpu::{exp, f32s, simd};
use super::{fast, passed};

const CHUNK: usize = 16_384;

/// Φ(x), the normal distribution function, by Abramowitz and Stegun 7.1.26 (absolute error below 1.5e-7), and e^(−x²/2).
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    let a = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let bell = exp(-a * a);
    let poly = ((((1.061_405_4 * t - 1.453_152_1) * t + 1.421_413_8) * t - 0.284_496_72) * t
        + 0.254_829_6)
        * t;
    let tail = 0.5 * poly * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

simd! {
    fn gelu_chunk(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * normal(x).0;
        }
    }
}

simd! {
    fn gelu_grad_chunk(x: &[f32], g: &[f32], dx: &mut [f32]) {
        const INV_SQRT_2PI: f32 = 0.398_942_3;
        for ((d, &x), &g) in dx.iter_mut().zip(x).zip(g) {
            let (cdf, bell) = normal(x);
            *d = g * (cdf + x * INV_SQRT_2PI * bell);
        }
    }
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32s(s, l)?;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK))
            .for_each(|(y, x)| gelu_chunk(x, y));
        Ok((CpuStorage::F32(y), l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        Ok(Some(x.detach().apply_op2_no_bwd(&grad, &GeluGrad)?))
    }
}

struct GeluGrad;

impl CustomOp2 for GeluGrad {
    fn name(&self) -> &'static str {
        "gelu-grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, g) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let mut dx = vec![0.0; x.len()];
        dx.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK).zip(g.par_chunks(CHUNK)))
            .for_each(|(dx, (x, g))| gelu_grad_chunk(x, g, dx));
        Ok((CpuStorage::F32(dx), l1.shape().clone()))
    }
}

/// Exact GELU, `x · Φ(x)`; any shape.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    passed(x, &[]);
    if fast(x) {
        x.contiguous()?.apply_op1(Gelu)
    } else {
        x.gelu_erf()
    }
}

/// `x · σ(1.702 x)` (CLIP); any shape.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    passed(x, &[]);
    x * candle_nn::ops::sigmoid(&(x * 1.702)?)?
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use crate::nn::ops::check::noise;

    #[test]
    fn gelu_agrees_with_candle_and_its_gradient_with_differences() {
        let x = (noise((3, 700)) * 3.0).unwrap();
        let want = x.gelu_erf().unwrap();
        let diff = (super::gelu(&x).unwrap() - want).unwrap().abs().unwrap();
        assert!(diff.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-6);

        let at = Var::from_slice(&[-4.0_f32, -1.3, -0.2, 0.0, 0.4, 2.5], 6, &Device::Cpu).unwrap();
        let grads = super::gelu(&at)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        let got = grads.get(&at).unwrap().to_vec1::<f32>().unwrap();
        let f = |d: f64| {
            super::gelu(&(at.as_tensor() + d).unwrap())
                .unwrap()
                .to_vec1::<f32>()
                .unwrap()
        };
        for ((g, hi), lo) in got.iter().zip(f(1e-2)).zip(f(-1e-2)) {
            assert!(
                (g - (hi - lo) / 2e-2).abs() < 1e-3,
                "{g} against {}",
                (hi - lo) / 2e-2
            );
        }
    }
}
