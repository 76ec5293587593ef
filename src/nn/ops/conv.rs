//! Dense convolutions and pooling on NCHW maps; depthwise ones are [`super::depthwise`]'s.
//!
//! A dense convolution is one matrix product per image over its unfolded patches (none are unfolded for 1×1). candle's
//! own is ten times slower on the CPU.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail,
};
use rayon::prelude::{
    IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _,
    ParallelSlice as _, ParallelSliceMut as _,
};

use super::cpu::{Strided, f32s, matmul, matrix, product_into, simd};
use super::{bytes, fast, meter, passed};

/// Values of unfolded patches at a time: they stay in the second-level cache.
const UNFOLDED: usize = 1 << 17;
/// Images whose part of a weight's gradient is summed at once.
const TOGETHER: usize = 4;

/// Sizes of one dense convolution.
#[derive(Clone, Copy, Debug)]
struct Patches {
    channels: usize,
    height: usize,
    width: usize,
    kernel: (usize, usize),
    stride: usize,
    padding: usize,
}

impl Patches {
    fn new(x: &Shape, w: &Shape, stride: usize, padding: usize) -> Result<Self> {
        let (_, channels, height, width) = x.dims4()?;
        let (_, wc, kh, kw) = w.dims4()?;
        if wc != channels {
            bail!("a convolution of {wc} channels got {channels}");
        }
        if height + 2 * padding < kh || width + 2 * padding < kw {
            bail!("a {kh}×{kw} convolution got a map of {height}×{width}");
        }
        Ok(Self {
            channels,
            height,
            width,
            kernel: (kh, kw),
            stride,
            padding,
        })
    }

    fn out(&self) -> (usize, usize) {
        (
            (self.height + 2 * self.padding - self.kernel.0) / self.stride + 1,
            (self.width + 2 * self.padding - self.kernel.1) / self.stride + 1,
        )
    }

    /// Rows of the unfolded matrix: channels × kernel.
    fn rows(&self) -> usize {
        self.channels * self.kernel.0 * self.kernel.1
    }

    fn pointwise(&self) -> bool {
        self.kernel == (1, 1) && self.stride == 1 && self.padding == 0
    }

    /// Output columns whose input column `o · stride + k − padding` lies inside.
    fn span(&self, k: usize, out: usize, len: usize) -> (usize, usize) {
        let first = self.padding.saturating_sub(k).div_ceil(self.stride);
        let end = (len + self.padding)
            .saturating_sub(k)
            .div_ceil(self.stride)
            .min(out);
        (first.min(end), end)
    }

    /// Rows `from..` of the output of one image unfolded to `(c·kh·kw, rows·ow)`, as many as fit.
    fn unfold_rows(&self, x: &[f32], from: usize, cols: &mut [f32], rows: usize) {
        let (_, ow) = self.out();
        let (kh, kw) = self.kernel;
        for (row, cols) in cols.chunks_exact_mut(rows * ow).enumerate() {
            let (c, ky, kx) = (row / (kh * kw), row / kw % kh, row % kw);
            let plane = &x[c * self.height * self.width..(c + 1) * self.height * self.width];
            let (x0, x1) = self.span(kx, ow, self.width);
            for (i, line) in cols.chunks_exact_mut(ow).enumerate() {
                let iy = (from + i) * self.stride + ky;
                if iy < self.padding || iy - self.padding >= self.height || x0 >= x1 {
                    line.fill(0.0);
                    continue;
                }
                let source = &plane[(iy - self.padding) * self.width..][..self.width];
                line[..x0].fill(0.0);
                line[x1..].fill(0.0);
                let first = x0 * self.stride + kx - self.padding;
                if self.stride == 1 {
                    line[x0..x1].copy_from_slice(&source[first..first + x1 - x0]);
                } else {
                    let source = source[first..].iter().step_by(self.stride);
                    for (v, &s) in line[x0..x1].iter_mut().zip(source) {
                        *v = s;
                    }
                }
            }
        }
    }

