//! Fully connected layers together with what follows them (activation, layer scale, residual), so that a large result
//! crosses memory once instead of three times. Where a gradient may be asked for, or on another device, the same is
//! composed of the single operations.

use candle_core::{CpuStorage, Result, Storage, Tensor, bail};
use rayon::prelude::{
    IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _,
};

use super::activation::normal;
use super::cpu::{Strided, exp, product_into, rows_per_task, simd};
use super::linear::{linear, product};
use super::{bytes, fast, gelu, meter, passed, quick_gelu, tracked};

/// What follows the first layer of a perceptron.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · Φ(x)`.
    Gelu,
    /// `x · σ(1.702 x)`.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// Of any tensor.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => gelu(x),
            Self::QuickGelu => quick_gelu(x),
            Self::Relu => x.relu(),
        }
    }

    /// In place, of a few rows.
    fn rows(self, y: &mut [f32], bias: &[f32]) {
        match self {
            Self::Gelu => bias_gelu(y, bias),
            Self::QuickGelu => bias_quick_gelu(y, bias),
            Self::Relu => bias_relu(y, bias),
        }
    }
}

simd! {
    fn bias_gelu(y: &mut [f32], b: &[f32]) {
        for row in y.chunks_exact_mut(b.len()) {
            for (y, &b) in row.iter_mut().zip(b) {
                let x = *y + b;
                *y = x * normal(x).0;
            }
        }
    }
}

simd! {
    fn bias_quick_gelu(y: &mut [f32], b: &[f32]) {
        for row in y.chunks_exact_mut(b.len()) {
            for (y, &b) in row.iter_mut().zip(b) {
                let x = *y + b;
                *y = x / (1.0 + exp(-1.702 * x));
            }
        }
    }
}

simd! {
    fn bias_relu(y: &mut [f32], b: &[f32]) {
        for row in y.chunks_exact_mut(b.len()) {
            for (y, &b) in row.iter_mut().zip(b) {
                let x = *y + b;
                *y = if x > 0.0 { x } else { 0.0 };
            }
        }
    }
}

simd! {
    /// `y = rest + (y + b) · scale`, rows of b's length.
    fn bias_scale_add(y: &mut [f32], b: &[f32], scale: &[f32], rest: &[f32]) {
        let d = b.len();
        for (row, rest) in y.chunks_exact_mut(d).zip(rest.chunks_exact(d)) {
            for (((y, &b), &s), &r) in row.iter_mut().zip(b).zip(scale).zip(rest) {
                *y = r + (*y + b) * s;
            }
        }
    }
}

simd! {
    /// `y = rest + y + b`.
    fn bias_add(y: &mut [f32], b: &[f32], rest: &[f32]) {
        let d = b.len();
        for (row, rest) in y.chunks_exact_mut(d).zip(rest.chunks_exact(d)) {
            for ((y, &b), &r) in row.iter_mut().zip(b).zip(rest) {
                *y = r + *y + b;
            }
        }
    }
}

simd! {
    fn gated(gate: &[f32], up: &[f32], y: &mut [f32]) {
        for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
            *y = u * g / (1.0 + exp(-g));
        }
    }
}

/// Runs `f` on the values of contiguous f32 tensors.
fn with_values<T>(tensors: &[&Tensor], f: impl FnOnce(&[&[f32]]) -> Result<T>) -> Result<T> {
    let guards: Vec<_> = tensors.iter().map(|t| t.storage_and_layout()).collect();
    let mut slices = Vec::with_capacity(guards.len());
    for (storage, layout) in &guards {
        match (&**storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(data)), Some((from, to))) => slices.push(&data[from..to]),
            _ => bail!("a fused layer takes contiguous f32 tensors on the CPU"),
        }
    }
    f(&slices)
}

/// x as rows of `i` values, contiguous.
fn as_rows(x: &Tensor, i: usize) -> Result<Tensor> {
    x.contiguous()?.reshape(((), i))
}

fn with_last(x: &Tensor, o: usize) -> Vec<usize> {
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = o;
    }
    dims
}

