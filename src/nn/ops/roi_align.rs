//! Region pooling: the mean of bilinear samples over each bin of a box, as torchvision's `roi_align` with
//! `aligned = true` and an adaptive number of samples (one per cell that a bin covers, rounded up).
//!
//! The samples of a bin form a grid, and whether a sample counts is decided per axis, so a box is two small matrices:
//! `out = Wy · map · Wxᵀ`. The CPU kernel walks only their non-zero bands; other devices multiply.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::{IndexedParallelIterator as _, ParallelIterator as _, ParallelSliceMut as _};

use super::cpu::f32s;

/// A box to pool: which image of the batch, and `x1, y1, x2, y2` in units that `scale` turns into cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roi {
    /// Index into the batch.
    pub image: usize,
    /// `x1, y1, x2, y2`; may leave the image, be empty or inverted.
    pub bounds: [f32; 4],
}

/// Pools `rois` from `features` `(b, c, h, w)` → `(rois, c, size, size)`. `scale` turns box units into cells. Only the
/// features get a gradient. An empty or inverted box gives zeros.
///
/// # Errors
/// If a box names an image that is not there.
pub fn roi_align(features: &Tensor, rois: &[Roi], scale: f32, size: usize) -> Result<Tensor> {
    let (b, c, h, w) = features.dims4()?;
    if let Some(roi) = rois.iter().find(|r| r.image >= b) {
        bail!("region of image {} in a batch of {b}", roi.image);
    }
    let bands: Vec<Region> = rois
        .iter()
        .map(|roi| {
            let [x1, y1, x2, y2] = roi.bounds;
            let across = axis(x1, x2, scale, w, size);
            Region {
                image: roi.image,
                reach: reach(&across),
                across,
                down: axis(y1, y2, scale, h, size),
            }
        })
        .collect();
    if rois.is_empty() {
        return Tensor::zeros((0, c, size, size), features.dtype(), features.device());
    }
    if super::fast(features) {
        let op = RoiAlign {
            dims: (b, c, h, w),
            size,
            regions: bands,
        };
        return features.contiguous()?.apply_op1(op);
    }
    composed(features, &bands, size)
}

/// One row of an axis matrix: the cells a bin reads, from `start` on.
#[derive(Clone, Debug, Default)]
struct Band {
    start: usize,
    weights: Vec<f32>,
}

/// A box as two axis matrices, one band per bin.
struct Region {
    image: usize,
    across: Vec<Band>,
    down: Vec<Band>,
    /// The columns that any of its bins reads.
    reach: Range<usize>,
}

/// The cells that any of some bins reads.
fn reach(bands: &[Band]) -> Range<usize> {
    let used = || bands.iter().filter(|band| !band.weights.is_empty());
    let from = used().map(|band| band.start).min();
    let to = used().map(|band| band.start + band.weights.len()).max();
    from.unwrap_or(0)..to.unwrap_or(0)
}

/// The bands of one axis. In f32 and in this order, because whether a sample lies outside is a comparison.
fn axis(low: f32, high: f32, scale: f32, cells: usize, bins: usize) -> Vec<Band> {
    let start = low * scale - 0.5;
    let length = high * scale - 0.5 - start;
    let bin = length / bins as f32;
    let samples = bin.ceil();
    if samples.is_nan() || samples < 1.0 || cells == 0 {
        return vec![Band::default(); bins];
    }
    // A box so large that its samples cannot be counted has nothing between two of them to tell apart.
    let samples = samples.min(65_536.0) as usize;
    let share = 1.0 / samples as f32;
    let last = cells - 1;
    (0..bins)
        .map(|p| {
            let mut row = vec![0.0_f32; cells];
            for i in 0..samples {
                let at = start + p as f32 * bin + (i as f32 + 0.5) * bin / samples as f32;
                if at < -1.0 || at > cells as f32 {
                    continue;
                }
                let at = at.max(0.0);
                let i = at as usize;
                if i >= last {
                    row[last] += share;
                } else {
                    let fraction = at - i as f32;
                    row[i] += share * (1.0 - fraction);
                    row[i + 1] += share * fraction;
                }
            }
            let used = |w: &f32| *w != 0.0;
            match (row.iter().position(used), row.iter().rposition(used)) {
                (Some(from), Some(to)) => Band {
                    start: from,
                    weights: row[from..=to].to_vec(),
                },
                _ => Band::default(),
            }
        })
        .collect()
}

