//! Depthwise convolution on NCHW maps: a sum of shifted rows. candle's own is a hundred times slower on the CPU. Dense
//! convolutions are [`super::conv`]'s.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::{
    IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _,
};

use super::conv::add_bias;
use super::cpu::{f32s, simd};
use super::{bytes, fast, meter};

simd! {
    fn add_scaled(y: &mut [f32], x: &[f32], w: f32) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += w * x;
        }
    }
}

simd! {
    fn dot(x: &[f32], y: &[f32]) -> f32 {
        let mut acc = [0.0_f32; 16];
        let n = x.len() / 16 * 16;
        for (x, y) in x[..n].chunks_exact(16).zip(y[..n].chunks_exact(16)) {
            for ((a, &x), &y) in acc.iter_mut().zip(x).zip(y) {
                *a += x * y;
            }
        }
        acc.iter().sum::<f32>() + x[n..].iter().zip(&y[n..]).map(|(x, y)| x * y).sum::<f32>()
    }
}

/// A depthwise convolution of stride 1 that keeps or shrinks the map.
#[derive(Clone, Copy)]
struct Depthwise {
    kernel: usize,
    padding: usize,
}

impl Depthwise {
    fn out(&self, h: usize, w: usize) -> (usize, usize) {
        (
            h + 2 * self.padding + 1 - self.kernel,
            w + 2 * self.padding + 1 - self.kernel,
        )
    }

    /// For each tap: its index, and the runs of output and input (as offsets and length) that it connects.
    fn each_run(&self, (h, w): (usize, usize), mut f: impl FnMut(usize, usize, usize, usize)) {
        let (oh, ow) = self.out(h, w);
        for ky in 0..self.kernel {
            for oy in 0..oh {
                let Some(iy) = (oy + ky).checked_sub(self.padding).filter(|&iy| iy < h) else {
                    continue;
                };
                for kx in 0..self.kernel {
                    let x0 = self.padding.saturating_sub(kx);
                    let x1 = (w + self.padding).saturating_sub(kx).min(ow);
                    if x0 < x1 {
                        f(
                            ky * self.kernel + kx,
                            oy * ow + x0,
                            iy * w + x0 + kx - self.padding,
                            x1 - x0,
                        );
                    }
                }
            }
        }
    }
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let (b, c, h, w) = l1.shape().dims4()?;
        let (oh, ow) = self.out(h, w);
        let taps = self.kernel * self.kernel;
        let mut y = vec![0.0; b * c * oh * ow];
        y.par_chunks_mut(oh * ow)
            .zip(x.par_chunks(h * w))
            .enumerate()
            .for_each(|(i, (y, x))| {
                let weight = &weight[i % c * taps..][..taps];
                self.each_run((h, w), |k, o, i, len| {
                    add_scaled(&mut y[o..o + len], &x[i..i + len], weight[k]);
                });
            });
        Ok((CpuStorage::F32(y), Shape::from((b, c, oh, ow))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (x, w) = (x.detach(), w.detach());
        let dx = w.apply_op2_no_bwd(
            &grad,
            &DepthwiseGradInput {
                op: *self,
                input: x.shape().clone(),
            },
        )?;
        let dw = x.apply_op2_no_bwd(&grad, &DepthwiseGradWeight(*self))?;
        Ok((Some(dx), Some(dw)))
    }
}

struct DepthwiseGradInput {
    op: Depthwise,
    input: Shape,
}

impl CustomOp2 for DepthwiseGradInput {
    fn name(&self) -> &'static str {
        "depthwise-grad-input"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (weight, g) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let (b, c, h, w) = self.input.dims4()?;
        let (oh, ow) = self.op.out(h, w);
        let taps = self.op.kernel * self.op.kernel;
        let mut dx = vec![0.0; b * c * h * w];
        dx.par_chunks_mut(h * w)
            .zip(g.par_chunks(oh * ow))
            .enumerate()
            .for_each(|(i, (dx, g))| {
                let weight = &weight[i % c * taps..][..taps];
                self.op.each_run((h, w), |k, o, i, len| {
                    add_scaled(&mut dx[i..i + len], &g[o..o + len], weight[k]);
                });
            });
        Ok((CpuStorage::F32(dx), self.input.clone()))
    }
}