/// x `(rows, i)` × weightᵀ.
fn raw_product(x: &Tensor, weight: &Tensor) -> Result<Vec<f32>> {
    let weight = weight.contiguous()?;
    let ((xs, xl), (ws, wl)) = (x.storage_and_layout(), weight.storage_and_layout());
    match (&*xs, &*ws) {
        (Storage::Cpu(xs), Storage::Cpu(ws)) => Ok(product(xs, xl, ws, wl)?.0),
        _ => bail!("a fused layer takes tensors on the CPU"),
    }
}

fn zeros_unless(bias: Option<&Tensor>, o: usize, like: &Tensor) -> Result<Tensor> {
    match bias {
        Some(bias) => bias.contiguous(),
        None => Tensor::zeros(o, like.dtype(), like.device()),
    }
}

fn plain(tensors: &[Option<&Tensor>]) -> bool {
    tensors.iter().flatten().all(|t| fast(t) && !t.track_op())
}

/// `act(x · weightᵀ + bias)`: x `(…, i)`, weight `(o, i)`, bias `(o)` → `(…, o)`.
pub fn linear_activated(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    act: Activation,
) -> Result<Tensor> {
    if !plain(&[Some(x), Some(weight), bias]) {
        return act.apply(&linear(x, weight, bias)?);
    }
    let (o, i) = weight.dims2()?;
    let rows = as_rows(x, i)?;
    let mut y = raw_product(&rows, weight)?;
    meter::count(2 * y.len() * i, bytes(&[x, weight]) + 4 * y.len());
    let bias = zeros_unless(bias, o, x)?;
    let chunk = rows_per_task(o) * o;
    with_values(&[&bias], |v| {
        y.par_chunks_mut(chunk).for_each(|y| act.rows(y, v[0]));
        Ok(())
    })?;
    Tensor::from_vec(y, with_last(x, o), x.device())
}

/// `rest + (x · weightᵀ + bias) · scale`: x `(…, i)`, weight `(o, i)`, bias and scale `(o)`, rest `(…, o)`.
pub fn linear_added(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    scale: Option<&Tensor>,
    rest: &Tensor,
) -> Result<Tensor> {
    if !plain(&[Some(x), Some(weight), bias, scale, Some(rest)]) {
        let y = linear(x, weight, bias)?;
        return match scale {
            Some(scale) => rest + y.broadcast_mul(scale)?,
            None => rest + y,
        };
    }
    let (o, i) = weight.dims2()?;
    let rows = as_rows(x, i)?;
    let mut y = raw_product(&rows, weight)?;
    if rest.elem_count() != y.len() {
        bail!("{:?} cannot be added to {} values", rest.dims(), y.len());
    }
    meter::count(2 * y.len() * i, bytes(&[x, weight, rest]) + 4 * y.len());
    let (bias, rest) = (zeros_unless(bias, o, x)?, rest.contiguous()?);
    let chunk = rows_per_task(o) * o;
    let mut values = vec![&bias, &rest];
    let scale = scale.map(Tensor::contiguous).transpose()?;
    values.extend(&scale);
    with_values(&values, |v| {
        y.par_chunks_mut(chunk)
            .zip(v[1].par_chunks(chunk))
            .for_each(|(y, rest)| match v.get(2) {
                Some(scale) => bias_scale_add(y, v[0], scale, rest),
                None => bias_add(y, v[0], rest),
            });
        Ok(())
    })?;
    Tensor::from_vec(y, with_last(x, o), x.device())
}

simd! {
    fn sum_into(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a + b;
        }
    }
}

/// Values that are worth a task.
const CHUNK: usize = 32_768;

/// `a + b`, where `b` has `a`'s shape, or its last axes (behind axes of 1). candle's own sum keeps one core busy.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let inner = b.dims().iter().position(|&n| n != 1).unwrap_or(b.rank());
    let repeated = a.dims().ends_with(&b.dims()[inner..]) && a.rank() >= b.rank();
    // Short rows would be handed out one by one.
    let worth = b.elem_count() == a.elem_count() || b.elem_count() >= CHUNK;
    if !repeated || !worth || !plain(&[Some(a), Some(b)]) {
        return a.broadcast_add(b);
    }
    passed(a, &[b]);
    let (left, right) = (a.contiguous()?, b.contiguous()?);
    let mut y = vec![0.0_f32; a.elem_count()];
    with_values(&[&left, &right], |v| {
        let (a, b) = (v[0], v[1]);
        let n = b.len().max(1);
        y.par_chunks_mut(n).zip(a.par_chunks(n)).for_each(|(y, a)| {
            y.par_chunks_mut(CHUNK)
                .zip(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)))
                .for_each(|(y, (a, b))| sum_into(a, b, y));
        });
        Ok(())
    })?;
    Tensor::from_vec(y, a.shape(), a.device())
}

