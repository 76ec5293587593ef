//! AdamW with parameter groups, clipping by global norm, warm-up and cosine decay.
//!
//! On the CPU a step is one pass over each tensor; composed from tensor operations it would be fifteen.

use std::cell::RefCell;

use candle_core::{
    CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor, Var, backprop::GradStore,
};

use crate::nn::ops;

/// Constants of AdamW and of clipping.
#[derive(Clone, Copy, Debug)]
pub struct AdamConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Guard of the division.
    pub eps: f64,
    /// Decoupled weight decay, for matrices and kernels only: norms, biases and single vectors are left alone.
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm.
    pub clip_norm: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-8,
            weight_decay: 0.02,
            clip_norm: 1.0,
        }
    }
}

/// Variables that share a learning rate.
#[derive(Clone)]
pub struct Group {
    /// Name and variable.
    pub vars: Vec<(String, Var)>,
    /// Factor on the step's learning rate; 0 freezes.
    pub lr_scale: f64,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepReport {
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Variables that got a gradient.
    pub touched: usize,
}

struct Slot {
    name: String,
    var: Var,
    lr_scale: f64,
    decays: bool,
    m: Tensor,
    v: Tensor,
}

/// The optimiser and its moments.
pub struct AdamW {
    config: AdamConfig,
    slots: Vec<Slot>,
    step: u64,
}

impl AdamW {
    /// Zero moments for every variable of `groups`.
    pub fn new(groups: Vec<Group>, config: AdamConfig) -> Result<Self> {
        let mut slots = Vec::new();
        for group in groups {
            for (name, var) in group.vars {
                let m = Tensor::zeros(var.shape(), DType::F32, var.device())?;
                let v = m.copy()?;
                slots.push(Slot {
                    name,
                    lr_scale: group.lr_scale,
                    decays: var.rank() >= 2,
                    m,
                    v,
                    var,
                });
            }
        }
        Ok(Self {
            config,
            slots,
            step: 0,
        })
    }

    /// Steps taken (rules the bias correction).
    pub fn steps_taken(&self) -> u64 {
        self.step
    }

    /// Moments by variable name, for the checkpoint.
    pub fn moments(&self) -> impl Iterator<Item = (&str, &Tensor, &Tensor)> {
        self.slots.iter().map(|s| (s.name.as_str(), &s.m, &s.v))
    }

    /// Restores the step count and the moments that `get` knows; others stay as they are.
    pub fn restore(
        &mut self,
        step: u64,
        get: impl Fn(&str) -> Option<(Tensor, Tensor)>,
    ) -> Result<()> {
        self.step = step;
        for slot in &mut self.slots {
            if let Some((m, v)) = get(&slot.name) {
                if m.shape() != slot.m.shape() || v.shape() != slot.v.shape() {
                    candle_core::bail!("the moments of {} have another shape", slot.name);
                }
                // Copies: the step writes in place, and the checkpoint's tensors may be shared.
                slot.m = m.to_device(slot.var.device())?.copy()?;
                slot.v = v.to_device(slot.var.device())?.copy()?;
            }
        }
        Ok(())
    }

    /// One update with learning rate `lr`. Variables without a gradient are not moved, not even by decay.
    ///
    /// # Errors
    /// If a gradient holds NaN or infinity (nothing has moved then), or a tensor operation fails.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<StepReport> {
        let mut squares = 0.0;
        let mut found = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let grad = match grads.get(slot.var.as_tensor()) {
                Some(grad) if slot.lr_scale > 0.0 => Some(grad.contiguous()?),
                _ => None,
            };
            if let Some(grad) = &grad {
                squares += sum_of_squares(grad)?;
            }
            found.push(grad);
        }
        let grad_norm = squares.sqrt();
        if !grad_norm.is_finite() {
            candle_core::bail!("the gradient is not finite");
        }
        self.step += 1;
        let c = self.config;
        let t = self.step as f64;
        let clip = (c.clip_norm / (grad_norm + 1e-6)).min(1.0);
        let mut touched = 0;
        for (slot, grad) in self.slots.iter().zip(&found) {
            let Some(grad) = grad else { continue };
            touched += 1;
            let lr = lr * slot.lr_scale;
            let update = Update {
                beta1: c.beta1 as f32,
                beta2: c.beta2 as f32,
                eps: c.eps as f32,
                clip: clip as f32,
                step_size: (lr / (1.0 - c.beta1.powf(t))) as f32,
                v_correction: (1.0 / (1.0 - c.beta2.powf(t))) as f32,
                keep: if slot.decays {
                    (1.0 - lr * c.weight_decay) as f32
                } else {
                    1.0
                },
            };
            update.apply(slot, grad)?;
        }
        Ok(StepReport { grad_norm, touched })
    }
}

