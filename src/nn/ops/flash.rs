//! Attention whose scores never lie in memory as a whole: block by block of keys with a running maximum and sum
//! (Milakov and Gimelshein 2018; Dao et al. 2022), on the CPU, in f32, without a gradient.
//!
//! Queries, keys and values are read where they lie, whatever their strides, as long as features are adjacent. Keys may
//! come in several parts (a shared prefix and what was said since), and keys outside a band are never looked at.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::{
    IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _,
    ParallelSliceMut as _,
};

use super::cpu::{Strided, dots, exp, product_into, simd};

/// Queries that share a pass over the keys: the more, the less it matters that a product copies its arguments first.
const QUERIES: usize = 256;
/// Values of a block at most (its keys, its values and their scores): half of a usual second-level cache.
const BLOCK: usize = 1 << 17;
/// Keys of a block at least and at most.
const KEYS: (usize, usize) = (64, 768);
/// With fewer queries than this, a product of matrices is slower than plain dot products.
const FEW: usize = 3;

/// Which keys a query may look at.
#[derive(Clone, Copy)]
pub(super) enum Visible<'a> {
    /// All.
    All,
    /// Query `i` stands at key `start + i`; it sees itself and the `window` keys before.
    Band {
        /// Keys before the first query.
        start: usize,
        /// Keys seen before the query's own.
        window: usize,
    },
    /// All, with an additive mask that was broadcast to `(b, h, n, m)` and whose last axis is contiguous.
    Mask(&'a Tensor),
}

simd! {
    /// Exponentials of one row of scores relative to the larger of its maximum and `old`, in place; that maximum and
    /// the sum.
    fn exponentials(s: &mut [f32], old: f32) -> (f32, f32) {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let n = s.len() / 16 * 16;
        for c in s[..n].chunks_exact(16) {
            for (m, &v) in lanes.iter_mut().zip(c) {
                *m = if v > *m { v } else { *m };
            }
        }
        let max = s[n..].iter().copied().chain(lanes).fold(old, f32::max);
        if max == f32::NEG_INFINITY {
            s.fill(0.0);
            return (max, 0.0);
        }
        let mut sums = [0.0_f32; 16];
        for c in s[..n].chunks_exact_mut(16) {
            for (sum, v) in sums.iter_mut().zip(c) {
                *v = exp(*v - max);
                *sum += *v;
            }
        }
        let mut total = sums.iter().sum::<f32>();
        for v in &mut s[n..] {
            *v = exp(*v - max);
            total += *v;
        }
        (max, total)
    }
}

simd! {
    fn scale_row(y: &mut [f32], by: f32) {
        for y in y {
            *y *= by;
        }
    }
}

simd! {
    fn write_scaled(y: &mut [f32], x: &[f32], by: f32) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * by;
        }
    }
}

simd! {
    fn add_row(y: &mut [f32], x: &[f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

simd! {
    /// `o += Σ p_j v_j` for rows `stride` apart.
    fn weighted_sum(p: &[f32], v: &[f32], stride: usize, o: &mut [f32]) {
        for (j, &p) in p.iter().enumerate() {
            for (o, &v) in o.iter_mut().zip(&v[j * stride..]) {
                *o += p * v;
            }
        }
    }
}

/// A `(b, h, n, d)` argument: its values from the first on, and its strides.
struct View<'a> {
    data: &'a [f32],
    strides: [usize; 4],
    rows: usize,
}

impl<'a> View<'a> {
    fn new(storage: &'a Storage, layout: &Layout) -> Result<Self> {
        let Storage::Cpu(CpuStorage::F32(data)) = storage else {
            bail!("fused attention takes f32 on the CPU");
        };
        let (Ok(strides), Ok((_, _, rows, d))) =
            (layout.stride().try_into(), layout.shape().dims4())
        else {
            bail!("attention takes four axes, got {:?}", layout.dims());
        };
        let strides: [usize; 4] = strides;
        if strides[3] != 1 && d > 1 {
            bail!("fused attention takes adjacent features");
        }
        Ok(Self {
            data: &data[layout.start_offset()..],
            strides,
            rows,
        })
    }

    /// From row `row` of a head on.
    fn from(&self, b: usize, h: usize, row: usize) -> &'a [f32] {
        &self.data[b * self.strides[0] + h * self.strides[1] + row * self.strides[2]..]
    }
}

/// The mask's rows.
struct MaskView<'a> {
    data: &'a [f32],
    strides: [usize; 3],
}

