//! Transposes as blocked copies: candle's strided copy moves one value at a time when the inner axis is strided.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::{
    IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _,
    ParallelSliceMut as _,
};

use super::cpu::f32s;
use super::{fast, passed, tracked};

const TILE: usize = 16;
/// Values that are worth a task.
const CHUNK: usize = 32_768;

/// Writes the columns of an `m × n` matrix from `from` on as rows, as many as fit into `y`.
fn transpose_columns(x: &[f32], (m, n): (usize, usize), from: usize, y: &mut [f32]) {
    for r0 in (0..m).step_by(TILE) {
        for (c, out) in y.chunks_exact_mut(m).enumerate() {
            let out = &mut out[r0..(r0 + TILE).min(m)];
            for (o, r) in out.iter_mut().zip(r0..) {
                *o = x[r * n + from + c];
            }
        }
    }
}

struct TransposeLast;

impl CustomOp1 for TransposeLast {
    fn name(&self) -> &'static str {
        "transpose-last"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32s(s, l)?;
        let mut dims = l.dims().to_vec();
        let rank = dims.len();
        if rank < 2 {
            bail!("a transpose takes at least two axes, got {dims:?}");
        }
        let (m, n) = (dims[rank - 2], dims[rank - 1]);
        dims.swap(rank - 2, rank - 1);
        let mut y = vec![0.0; x.len()];
        if m * n > 0 {
            // A task takes some columns of one matrix: even a single matrix keeps every thread busy.
            let pieces: Vec<_> = y
                .chunks_exact_mut(m * n)
                .zip(x.chunks_exact(m * n))
                .flat_map(|(y, x)| {
                    let columns = y.chunks_mut(TILE * m).enumerate();
                    columns.map(move |(i, y)| (x, i * TILE, y))
                })
                .collect();
            pieces
                .into_par_iter()
                .with_min_len((CHUNK / (TILE * m)).max(1))
                .for_each(|(x, from, y)| transpose_columns(x, (m, n), from, y));
        }
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&TransposeLast)?))
    }
}

/// Swaps the last two axes and makes the result contiguous: `(…, m, n)` → `(…, n, m)`.
pub fn transpose_last(x: &Tensor) -> Result<Tensor> {
    passed(x, &[]);
    if fast(x) {
        return x.contiguous()?.apply_op1(TransposeLast);
    }
    let rank = x.rank();
    x.transpose(rank - 2, rank - 1)?.contiguous()
}

/// `(b, c, h, w)` → `(b, h·w, c)`.
pub fn nchw_to_tokens(x: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    transpose_last(&x.reshape((b, c, h * w))?)
}

/// `(b, h·w, c)` → `(b, c, h, w)`.
pub fn tokens_to_nchw(x: &Tensor, (h, w): (usize, usize)) -> Result<Tensor> {
    let (b, _, c) = x.dims3()?;
    transpose_last(x)?.reshape((b, c, h, w))
}

/// Heads side by side: `(b, h, n, e)` → `(b, n, h·e)`.
pub fn merge_heads(x: &Tensor) -> Result<Tensor> {
    let (b, h, n, e) = x.dims4()?;
    passed(x, &[]);
    if !fast(x) || tracked(&[x]) || x.elem_count() == 0 {
        return x.transpose(1, 2)?.contiguous()?.reshape((b, n, h * e));
    }
    x.contiguous()?.apply_op1_no_bwd(&MergeHeads)
}

struct MergeHeads;

impl CustomOp1 for MergeHeads {
    fn name(&self) -> &'static str {
        "merge-heads"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32s(s, l)?;
        let (b, h, n, e) = l.shape().dims4()?;
        let mut y = vec![0.0; x.len()];
        let rows = (CHUNK / (h * e)).max(1);
        y.par_chunks_mut(rows * h * e)
            .enumerate()
            .for_each(|(i, y)| {
                for (token, y) in y.chunks_exact_mut(h * e).enumerate() {
                    let (image, token) = ((i * rows + token) / n, (i * rows + token) % n);
                    for (head, y) in y.chunks_exact_mut(e).enumerate() {
                        let from = ((image * h + head) * n + token) * e;
                        y.copy_from_slice(&x[from..from + e]);
                    }
                }
            });
        Ok((CpuStorage::F32(y), Shape::from((b, n, h * e))))
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::ops::check::{gradients_agree, randn};

    #[test]
    fn merged_heads_lie_side_by_side_token_by_token() {
        let x = randn(&[2, 3, 700, 16]);
        let want = x.transpose(1, 2).unwrap().contiguous().unwrap();
        let want = want.reshape((2, 700, 48)).unwrap();
        let got = super::merge_heads(&x).unwrap();
        assert_eq!(
            got.to_vec3::<f32>().unwrap(),
            want.to_vec3::<f32>().unwrap()
        );
        gradients_agree(&[&randn(&[1, 2, 3, 4])], |v| super::merge_heads(&v[0]));
    }

    #[test]
    fn transpose_last_is_a_transpose_with_a_gradient() {
        let x = randn(&[2, 19, 35]);
        let want = x.transpose(1, 2).unwrap().contiguous().unwrap();
        let got = super::transpose_last(&x).unwrap();
        assert_eq!(
            got.to_vec3::<f32>().unwrap(),
            want.to_vec3::<f32>().unwrap()
        );
        gradients_agree(&[&x], |v| super::transpose_last(&v[0]));
    }
}