fn sum_of_squares(x: &Tensor) -> Result<f64> {
    let (storage, layout) = x.storage_and_layout();
    if let Storage::Cpu(CpuStorage::F32(data)) = &*storage {
        let start = layout.start_offset();
        return Ok(data[start..start + layout.shape().elem_count()]
            .chunks(4096)
            .map(|c| f64::from(c.iter().map(|v| v * v).sum::<f32>()))
            .sum());
    }
    drop(storage);
    Ok(f64::from(x.sqr()?.sum_all()?.to_scalar::<f32>()?))
}

#[derive(Clone, Copy)]
struct Update {
    beta1: f32,
    beta2: f32,
    eps: f32,
    clip: f32,
    step_size: f32,
    v_correction: f32,
    keep: f32,
}

impl Update {
    fn apply(self, slot: &Slot, grad: &Tensor) -> Result<()> {
        if !ops::kernels_serve(slot.var.device()) {
            return self.apply_composed(slot, grad);
        }
        let (storage, layout) = grad.storage_and_layout();
        let Storage::Cpu(CpuStorage::F32(data)) = &*storage else {
            candle_core::bail!("the gradient of {} is not f32", slot.name);
        };
        let start = layout.start_offset();
        let grad = &data[start..start + layout.shape().elem_count()];
        let moments = RefCell::new(Vec::new());
        // Three nested borrows of three tensors' storage: the outer two hand their slices to the inner one.
        slot.m.inplace_op1(&Borrow(&moments))?;
        let m = moments.take();
        slot.v.inplace_op1(&Borrow(&moments))?;
        let v = moments.take();
        let state = RefCell::new((m, v));
        slot.var.inplace_op1(&Step {
            update: self,
            grad,
            state: &state,
        })?;
        let (m, v) = state.into_inner();
        moments.replace(m);
        slot.m.inplace_op1(&Borrow(&moments))?;
        moments.replace(v);
        slot.v.inplace_op1(&Borrow(&moments))
    }

    fn apply_composed(self, slot: &Slot, grad: &Tensor) -> Result<()> {
        let g = (grad * f64::from(self.clip))?;
        let m = ((&slot.m * f64::from(self.beta1))? + (&g * f64::from(1.0 - self.beta1))?)?;
        let v = ((&slot.v * f64::from(self.beta2))? + (g.sqr()? * f64::from(1.0 - self.beta2))?)?;
        let denominator = ((&v * f64::from(self.v_correction))?.sqrt()? + f64::from(self.eps))?;
        let moved = ((m.div(&denominator)?) * f64::from(self.step_size))?;
        slot.var
            .set(&((slot.var.as_tensor().detach() * f64::from(self.keep))? - moved)?)?;
        // In place through a flat view, for a scalar has no axis to set along.
        let keep = |into: &Tensor, from: &Tensor| {
            into.flatten_all()?.slice_set(&from.flatten_all()?, 0, 0)
        };
        keep(&slot.m, &m)?;
        keep(&slot.v, &v)
    }
}

/// Swaps a tensor's buffer with the one in the cell, so that several can be worked on at once without a copy.
struct Borrow<'a>(&'a RefCell<Vec<f32>>);

impl InplaceOp1 for Borrow<'_> {
    fn name(&self) -> &'static str {
        "borrow-moment"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        let CpuStorage::F32(data) = storage else {
            candle_core::bail!("moments are f32");
        };
        std::mem::swap(data, &mut self.0.borrow_mut());
        Ok(())
    }
}

struct Step<'a> {
    update: Update,
    grad: &'a [f32],
    state: &'a RefCell<(Vec<f32>, Vec<f32>)>,
}

impl InplaceOp1 for Step<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let CpuStorage::F32(data) = storage else {
            candle_core::bail!("parameters are f32");
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a parameter is not contiguous");
        };
        let mut state = self.state.borrow_mut();
        let (m, v) = &mut *state;
        let u = self.update;
        let params = data[start..end].iter_mut().zip(self.grad);
        for ((p, &g), (m, v)) in params.zip(m.iter_mut().zip(v.iter_mut())) {
            let g = g * u.clip;
            *m = u.beta1 * *m + (1.0 - u.beta1) * g;
            *v = u.beta2 * *v + (1.0 - u.beta2) * g * g;
            *p = *p * u.keep - u.step_size * *m / ((*v * u.v_correction).sqrt() + u.eps);
        }
        Ok(())
    }
}

/// Linear warm-up over steps, then cosine decay over the budget.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Highest learning rate.
    pub peak: f64,
    /// Learning rate at the end.
    pub floor: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
}