    /// Output rows at a time, such that their patches stay in the cache.
    fn band(&self) -> usize {
        let (oh, ow) = self.out();
        (UNFOLDED / (self.rows() * ow).max(1)).clamp(1, oh.max(1))
    }

    /// Bands of output rows: the first of each, and how many.
    fn bands(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let ((oh, _), height) = (self.out(), self.band());
        (0..oh)
            .step_by(height)
            .map(move |from| (from, height.min(oh - from)))
    }

    /// All images convolved, a few output rows at a time: their patches never leave the cache. Weight `(o, c·kh·kw)`, bias `(o)`.
    fn convolve(
        &self,
        x: &[f32],
        (weight, bias): (&[f32], Option<&[f32]>),
        (b, o): (usize, usize),
    ) -> Vec<f32> {
        let (oh, ow) = self.out();
        let (n, k) = (oh * ow, self.rows());
        let image = self.channels * self.height * self.width;
        let height = self.band();
        let bands = oh.div_ceil(height);
        // Each band is a block of its own, `(o, rows·ow)`; they are put in place in one more pass.
        let parts: Vec<Vec<f32>> = (0..b * bands)
            .into_par_iter()
            .map_init(Vec::new, |cols: &mut Vec<f32>, i| {
                let (at, from) = (i / bands, i % bands * height);
                let rows = height.min(oh - from);
                let width = rows * ow;
                cols.resize(k * width, 0.0);
                self.unfold_rows(&x[at * image..(at + 1) * image], from, cols, rows);
                let mut part = vec![0.0; o * width];
                product_into(
                    (&mut part, width),
                    (o, width, k),
                    Strided::rows(weight, k),
                    Strided::rows(cols, width),
                    (0.0, 1.0),
                );
                part
            })
            .collect();
        let mut y = vec![0.0; b * o * n];
        y.par_chunks_mut(n.max(1))
            .enumerate()
            .for_each(|(i, plane)| {
                let (at, channel) = (i / o, i % o);
                for (band, plane) in plane.chunks_mut(height * ow).enumerate() {
                    let part = &parts[at * bands + band];
                    let part = &part[channel * plane.len()..][..plane.len()];
                    match bias {
                        Some(bias) => plus_constant(part, bias[channel], plane),
                        None => plane.copy_from_slice(part),
                    }
                }
            });
        y
    }

    /// The transpose of [`Patches::unfold_rows`]: adds `(c·kh·kw, rows·ow)` into one image.
    fn fold_rows(&self, cols: &[f32], (from, rows): (usize, usize), x: &mut [f32]) {
        let (_, ow) = self.out();
        let (kh, kw) = self.kernel;
        for (row, cols) in cols.chunks_exact(rows * ow).enumerate() {
            let (c, ky, kx) = (row / (kh * kw), row / kw % kh, row % kw);
            let plane = &mut x[c * self.height * self.width..][..self.height * self.width];
            let (x0, x1) = self.span(kx, ow, self.width);
            for (i, line) in cols.chunks_exact(ow).enumerate() {
                let iy = (from + i) * self.stride + ky;
                if iy < self.padding || iy - self.padding >= self.height || x0 >= x1 {
                    continue;
                }
                let target = &mut plane[(iy - self.padding) * self.width..][..self.width];
                let target = &mut target[x0 * self.stride + kx - self.padding..];
                if self.stride == 1 {
                    add_to(&mut target[..x1 - x0], &line[x0..x1]);
                } else {
                    let target = target.iter_mut().step_by(self.stride);
                    for (t, v) in target.zip(&line[x0..x1]) {
                        *t += v;
                    }
                }
            }
        }
    }