struct DepthwiseGradWeight(Depthwise);

impl CustomOp2 for DepthwiseGradWeight {
    fn name(&self) -> &'static str {
        "depthwise-grad-weight"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, g) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let (b, c, h, w) = l1.shape().dims4()?;
        let (oh, ow) = self.0.out(h, w);
        let taps = self.0.kernel * self.0.kernel;
        let mut dw = vec![0.0; c * taps];
        dw.par_chunks_mut(taps)
            .enumerate()
            .for_each(|(channel, dw)| {
                for image in 0..b {
                    let plane = image * c + channel;
                    let (x, g) = (
                        &x[plane * h * w..][..h * w],
                        &g[plane * oh * ow..][..oh * ow],
                    );
                    self.0.each_run((h, w), |k, o, i, len| {
                        dw[k] += dot(&x[i..i + len], &g[o..o + len]);
                    });
                }
            });
        Ok((
            CpuStorage::F32(dw),
            Shape::from((c, 1, self.0.kernel, self.0.kernel)),
        ))
    }
}

/// Depthwise convolution of stride 1: x `(b, c, h, w)`, weight `(c, 1, k, k)` → `(b, c, h + 2p − k + 1, …)`.
pub fn depthwise_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    padding: usize,
) -> Result<Tensor> {
    let (_, _, kernel, _) = weight.dims4()?;
    meter::count(
        2 * x.elem_count() * kernel * kernel,
        2 * bytes(&[x]) + bytes(&[weight]),
    );
    if fast(x) {
        let y = x
            .contiguous()?
            .apply_op2(&weight.contiguous()?, Depthwise { kernel, padding })?;
        return add_bias(y, bias);
    }
    add_bias(composed(x, weight, padding)?, bias)
}

/// A tap after another: candle's convolution of as many groups as channels is one convolution per channel, one after another.
fn composed(x: &Tensor, weight: &Tensor, padding: usize) -> Result<Tensor> {
    let (c, _, kernel, _) = weight.dims4()?;
    let (_, _, h, w) = x.dims4()?;
    let (oh, ow) = Depthwise { kernel, padding }.out(h, w);
    let x = x
        .pad_with_zeros(2, padding, padding)?
        .pad_with_zeros(3, padding, padding)?;
    let mut sum = None;
    for ky in 0..kernel {
        let rows = x.narrow(2, ky, oh)?;
        for kx in 0..kernel {
            let tap = weight.narrow(2, ky, 1)?.narrow(3, kx, 1)?;
            let term = rows
                .narrow(3, kx, ow)?
                .broadcast_mul(&tap.reshape((1, c, 1, 1))?)?;
            sum = Some(match sum {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
    }
    match sum {
        Some(sum) => Ok(sum),
        None => candle_core::bail!("a depthwise convolution needs a kernel"),
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::ops::check::{gradients_agree, largest_difference, randn};

    #[test]
    fn depthwise_agrees_with_candle_and_has_gradients() {
        for (k, padding) in [(7, 3), (3, 1), (3, 0)] {
            let (x, w, b) = (randn(&[2, 3, 6, 9]), randn(&[3, 1, k, k]), randn(&[3]));
            let want = x.conv2d(&w, padding, 1, 1, 3).unwrap();
            let got = super::depthwise_conv2d(&x, &w, None, padding).unwrap();
            assert!(largest_difference(&got, &want) < 1e-4);
            gradients_agree(&[&x, &w, &b], |v| {
                super::depthwise_conv2d(&v[0], &v[1], Some(&v[2]), padding)
            });
        }
    }

    #[test]
    fn depthwise_in_candles_own_operations_agrees_with_the_kernel_and_has_gradients() {
        for (k, padding) in [(7, 3), (3, 1), (3, 0)] {
            let (x, w) = (randn(&[2, 3, 6, 9]), randn(&[3, 1, k, k]));
            let want = super::depthwise_conv2d(&x, &w, None, padding).unwrap();
            let got = super::composed(&x, &w, padding).unwrap();
            assert_eq!(got.dims(), want.dims());
            assert!(largest_difference(&got, &want) < 1e-4);
            gradients_agree(&[&x, &w], |v| super::composed(&v[0], &v[1], padding));
        }
    }
}