impl<'a> MaskView<'a> {
    fn new(storage: &'a Storage, layout: &Layout) -> Result<Self> {
        let (Storage::Cpu(CpuStorage::F32(data)), &[b, h, n, 1]) = (storage, layout.stride())
        else {
            bail!("the attention mask must be f32 on the CPU with a contiguous last axis");
        };
        Ok(Self {
            data: &data[layout.start_offset()..],
            strides: [b, h, n],
        })
    }

    fn row(&self, b: usize, h: usize, n: usize, from: usize) -> &'a [f32] {
        let [sb, sh, sn] = self.strides;
        &self.data[b * sb + h * sh + n * sn + from..]
    }
}

/// What one task needs to know.
struct Attend<'a> {
    q: View<'a>,
    parts: Vec<(View<'a>, View<'a>)>,
    mask: Option<MaskView<'a>>,
    band: Option<(usize, usize)>,
    scale: f32,
    d: usize,
    e: usize,
}

/// Buffers of a thread.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    out: Vec<f32>,
    max: Vec<f32>,
    sum: Vec<f32>,
}

impl Attend<'_> {
    /// Queries `from..from + n` of one head; hands each finished row to `write`.
    fn block(
        &self,
        (b, h): (usize, usize),
        (from, n): (usize, usize),
        s: &mut Scratch,
        mut write: impl FnMut(usize, &[f32], f32),
    ) {
        let e = self.e;
        s.out.clear();
        s.out.resize(n * e, 0.0);
        s.max.clear();
        s.max.resize(n, f32::NEG_INFINITY);
        s.sum.clear();
        s.sum.resize(n, 0.0);
        let (low, high) = match self.band {
            None => (0, usize::MAX),
            Some((start, window)) => ((start + from).saturating_sub(window), start + from + n),
        };
        let mut offset = 0;
        for (k, v) in &self.parts {
            let first = low.saturating_sub(offset).min(k.rows);
            let end = high.saturating_sub(offset).min(k.rows);
            let keys = BLOCK / (self.d + self.e + n);
            let blocks = (end.saturating_sub(first)).div_ceil(keys.clamp(KEYS.0, KEYS.1));
            for block in 0..blocks {
                let at = |i: usize| first + (end - first) * i / blocks;
                let keys = at(block)..at(block + 1);
                self.keys((b, h), (from, n), (k, v), offset, keys, s);
            }
            offset += k.rows;
        }
        for i in 0..n {
            let inv = if s.sum[i] > 0.0 { 1.0 / s.sum[i] } else { 0.0 };
            write(i, &s.out[i * e..(i + 1) * e], inv);
        }
    }

    /// Folds one block of keys into the running result; `offset` is the index of the part's first key.
    fn keys(
        &self,
        (b, h): (usize, usize),
        (from, n): (usize, usize),
        (k, v): (&View<'_>, &View<'_>),
        offset: usize,
        keys: std::ops::Range<usize>,
        s: &mut Scratch,
    ) {
        let (m, e) = (keys.len(), self.e);
        let (key_rows, value_rows) = (k.from(b, h, keys.start), v.from(b, h, keys.start));
        let (q_stride, k_stride, v_stride) = (self.q.strides[2], k.strides[2], v.strides[2]);
        let queries = self.q.from(b, h, from);
        // Only ever grows: every score is written before it is read.
        if s.scores.len() < n * m {
            s.scores.resize(n * m, 0.0);
        }
        let scores = &mut s.scores[..n * m];
        if n < FEW {
            for (i, row) in scores.chunks_exact_mut(m).enumerate() {
                dots(
                    &queries[i * q_stride..][..self.d],
                    key_rows,
                    k_stride,
                    self.scale,
                    row,
                );
            }
        } else {
            product_into(
                (scores, m),
                (n, m, self.d),
                Strided::rows(queries, q_stride),
                Strided::columns(key_rows, k_stride),
                (0.0, self.scale),
            );
        }
        for (i, row) in scores.chunks_exact_mut(m).enumerate() {
            if let Some(mask) = &self.mask {
                add_row(row, &mask.row(b, h, from + i, offset + keys.start)[..m]);
            }
            let seen = match self.band {
                None => 0..m,
                Some((start, window)) => {
                    let own = start + from + i;
                    let first = own
                        .saturating_sub(window)
                        .saturating_sub(offset + keys.start);
                    let end = (own + 1).saturating_sub(offset + keys.start).min(m);
                    first.min(end)..end
                }
            };
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
            let old = s.max[i];
            let (max, sum) = exponentials(&mut row[seen], old);
            // A first block rescales nothing: there was no weight yet.
            let keep = if old == f32::NEG_INFINITY {
                0.0
            } else {
                exp(old - max)
            };
            s.max[i] = max;
            s.sum[i] = s.sum[i] * keep + sum;
            if keep != 1.0 && old != f32::NEG_INFINITY {
                scale_row(&mut s.out[i * e..(i + 1) * e], keep);
            }
        }
        if n < FEW {
            for (p, o) in scores.chunks_exact(m).zip(s.out.chunks_exact_mut(e)) {
                weighted_sum(p, value_rows, v_stride, o);
            }
        } else {
            product_into(
                (&mut s.out, e),
                (n, e, m),
                Strided::rows(scores, m),
                Strided::rows(value_rows, v_stride),
                (1.0, 1.0),
            );
        }
    }
}