    /// Gradient of one image, `(c, h, w)`, from that of what was made of it, `(o, oh·ow)`; `dx` starts at zero.
    fn image_gradient(
        &self,
        (weight, grad): (&[f32], &[f32]),
        cols: &mut Vec<f32>,
        dx: &mut [f32],
    ) {
        let (oh, ow) = self.out();
        let (n, k) = (oh * ow, self.rows());
        let o = grad.len() / n.max(1);
        if self.pointwise() {
            let (weight, grad) = (Strided::columns(weight, k), Strided::rows(grad, n));
            product_into((dx, n), (k, n, o), weight, grad, (0.0, 1.0));
            return;
        }
        for (from, rows) in self.bands() {
            let width = rows * ow;
            cols.resize(k * width, 0.0);
            product_into(
                (cols, width),
                (k, width, o),
                Strided::columns(weight, k),
                Strided::rows(&grad[from * ow..], n),
                (0.0, 1.0),
            );
            self.fold_rows(cols, (from, rows), dx);
        }
    }

    /// Adds to the weight's gradient, `(o, c·kh·kw)`, what one image `(c, h, w)` makes of it.
    fn weight_gradient(&self, (x, grad): (&[f32], &[f32]), cols: &mut Vec<f32>, dw: &mut [f32]) {
        let (oh, ow) = self.out();
        let (n, k) = (oh * ow, self.rows());
        let o = grad.len() / n.max(1);
        if self.pointwise() {
            let (grad, x) = (Strided::rows(grad, n), Strided::columns(x, n));
            product_into((dw, k), (o, k, n), grad, x, (1.0, 1.0));
            return;
        }
        for (from, rows) in self.bands() {
            let width = rows * ow;
            cols.resize(k * width, 0.0);
            self.unfold_rows(x, from, cols, rows);
            product_into(
                (dw, k),
                (o, k, width),
                Strided::rows(&grad[from * ow..], n),
                Strided::columns(cols, width),
                (1.0, 1.0),
            );
        }
    }
}

simd! {
    fn add_constant(y: &mut [f32], b: f32) {
        for y in y {
            *y += b;
        }
    }
}

simd! {
    fn plus_constant(x: &[f32], b: f32, y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x + b;
        }
    }
}

simd! {
    fn add_to(y: &mut [f32], x: &[f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

simd! {
    fn total(x: &[f32]) -> f32 {
        let mut acc = [0.0_f32; 16];
        let chunks = x.chunks_exact(16);
        let rest: f32 = chunks.remainder().iter().sum();
        for c in chunks {
            for (a, &v) in acc.iter_mut().zip(c) {
                *a += v;
            }
        }
        acc.iter().sum::<f32>() + rest
    }
}

fn add_channel_bias(y: &mut [f32], bias: &[f32], plane: usize) {
    y.par_chunks_mut(plane)
        .enumerate()
        .for_each(|(i, y)| add_constant(y, bias[i % bias.len()]));
}

/// `(b, c, h, w)` → `(c)`: the gradient of a channel bias.
struct ChannelSum;

impl CustomOp1 for ChannelSum {
    fn name(&self) -> &'static str {
        "channel-sum"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32s(s, l)?;
        let (_, c, h, w) = l.shape().dims4()?;
        let mut out = vec![0.0; c];
        for (i, plane) in x.chunks_exact(h * w).enumerate() {
            out[i % c] += total(plane);
        }
        Ok((CpuStorage::F32(out), Shape::from(c)))
    }
}

#[derive(Clone, Copy)]
struct Conv {
    stride: usize,
    padding: usize,
}

impl Conv {
    fn forward(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        bias: Option<&[f32]>,
    ) -> Result<(Vec<f32>, Shape)> {
        let patches = Patches::new(l1.shape(), l2.shape(), self.stride, self.padding)?;
        let x = f32s(s1, l1)?;
        let (b, o) = (l1.shape().dims4()?.0, l2.shape().dims4()?.0);
        let (oh, ow) = patches.out();
        let (n, k) = (oh * ow, patches.rows());
        let weight = matrix(o, k, l2.start_offset());
        let image = patches.channels * patches.height * patches.width;
        let mut y = Vec::new();
        if patches.pointwise() && b == 1 {
            // The product's own buffer is the answer.
            let cols = matrix(k, n, l1.start_offset());
            y = matmul((s2, &weight), (s1, &cols), (o, n, k))?;
        } else if patches.pointwise() {
            y.reserve(b * o * n);
            for i in 0..b {
                let cols = matrix(k, n, l1.start_offset() + i * image);
                y.extend_from_slice(&matmul((s2, &weight), (s1, &cols), (o, n, k))?);
            }
        } else {
            let CpuStorage::F32(weight) = s2 else {
                bail!("this kernel takes weights in f32");
            };
            let weight = &weight[l2.start_offset()..][..o * k];
            y = patches.convolve(x, (weight, bias), (b, o));
        }
        if let (true, Some(bias)) = (patches.pointwise(), bias) {
            add_channel_bias(&mut y, bias, n);
        }
        Ok((y, Shape::from((b, o, oh, ow))))
    }

    fn backward(
        &self,
        x: &Tensor,
        w: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let dx = if x.track_op() {
            let op = ConvGradInput {
                conv: *self,
                input: x.shape().clone(),
            };
            Some(w.detach().apply_op2_no_bwd(&grad, &op)?)
        } else {
            None
        };
        let dw = if w.track_op() {
            let op = ConvGradWeight {
                conv: *self,
                weight: w.shape().clone(),
            };
            Some(x.detach().apply_op2_no_bwd(&grad, &op)?)
        } else {
            None
        };
        Ok((dx, dw))
    }
}

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (y, shape) = self.forward(s1, l1, s2, l2, None)?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, w, grad)
    }
}