struct RoiAlign {
    dims: (usize, usize, usize, usize),
    size: usize,
    regions: Vec<Region>,
}

impl RoiAlign {
    fn forward(&self, features: &[f32]) -> Vec<f32> {
        let (_, c, h, w) = self.dims;
        let bins = self.size * self.size;
        let mut out = vec![0.0_f32; self.regions.len() * c * bins];
        if c * bins == 0 {
            return out;
        }
        // Rows are added up first, as they run along memory; what is summed across is then a single line per row of bins.
        let pool = |line: &mut Vec<f32>, (at, out): (usize, &mut [f32])| {
            let region = &self.regions[at / c];
            let map = &features[(region.image * c + at % c) * h * w..][..h * w];
            let reach = &region.reach;
            for (down, out) in region.down.iter().zip(out.chunks_exact_mut(self.size)) {
                line.clear();
                line.resize(reach.len(), 0.0);
                for (y, wy) in down.weights.iter().enumerate() {
                    let row = &map[(down.start + y) * w..][..w][reach.clone()];
                    for (sum, v) in line.iter_mut().zip(row) {
                        *sum += wy * v;
                    }
                }
                for (across, out) in region.across.iter().zip(out) {
                    let from = across.start.saturating_sub(reach.start);
                    let cells = line.get(from..).unwrap_or_default();
                    *out = cells.iter().zip(&across.weights).map(|(v, w)| v * w).sum();
                }
            }
        };
        out.par_chunks_mut(bins)
            .with_min_len(16)
            .enumerate()
            .for_each_init(Vec::new, pool);
        out
    }

    fn backward(&self, grad: &[f32]) -> Vec<f32> {
        let (b, c, h, w) = self.dims;
        let bins = self.size * self.size;
        let mut out = vec![0.0_f32; b * c * h * w];
        if h * w == 0 {
            return out;
        }
        // A thread owns one map, so boxes that overlap need no lock and the sum's order is fixed.
        let spread = |(at, map): (usize, &mut [f32])| {
            for (r, region) in self.regions.iter().enumerate() {
                if region.image != at / c {
                    continue;
                }
                let grad = &grad[(r * c + at % c) * bins..][..bins];
                for (ph, down) in region.down.iter().enumerate() {
                    for (y, wy) in down.weights.iter().enumerate() {
                        let row = &mut map[(down.start + y) * w..][..w];
                        for (pw, across) in region.across.iter().enumerate() {
                            let g = wy * grad[ph * self.size + pw];
                            let cells = &mut row[across.start..][..across.weights.len()];
                            for (v, w) in cells.iter_mut().zip(&across.weights) {
                                *v += g * w;
                            }
                        }
                    }
                }
            }
        };
        out.par_chunks_mut(h * w).enumerate().for_each(spread);
        out
    }
}

impl CustomOp1 for RoiAlign {
    fn name(&self) -> &'static str {
        "roi-align"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = self.forward(f32s(storage, layout)?);
        let shape = Shape::from((self.regions.len(), self.dims.1, self.size, self.size));
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.flatten_all()?.to_vec1::<f32>()?;
        let out = Tensor::from_vec(self.backward(&grad), arg.shape(), arg.device())?;
        Ok(Some(out))
    }
}