/// Rows of tokens that go through both layers together.
const TILE: usize = 256;
/// A perceptron with more weights than this per layer is done layer by layer: each tile would read them from memory.
const TILED_WEIGHTS: usize = 3 << 19;

/// `rest + (act(x · w₁ᵀ + b₁) · w₂ᵀ + b₂) · scale`: x `(…, i)`, w₁ `(h, i)`, w₂ `(o, h)`, scale `(o)` or none, rest `(…, o)`. The
/// hidden values of a few tokens at a time stay in the cache.
pub fn mlp(
    x: &Tensor,
    (w1, b1): (&Tensor, Option<&Tensor>),
    act: Activation,
    (w2, b2): (&Tensor, Option<&Tensor>),
    scale: Option<&Tensor>,
    rest: &Tensor,
) -> Result<Tensor> {
    let (h, i) = w1.dims2()?;
    let (o, _) = w2.dims2()?;
    let n = x.elem_count() / i.max(1);
    let tiled = n >= 4 * TILE && h * i.max(o) <= TILED_WEIGHTS;
    if !tiled || !plain(&[Some(x), Some(w1), b1, Some(w2), b2, scale, Some(rest)]) {
        return linear_added(&linear_activated(x, w1, b1, act)?, w2, b2, scale, rest);
    }
    if w2.dims() != [o, h] || rest.elem_count() != n * o {
        bail!(
            "layers {:?} and {:?} with {:?} do not fit together",
            w1.dims(),
            w2.dims(),
            rest.dims()
        );
    }
    // Hidden values are made and read once, as if the layers stood alone: comparable with those that do.
    meter::count(
        2 * n * h * (i + o),
        bytes(&[x, w1, w2, rest]) + 4 * n * (2 * h + o),
    );
    let x = as_rows(x, i)?;
    let (w1, w2, rest_rows) = (w1.contiguous()?, w2.contiguous()?, rest.contiguous()?);
    let (b1, b2) = (zeros_unless(b1, h, &x)?, zeros_unless(b2, o, &x)?);
    let mut values = vec![&x, &w1, &b1, &w2, &b2, &rest_rows];
    let scale = scale.map(Tensor::contiguous).transpose()?;
    values.extend(&scale);
    let mut y = vec![0.0_f32; n * o];
    with_values(&values, |v| {
        let &[x, w1, b1, w2, b2, rest, ref scale @ ..] = v else {
            bail!("a perceptron has six arguments");
        };
        y.par_chunks_mut(TILE * o)
            .zip(x.par_chunks(TILE * i).zip(rest.par_chunks(TILE * o)))
            .for_each_init(Vec::new, |hidden: &mut Vec<f32>, (y, (x, rest))| {
                let rows = x.len() / i;
                if hidden.len() < rows * h {
                    hidden.resize(rows * h, 0.0);
                }
                let hidden = &mut hidden[..rows * h];
                let (x, w1) = (Strided::rows(x, i), Strided::columns(w1, i));
                product_into((hidden, h), (rows, h, i), x, w1, (0.0, 1.0));
                act.rows(hidden, b1);
                let (hidden, w2) = (Strided::rows(hidden, h), Strided::columns(w2, h));
                product_into((y, o), (rows, o, h), hidden, w2, (0.0, 1.0));
                match scale.first() {
                    Some(scale) => bias_scale_add(y, b2, scale, rest),
                    None => bias_add(y, b2, rest),
                }
            });
        Ok(())
    })?;
    Tensor::from_vec(y, rest.shape(), x.device())
}

