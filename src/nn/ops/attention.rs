//! Softmax and scaled dot-product attention.

use std::{cell::RefCell, collections::HashMap};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::{
    IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _,
};

use super::cpu::{exp, f32s, rows_per_task, simd};
use super::{
    bytes, fast,
    flash::{self, Visible},
    meter, passed, tracked,
};

simd! {
    /// In place: `softmax(x · scale)` of one row.
    fn softmax_row(x: &mut [f32], scale: f32) {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let n = x.len() / 16 * 16;
        for c in x[..n].chunks_exact(16) {
            for (m, &v) in lanes.iter_mut().zip(c) {
                let v = v * scale;
                *m = if v > *m { v } else { *m };
            }
        }
        let max = x[n..].iter().map(|&v| v * scale).chain(lanes).fold(f32::NEG_INFINITY, f32::max);
        if max == f32::NEG_INFINITY {
            // A row with nothing to attend to: all weights zero, instead of NaN.
            x.fill(0.0);
            return;
        }
        let mut sums = [0.0_f32; 16];
        for c in x[..n].chunks_exact_mut(16) {
            for (s, v) in sums.iter_mut().zip(c) {
                *v = exp(*v * scale - max);
                *s += *v;
            }
        }
        let mut total = sums.iter().sum::<f32>();
        for v in &mut x[n..] {
            *v = exp(*v * scale - max);
            total += *v;
        }
        let inv = 1.0 / total;
        for v in x {
            *v *= inv;
        }
    }
}

simd! {
    /// `dx = scale · p · (g − Σ g p)` of one row.
    fn softmax_grad_row(p: &[f32], g: &[f32], scale: f32, dx: &mut [f32]) {
        let mut sums = [0.0_f32; 16];
        let n = p.len() / 16 * 16;
        for (p, g) in p[..n].chunks_exact(16).zip(g[..n].chunks_exact(16)) {
            for ((s, &p), &g) in sums.iter_mut().zip(p).zip(g) {
                *s += p * g;
            }
        }
        let dot = sums.iter().sum::<f32>() + p[n..].iter().zip(&g[n..]).map(|(p, g)| p * g).sum::<f32>();
        for ((d, &p), &g) in dx.iter_mut().zip(p).zip(g) {
            *d = scale * p * (g - dot);
        }
    }
}

/// Stands for −∞ in an additive mask: its exponential is exactly 0, and no row becomes NaN. Half floats hold it.
pub const MASKED: f32 = -3e4;

struct Softmax {
    scale: f32,
}

impl Softmax {
    fn rows(&self, y: &mut [f32], d: usize) {
        if d == 0 {
            return;
        }
        y.par_chunks_mut(rows_per_task(d) * d).for_each(|rows| {
            for row in rows.chunks_exact_mut(d) {
                softmax_row(row, self.scale);
            }
        });
    }

    fn gradient(&self, probabilities: &Tensor, grad: &Tensor) -> Result<Tensor> {
        probabilities
            .detach()
            .apply_op2_no_bwd(&grad.contiguous()?, &SoftmaxGrad { scale: self.scale })
    }
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = f32s(s, l)?.to_vec();
        self.rows(&mut y, l.dims().last().copied().unwrap_or(1));
        Ok((CpuStorage::F32(y), l.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(res, grad).map(Some)
    }
}

struct MaskedSoftmax {
    softmax: Softmax,
}

impl CustomOp2 for MaskedSoftmax {
    fn name(&self) -> &'static str {
        "masked-softmax"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = f32s(s1, l1)?;
        let CpuStorage::F32(mask) = s2 else {
            bail!("the attention mask must be f32");
        };
        let dims = l1.dims();
        let d = dims[dims.len() - 1];
        let strides = l2.stride();
        let inner = strides[dims.len() - 1];
        if inner != 1 {
            bail!("the last axis of the attention mask must be contiguous");
        }
        // The mask is a broadcast view: walk its strides row by row and never materialise it.
        let inv_scale = 1.0 / self.softmax.scale;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(d)
            .zip(x.par_chunks(d))
            .enumerate()
            .for_each(|(row, (y, x))| {
                let mut rest = row;
                let mut at = l2.start_offset();
                for axis in (0..dims.len() - 1).rev() {
                    at += rest % dims[axis] * strides[axis];
                    rest /= dims[axis];
                }
                for ((y, &x), &m) in y.iter_mut().zip(x).zip(&mask[at..at + d]) {
                    *y = x + m * inv_scale;
                }
                softmax_row(y, self.softmax.scale);
            });
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.softmax.gradient(res, grad)?), None))
    }
}

