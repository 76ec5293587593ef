//! Multi-scale deformable sampling: every query reads a few bilinear samples per head and level and adds them up.
//!
//! The CPU kernel reads each sample once and, backwards, gives all three gradients in one pass: candle has no
//! `grid_sample`. Other devices (and f64) get the same arithmetic from gathers.

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::{
    IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _,
    ParallelSliceMut as _,
};

use super::cpu::f32s;
use super::{bytes, meter};

/// Weighted sum of bilinear samples, zero outside the maps.
///
/// * `value` `(b, Σ h·w, heads, d)`: the maps one after another, row-major;
/// * `shapes`: `(h, w)` of each map;
/// * `locations` `(b, q, heads, levels, points, 2)`: x and y as fractions of the map, pixel centres at `(i + ½) / w`;
/// * `weights` `(b, q, heads, levels, points)`.
///
/// Gives `(b, q, heads · d)`. All three tensors get gradients; on a pixel centre the derivative by the location is the
/// one towards higher coordinates.
///
/// # Errors
/// If the shapes do not fit together.
pub fn deformable_sampling(
    value: &Tensor,
    shapes: &[(usize, usize)],
    locations: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    let (b, cells, heads, d) = value.dims4()?;
    let dims = locations.dims();
    if dims.len() != 6
        || dims[0] != b
        || dims[2] != heads
        || dims[3] != shapes.len()
        || dims[5] != 2
    {
        bail!(
            "sampling locations {dims:?} do not fit values {:?} on {} levels",
            value.dims(),
            shapes.len()
        );
    }
    if weights.dims() != &dims[..5] {
        bail!(
            "sampling weights {:?} do not fit locations {dims:?}",
            weights.dims()
        );
    }
    if shapes.iter().map(|(h, w)| h * w).sum::<usize>() != cells {
        bail!("maps {shapes:?} do not have {cells} cells");
    }
    let (queries, points) = (dims[1], dims[4]);
    // Each sample weighs four cells and then itself.
    let samples = weights.elem_count() * d;
    let written = b * queries * heads * d * value.dtype().size_in_bytes();
    meter::count(
        2 * 5 * samples,
        bytes(&[value, locations, weights]) + written,
    );
    let all_f32 = [value, locations, weights]
        .iter()
        .all(|t| t.dtype() == DType::F32);
    if super::kernels_serve(value.device()) && all_f32 {
        let op = Sampling {
            b,
            cells,
            heads,
            d,
            queries,
            points,
            levels: levels(shapes),
        };
        return value
            .contiguous()?
            .apply_op3(&locations.contiguous()?, &weights.contiguous()?, op);
    }
    composed(value, shapes, locations, weights)
}

/// One map inside the row of cells.
#[derive(Clone, Copy)]
struct Level {
    start: usize,
    h: usize,
    w: usize,
}

fn levels(shapes: &[(usize, usize)]) -> Vec<Level> {
    let mut start = 0;
    shapes
        .iter()
        .map(|&(h, w)| {
            let level = Level { start, h, w };
            start += h * w;
            level
        })
        .collect()
}

/// The four cells around a location: index or nothing if outside, and the fractions.
struct Taps {
    cells: [Option<usize>; 4],
    fx: f32,
    fy: f32,
}

impl Level {
    fn taps(&self, x: f32, y: f32) -> Taps {
        let x = x * self.w as f32 - 0.5;
        let y = y * self.h as f32 - 0.5;
        let (x0, y0) = (x.floor(), y.floor());
        let cell = |dx: f32, dy: f32| {
            let (cx, cy) = (x0 + dx, y0 + dy);
            // A coordinate that is not a number is inside nothing.
            let inside = cx >= 0.0 && cy >= 0.0 && cx < self.w as f32 && cy < self.h as f32;
            inside.then(|| self.start + cy as usize * self.w + cx as usize)
        };
        Taps {
            cells: [
                cell(0.0, 0.0),
                cell(1.0, 0.0),
                cell(0.0, 1.0),
                cell(1.0, 1.0),
            ],
            fx: x - x0,
            fy: y - y0,
        }
    }
}

impl Taps {
    fn weights(&self) -> [f32; 4] {
        let Self { fx, fy, .. } = *self;
        [
            (1.0 - fx) * (1.0 - fy),
            fx * (1.0 - fy),
            (1.0 - fx) * fy,
            fx * fy,
        ]
    }
}

