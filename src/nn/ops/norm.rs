//! Norms. Variances are biased, statistics in f32.
//!
//! One pass forward and two backward, against candle's six and fifteen: at these widths a norm is bound by memory.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor};
use rayon::prelude::{
    IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _,
};

use super::activation::normal;
use super::cpu::{f32s, rows_per_task, simd};
use super::{fast, passed, tracked};

simd! {
    fn norm_rows(x: &[f32], w: &[f32], b: &[f32], eps: f32, y: &mut [f32]) {
        let d = w.len();
        for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            let (mean, inv) = moments(x, eps);
            for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(w).zip(b) {
                *y = (x - mean) * inv * w + b;
            }
        }
    }
}

#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    // Sixteen partial sums: vectorisable, and kinder to rounding than one.
    let mut acc = [0.0_f32; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for c in chunks {
        for (a, &v) in acc.iter_mut().zip(c) {
            *a += f(v);
        }
    }
    acc.iter().sum::<f32>() + rest.iter().map(|&v| f(v)).sum::<f32>()
}

#[inline(always)]
fn sum2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut acc = [0.0_f32; 16];
    let n = x.len() / 16 * 16;
    for (c, e) in x[..n].chunks_exact(16).zip(y[..n].chunks_exact(16)) {
        for ((a, &v), &u) in acc.iter_mut().zip(c).zip(e) {
            *a += f(v, u);
        }
    }
    acc.iter().sum::<f32>()
        + x[n..]
            .iter()
            .zip(&y[n..])
            .map(|(&v, &u)| f(v, u))
            .sum::<f32>()
}

#[inline(always)]
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum(x, |v| v) / n;
    let var = sum(x, |v| (v - mean) * (v - mean)) / n;
    (mean, 1.0 / (var + eps).sqrt())
}

simd! {
    fn norm_rows_grad(x: &[f32], g: &[f32], w: &[f32], eps: f32, dx: &mut [f32]) {
        let d = w.len();
        let mut gw = vec![0.0_f32; d];
        for ((x, g), dx) in x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
            let (mean, inv) = moments(x, eps);
            for ((o, &g), &w) in gw.iter_mut().zip(g).zip(w) {
                *o = g * w;
            }
            let mean_g = sum(&gw, |v| v) / d as f32;
            let mean_gx = sum2(&gw, x, |g, x| g * (x - mean)) * inv / d as f32;
            for ((dx, &x), &gw) in dx.iter_mut().zip(x).zip(&gw) {
                *dx = inv * (gw - mean_g - (x - mean) * inv * mean_gx);
            }
        }
    }
}

simd! {
    /// Adds `Σ g · x̂` to `dw` and `Σ g` to `db`.
    fn norm_params_grad(x: &[f32], g: &[f32], eps: f32, dw: &mut [f32], db: &mut [f32]) {
        let d = dw.len();
        for (x, g) in x.chunks_exact(d).zip(g.chunks_exact(d)) {
            let (mean, inv) = moments(x, eps);
            for (((dw, db), &x), &g) in dw.iter_mut().zip(db.iter_mut()).zip(x).zip(g) {
                *dw += g * (x - mean) * inv;
                *db += g;
            }
        }
    }
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, b) = (f32s(s1, l1)?, f32s(s2, l2)?, f32s(s3, l3)?);
        let chunk = rows_per_task(w.len()) * w.len();
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(chunk)
            .zip(x.par_chunks(chunk))
            .for_each(|(y, x)| norm_rows(x, w, b, self.eps, y));
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (x, w, grad) = (x.detach(), w.detach(), grad.contiguous()?);
        let dx = x.apply_op3_no_bwd(&grad, &w, &LayerNormGrad { eps: self.eps })?;
        let params = x.apply_op2_no_bwd(&grad, &LayerNormParamsGrad { eps: self.eps })?;
        Ok((Some(dx), Some(params.get(0)?), Some(params.get(1)?)))
    }
}

struct LayerNormGrad {
    eps: f32,
}