struct SoftmaxGrad {
    scale: f32,
}

impl CustomOp2 for SoftmaxGrad {
    fn name(&self) -> &'static str {
        "softmax-grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (p, g) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let d = l1.dims().last().copied().unwrap_or(1).max(1);
        let chunk = rows_per_task(d) * d;
        let mut dx = vec![0.0; p.len()];
        dx.par_chunks_mut(chunk)
            .zip(p.par_chunks(chunk).zip(g.par_chunks(chunk)))
            .for_each(|(dx, (p, g))| {
                for ((dx, p), g) in dx
                    .chunks_exact_mut(d)
                    .zip(p.chunks_exact(d))
                    .zip(g.chunks_exact(d))
                {
                    softmax_grad_row(p, g, self.scale, dx);
                }
            });
        Ok((CpuStorage::F32(dx), l1.shape().clone()))
    }
}

/// `softmax(x · scale + mask)` over the last axis; the mask broadcasts to x and gets no gradient.
fn scaled_softmax(x: &Tensor, scale: f64, mask: Option<&Tensor>) -> Result<Tensor> {
    if fast(x) {
        let softmax = Softmax {
            scale: scale as f32,
        };
        return match mask {
            None => x.contiguous()?.apply_op1(softmax),
            Some(mask) => {
                let mask = whole_rows(mask, x.dim(D::Minus1)?)?;
                let mask = mask.detach().broadcast_as(x.shape())?;
                x.contiguous()?.apply_op2(&mask, MaskedSoftmax { softmax })
            }
        };
    }
    let x = (x * scale)?;
    let x = match mask {
        Some(mask) => x.broadcast_add(mask)?,
        None => x,
    };
    let max = x.max_keepdim(D::Minus1)?.detach();
    let e = x.broadcast_sub(&max)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// A mask whose last axis is there in full and contiguous; the others may be broadcast by whoever reads it.
fn whole_rows(mask: &Tensor, m: usize) -> Result<Tensor> {
    let mut dims = mask.dims().to_vec();
    match dims.last_mut() {
        Some(last) if *last == 1 => {
            *last = m;
            mask.broadcast_as(dims)?.contiguous()
        }
        _ => mask.contiguous(),
    }
}

/// The tensor itself if its features are adjacent in memory, else a copy in which they are.
fn adjacent(x: &Tensor) -> Result<Tensor> {
    match x.stride().last() {
        Some(1) => Ok(x.clone()),
        _ => x.contiguous(),
    }
}

/// Softmax over the last axis. On the CPU a row of −∞ gives zeros.
pub fn softmax_last(x: &Tensor) -> Result<Tensor> {
    passed(x, &[]);
    scaled_softmax(x, 1.0, None)
}

/// Scores above this many values are not held at once: the queries are taken in slices.
const MAX_SCORES: usize = 1 << 25;

/// `softmax(q kᵀ · scale + mask) v`: q `(b, h, n, d)`, k `(b, h, m, d)`, v `(b, h, m, e)` → `(b, h, n, e)`.
/// `mask` is additive (finite, or −∞ for "never"), broadcasts to `(b, h, n, m)` and gets no gradient.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f64,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let (b, h, n, d) = q.dims4()?;
    let (m, e) = (k.dim(2)?, v.dim(3)?);
    let written = b * h * n * e * q.dtype().size_in_bytes();
    meter::count(2 * b * h * n * m * (d + e), bytes(&[q, k, v]) + written);
    if fast(q) && !tracked(&[q, k, v]) {
        let (q, k, v) = (adjacent(q)?, adjacent(k)?, adjacent(v)?);
        let parts = [(&k, &v)];
        return match mask {
            None => flash::attention(&q, &parts, scale, Visible::All),
            Some(mask) => {
                let mask = whole_rows(mask, m)?.broadcast_as((b, h, n, m))?;
                flash::attention(&q, &parts, scale, Visible::Mask(&mask))
            }
        };
    }
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let keys = k.transpose(2, 3)?;
    let slice = (MAX_SCORES / (b * h * m).max(1)).max(1);
    if n <= slice {
        return scaled_softmax(&q.matmul(&keys)?, scale, mask)?.matmul(&v);
    }
    let parts = (0..n)
        .step_by(slice)
        .map(|from| {
            let len = slice.min(n - from);
            let mask = match mask {
                Some(mask) if mask.rank() >= 2 && mask.dim(mask.rank() - 2)? == n => {
                    Some(mask.narrow(mask.rank() - 2, from, len)?)
                }
                other => other.cloned(),
            };
            let scores = q.narrow(2, from, len)?.contiguous()?.matmul(&keys)?;
            scaled_softmax(&scores, scale, mask.as_ref())?.matmul(&v)
        })
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&parts, 2)
}