/// The gated half of a language model's perceptron: `(…, 2h)` as gate and value → `value · gate · σ(gate)`, `(…, h)`.
pub fn swiglu(x: &Tensor) -> Result<Tensor> {
    let last = x.rank() - 1;
    let h = x.dim(last)? / 2;
    let width = 2 * h;
    passed(&x.narrow(last, 0, h)?, &[x]);
    if !fast(x) || tracked(&[x]) || h == 0 {
        let (gate, up) = (x.narrow(last, 0, h)?, x.narrow(last, h, h)?);
        return up * gate.contiguous()?.silu()?;
    }
    let x = x.contiguous()?;
    let mut y = vec![0.0_f32; x.elem_count() / 2];
    let rows = rows_per_task(width);
    with_values(&[&x], |v| {
        y.par_chunks_mut(rows * h)
            .zip(v[0].par_chunks(rows * width))
            .for_each(|(y, x)| {
                for (y, x) in y.chunks_exact_mut(h).zip(x.chunks_exact(width)) {
                    gated(&x[..h], &x[h..], y);
                }
            });
        Ok(())
    })?;
    Tensor::from_vec(y, with_last(&x, h), x.device())
}

#[cfg(test)]
mod tests {
    use candle_core::{Tensor, Var};

    use super::*;
    use crate::nn::ops::check::noise;

    fn agree(a: &Tensor, b: &Tensor) {
        assert_eq!(a.dims(), b.dims());
        let diff = (a - b).unwrap().abs().unwrap().max_all().unwrap();
        let diff = diff.to_scalar::<f32>().unwrap();
        let scale = b
            .abs()
            .unwrap()
            .max_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        assert!(diff <= 1e-5 * scale.max(1.0), "{diff} of {scale}");
    }

    /// The composed form is what a variable gets.
    #[test]
    fn fused_layers_equal_what_they_are_made_of() {
        for (rows, i, h) in [(1, 7, 5), (3, 40, 33), (1500, 24, 96)] {
            let (x, rest) = (noise(&[2, rows, i]), noise(&[2, rows, i]));
            let (w1, b1, w2, b2) = (noise(&[h, i]), noise(&[h]), noise(&[i, h]), noise(&[i]));
            let scale = noise(&[i]);
            let var = Var::from_tensor(&x).unwrap();
            for act in [Activation::Gelu, Activation::QuickGelu, Activation::Relu] {
                for bias in [None, Some(&b1)] {
                    agree(
                        &linear_activated(&x, &w1, bias, act).unwrap(),
                        &linear_activated(&var, &w1, bias, act).unwrap(),
                    );
                }
                for scale in [None, Some(&scale)] {
                    let layers = ((&w1, Some(&b1)), (&w2, Some(&b2)));
                    let run = |x: &Tensor| mlp(x, layers.0, act, layers.1, scale, &rest).unwrap();
                    agree(&run(&x), &run(&var));
                }
            }
            let y = noise(&[2, rows, h]);
            let tracked = Var::from_tensor(&y).unwrap();
            for scale in [None, Some(&scale)] {
                let run = |y: &Tensor| linear_added(y, &w2, Some(&b2), scale, &rest).unwrap();
                agree(&run(&y), &run(&tracked));
            }
            let wide = noise(&[2, rows, 2 * h]);
            let tracked = Var::from_tensor(&wide).unwrap();
            agree(&swiglu(&wide).unwrap(), &swiglu(&tracked).unwrap());
        }
    }

    #[test]
    fn a_sum_is_a_sum_whatever_is_repeated() {
        let a = noise(&[3, 4, 70, 200]);
        for shape in [
            &[3, 4, 70, 200][..],
            &[1, 4, 70, 200],
            &[4, 70, 200],
            &[1, 1, 70, 200],
            &[200],
            &[1, 4, 1, 1],
            &[1],
        ] {
            let b = noise(shape);
            agree(&add(&a, &b).unwrap(), &a.broadcast_add(&b).unwrap());
        }
        let turned = noise(&[3, 4, 200, 70]).transpose(2, 3).unwrap();
        agree(&add(&a, &turned).unwrap(), &(&a + &turned).unwrap());
        assert!(add(&a, &noise(&[3, 70, 200])).is_err());
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let (x, w) = (noise(&[4, 3]), noise(&[5, 3]));
        assert!(linear_added(&x, &w, None, None, &noise(&[4, 4])).is_err());
        let many = noise(&[2000, 3]);
        let act = Activation::Relu;
        assert!(mlp(&many, (&w, None), act, (&noise(&[3, 6]), None), None, &many).is_err());
    }
}
