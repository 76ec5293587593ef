//! Resizing of float maps `(b, c, h, w)` with PyTorch's `interpolate` conventions: `align_corners = false`, no
//! antialiasing. Each axis is a table of taps; the gradient runs the same table backwards.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::{
    IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _,
};

use super::cpu::{f32s, simd};
use super::fast;

/// For each output position its input positions and weights.
#[derive(Clone, Debug)]
struct Taps {
    from: usize,
    rows: Vec<Vec<(usize, f32)>>,
}

impl Taps {
    fn new(from: usize, to: usize, taps: impl Fn(f64) -> Vec<(i64, f64)>) -> Self {
        let scale = from as f64 / to as f64;
        let rows = (0..to)
            .map(|o| {
                let mut row: Vec<(usize, f32)> = Vec::new();
                for (i, w) in taps((o as f64 + 0.5) * scale - 0.5) {
                    let i = i.clamp(0, from as i64 - 1) as usize;
                    match row.iter_mut().find(|(j, _)| *j == i) {
                        Some((_, sum)) => *sum += w as f32,
                        None => row.push((i, w as f32)),
                    }
                }
                row.retain(|&(_, w)| w != 0.0);
                row
            })
            .collect();
        Self { from, rows }
    }

    fn transposed(&self) -> Self {
        let mut rows = vec![Vec::new(); self.from];
        for (o, row) in self.rows.iter().enumerate() {
            for &(i, w) in row {
                rows[i].push((o, w));
            }
        }
        Self {
            from: self.rows.len(),
            rows,
        }
    }

    fn matrix(&self, device: &Device) -> Result<Tensor> {
        let mut data = vec![0_f32; self.from * self.rows.len()];
        for (o, row) in self.rows.iter().enumerate() {
            for &(i, w) in row {
                data[o * self.from + i] += w;
            }
        }
        Tensor::from_vec(data, (self.rows.len(), self.from), device)
    }
}

simd! {
    fn add_scaled(y: &mut [f32], x: &[f32], w: f32) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += w * x;
        }
    }
}

#[derive(Clone)]
struct Resize {
    down: Taps,
    across: Taps,
}

impl Resize {
    /// One `from.h × from.w` plane to one `to.h × to.w` plane: rows first (whole-row vector work), then columns.
    fn plane(&self, x: &[f32], y: &mut [f32]) {
        let (iw, ow) = (self.across.from, self.across.rows.len());
        let mut line = vec![0.0; iw];
        for (taps, y) in self.down.rows.iter().zip(y.chunks_exact_mut(ow)) {
            line.fill(0.0);
            for &(i, w) in taps {
                add_scaled(&mut line, &x[i * iw..(i + 1) * iw], w);
            }
            for (y, taps) in y.iter_mut().zip(&self.across.rows) {
                *y = taps.iter().map(|&(i, w)| line[i] * w).sum();
            }
        }
    }
}

impl CustomOp1 for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32s(s, l)?;
        let (b, c, _, _) = l.shape().dims4()?;
        let (h, w) = (self.down.rows.len(), self.across.rows.len());
        let from = self.down.from * self.across.from;
        let mut y = vec![0.0; b * c * h * w];
        y.par_chunks_mut(h * w)
            .zip(x.par_chunks(from))
            .for_each(|(y, x)| self.plane(x, y));
        Ok((CpuStorage::F32(y), Shape::from((b, c, h, w))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = Self {
            down: self.down.transposed(),
            across: self.across.transposed(),
        };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}

fn resize(
    x: &Tensor,
    (h, w): (usize, usize),
    taps: impl Fn(f64) -> Vec<(i64, f64)>,
) -> Result<Tensor> {
    let (b, c, ih, iw) = x.dims4()?;
    if (ih, iw) == (h, w) {
        return Ok(x.clone());
    }
    let down = Taps::new(ih, h, &taps);
    let across = Taps::new(iw, w, &taps);
    if fast(x) {
        return x.contiguous()?.apply_op1(Resize { down, across });
    }
    let across = across.matrix(x.device())?.to_dtype(x.dtype())?;
    let down = down.matrix(x.device())?.to_dtype(x.dtype())?;
    let x = x
        .contiguous()?
        .reshape((b * c * ih, iw))?
        .matmul(&across.t()?)?;
    down.unsqueeze(0)?
        .broadcast_as((b * c, h, ih))?
        .contiguous()?
        .matmul(&x.reshape((b * c, ih, w))?)?
        .reshape((b, c, h, w))
}

/// Bilinear resize to `(h, w)`.
pub fn resize_bilinear(x: &Tensor, to: (usize, usize)) -> Result<Tensor> {
    resize(x, to, |at| {
        // PyTorch clamps the source coordinate at 0 before it splits it.
        let at = at.max(0.0);
        let i = at.floor();
        vec![(i as i64, 1.0 - (at - i)), (i as i64 + 1, at - i)]
    })
}

/// Bicubic resize to `(h, w)`, a = −0.75.
pub fn resize_bicubic(x: &Tensor, to: (usize, usize)) -> Result<Tensor> {
    const A: f64 = -0.75;
    let near = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    resize(x, to, |at| {
        let i = at.floor();
        let t = at - i;
        let i = i as i64;
        vec![
            (i - 1, far(t + 1.0)),
            (i, near(t)),
            (i + 1, near(1.0 - t)),
            (i + 2, far(2.0 - t)),
        ]
    })
}

/// Nearest-neighbour resize to `(h, w)`: output position o reads input ⌊o · from / to⌋.
pub fn resize_nearest(x: &Tensor, to: (usize, usize)) -> Result<Tensor> {
    resize(x, to, |at| {
        // `at` is (o + ½)·s − ½. Whole factors up: flooring at + ½ reads ⌊(o + ½)·s⌋, which is ⌊o·s⌋ there.
        vec![((at + 0.5).floor() as i64, 1.0)]
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use crate::nn::ops::check::{gradients_agree, randn};

    #[test]
    fn resize_gradients() {
        let x = randn(&[2, 2, 5, 4]);
        gradients_agree(&[&x], |v| super::resize_bilinear(&v[0], (9, 12)));
        gradients_agree(&[&x], |v| super::resize_bilinear(&v[0], (3, 2)));
        gradients_agree(&[&x], |v| super::resize_bicubic(&v[0], (7, 8)));
        gradients_agree(&[&x], |v| super::resize_nearest(&v[0], (10, 8)));
    }

    #[test]
    fn nearest_doubling_repeats() {
        let x = Tensor::from_slice(&[1_f32, 2.0, 3.0, 4.0], (1, 1, 2, 2), &Device::Cpu).unwrap();
        let y = super::resize_nearest(&x, (4, 4))
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert_eq!(
            y,
            [
                1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4.
            ]
        );
    }

    #[test]
    fn bilinear_doubling_agrees_with_pytorch() {
        let x = Tensor::from_slice(&[0_f32, 1.0, 2.0, 3.0], (1, 1, 2, 2), &Device::Cpu).unwrap();
        let y = super::resize_bilinear(&x, (4, 4))
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert_eq!(&y[..8], [0.0, 0.25, 0.75, 1.0, 0.5, 0.75, 1.25, 1.5]);
    }
}