/// Which keys a decoder's queries see: their own and the `window` before it. Every layer of a pass asks for the same masks, so they
/// are made once.
#[derive(Debug)]
pub struct Band {
    window: usize,
    /// By the first query's place among the keys, the number of queries, and of keys.
    masks: RefCell<HashMap<(usize, usize, usize), Tensor>>,
}

impl Band {
    /// For one pass through all layers.
    pub fn new(window: usize) -> Self {
        Self {
            window,
            masks: RefCell::default(),
        }
    }

    /// Keys that a query after `start` others looks back on.
    fn reach(&self, start: usize) -> usize {
        start.min(self.window)
    }

    /// As an additive mask `(1, 1, n, keys)` in the type of `like`, the first of `n` queries being the key at `place`; `None` if it hides
    /// nothing.
    fn mask(&self, place: usize, n: usize, keys: usize, like: &Tensor) -> Result<Option<Tensor>> {
        if n == 1 && place <= self.window {
            return Ok(None);
        }
        let mut masks = self.masks.borrow_mut();
        if let Some(mask) = masks.get(&(place, n, keys)) {
            return Ok(Some(mask.clone()));
        }
        let mut mask = vec![0_f32; n * keys];
        for (i, row) in mask.chunks_exact_mut(keys).enumerate() {
            row[..(place + i).saturating_sub(self.window)].fill(MASKED);
            row[place + i + 1..].fill(MASKED);
        }
        let mask =
            Tensor::from_vec(mask, (1, 1, n, keys), like.device())?.to_dtype(like.dtype())?;
        masks.insert((place, n, keys), mask.clone());
        Ok(Some(mask))
    }
}

