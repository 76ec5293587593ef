//! Loss terms in one pass each: on the CPU a loss composed from tensor operations costs as much as a small layer.
//!
//! Targets and weights are plain numbers, never differentiated. Leaves set matching and box losses to
//! [`super::losses`].

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor};

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (CpuStorage::F32(data), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
        candle_core::bail!("loss terms take contiguous f32 tensors");
    };
    Ok(&data[start..end])
}

/// Runs `op` on the CPU whatever the device: the tensors are small. Its result lies where the logits do, so that terms add
/// up, and the gradient goes back the way it came.
pub(crate) fn on_cpu<C: CustomOp1 + Send + Sync + 'static>(
    logits: &Tensor,
    op: C,
) -> Result<Tensor> {
    logits
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F32)?
        .contiguous()?
        .apply_op1(op)?
        .to_device(logits.device())
}

struct WeightedBce {
    targets: Vec<f32>,
    weights: Vec<f32>,
}

impl CustomOp1 for WeightedBce {
    fn name(&self) -> &'static str {
        "weighted-bce"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(storage, layout)?;
        if x.len() != self.targets.len() || x.len() != self.weights.len() {
            candle_core::bail!(
                "{} logits, {} targets, {} weights",
                x.len(),
                self.targets.len(),
                self.weights.len()
            );
        }
        let mut sum = 0.0_f64;
        for ((&x, &t), &w) in x.iter().zip(&self.targets).zip(&self.weights) {
            if w != 0.0 {
                sum += f64::from(w * (x.max(0.0) - x * t + (-x.abs()).exp().ln_1p()));
            }
        }
        Ok((CpuStorage::F32(vec![sum as f32]), Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let g = grad.to_scalar::<f32>()?;
        let flat: Vec<f32> = x.flatten_all()?.to_vec1()?;
        let out: Vec<f32> = flat
            .iter()
            .zip(&self.targets)
            .zip(&self.weights)
            .map(|((&x, &t), &w)| g * w * (1.0 / (1.0 + (-x).exp()) - t))
            .collect();
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

/// `Σ wᵢ · bce(σ(logitᵢ), targetᵢ)`, a scalar; `targets` and `weights` are in the logits' row-major order.
pub(crate) fn weighted_bce(
    logits: &Tensor,
    targets: Vec<f32>,
    weights: Vec<f32>,
) -> Result<Tensor> {
    on_cpu(logits, WeightedBce { targets, weights })
}

struct WeightedCe {
    classes: Vec<u32>,
    weights: Vec<f32>,
}

fn softmax(row: &[f32], out: &mut Vec<f32>) -> f32 {
    let max = row.iter().copied().fold(f32::MIN, f32::max);
    out.clear();
    out.extend(row.iter().map(|v| (v - max).exp()));
    let sum: f32 = out.iter().sum();
    for v in out.iter_mut() {
        *v /= sum;
    }
    max + sum.ln()
}

impl CustomOp1 for WeightedCe {
    fn name(&self) -> &'static str {
        "weighted-ce"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, c) = layout.shape().dims2()?;
        if rows != self.classes.len()
            || rows != self.weights.len()
            || self.classes.iter().any(|&k| k as usize >= c)
        {
            candle_core::bail!(
                "{rows} rows of {c} logits do not fit {} classes",
                self.classes.len()
            );
        }
        let x = values(storage, layout)?;
        let mut sum = 0.0_f64;
        let mut p = Vec::with_capacity(c);
        for ((row, &class), &w) in x.chunks_exact(c).zip(&self.classes).zip(&self.weights) {
            if w != 0.0 {
                let log_total = softmax(row, &mut p);
                sum += f64::from(w * (log_total - row[class as usize]));
            }
        }
        Ok((CpuStorage::F32(vec![sum as f32]), Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let g = grad.to_scalar::<f32>()?;
        let (_, c) = x.dims2()?;
        let mut out: Vec<f32> = x.flatten_all()?.to_vec1()?;
        let mut p = Vec::with_capacity(c);
        for ((row, &class), &w) in out
            .chunks_exact_mut(c)
            .zip(&self.classes)
            .zip(&self.weights)
        {
            if w == 0.0 {
                row.fill(0.0);
                continue;
            }
            softmax(row, &mut p);
            for (i, (v, p)) in row.iter_mut().zip(&p).enumerate() {
                *v = g * w * (p - if i == class as usize { 1.0 } else { 0.0 });
            }
        }
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

/// `Σ wᵢ · ce(softmax(logitsᵢ), classᵢ)` over the rows of `(n, c)` logits, a scalar.
pub(crate) fn weighted_ce(logits: &Tensor, classes: Vec<u32>, weights: Vec<f32>) -> Result<Tensor> {
    on_cpu(logits, WeightedCe { classes, weights })
}

struct WeightedL1 {
    targets: Vec<f32>,
    weights: Vec<f32>,
}

impl CustomOp1 for WeightedL1 {
    fn name(&self) -> &'static str {
        "weighted-l1"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(storage, layout)?;
        if x.len() != self.targets.len() || x.len() != self.weights.len() {
            candle_core::bail!(
                "{} values, {} targets, {} weights",
                x.len(),
                self.targets.len(),
                self.weights.len()
            );
        }
        let sum: f64 = x
            .iter()
            .zip(&self.targets)
            .zip(&self.weights)
            .map(|((x, t), w)| f64::from(w * (x - t).abs()))
            .sum();
        Ok((CpuStorage::F32(vec![sum as f32]), Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let g = grad.to_scalar::<f32>()?;
        let flat: Vec<f32> = x.flatten_all()?.to_vec1()?;
        let out: Vec<f32> = flat
            .iter()
            .zip(&self.targets)
            .zip(&self.weights)
            .map(|((x, t), w)| {
                let d = x - t;
                if d == 0.0 { 0.0 } else { g * w * d.signum() }
            })
            .collect();
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

/// `Σ wᵢ · |xᵢ − targetᵢ|`, a scalar.
pub(crate) fn weighted_l1(x: &Tensor, targets: Vec<f32>, weights: Vec<f32>) -> Result<Tensor> {
    on_cpu(x, WeightedL1 { targets, weights })
}

struct MaskLoss {
    targets: Vec<f32>,
    /// One per mask: 0 leaves the mask out.
    weights: Vec<f32>,
    bce: f32,
    dice: f32,
}

impl MaskLoss {
    /// Calls `f(mask index, logits, targets)` for each mask that counts.
    fn each(&self, x: &[f32], mut f: impl FnMut(usize, &[f32], &[f32])) -> Result<()> {
        let n = self.weights.len();
        if n == 0 || x.len() != self.targets.len() || !x.len().is_multiple_of(n) {
            candle_core::bail!(
                "{} logits and {} targets for {n} masks",
                x.len(),
                self.targets.len()
            );
        }
        let pixels = x.len() / n;
        let masks = x
            .chunks_exact(pixels)
            .zip(self.targets.chunks_exact(pixels));
        for (i, (x, t)) in masks.enumerate().filter(|(i, _)| self.weights[*i] != 0.0) {
            f(i, x, t);
        }
        Ok(())
    }
}

/// Weights of a pixel on and off the object: half the mean over all, a quarter each over the object and the rest.
fn balance(t: &[f32]) -> (f32, f32) {
    let on: f32 = t.iter().sum();
    let off = t.len() as f32 - on;
    let all = 0.5 / t.len() as f32;
    (all + 0.25 / on.max(1.0), all + 0.25 / off.max(1.0))
}

impl CustomOp1 for MaskLoss {
    fn name(&self) -> &'static str {
        "mask-loss"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut total = 0.0_f64;
        self.each(values(storage, layout)?, |i, x, t| {
            let (on, off) = balance(t);
            let (mut bce, mut both, mut p_sum, mut t_sum) = (0.0_f32, 0.0_f32, 0.0_f32, 0.0_f32);
            for (&x, &t) in x.iter().zip(t) {
                let e = (-x.abs()).exp();
                let p = if x >= 0.0 {
                    1.0 / (1.0 + e)
                } else {
                    e / (1.0 + e)
                };
                bce += (on * t + off * (1.0 - t)) * (x.max(0.0) - x * t + e.ln_1p());
                both += p * t;
                p_sum += p;
                t_sum += t;
            }
            let dice = 1.0 - (2.0 * both + 1.0) / (p_sum + t_sum + 1.0);
            total += f64::from(self.weights[i] * (self.bce * bce + self.dice * dice));
        })?;
        Ok((CpuStorage::F32(vec![total as f32]), Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let g = grad.to_scalar::<f32>()?;
        let flat: Vec<f32> = x.flatten_all()?.to_vec1()?;
        let pixels = flat.len() / self.weights.len().max(1);
        let mut out = vec![0.0_f32; flat.len()];
        self.each(&flat, |i, x, t| {
            let (on, off) = balance(t);
            let dx = &mut out[i * pixels..(i + 1) * pixels];
            let (mut both, mut sum) = (0.0_f32, 0.0_f32);
            for ((d, &x), &t) in dx.iter_mut().zip(x).zip(t) {
                let p = 1.0 / (1.0 + (-x).exp());
                *d = p;
                both += p * t;
                sum += p + t;
            }
            let (top, low) = (2.0 * both + 1.0, sum + 1.0);
            let g = g * self.weights[i];
            for (d, &t) in dx.iter_mut().zip(t) {
                let p = *d;
                let bce = (on * t + off * (1.0 - t)) * (p - t);
                let dice = (top - 2.0 * t * low) / (low * low) * p * (1.0 - p);
                *d = g * (self.bce * bce + self.dice * dice);
            }
        })?;
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

/// `Σ wₖ · (bce · balanced BCE + dice · dice loss)` over masks: logits `(k, …)` and targets (0–1) in the same order.
pub(crate) fn mask_loss(
    logits: &Tensor,
    targets: Vec<f32>,
    weights: Vec<f32>,
    (bce, dice): (f32, f32),
) -> Result<Tensor> {
    let op = MaskLoss {
        targets,
        weights,
        bce,
        dice,
    };
    on_cpu(logits, op)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    /// Central differences against the op's own gradient.
    fn agrees(start: &[f32], shape: (usize, usize), f: impl Fn(&Tensor) -> Result<Tensor>) {
        let at = |v: &[f32]| Tensor::from_slice(v, shape, &Device::Cpu).unwrap();
        let var = Var::from_tensor(&at(start)).unwrap();
        let loss = (f(var.as_tensor()).unwrap() * 3.0).unwrap();
        let grads = loss.backward().unwrap();
        let got: Vec<f32> = grads
            .get(var.as_tensor())
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        for i in 0..start.len() {
            let shifted = |by: f32| {
                let mut v = start.to_vec();
                v[i] += by;
                3.0 * f(&at(&v)).unwrap().to_scalar::<f32>().unwrap()
            };
            let want = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!(
                (got[i] - want).abs() < 2e-3 + 0.01 * want.abs(),
                "{i}: {} {want}",
                got[i]
            );
        }
    }

    const START: [f32; 6] = [0.3, -1.2, 2.0, -0.4, 0.9, -2.5];

    #[test]
    fn gradients_agree_with_differences() {
        let t = vec![1.0, 0.0, 0.3, 0.0, 1.0, 1.0];
        let w = vec![0.5, 1.0, 0.0, 0.2, 2.0, 1.0];
        agrees(&START, (2, 3), |x| weighted_bce(x, t.clone(), w.clone()));
        agrees(&START, (2, 3), |x| weighted_l1(x, t.clone(), w.clone()));
        agrees(&START, (2, 3), |x| {
            weighted_ce(x, vec![2, 0], vec![0.7, 1.5])
        });
        agrees(&START, (2, 3), |x| {
            mask_loss(x, t.clone(), vec![1.0, 0.5], (5.0, 1.5))
        });
        agrees(&START, (2, 3), |x| {
            mask_loss(x, t.clone(), vec![0.0, 2.0], (1.0, 1.0))
        });
    }

    #[test]
    fn a_perfect_mask_costs_almost_nothing() {
        let x = Tensor::new(&[[20_f32, -20.0, 20.0, -20.0]], &Device::Cpu).unwrap();
        let good = mask_loss(&x, vec![1.0, 0.0, 1.0, 0.0], vec![1.0], (5.0, 1.5)).unwrap();
        assert!(good.to_scalar::<f32>().unwrap() < 1e-3);
        let bad = mask_loss(&x, vec![0.0, 1.0, 0.0, 1.0], vec![1.0], (5.0, 1.5)).unwrap();
        assert!(bad.to_scalar::<f32>().unwrap() > 50.0);
    }
}
