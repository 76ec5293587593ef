//! What the kernels' tests share: numbers to try, differences, and finite-difference checks of gradients.

use std::cell::Cell;

use candle_core::{Result, Shape, Tensor, Var};

use crate::nn::random_weights::RandomWeights;

thread_local! {
    /// How often this thread has drawn: a test has a thread of its own, so it sees the same numbers on every run.
    static DRAWN: Cell<u64> = const { Cell::new(0) };
}

/// Normally distributed numbers, others at every call of a test and the same at every run of it.
pub(crate) fn noise(shape: impl Into<Shape>) -> Tensor {
    let seed = DRAWN.replace(DRAWN.get() + 1);
    RandomWeights::normal(seed, shape).unwrap()
}

/// The same as a variable.
pub(crate) fn randn(shape: &[usize]) -> Var {
    Var::from_tensor(&noise(shape)).unwrap()
}

/// The largest difference between two tensors of one shape.
pub(crate) fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a - b)
        .unwrap()
        .abs()
        .unwrap()
        .max_all()
        .unwrap()
        .to_scalar()
        .unwrap()
}

/// A fixed, uneven weighting, so that every output element matters and no two alike.
fn weighted_sum(y: &Tensor) -> Result<Tensor> {
    let n = y.elem_count();
    let w: Vec<f32> = (0..n)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
        .collect();
    (y.flatten_all()? * Tensor::from_vec(w, n, y.device())?)?.sum_all()
}

/// Compares backpropagated gradients of a weighted sum of `f` with central differences at up to 24 places per argument.
pub(crate) fn gradients_agree(vars: &[&Var], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let at: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let grads = weighted_sum(&f(&at).unwrap()).unwrap().backward().unwrap();
    for (k, var) in vars.iter().enumerate() {
        let got: Vec<f32> = grads
            .get(var)
            .expect("a gradient for every argument")
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        let values: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
        let step = (values.len() / 24).max(1);
        let scale = got.iter().fold(1e-3_f32, |m, g| m.max(g.abs()));
        for i in (0..values.len()).step_by(step) {
            let probe = |d: f32| {
                let mut moved = values.clone();
                moved[i] += d;
                let mut args: Vec<Tensor> = at.iter().map(Tensor::detach).collect();
                args[k] = Tensor::from_vec(moved, var.shape(), var.device()).unwrap();
                f64::from(
                    weighted_sum(&f(&args).unwrap())
                        .unwrap()
                        .to_scalar::<f32>()
                        .unwrap(),
                )
            };
            let h = 5e-3;
            let want = ((probe(h) - probe(-h)) / f64::from(2.0 * h)) as f32;
            assert!(
                (got[i] - want).abs() < 2e-2 * scale.max(want.abs()),
                "argument {k}, element {i}: backward says {}, differences say {want}",
                got[i]
            );
        }
    }
}