impl CustomOp3 for LayerNormGrad {
    fn name(&self) -> &'static str {
        "layer-norm-grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, g, w) = (f32s(s1, l1)?, f32s(s2, l2)?, f32s(s3, l3)?);
        let chunk = rows_per_task(w.len()) * w.len();
        let mut dx = vec![0.0; x.len()];
        dx.par_chunks_mut(chunk)
            .zip(x.par_chunks(chunk).zip(g.par_chunks(chunk)))
            .for_each(|(dx, (x, g))| norm_rows_grad(x, g, w, self.eps, dx));
        Ok((CpuStorage::F32(dx), l1.shape().clone()))
    }
}

struct LayerNormParamsGrad {
    eps: f32,
}

impl CustomOp2 for LayerNormParamsGrad {
    fn name(&self) -> &'static str {
        "layer-norm-params-grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, g) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let d = l1.dims().last().copied().unwrap_or(1);
        let mut out = vec![0.0; 2 * d];
        let (dw, db) = out.split_at_mut(d);
        norm_params_grad(x, g, self.eps, dw, db);
        Ok((CpuStorage::F32(out), Shape::from((2, d))))
    }
}

/// Layer norm over the last axis: `(…, d)`, weight and bias `(d)`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    passed(x, &[weight, bias]);
    if fast(x) {
        return x.contiguous()?.apply_op3(
            &weight.contiguous()?,
            &bias.contiguous()?,
            LayerNorm { eps: eps as f32 },
        );
    }
    let mean = x.mean_keepdim(D::Minus1)?;
    let centred = x.broadcast_sub(&mean)?;
    let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred
        .broadcast_div(&(var + eps)?.sqrt()?)?
        .broadcast_mul(weight)?
        .broadcast_add(bias)
}

/// Layer norm over the channels of `(b, c, h, w)`, weight and bias `(c)`.
pub fn layer_norm_2d(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    normed_map(x, weight, bias, (eps, false))
}

/// [`layer_norm_2d`] and GELU, without a pass of its own for it.
pub fn layer_norm_2d_gelu(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    normed_map(x, weight, bias, (eps, true))
}

fn normed_map(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    (eps, gelu): (f64, bool),
) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if fast(x) && !tracked(&[x, weight, bias]) && h * w > 0 {
        passed(x, &[weight, bias]);
        return x.contiguous()?.apply_op3_no_bwd(
            &weight.contiguous()?,
            &bias.contiguous()?,
            &ChannelNorm {
                eps: eps as f32,
                gelu,
            },
        );
    }
    let x = super::nchw_to_tokens(x)?;
    let y = super::tokens_to_nchw(&layer_norm(&x, weight, bias, eps)?, (h, w))?;
    if gelu { super::gelu(&y) } else { Ok(y) }
}

simd! {
    /// Mean and reciprocal deviation over the channels of some pixels: `plane` values lie between a pixel's channels.
    fn pixel_moments(x: &[f32], plane: usize, channels: usize, eps: f32, mean: &mut [f32], inv: &mut [f32]) {
        let n = mean.len();
        mean.fill(0.0);
        inv.fill(0.0);
        for c in 0..channels {
            for (m, &x) in mean.iter_mut().zip(&x[c * plane..][..n]) {
                *m += x;
            }
        }
        for m in mean.iter_mut() {
            *m /= channels as f32;
        }
        for c in 0..channels {
            for ((v, &m), &x) in inv.iter_mut().zip(mean.iter()).zip(&x[c * plane..][..n]) {
                *v += (x - m) * (x - m);
            }
        }
        for v in inv {
            *v = 1.0 / (*v / channels as f32 + eps).sqrt();
        }
    }
}

simd! {
    fn normed_plane(x: &[f32], mean: &[f32], inv: &[f32], w: f32, b: f32, y: &mut [f32]) {
        for (((y, &x), &m), &i) in y.iter_mut().zip(x).zip(mean).zip(inv) {
            *y = (x - m) * i * w + b;
        }
    }
}

simd! {
    fn normed_plane_gelu(x: &[f32], mean: &[f32], inv: &[f32], w: f32, b: f32, y: &mut [f32]) {
        for (((y, &x), &m), &i) in y.iter_mut().zip(x).zip(mean).zip(inv) {
            let v = (x - m) * i * w + b;
            *y = v * normal(v).0;
        }
    }
}