/// The axis matrices of all regions `(regions, bins, cells)`.
fn matrices<'a>(
    bands: impl ExactSizeIterator<Item = &'a Vec<Band>>,
    bins: usize,
    cells: usize,
    device: &Device,
) -> Result<Tensor> {
    let regions = bands.len();
    let mut data = vec![0.0_f32; regions * bins * cells];
    for (r, rows) in bands.enumerate() {
        for (p, band) in rows.iter().enumerate() {
            let from = (r * bins + p) * cells + band.start;
            data[from..from + band.weights.len()].copy_from_slice(&band.weights);
        }
    }
    Tensor::from_vec(data, (regions, bins, cells), device)
}

/// The same from matrix products, for every device and float type.
fn composed(features: &Tensor, regions: &[Region], size: usize) -> Result<Tensor> {
    let (_, c, h, w) = features.dims4()?;
    let device = features.device();
    let mut parts = Vec::with_capacity(regions.len());
    let across = matrices(regions.iter().map(|r| &r.across), size, w, device)?;
    let down = matrices(regions.iter().map(|r| &r.down), size, h, device)?;
    let (across, down) = (
        across.to_dtype(features.dtype())?,
        down.to_dtype(features.dtype())?,
    );
    for (r, region) in regions.iter().enumerate() {
        let map = features.get(region.image)?.reshape((c * h, w))?;
        let rows = map.matmul(&across.get(r)?.t()?)?.reshape((c, h, size))?;
        let down = down.get(r)?.unsqueeze(0)?.broadcast_as((c, size, h))?;
        parts.push(down.contiguous()?.matmul(&rows)?);
    }
    Tensor::stack(&parts, 0)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;

    fn features() -> Result<Tensor> {
        let data: Vec<f32> = (0..2 * 3 * 6 * 9)
            .map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0)
            .collect();
        Tensor::from_vec(data, (2, 3, 6, 9), &Device::Cpu)
    }

    fn rois() -> Vec<Roi> {
        let roi = |image, bounds| Roi { image, bounds };
        vec![
            roi(0, [1.0, 2.0, 13.0, 9.0]),
            roi(1, [-6.0, -4.0, 30.0, 20.0]),
            roi(1, [4.0, 4.0, 4.0, 4.0]),
            roi(0, [10.0, 8.0, 2.0, 1.0]),
            roi(0, [200.0, 200.0, 240.0, 230.0]),
            roi(1, [0.3, 0.1, 0.9, 0.8]),
        ]
    }

    /// Sample by sample, as the definition reads.
    fn by_definition(
        map: &[f32],
        (h, w): (usize, usize),
        bounds: [f32; 4],
        scale: f32,
        size: usize,
    ) -> Vec<f32> {
        let [x1, y1, x2, y2] = bounds.map(|v| v * scale - 0.5);
        let (bw, bh) = ((x2 - x1) / size as f32, (y2 - y1) / size as f32);
        let (nx, ny) = (bw.ceil() as i32, bh.ceil() as i32);
        let read = |x: f32, y: f32| {
            if x < -1.0 || y < -1.0 || x > w as f32 || y > h as f32 {
                return 0.0;
            }
            let (x, y) = (x.max(0.0), y.max(0.0));
            let (x0, y0) = ((x as usize).min(w - 1), (y as usize).min(h - 1));
            let (xn, yn) = ((x0 + 1).min(w - 1), (y0 + 1).min(h - 1));
            let fx = if x0 == w - 1 { 0.0 } else { x - x0 as f32 };
            let fy = if y0 == h - 1 { 0.0 } else { y - y0 as f32 };
            let at = |x: usize, y: usize| map[y * w + x];
            (at(x0, y0) * (1.0 - fx) + at(xn, y0) * fx) * (1.0 - fy)
                + (at(x0, yn) * (1.0 - fx) + at(xn, yn) * fx) * fy
        };
        let mut out = Vec::new();
        for p in 0..size * size {
            let (px, py) = ((p % size) as f32, (p / size) as f32);
            let mut sum = 0.0;
            for iy in 0..ny {
                for ix in 0..nx {
                    let x = x1 + px * bw + (ix as f32 + 0.5) * bw / nx as f32;
                    let y = y1 + py * bh + (iy as f32 + 0.5) * bh / ny as f32;
                    sum += read(x, y);
                }
            }
            out.push(sum / (nx * ny).max(1) as f32);
        }
        out
    }

    #[test]
    fn pooling_equals_its_definition() -> Result<()> {
        let features = features()?;
        let flat = features.flatten_all()?.to_vec1::<f32>()?;
        let got = roi_align(&features, &rois(), 0.5, 3)?;
        assert_eq!(got.dims(), [6, 3, 3, 3]);
        for (r, roi) in rois().iter().enumerate() {
            for c in 0..3 {
                let map = &flat[(roi.image * 3 + c) * 54..][..54];
                let want = by_definition(map, (6, 9), roi.bounds, 0.5, 3);
                let got = got.get(r)?.get(c)?.flatten_all()?.to_vec1::<f32>()?;
                for (g, w) in got.iter().zip(&want) {
                    assert!(
                        (g - w).abs() < 1e-5,
                        "region {r} channel {c}: {got:?} {want:?}"
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_kernel_and_its_gradient_equal_the_composed_form() -> Result<()> {
        let run = |dtype: DType| -> Result<[Tensor; 2]> {
            let var = Var::from_tensor(&features()?.to_dtype(dtype)?)?;
            let out = roi_align(&var, &rois(), 0.5, 3)?;
            // The gradient of a sum of squares depends on every output.
            let grads = out.sqr()?.sum_all()?.backward()?;
            let grad = grads.get(&var).cloned().expect("features have a gradient");
            Ok([out.to_dtype(DType::F64)?, grad.to_dtype(DType::F64)?])
        };
        for (kernel, exact) in run(DType::F32)?.iter().zip(run(DType::F64)?) {
            let error = (kernel - exact)?
                .abs()?
                .flatten_all()?
                .max(0)?
                .to_scalar::<f64>()?;
            assert!(error < 1e-5, "{error}");
        }
        Ok(())
    }

    #[test]
    fn the_gradient_equals_finite_differences() -> Result<()> {
        // Pooling is linear in the features, so a step of one is exact but for rounding.
        let features = features()?;
        let var = Var::from_tensor(&features)?;
        let grads = roi_align(&var, &rois(), 0.5, 3)?.sum_all()?.backward()?;
        let grad = grads
            .get(&var)
            .expect("features have a gradient")
            .flatten_all()?
            .to_vec1::<f32>()?;
        let flat = features.flatten_all()?.to_vec1::<f32>()?;
        let base = roi_align(&features, &rois(), 0.5, 3)?
            .sum_all()?
            .to_scalar::<f32>()?;
        for i in (0..flat.len()).step_by(7) {
            let mut moved = flat.clone();
            moved[i] += 1.0;
            let moved = Tensor::from_vec(moved, features.shape(), &Device::Cpu)?;
            let slope = roi_align(&moved, &rois(), 0.5, 3)?
                .sum_all()?
                .to_scalar::<f32>()?
                - base;
            assert!(
                (slope - grad[i]).abs() < 1e-3,
                "cell {i}: {slope} {}",
                grad[i]
            );
        }
        Ok(())
    }

    #[test]
    fn absurd_boxes_neither_panic_nor_hang() -> Result<()> {
        let bounds = [
            [f32::NAN, 0.0, 1.0, 1.0],
            [f32::NEG_INFINITY, 0.0, f32::INFINITY, 4.0],
            [-1e30, -1e30, 1e30, 1e30],
        ];
        let rois: Vec<Roi> = bounds
            .iter()
            .map(|&bounds| Roi { image: 0, bounds })
            .collect();
        let out = roi_align(&features()?, &rois, 0.5, 3)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        assert!(out.iter().all(|v| v.is_finite()));
        assert!(
            roi_align(
                &features()?,
                &[Roi {
                    image: 2,
                    bounds: [0.0; 4]
                }],
                0.5,
                3
            )
            .is_err()
        );
        assert_eq!(roi_align(&features()?, &[], 0.5, 3)?.dims(), [0, 3, 3, 3]);
        Ok(())
    }
}