struct ConvBias(Conv);

impl CustomOp3 for ConvBias {
    fn name(&self) -> &'static str {
        "conv2d-bias"
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
        let (y, shape) = self.0.forward(s1, l1, s2, l2, Some(f32s(s3, l3)?))?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.0.backward(x, w, grad)?;
        Ok((
            dx,
            dw,
            Some(grad.contiguous()?.apply_op1_no_bwd(&ChannelSum)?),
        ))
    }
}

struct ConvGradInput {
    conv: Conv,
    input: Shape,
}

impl CustomOp2 for ConvGradInput {
    fn name(&self) -> &'static str {
        "conv2d-grad-input"
    }

    /// Weight, then the output's gradient.
    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let patches = Patches::new(&self.input, l1.shape(), self.conv.stride, self.conv.padding)?;
        let (weight, grad) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let image = patches.channels * patches.height * patches.width;
        let b = l2.shape().dims4()?.0;
        let mut dx = vec![0.0; b * image];
        dx.par_chunks_mut(image.max(1))
            .zip(grad.par_chunks((grad.len() / b.max(1)).max(1)))
            .for_each_init(Vec::new, |cols, (dx, grad)| {
                patches.image_gradient((weight, grad), cols, dx);
            });
        Ok((CpuStorage::F32(dx), self.input.clone()))
    }
}

struct ConvGradWeight {
    conv: Conv,
    weight: Shape,
}

impl CustomOp2 for ConvGradWeight {
    fn name(&self) -> &'static str {
        "conv2d-grad-weight"
    }

    /// Input, then the output's gradient.
    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let patches = Patches::new(
            l1.shape(),
            &self.weight,
            self.conv.stride,
            self.conv.padding,
        )?;
        let (x, grad) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let image = patches.channels * patches.height * patches.width;
        let (b, o, _, _) = l2.shape().dims4()?;
        let (made, k) = (grad.len() / b.max(1), patches.rows());
        // Sums in an order that no thread decides: a run can be repeated.
        let parts: Vec<Vec<f32>> = x
            .par_chunks((TOGETHER * image).max(1))
            .zip(grad.par_chunks((TOGETHER * made).max(1)))
            .map_init(Vec::new, |cols, (x, grad)| {
                let mut dw = vec![0.0; o * k];
                let images = x.chunks_exact(image.max(1));
                for one in images.zip(grad.chunks_exact(made.max(1))) {
                    patches.weight_gradient(one, cols, &mut dw);
                }
                dw
            })
            .collect();
        let mut dw = vec![0.0; o * k];
        for part in &parts {
            add_to(&mut dw, part);
        }
        Ok((CpuStorage::F32(dw), self.weight.clone()))
    }
}