struct Sampling {
    b: usize,
    cells: usize,
    heads: usize,
    d: usize,
    queries: usize,
    points: usize,
    levels: Vec<Level>,
}

impl Sampling {
    /// Samples per query and head.
    fn samples(&self) -> usize {
        self.levels.len() * self.points
    }

    fn forward(&self, value: &[f32], locations: &[f32], weights: &[f32]) -> Vec<f32> {
        let (heads, d, samples) = (self.heads, self.d, self.samples());
        let mut out = vec![0.0_f32; self.b * self.queries * heads * d];
        let one = |(row, out): (usize, &mut [f32])| {
            let value = &value[row / self.queries * self.cells * heads * d..];
            for head in 0..heads {
                let out = &mut out[head * d..(head + 1) * d];
                let first = (row * heads + head) * samples;
                for s in 0..samples {
                    let at = first + s;
                    let taps =
                        self.levels[s / self.points].taps(locations[2 * at], locations[2 * at + 1]);
                    for (cell, share) in taps.cells.iter().zip(taps.weights()) {
                        let Some(cell) = *cell else { continue };
                        let share = share * weights[at];
                        let from = (cell * heads + head) * d;
                        for (o, v) in out.iter_mut().zip(&value[from..from + d]) {
                            *o += share * v;
                        }
                    }
                }
            }
        };
        if heads * d > 0 {
            out.par_chunks_mut(heads * d)
                .with_min_len(16)
                .enumerate()
                .for_each(one);
        }
        out
    }

    /// Gradients of one image and head: value `(cells, d)`, locations `(q, samples, 2)`, weights `(q, samples)`.
    fn backward_head(
        &self,
        image: usize,
        head: usize,
        (value, locations, weights, grad): (&[f32], &[f32], &[f32], &[f32]),
    ) -> [Vec<f32>; 3] {
        let (heads, d, samples) = (self.heads, self.d, self.samples());
        let mut to_value = vec![0.0_f32; self.cells * d];
        let mut to_locations = vec![0.0_f32; self.queries * samples * 2];
        let mut to_weights = vec![0.0_f32; self.queries * samples];
        let value = &value[image * self.cells * heads * d..];
        for q in 0..self.queries {
            let row = image * self.queries + q;
            let grad = &grad[(row * heads + head) * d..][..d];
            for s in 0..samples {
                let at = (row * heads + head) * samples + s;
                let level = self.levels[s / self.points];
                let taps = level.taps(locations[2 * at], locations[2 * at + 1]);
                // Dot products of the gradient with the four cells: everything else follows from them.
                let mut dots = [0.0_f32; 4];
                for ((dot, cell), share) in dots.iter_mut().zip(taps.cells).zip(taps.weights()) {
                    let Some(cell) = cell else { continue };
                    let from = (cell * heads + head) * d;
                    let share = share * weights[at];
                    let target = &mut to_value[cell * d..(cell + 1) * d];
                    for ((g, v), t) in grad.iter().zip(&value[from..from + d]).zip(target) {
                        *dot += g * v;
                        *t += share * g;
                    }
                }
                let (fx, fy) = (taps.fx, taps.fy);
                let own = q * samples + s;
                to_weights[own] = dots.iter().zip(taps.weights()).map(|(d, w)| d * w).sum();
                let by_x = (dots[1] - dots[0]) * (1.0 - fy) + (dots[3] - dots[2]) * fy;
                let by_y = (dots[2] - dots[0]) * (1.0 - fx) + (dots[3] - dots[1]) * fx;
                to_locations[2 * own] = by_x * level.w as f32 * weights[at];
                to_locations[2 * own + 1] = by_y * level.h as f32 * weights[at];
            }
        }
        [to_value, to_locations, to_weights]
    }
}

impl CustomOp3 for Sampling {
    fn name(&self) -> &'static str {
        "deformable-sampling"
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
        let out = self.forward(f32s(s1, l1)?, f32s(s2, l2)?, f32s(s3, l3)?);
        let shape = Shape::from((self.b, self.queries, self.heads * self.d));
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(
        &self,
        value: &Tensor,
        locations: &Tensor,
        weights: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
        let (v, l, w, g) = (flat(value)?, flat(locations)?, flat(weights)?, flat(grad)?);
        let parts: Vec<[Vec<f32>; 3]> = (0..self.b * self.heads)
            .into_par_iter()
            .map(|i| self.backward_head(i / self.heads, i % self.heads, (&v, &l, &w, &g)))
            .collect();
        // Each part is one image and head; the tensors have the heads in third place.
        let join = |which: usize, middle: usize, last: usize, shape: &Shape| {
            let size = self.b * self.heads * middle * last;
            let mut all = Vec::with_capacity(size);
            for part in &parts {
                all.extend_from_slice(&part[which]);
            }
            Tensor::from_vec(all, (self.b, self.heads, middle, last), value.device())?
                .transpose(1, 2)?
                .contiguous()?
                .reshape(shape)
        };
        let samples = self.samples();
        Ok((
            Some(join(0, self.cells, self.d, value.shape())?),
            Some(join(1, self.queries, samples * 2, locations.shape())?),
            Some(join(2, self.queries, samples, weights.shape())?),
        ))
    }
}