/// Attention of a decoder that has seen `parts` already, the last of which ends with the queries' own keys: q
/// `(b, h, n, d)`, each part's keys and values `(b, kv, m, d)`, where `kv` divides `h` → `(b, h, n, d)`. Parts may be stored narrower
/// than q; their products are then made in their own type.
pub fn causal_attention(
    q: &Tensor,
    parts: &[(&Tensor, &Tensor)],
    scale: f64,
    band: &Band,
) -> Result<Tensor> {
    let (b, h, n, d) = q.dims4()?;
    let mut total = 0;
    for (k, _) in parts {
        total += k.dim(2)?;
    }
    let Some(start) = total.checked_sub(n) else {
        bail!("{n} queries have {total} keys, but each has one of its own");
    };
    let spread = |t: &Tensor| -> Result<Tensor> {
        let (b, kv, m, d) = t.dims4()?;
        if kv == h {
            return Ok(t.clone());
        }
        if kv == 0 || !h.is_multiple_of(kv) {
            bail!("{h} heads cannot share {kv}");
        }
        t.unsqueeze(2)?
            .broadcast_as((b, kv, h / kv, m, d))?
            .contiguous()?
            .reshape((b, h, m, d))
    };
    let parts = parts
        .iter()
        .map(|(k, v)| Ok((adjacent(&spread(k)?)?, adjacent(&spread(v)?)?)))
        .collect::<Result<Vec<_>>>()?;
    let seen: usize = (0..n).map(|i| band.reach(start + i) + 1).sum();
    let read: usize = parts.iter().map(|(k, v)| bytes(&[k, v])).sum();
    meter::count(2 * b * h * seen * 2 * d, read + 2 * bytes(&[q]));
    let plain = |t: &Tensor| t.dtype() == q.dtype() && !tracked(&[t]);
    if fast(q) && plain(q) && parts.iter().all(|(k, v)| plain(k) && plain(v)) {
        let parts: Vec<_> = parts.iter().map(|(k, v)| (k, v)).collect();
        let window = band.window;
        return flash::attention(
            &adjacent(q)?,
            &parts,
            scale,
            Visible::Band { start, window },
        );
    }
    causal_in_slices(q, &parts, (scale, start), band, MAX_SCORES / 2)
}