/// Dense convolution: x `(b, c, h, w)`, weight `(o, c, kh, kw)`, bias `(o)` → `(b, o, h', w')`.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
) -> Result<Tensor> {
    let patches = Patches::new(x.shape(), weight.shape(), stride, padding)?;
    let (oh, ow) = patches.out();
    let written = x.dim(0)? * weight.dim(0)? * oh * ow;
    let moved = bytes(&[x, weight]) + written * x.dtype().size_in_bytes();
    meter::count(2 * written * patches.rows(), moved);
    if fast(x) {
        let (x, weight) = (x.contiguous()?, weight.contiguous()?);
        let conv = Conv { stride, padding };
        return match bias {
            Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, ConvBias(conv)),
            None => x.apply_op2(&weight, conv),
        };
    }
    add_bias(x.conv2d(weight, padding, stride, 1, 1)?, bias)
}

pub(super) fn add_bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(b) => y.broadcast_add(&b.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

/// `(b, o·4, h, w)` with the four taps innermost → `(b, o, 2h, 2w)`; `back` is the inverse.
#[derive(Clone, Copy)]
struct Interleave {
    back: bool,
}

impl CustomOp1 for Interleave {
    fn name(&self) -> &'static str {
        "interleave-2x2"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32s(s, l)?;
        let (b, c, h, w) = l.shape().dims4()?;
        let mut y = vec![0.0; x.len()];
        let (o, h, w) = if self.back {
            (c, h / 2, w / 2)
        } else {
            (c / 4, h, w)
        };
        let plane = 4 * h * w;
        y.par_chunks_mut(plane)
            .zip(x.par_chunks(plane))
            .for_each(|(y, x)| {
                for tap in 0..4 {
                    let (ty, tx) = (tap / 2, tap % 2);
                    for row in 0..h {
                        let narrow = tap * h * w + row * w;
                        let wide = (2 * row + ty) * 2 * w + tx;
                        for col in 0..w {
                            if self.back {
                                y[narrow + col] = x[wide + 2 * col];
                            } else {
                                y[wide + 2 * col] = x[narrow + col];
                            }
                        }
                    }
                }
            });
        let shape = if self.back {
            (b, 4 * o, h, w)
        } else {
            (b, o, 2 * h, 2 * w)
        };
        Ok((CpuStorage::F32(y), Shape::from(shape)))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let op = Self { back: !self.back };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&op)?))
    }
}

/// Transposed convolution, kernel 2, stride 2: x `(b, c, h, w)`, weight `(c, o, 2, 2)`, bias `(o)` → `(b, o, 2h, 2w)`.
pub fn conv_transpose_2x2(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if fast(x) {
        // Without overlap each input pixel makes its own four: a 1×1 convolution to 4·o channels, interleaved.
        let (c, o, _, _) = weight.dims4()?;
        let taps =
            super::transpose_last(&weight.reshape((c, o * 4))?)?.reshape((o * 4, c, 1, 1))?;
        // Each output channel's bias for all four taps.
        let bias = match bias {
            Some(b) => Some(
                b.unsqueeze(1)?
                    .broadcast_as((o, 4))?
                    .contiguous()?
                    .flatten_all()?,
            ),
            None => None,
        };
        let y = conv2d(x, &taps, bias.as_ref(), 1, 0)?;
        return y.apply_op1(Interleave { back: false });
    }
    meter::count(
        2 * x.elem_count() * weight.elem_count() / weight.dim(0)?,
        bytes(&[x, weight]) + 4 * bytes(&[x]) * weight.dim(1)? / weight.dim(0)?,
    );
    add_bias(x.conv_transpose2d(weight, 0, 0, 2, 1)?, bias)
}