/// The same from gathers, for every device and float type.
fn composed(
    value: &Tensor,
    shapes: &[(usize, usize)],
    locations: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    let (b, _, heads, d) = value.dims4()?;
    let (queries, points) = (locations.dim(1)?, locations.dim(4)?);
    let dtype = value.dtype();
    // (b, heads, q, levels, points, …)
    let locations = locations.transpose(1, 2)?;
    let weights = weights.transpose(1, 2)?;
    let mut sum: Option<Tensor> = None;
    for (l, level) in levels(shapes).into_iter().enumerate() {
        let map = value
            .narrow(1, level.start, level.h * level.w)?
            .transpose(1, 2)?
            .contiguous()?;
        let at = locations.narrow(3, l, 1)?.squeeze(3)?;
        let axis = |i: usize, size: usize| -> Result<(Tensor, Tensor)> {
            let c = at.narrow(4, i, 1)?.squeeze(4)?.affine(size as f64, -0.5)?;
            let low = c.detach().floor()?;
            let fraction = (&c - &low)?;
            Ok((low, fraction))
        };
        let (x0, fx) = axis(0, level.w)?;
        let (y0, fy) = axis(1, level.h)?;
        let attention = weights.narrow(3, l, 1)?.squeeze(3)?;
        for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let cx = (&x0 + f64::from(dx))?;
            let cy = (&y0 + f64::from(dy))?;
            let limit = |c: &Tensor, size: usize| -> Result<(Tensor, Tensor)> {
                let clamped = c.clamp(0.0, size as f64 - 1.0)?;
                let inside = clamped.eq(c)?.to_dtype(dtype)?;
                Ok((clamped, inside))
            };
            let (cx, inside_x) = limit(&cx, level.w)?;
            let (cy, inside_y) = limit(&cy, level.h)?;
            let index = ((cy * level.w as f64)? + cx)?.to_dtype(DType::U32)?;
            let index = index
                .reshape((b, heads, queries * points, 1))?
                .broadcast_as((b, heads, queries * points, d))?
                .contiguous()?;
            let share = |f: &Tensor, high: i32| if high == 1 { Ok(f.clone()) } else { 1.0 - f };
            let share = (((share(&fx, dx)? * share(&fy, dy)?)? * inside_x)? * inside_y)?;
            let share = (share * &attention)?.unsqueeze(4)?;
            let sample = map
                .gather(&index, 2)?
                .reshape((b, heads, queries, points, d))?;
            let part = sample.broadcast_mul(&share)?.sum(3)?;
            sum = Some(match sum {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
    }
    match sum {
        Some(sum) => sum
            .transpose(1, 2)?
            .contiguous()?
            .reshape((b, queries, heads * d)),
        None => bail!("deformable sampling needs at least one level"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// Numbers without pattern in `from..to`.
    fn noise(seed: u64, shape: &[usize], from: f64, to: f64) -> Tensor {
        let count = shape.iter().product();
        let mut state = seed;
        let data: Vec<f64> = (0..count)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                from + (to - from) * ((state >> 11) as f64 / (1_u64 << 53) as f64)
            })
            .collect();
        Tensor::from_vec(data, shape, &Device::Cpu).expect("sizes agree")
    }

    const SHAPES: [(usize, usize); 2] = [(3, 5), (2, 1)];

    fn inputs() -> [Tensor; 3] {
        let value = noise(1, &[2, 17, 3, 4], -1.0, 1.0);
        // Beyond the border on both sides, so that cells outside are met.
        let locations = noise(2, &[2, 6, 3, 2, 2, 2], -0.4, 1.4);
        let weights = noise(3, &[2, 6, 3, 2, 2], 0.0, 1.0);
        [value, locations, weights]
    }

    fn largest(t: &Tensor) -> f64 {
        let t = t
            .to_dtype(DType::F64)
            .and_then(|t| t.abs()?.flatten_all()?.max(0));
        t.and_then(|t| t.to_scalar()).expect("a number")
    }

    #[test]
    fn composed_gradients_equal_finite_differences() -> Result<()> {
        let inputs = inputs();
        let probe = noise(4, &[2, 6, 12], -1.0, 1.0);
        let objective = |t: &[Tensor]| -> Result<f64> {
            let out = composed(&t[0], &SHAPES, &t[1], &t[2])?;
            (out * &probe)?.sum_all()?.to_scalar::<f64>()
        };
        let vars: Vec<Var> = inputs.iter().map(Var::from_tensor).collect::<Result<_>>()?;
        let out = composed(
            vars[0].as_tensor(),
            &SHAPES,
            vars[1].as_tensor(),
            vars[2].as_tensor(),
        )?;
        let grads = (out * &probe)?.sum_all()?.backward()?;
        for (which, var) in vars.iter().enumerate() {
            let grad = grads.get(var).expect("every input has a gradient");
            let grad = grad.flatten_all()?.to_vec1::<f64>()?;
            let data = inputs[which].flatten_all()?.to_vec1::<f64>()?;
            let step = 1e-6;
            for i in 0..data.len() {
                let moved = |by: f64| -> Result<f64> {
                    let mut data = data.clone();
                    data[i] += by;
                    let mut all = inputs.to_vec();
                    all[which] = Tensor::from_vec(data, inputs[which].shape(), &Device::Cpu)?;
                    objective(&all)
                };
                let numeric = (moved(step)? - moved(-step)?) / (2.0 * step);
                assert!(
                    (numeric - grad[i]).abs() < 1e-6,
                    "input {which} at {i}: {numeric} {}",
                    grad[i]
                );
            }
        }
        Ok(())
    }

    #[test]
    fn the_kernel_and_its_gradients_equal_the_composed_form() -> Result<()> {
        let [value, locations, weights] = inputs();
        let probe = noise(4, &[2, 6, 12], -1.0, 1.0);
        let run = |dtype: DType| -> Result<Vec<Tensor>> {
            let var = |t: &Tensor| Var::from_tensor(&t.to_dtype(dtype)?);
            let (v, l, w) = (var(&value)?, var(&locations)?, var(&weights)?);
            let out = deformable_sampling(&v, &SHAPES, &l, &w)?;
            let grads = (&out * probe.to_dtype(dtype)?)?.sum_all()?.backward()?;
            let grad = |v: &Var| grads.get(v).cloned().expect("every input has a gradient");
            [out, grad(&v), grad(&l), grad(&w)]
                .into_iter()
                .map(|t| t.to_dtype(DType::F64))
                .collect()
        };
        for (kernel, exact) in run(DType::F32)?.iter().zip(run(DType::F64)?) {
            assert_eq!(kernel.dims(), exact.dims());
            assert!(largest(&(kernel - exact)?) < 1e-5);
        }
        Ok(())
    }

    #[test]
    fn a_sample_on_a_pixel_centre_is_that_pixel_and_one_far_outside_is_zero() -> Result<()> {
        let value = Tensor::arange(0_f32, 6.0, &Device::Cpu)?.reshape((1, 6, 1, 1))?;
        let at = [0.5_f32 / 3.0, 0.75, 2.5 / 3.0, 0.25, 40.0, f32::NAN];
        let locations = Tensor::from_slice(&at, (1, 3, 1, 1, 1, 2), &Device::Cpu)?;
        let weights = Tensor::ones((1, 3, 1, 1, 1), DType::F32, &Device::Cpu)?;
        let out = deformable_sampling(&value, &[(2, 3)], &locations, &weights)?;
        let out = out.flatten_all()?.to_vec1::<f32>()?;
        assert!(
            (out[0] - 3.0).abs() < 1e-5 && (out[1] - 2.0).abs() < 1e-5,
            "{out:?}"
        );
        assert_eq!(out[2], 0.0);
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() -> Result<()> {
        let [value, locations, weights] = inputs();
        assert!(deformable_sampling(&value, &[(3, 5)], &locations, &weights).is_err());
        assert!(deformable_sampling(&value, &[(3, 5), (1, 1)], &locations, &weights).is_err());
        assert!(deformable_sampling(&value, &SHAPES, &locations, &locations).is_err());
        Ok(())
    }
}