impl Schedule {
    /// Learning rate at `step` (from 0), with `progress` of the budget spent (0 to 1).
    pub fn at(&self, step: u64, progress: f64) -> f64 {
        let warm = ((step + 1) as f64 / self.warmup_steps.max(1) as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.clamp(0.0, 1.0)).cos());
        warm * (self.floor + (self.peak - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn optimiser(start: &[f32], config: AdamConfig) -> (Var, AdamW) {
        let var = Var::from_tensor(&Tensor::new(start, &Device::Cpu).unwrap()).unwrap();
        let group = Group {
            vars: vec![("x".to_owned(), var.clone())],
            lr_scale: 1.0,
        };
        (var, AdamW::new(vec![group], config).unwrap())
    }

    #[test]
    fn finds_the_minimum_of_a_bowl() {
        let (x, mut adam) = optimiser(&[4.0, -3.0], AdamConfig::default());
        for _ in 0..400 {
            let loss = x.as_tensor().sqr().unwrap().sum_all().unwrap();
            adam.step(&loss.backward().unwrap(), 0.05).unwrap();
        }
        assert!(x.to_vec1::<f32>().unwrap().iter().all(|v| v.abs() < 0.02));
    }

    #[test]
    fn one_step_by_hand() {
        // Without clipping the first step of Adam moves by lr · g / (|g| + eps).
        let config = AdamConfig {
            clip_norm: 1e9,
            ..AdamConfig::default()
        };
        let (x, mut adam) = optimiser(&[1.0, 1.0], config);
        let scale = Tensor::new(&[3_f32, -0.5], &Device::Cpu).unwrap();
        let loss = (x.as_tensor() * &scale).unwrap().sum_all().unwrap();
        let report = adam.step(&loss.backward().unwrap(), 0.1).unwrap();
        assert!((report.grad_norm - 9.25_f64.sqrt()).abs() < 1e-5);
        let moved = x.to_vec1::<f32>().unwrap();
        assert!((moved[0] - 0.9).abs() < 1e-5 && (moved[1] - 1.1).abs() < 1e-5);
    }

    #[test]
    fn fused_and_composed_steps_agree() {
        let config = AdamConfig::default();
        let (x, mut fused) = optimiser(&[1.0, -2.0, 0.5], config);
        let (y, composed) = optimiser(&[1.0, -2.0, 0.5], config);
        for step in 1..5 {
            let loss = x.as_tensor().powf(3.0).unwrap().sum_all().unwrap();
            let grads = loss.backward().unwrap();
            let grad = grads.get(x.as_tensor()).unwrap().contiguous().unwrap();
            let norm = sum_of_squares(&grad).unwrap().sqrt();
            let update = Update {
                beta1: 0.9,
                beta2: 0.98,
                eps: 1e-8,
                clip: (1.0 / (norm + 1e-6)).min(1.0) as f32,
                step_size: (0.01 / (1.0 - 0.9_f64.powi(step))) as f32,
                v_correction: (1.0 / (1.0 - 0.98_f64.powi(step))) as f32,
                keep: 1.0,
            };
            update.apply_composed(&composed.slots[0], &grad).unwrap();
            fused.step(&grads, 0.01).unwrap();
            let (a, b): (Vec<f32>, Vec<f32>) = (x.to_vec1().unwrap(), y.to_vec1().unwrap());
            assert!(
                a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5),
                "{a:?} {b:?}"
            );
        }
    }

    #[test]
    fn an_infinite_gradient_moves_nothing() {
        let (x, mut adam) = optimiser(&[0.0], AdamConfig::default());
        let loss = x.as_tensor().log().unwrap().sum_all().unwrap();
        assert!(adam.step(&loss.backward().unwrap(), 0.1).is_err());
        assert_eq!(x.to_vec1::<f32>().unwrap(), [0.0]);
    }

    #[test]
    fn schedule_rises_then_falls() {
        let s = Schedule {
            peak: 1.0,
            floor: 0.1,
            warmup_steps: 10,
        };
        assert!(s.at(0, 0.0) < 0.2 && s.at(9, 0.0) > 0.99);
        assert!(s.at(500, 0.5) < 0.6 && (s.at(1000, 1.0) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_scalar_can_be_trained_on_every_device() {
        // γ of the filtration head is one: its moments have no axis to be set along.
        let var = Var::from_tensor(&Tensor::new(2_f32, &Device::Cpu).unwrap()).unwrap();
        let group = Group {
            vars: vec![("gamma".to_owned(), var.clone())],
            lr_scale: 1.0,
        };
        let adam = AdamW::new(vec![group], AdamConfig::default()).unwrap();
        let update = Update {
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-8,
            clip: 1.0,
            step_size: 0.1 / (1.0 - 0.9),
            v_correction: 1.0 / (1.0 - 0.98),
            keep: 1.0,
        };
        let grad = Tensor::new(3_f32, &Device::Cpu).unwrap();
        update.apply_composed(&adam.slots[0], &grad).unwrap();
        assert!((var.to_scalar::<f32>().unwrap() - 1.9).abs() < 1e-5);
        assert!((adam.slots[0].m.to_scalar::<f32>().unwrap() - 0.3).abs() < 1e-6);
    }
}