/// Maximum over 2×2 tiles: `(b, c, h, w)` → `(b, c, h/2, w/2)`; h and w are even.
pub fn max_pool_2x2(x: &Tensor) -> Result<Tensor> {
    passed(x, &[]);
    x.max_pool2d(2)
}

#[cfg(test)]
mod tests {
    use crate::nn::ops::check::{gradients_agree, largest_difference, noise, randn};

    #[test]
    fn conv2d_agrees_with_candle() {
        for (k, stride, padding) in [
            (1, 1, 0),
            (3, 1, 1),
            (3, 2, 1),
            (7, 4, 3),
            (2, 2, 0),
            (8, 8, 0),
            (1, 2, 0),
        ] {
            let (x, w) = (randn(&[2, 3, 16, 24]), randn(&[5, 3, k, k]));
            let want = x.conv2d(&w, padding, stride, 1, 1).unwrap();
            let got = super::conv2d(&x, &w, None, stride, padding).unwrap();
            assert!(
                largest_difference(&got, &want) < 1e-4,
                "kernel {k}, stride {stride}"
            );
        }
    }

    #[test]
    fn conv2d_gradients() {
        for (k, stride, padding) in [(1, 1, 0), (3, 1, 1), (3, 2, 1), (7, 4, 3), (2, 2, 0)] {
            let (x, w, b) = (randn(&[2, 2, 9, 8]), randn(&[3, 2, k, k]), randn(&[3]));
            gradients_agree(&[&x, &w, &b], |v| {
                super::conv2d(&v[0], &v[1], Some(&v[2]), stride, padding)
            });
        }
    }

    /// More images than are summed at once, of more rows than are unfolded at once.
    #[test]
    fn conv2d_gradients_of_many_images_in_bands_agree_with_candle() {
        for (k, stride, padding) in [(1, 1, 0), (3, 1, 1), (3, 2, 1)] {
            let (x, w) = (randn(&[5, 3, 130, 160]), randn(&[4, 3, k, k]));
            let patches = super::Patches::new(x.shape(), w.shape(), stride, padding).unwrap();
            assert!(k == 1 || patches.bands().count() > 1);
            let want = x.conv2d(&w, padding, stride, 1, 1).unwrap();
            let weights = noise(want.shape());
            let gradients = |y: &candle_core::Tensor| {
                let grads = (y * &weights)
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .backward()
                    .unwrap();
                [&x, &w].map(|v| grads.get(v.as_tensor()).unwrap().clone())
            };
            let got = super::conv2d(&x, &w, None, stride, padding).unwrap();
            let (got, want) = (gradients(&got), gradients(&want));
            for (got, want) in got.iter().zip(&want) {
                let size = want.abs().unwrap().max_all().unwrap();
                let size = size.to_scalar::<f32>().unwrap();
                let off = largest_difference(got, want);
                assert!(
                    off < 1e-4 * size,
                    "kernel {k}, stride {stride}: {off} of {size}"
                );
            }
        }
    }

    #[test]
    fn conv_transpose_agrees_with_candle_and_has_gradients() {
        let (x, w, b) = (randn(&[2, 4, 3, 5]), randn(&[4, 3, 2, 2]), randn(&[3]));
        let want = x.conv_transpose2d(&w, 0, 0, 2, 1).unwrap();
        let got = super::conv_transpose_2x2(&x, &w, None).unwrap();
        assert!(largest_difference(&got, &want) < 1e-4);
        gradients_agree(&[&x, &w, &b], |v| {
            super::conv_transpose_2x2(&v[0], &v[1], Some(&v[2]))
        });
    }
}
