//! The fully connected layer, with its bias and gradients in as few passes as the matrix products allow.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use rayon::prelude::{
    IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _,
};

use super::cpu::{dots, f32s, matmul, matrix, rows_per_task, simd};
use super::norm::column_sum;
use super::{bytes, fast, meter};

simd! {
    fn add_rows(y: &mut [f32], b: &[f32]) {
        for row in y.chunks_exact_mut(b.len()) {
            for (y, &b) in row.iter_mut().zip(b) {
                *y += b;
            }
        }
    }
}

/// Rows up to which a product is dot products: bound by reading the weight, which a product of matrices would copy first.
const FEW: usize = 2;

/// x `(r, i)` × weightᵀ `(o, i)` → `r × o` values.
pub(super) fn product(
    s1: &CpuStorage,
    l1: &Layout,
    s2: &CpuStorage,
    l2: &Layout,
) -> Result<(Vec<f32>, Shape)> {
    let (rows, i) = l1.shape().dims2()?;
    let (o, _) = l2.shape().dims2()?;
    if rows <= FEW && i > 0 {
        let (x, w) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let mut y = vec![0.0_f32; rows * o];
        let chunk = rows_per_task(i);
        for (x, y) in x.chunks_exact(i).zip(y.chunks_exact_mut(o.max(1))) {
            y.par_chunks_mut(chunk)
                .zip(w.par_chunks(chunk * i))
                .for_each(|(y, w)| dots(x, w, i, 1.0, y));
        }
        return Ok((y, Shape::from((rows, o))));
    }
    let w = matrix(o, i, l2.start_offset()).transpose(0, 1)?;
    let y = matmul((s1, l1), (s2, &w), (rows, o, i))?;
    Ok((y, Shape::from((rows, o))))
}

/// Gradients of input and weight, each only if somebody wants it: frozen layers and raw inputs cost nothing.
fn gradients(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let grad = grad.contiguous()?;
    let dx = x.track_op().then(|| grad.matmul(&w.detach())).transpose()?;
    let dw = w
        .track_op()
        .then(|| grad.t()?.matmul(&x.detach()))
        .transpose()?;
    Ok((dx, dw))
}

struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let (mut y, shape) = product(s1, l1, s2, l2)?;
        let bias = f32s(s3, l3)?;
        let chunk = rows_per_task(bias.len()) * bias.len().max(1);
        y.par_chunks_mut(chunk).for_each(|y| add_rows(y, bias));
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
        let (dx, dw) = gradients(x, w, grad)?;
        Ok((dx, dw, Some(column_sum(grad)?)))
    }
}

struct LinearNoBias;

impl CustomOp2 for LinearNoBias {
    fn name(&self) -> &'static str {
        "linear-no-bias"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (y, shape) = product(s1, l1, s2, l2)?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        gradients(x, w, grad)
    }
}

/// `x · weightᵀ + bias`: x `(…, i)`, weight `(o, i)`, bias `(o)` → `(…, o)`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (o, i) = weight.dims2()?;
    let mut dims = x.dims().to_vec();
    let last = dims.len() - 1;
    dims[last] = o;
    let x = x.contiguous()?.reshape(((), i))?;
    let y = if fast(&x) {
        let weight = weight.contiguous()?;
        match bias {
            Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, Linear)?,
            None => x.apply_op2(&weight, LinearNoBias)?,
        }
    } else {
        let y = x.matmul(&weight.t()?)?;
        match bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        }
    };
    let moved = bytes(&[&x, weight, &y]) + bias.map_or(0, |b| bytes(&[b]));
    meter::count(2 * y.elem_count() * i, moved);
    y.reshape(dims)
}

#[cfg(test)]
mod tests {
    use crate::nn::ops::check::{gradients_agree, randn};

    #[test]
    fn linear_gradients() {
        let (x, w, b) = (randn(&[2, 3, 5]), randn(&[4, 5]), randn(&[4]));
        gradients_agree(&[&x, &w, &b], |v| super::linear(&v[0], &v[1], Some(&v[2])));
        gradients_agree(&[&x, &w], |v| super::linear(&v[0], &v[1], None));
    }
}