/// Layer norm over the channels of a map where it lies, without transposing it; no gradient.
struct ChannelNorm {
    eps: f32,
    gelu: bool,
}

/// Pixels whose moments a task takes: their values of a few channels stay in the cache.
const PIXELS: usize = 1024;
/// Values of a plane that a task norms.
const PIECE: usize = 32_768;

impl CustomOp3 for ChannelNorm {
    fn name(&self) -> &'static str {
        "channel-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, b) = (f32s(s1, l1)?, f32s(s2, l2)?, f32s(s3, l3)?);
        let (images, c, h, width) = l1.shape().dims4()?;
        let plane = h * width;
        let mut mean = vec![0.0_f32; images * plane];
        let mut inv = vec![0.0_f32; images * plane];
        for (i, (mean, inv)) in mean
            .chunks_exact_mut(plane)
            .zip(inv.chunks_exact_mut(plane))
            .enumerate()
        {
            let x = &x[i * c * plane..(i + 1) * c * plane];
            mean.par_chunks_mut(PIXELS)
                .zip(inv.par_chunks_mut(PIXELS))
                .enumerate()
                .for_each(|(p, (mean, inv))| {
                    pixel_moments(&x[p * PIXELS..], plane, c, self.eps, mean, inv);
                });
        }
        let mut y = vec![0.0_f32; x.len()];
        y.par_chunks_mut(plane)
            .zip(x.par_chunks(plane))
            .enumerate()
            .for_each(|(i, (y, x))| {
                let at = i / c * plane..(i / c + 1) * plane;
                let channel = i % c;
                let (mean, inv) = (&mean[at.clone()], &inv[at]);
                let (w, b) = (w[channel], b[channel]);
                // Pieces of a plane, as a map of few channels has few of them.
                y.par_chunks_mut(PIECE)
                    .zip(x.par_chunks(PIECE))
                    .zip(mean.par_chunks(PIECE).zip(inv.par_chunks(PIECE)))
                    .for_each(|((y, x), (mean, inv))| match self.gelu {
                        true => normed_plane_gelu(x, mean, inv, w, b, y),
                        false => normed_plane(x, mean, inv, w, b, y),
                    });
            });
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }
}

simd! {
    fn rms_rows(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
        let d = w.len();
        for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            let inv = 1.0 / (sum(x, |v| v * v) / d as f32 + eps).sqrt();
            for ((y, &x), &w) in y.iter_mut().zip(x).zip(w) {
                *y = x * inv * w;
            }
        }
    }
}

simd! {
    /// Writes dx and adds `Σ g · x̂` to `dw`.
    fn rms_rows_grad(x: &[f32], g: &[f32], w: &[f32], eps: f32, dx: &mut [f32], dw: &mut [f32]) {
        let d = w.len();
        for ((x, g), dx) in x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
            let inv = 1.0 / (sum(x, |v| v * v) / d as f32 + eps).sqrt();
            for (((dx, dw), (&x, &g)), &w) in dx.iter_mut().zip(dw.iter_mut()).zip(x.iter().zip(g)).zip(w) {
                *dx = g * w;
                *dw += g * x * inv;
            }
            let dot = sum2(dx, x, |g, x| g * x) * inv * inv / d as f32;
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx = inv * (*dx - x * dot);
            }
        }
    }
}

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let chunk = rows_per_task(w.len()) * w.len();
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(chunk)
            .zip(x.par_chunks(chunk))
            .for_each(|(y, x)| rms_rows(x, w, self.eps, y));
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x, w, grad) = (x.detach(), w.detach(), grad.contiguous()?);
        let both = x.apply_op3_no_bwd(&grad, &w, &RmsNormGrad { eps: self.eps })?;
        let n = x.elem_count();
        let dx = both.narrow(0, 0, n)?.reshape(x.shape())?;
        let dw = both.narrow(0, n, w.elem_count())?;
        Ok((Some(dx), Some(dw)))
    }
}

struct RmsNormGrad {
    eps: f32,
}