/// Composed of products: the queries are taken in slices, each sees the keys within its window and no others, and parts are never joined,
/// since that would copy what was seen before for every token. About `at_once`
/// scores are held at a time.
fn causal_in_slices(
    q: &Tensor,
    parts: &[(Tensor, Tensor)],
    (scale, start): (f64, usize),
    band: &Band,
    at_once: usize,
) -> Result<Tensor> {
    let (b, h, n, _) = q.dims4()?;
    let reach = band.reach(start + n) + 1;
    let slice = (at_once / (b * h * reach).max(1)).clamp(1, n.max(1));
    let q = (q.contiguous()? * scale)?;
    let mut done = Vec::with_capacity(n.div_ceil(slice));
    for from in (0..n).step_by(slice) {
        let len = slice.min(n - from);
        let rows = q.narrow(2, from, len)?.contiguous()?;
        let last = start + from + len;
        let first = start + from - band.reach(start + from);
        let mut visible = vec![];
        let mut at = 0;
        for (k, v) in parts {
            let m = k.dim(2)?;
            let (low, high) = (first.max(at), last.min(at + m));
            if low < high {
                let cut = |t: &Tensor| adjacent(&t.narrow(2, low - at, high - low)?);
                visible.push((cut(k)?, cut(v)?));
            }
            at += m;
        }
        let scores = visible
            .iter()
            .map(|(k, _)| {
                let rows = rows.to_dtype(k.dtype())?;
                rows.matmul(&k.transpose(2, 3)?)?.to_dtype(q.dtype())
            })
            .collect::<Result<Vec<_>>>()?;
        let mask = band.mask(start + from - first, len, last - first, &q)?;
        let p = scaled_softmax(&Tensor::cat(&scores, 3)?, 1.0, mask.as_ref())?;
        let mut sum: Option<Tensor> = None;
        let mut at = 0;
        for (_, v) in &visible {
            let m = v.dim(2)?;
            let p = p.narrow(3, at, m)?.contiguous()?.to_dtype(v.dtype())?;
            let y = p.matmul(v)?.to_dtype(q.dtype())?;
            sum = Some(match sum {
                None => y,
                Some(sum) => (sum + y)?,
            });
            at += m;
        }
        done.extend(sum);
    }
    Tensor::cat(&done, 2)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use crate::nn::ops::check::{gradients_agree, noise, randn};

    #[test]
    fn softmax_agrees_with_candle() {
        let x = randn(&[3, 5, 37]);
        let want = candle_nn::ops::softmax_last_dim(&x).unwrap();
        let diff = (super::softmax_last(&x).unwrap() - want)
            .unwrap()
            .abs()
            .unwrap();
        assert!(diff.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-6);
    }

    #[test]
    fn attention_gradients_with_and_without_mask() {
        let (q, k, v) = (
            randn(&[2, 2, 3, 4]),
            randn(&[2, 2, 21, 4]),
            randn(&[2, 2, 21, 5]),
        );
        gradients_agree(&[&q, &k, &v], |t| {
            super::attention(&t[0], &t[1], &t[2], 0.5, None)
        });
        let mask: Vec<f32> = (0..63)
            .map(|i| {
                if i % 4 == 1 {
                    f32::NEG_INFINITY
                } else {
                    0.1 * i as f32
                }
            })
            .collect();
        let mask = Tensor::from_vec(mask, (3, 21), &Device::Cpu).unwrap();
        gradients_agree(&[&q, &k, &v], |t| {
            super::attention(&t[0], &t[1], &t[2], 0.5, Some(&mask))
        });
    }

    #[test]
    fn masked_attention_agrees_with_the_composed_form() {
        let (q, k, v) = (
            randn(&[2, 3, 4, 8]),
            randn(&[2, 3, 6, 8]),
            randn(&[2, 3, 6, 8]),
        );
        let mask = randn(&[2, 1, 1, 6]);
        let got = super::attention(&q, &k, &v, 0.3, Some(&mask)).unwrap();
        let scores = (q.matmul(&k.t().unwrap()).unwrap() * 0.3)
            .unwrap()
            .broadcast_add(&mask)
            .unwrap();
        let want = candle_nn::ops::softmax_last_dim(&scores)
            .unwrap()
            .matmul(&v)
            .unwrap();
        let diff = (got - want).unwrap().abs().unwrap();
        assert!(diff.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
    }

    /// As the formula reads, for every size of block and both layouts of the result.
    #[test]
    fn the_fused_kernel_agrees_with_the_composed_form() {
        let plain = |shape: &[usize]| noise(shape);
        for (b, h, n, m, d, e) in [
            (1, 1, 1, 1, 3, 2),
            (2, 3, 2, 2000, 17, 9),
            (1, 8, 9, 1030, 16, 16),
            (3, 2, 300, 70, 24, 24),
            (1, 1, 520, 1600, 40, 40),
        ] {
            let (q, k, v) = (
                plain(&[b, n, h, d]),
                plain(&[b, m, h, d]),
                plain(&[b, h, m, e]),
            );
            // Heads second by strides alone.
            let (q, k) = (q.transpose(1, 2).unwrap(), k.transpose(1, 2).unwrap());
            let keys = k.contiguous().unwrap().t().unwrap();
            let scores = (q.contiguous().unwrap().matmul(&keys).unwrap() * 0.3).unwrap();
            for mask in [None, Some(plain(&[b, 1, 1, m])), Some(plain(&[n, m]))] {
                let scores = match &mask {
                    None => scores.clone(),
                    Some(mask) => scores.broadcast_add(mask).unwrap(),
                };
                let p = candle_nn::ops::softmax_last_dim(&scores).unwrap();
                let want = p.matmul(&v).unwrap();
                let got = super::attention(&q, &k, &v, 0.3, mask.as_ref()).unwrap();
                assert_eq!(got.dims(), want.dims());
                let diff = (got - want).unwrap().abs().unwrap().max_all().unwrap();
                assert!(diff.to_scalar::<f32>().unwrap() < 2e-5, "{b} {h} {n} {m}");
            }
        }
    }

    #[test]
    fn a_row_that_may_see_nothing_is_zero() {
        let x = noise((1, 1, 4, 8));
        let mask = Tensor::full(f32::NEG_INFINITY, (4, 4), &Device::Cpu).unwrap();
        let y = super::attention(&x, &x, &x, 1.0, Some(&mask)).unwrap();
        assert_eq!(
            y.abs()
                .unwrap()
                .max_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap(),
            0.0
        );
    }

    /// Numbers between −1.7 and 1.7, the same on every machine.
    fn spread_out(shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        let values = (1..=n as u32).map(|i| {
            let mixed = (i.wrapping_mul(2_654_435_761) ^ n as u32).wrapping_mul(0x85eb_ca6b);
            ((mixed >> 8) as f32 / (1 << 23) as f32 - 1.0) * 1.7
        });
        Tensor::from_vec(values.collect(), shape, &Device::Cpu).unwrap()
    }

    /// Prefix and tail, window and shared heads: both forms against a softmax over everything joined.
    #[test]
    fn causal_attention_sees_its_window_across_parts() {
        let far = |a: &Tensor, b: &Tensor| -> f32 {
            let diff = (a - b).unwrap().abs().unwrap().max_all().unwrap();
            diff.to_scalar().unwrap()
        };
        let shared = |t: &Tensor| {
            let (_, kv, m, d) = t.dims4().unwrap();
            let t = t.unsqueeze(2).unwrap();
            let t = t.broadcast_as((1, kv, 2, m, d)).unwrap();
            t.contiguous().unwrap().reshape((1, 4, m, d)).unwrap()
        };
        for (n, old, window) in [
            (1, 0, 9),
            (1, 40, 7),
            (1, 40, 100),
            (5, 30, 100),
            (150, 900, 333),
            (300, 0, 20),
        ] {
            let case = format!("{n} {old} {window}");
            let (q, tail) = (spread_out(&[1, 4, n, 8]), spread_out(&[1, 2, n, 8]));
            let before = spread_out(&[1, 2, old.max(1), 8]);
            let mut parts = vec![(&tail, &tail)];
            let mut joined = tail.clone();
            if old > 0 {
                parts.insert(0, (&before, &before));
                joined = Tensor::cat(&[&before, &tail], 2).unwrap();
            }
            let keys = shared(&joined);
            let total = old + n;
            let hidden: Vec<f32> = (0..n * total)
                .map(|i| {
                    let (query, key) = (old + i / total, i % total);
                    let seen = key <= query && query - key <= window;
                    if seen { 0.0 } else { f32::NEG_INFINITY }
                })
                .collect();
            let hidden = Tensor::from_vec(hidden, (1, 1, n, total), &Device::Cpu).unwrap();
            let scores = (q.matmul(&keys.t().unwrap()).unwrap() * 0.5).unwrap();
            let scores = scores.broadcast_add(&hidden).unwrap();
            let p = candle_nn::ops::softmax_last_dim(&scores).unwrap();
            let want = p.matmul(&keys).unwrap();
            let band = super::Band::new(window);
            let fused = super::causal_attention(&q, &parts, 0.5, &band).unwrap();
            assert!(far(&fused, &want) < 2e-5, "{case}");
            let cut: Vec<_> = parts.iter().map(|(k, v)| (shared(k), shared(v))).collect();
            let sliced = super::causal_in_slices(&q, &cut, (0.5, old), &band, 20_000).unwrap();
            assert!(far(&sliced, &want) < 2e-5, "{case}");
            // What was seen before, stored as halves.
            if old > 0 {
                let half = before.to_dtype(DType::F16).unwrap();
                parts[0] = (&half, &half);
                let narrow = super::causal_attention(&q, &parts, 0.5, &band).unwrap();
                assert_eq!(narrow.dtype(), DType::F32);
                assert!(far(&narrow, &want) < 5e-3, "{case}");
            }
        }
        let band = super::Band::new(1);
        assert!(super::causal_attention(&spread_out(&[1, 2, 3, 4]), &[], 1.0, &band).is_err());
    }

    #[test]
    fn layers_of_a_pass_share_their_masks() {
        let q = Tensor::zeros((1, 1, 700, 4), DType::F32, &Device::Cpu).unwrap();
        let parts = [(q.clone(), q.clone())];
        let band = super::Band::new(30);
        for _ in 0..3 {
            super::causal_in_slices(&q, &parts, (1.0, 0), &band, 3100).unwrap();
        }
        // Seven slices of a hundred: the first has nothing before it, the others look equally far back.
        assert_eq!(band.masks.borrow().len(), 2);
        assert!(band.mask(0, 1, 1, &q).unwrap().is_none());
    }
}