/// `softmax(q kᵀ · scale) v` over the keys of all `parts`: q `(b, h, n, d)`, each part's k `(b, h, m, d)` and v
/// `(b, h, m, e)` → `(b, h, n, e)`, which lies in memory as `(b, n, h, e)` unless there are very few queries. A query
/// that sees nothing gets zeros.
pub(super) fn attention(
    q: &Tensor,
    parts: &[(&Tensor, &Tensor)],
    scale: f64,
    visible: Visible<'_>,
) -> Result<Tensor> {
    let (b, h, n, d) = q.dims4()?;
    let e = match parts.first() {
        Some((_, v)) => v.dim(3)?,
        None => bail!("attention needs keys"),
    };
    for (k, v) in parts {
        let m = k.dim(2)?;
        if k.dims() != [b, h, m, d] || v.dims() != [b, h, m, e] {
            bail!(
                "queries {:?}, keys {:?} and values {:?} do not fit together",
                q.dims(),
                k.dims(),
                v.dims()
            );
        }
    }
    let query = q.storage_and_layout();
    let guards: Vec<_> = parts
        .iter()
        .map(|(k, v)| (k.storage_and_layout(), v.storage_and_layout()))
        .collect();
    let mask_guard = match visible {
        Visible::Mask(mask) => Some(mask.storage_and_layout()),
        _ => None,
    };
    let attend = Attend {
        q: View::new(&query.0, query.1)?,
        parts: guards
            .iter()
            .map(|(k, v)| Ok((View::new(&k.0, k.1)?, View::new(&v.0, v.1)?)))
            .collect::<Result<_>>()?,
        mask: mask_guard
            .as_ref()
            .map(|(s, l)| MaskView::new(s, l))
            .transpose()?,
        band: match visible {
            Visible::Band { start, window } => Some((start, window)),
            _ => None,
        },
        scale: scale as f32,
        d,
        e,
    };
    let mut out = vec![0.0_f32; b * h * n * e];
    if out.is_empty() {
        return Tensor::from_vec(out, (b, h, n, e), q.device());
    }
    let blocks = n.div_ceil(QUERIES);
    if b * blocks < 2 * rayon::current_num_threads() && h > 1 {
        // Too few blocks of queries to go round: one head is a task.
        out.par_chunks_mut(n * e)
            .enumerate()
            .for_each_init(Scratch::default, |s, (i, out)| {
                for from in (0..n).step_by(QUERIES) {
                    let len = QUERIES.min(n - from);
                    attend.block((i / h, i % h), (from, len), s, |row, x, inv| {
                        write_scaled(&mut out[(from + row) * e..][..e], x, inv);
                    });
                }
            });
        return Tensor::from_vec(out, (b, h, n, e), q.device());
    }
    // Rows of a block of queries lie together for all heads, so blocks can be handed out.
    let mut pieces = Vec::with_capacity(b * blocks);
    let mut rest = out.as_mut_slice();
    for row in 0..b {
        for from in (0..n).step_by(QUERIES) {
            let len = QUERIES.min(n - from);
            let (piece, tail) = rest.split_at_mut(len * h * e);
            pieces.push((row, from, len, piece));
            rest = tail;
        }
    }
    pieces
        .into_par_iter()
        .for_each_init(Scratch::default, |s, (row, from, len, piece)| {
            for head in 0..h {
                attend.block((row, head), (from, len), s, |i, x, inv| {
                    write_scaled(&mut piece[(i * h + head) * e..][..e], x, inv);
                });
            }
        });
    Tensor::from_vec(out, (b, n, h, e), q.device())?.transpose(1, 2)
}