impl CustomOp3 for RmsNormGrad {
    fn name(&self) -> &'static str {
        "rms-norm-grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, g, w) = (f32s(s1, l1)?, f32s(s2, l2)?, f32s(s3, l3)?);
        // Both gradients in one buffer, dx first: candle's operators return one tensor.
        let mut out = vec![0.0; x.len() + w.len()];
        let (dx, dw) = out.split_at_mut(x.len());
        rms_rows_grad(x, g, w, self.eps, dx, dw);
        let len = out.len();
        Ok((CpuStorage::F32(out), Shape::from(len)))
    }
}

/// RMS norm over the last axis: `(…, d)`, weight `(d)`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    passed(x, &[weight]);
    if fast(x) {
        return x
            .contiguous()?
            .apply_op2(&weight.contiguous()?, RmsNorm { eps: eps as f32 });
    }
    let mean_sq = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean_sq + eps)?.sqrt()?)?
        .broadcast_mul(weight)
}

struct ColumnSum;

impl CustomOp1 for ColumnSum {
    fn name(&self) -> &'static str {
        "column-sum"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32s(s, l)?;
        let d = l.dims().last().copied().unwrap_or(1);
        let mut out = vec![0.0; d];
        column_sum_rows(x, &mut out);
        Ok((CpuStorage::F32(out), Shape::from(d)))
    }
}

simd! {
    fn column_sum_rows(x: &[f32], out: &mut [f32]) {
        let d = out.len();
        for row in x.chunks_exact(d) {
            for (o, &v) in out.iter_mut().zip(row) {
                *o += v;
            }
        }
    }
}

/// Sums `(…, d)` to `(d)`; no gradient (it is part of one).
pub(super) fn column_sum(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&ColumnSum)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use crate::nn::ops::check::{gradients_agree, noise};

    /// Of a mean that is not zero.
    fn randn(shape: &[usize]) -> Var {
        Var::from_tensor(&(noise(shape) + 0.3).unwrap()).unwrap()
    }

    #[test]
    fn layer_norm_gradients() {
        let (x, w, b) = (randn(&[5, 19]), randn(&[19]), randn(&[19]));
        gradients_agree(&[&x, &w, &b], |v| {
            super::layer_norm(&v[0], &v[1], &v[2], 1e-5)
        });
    }

    #[test]
    fn channels_are_normed_where_they_lie_as_by_transposing() {
        for shape in [[1, 3, 2, 2], [2, 7, 40, 31]] {
            let (x, w, b) = (randn(&shape), randn(&[shape[1]]), randn(&[shape[1]]));
            // Variables take the other way.
            let want = super::layer_norm_2d(&x, &w, &b, 1e-6).unwrap();
            let plain = |v: &Var| v.as_tensor().detach();
            let got = super::layer_norm_2d(&plain(&x), &plain(&w), &plain(&b), 1e-6).unwrap();
            let diff = (got - &want).unwrap().abs().unwrap().max_all().unwrap();
            assert!(diff.to_scalar::<f32>().unwrap() < 1e-5);
            let want = crate::nn::ops::gelu(&want).unwrap();
            for (x, w, b) in [
                (plain(&x), plain(&w), plain(&b)),
                (x.into_inner(), w.into_inner(), b.into_inner()),
            ] {
                let got = super::layer_norm_2d_gelu(&x, &w, &b, 1e-6).unwrap();
                let diff = (got - &want).unwrap().abs().unwrap().max_all().unwrap();
                assert!(diff.to_scalar::<f32>().unwrap() < 1e-5);
            }
        }
    }

    #[test]
    fn layer_norm_2d_gradients() {
        let (x, w, b) = (randn(&[2, 7, 3, 4]), randn(&[7]), randn(&[7]));
        gradients_agree(&[&x, &w, &b], |v| {
            super::layer_norm_2d(&v[0], &v[1], &v[2], 1e-6)
        });
    }

    #[test]
    fn rms_norm_gradients() {
        let (x, w) = (randn(&[5, 21]), randn(&[21]));
        gradients_agree(&[&x, &w], |v| super::rms_norm(&v[0], &v[1], 1e-5));
    }
}
