//! What the CPU kernels share: views of contiguous f32 storage, vector-width dispatch, a vectorisable exponential.

use candle_core::{CpuStorage, Device, Layout, Result, Shape, backend::BackendStorage as _, bail};

/// The values of a contiguous f32 argument.
pub(super) fn f32s<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(data) = storage else {
        bail!("this kernel takes f32, got {:?}", storage.dtype());
    };
    if !super::kernels_serve(&Device::Cpu) {
        bail!("a kernel of the CPU's own was called where only candle's operations may be");
    }
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&data[from..to]),
        None => bail!("this kernel takes contiguous tensors"),
    }
}

/// `a (m, k) × b (k, n)`, both described by layouts that may be transposed; returns `m × n` row-major values.
pub(super) fn matmul(
    (a, a_layout): (&CpuStorage, &Layout),
    (b, b_layout): (&CpuStorage, &Layout),
    (m, n, k): (usize, usize, usize),
) -> Result<Vec<f32>> {
    match a.matmul(b, (1, m, n, k), a_layout, b_layout)? {
        CpuStorage::F32(data) => Ok(data),
        other => bail!(
            "expected f32 from a matrix product, got {:?}",
            other.dtype()
        ),
    }
}

/// A row-major `rows × columns` view that starts at `offset`.
pub(super) fn matrix(rows: usize, columns: usize, offset: usize) -> Layout {
    Layout::contiguous_with_offset(Shape::from((rows, columns)), offset)
}

/// A matrix inside a slice: element `(i, j)` is at `i · row + j · column`.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    data: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Strided<'a> {
    /// Rows `stride` apart.
    pub(super) fn rows(data: &'a [f32], stride: usize) -> Self {
        Self {
            data,
            row: stride,
            column: 1,
        }
    }

    /// The transpose of rows `stride` apart.
    pub(super) fn columns(data: &'a [f32], stride: usize) -> Self {
        Self {
            data,
            row: 1,
            column: stride,
        }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// `dst = keep · dst + scale · a b` on one thread: a `(m, k)`, b `(k, n)`, dst `(m, n)` with rows `dst_row` apart. With
/// `keep` 0 nothing is read from dst. Panics if a matrix reaches past its slice.
pub(super) fn product_into(
    (dst, dst_row): (&mut [f32], usize),
    (m, n, k): (usize, usize, usize),
    a: Strided<'_>,
    b: Strided<'_>,
    (keep, scale): (f32, f32),
) {
    let fits = m == 0 || n == 0 || (m - 1) * dst_row + n <= dst.len();
    assert!(
        fits && (n <= dst_row || m <= 1) && a.holds(m, k) && b.holds(k, n),
        "a product of {m}×{k} and {k}×{n} reaches past its arguments"
    );
    #[expect(
        unsafe_code,
        reason = "the matrix product takes pointers with strides, which slices cannot say"
    )]
    // SAFETY: every element that is read or written lies within its slice, as was just checked; dst is borrowed
    // mutably, so it overlaps neither argument; strides fit `isize` because slices do.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_row as isize,
            keep != 0.0,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            keep,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Compiles a kernel body once per vector width and picks the widest that the machine has, at run time. The body must
/// be plain loops over slices: the compiler vectorises them.
macro_rules! simd {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        pub(super) fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
                fn wide($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn middle($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                {
                    #[expect(unsafe_code, reason = "the only way to call a function compiled for more than the baseline")]
                    // SAFETY: the features it was compiled for were detected on this machine just above.
                    return unsafe { wide($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    #[expect(unsafe_code, reason = "the only way to call a function compiled for more than the baseline")]
                    // SAFETY: the features it was compiled for were detected on this machine just above.
                    return unsafe { middle($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(super) use simd;

simd! {
    /// `s[j] = scale · q · k_j` for rows `stride` apart.
    fn dots(q: &[f32], k: &[f32], stride: usize, scale: f32, s: &mut [f32]) {
        let d = q.len();
        let n = d / 16 * 16;
        for (j, s) in s.iter_mut().enumerate() {
            let row = &k[j * stride..][..d];
            let mut acc = [0.0_f32; 16];
            for (q, k) in q[..n].chunks_exact(16).zip(row[..n].chunks_exact(16)) {
                for ((a, &q), &k) in acc.iter_mut().zip(q).zip(k) {
                    *a += q * k;
                }
            }
            let rest = q[n..].iter().zip(&row[n..]).map(|(q, k)| q * k).sum::<f32>();
            *s = (acc.iter().sum::<f32>() + rest) * scale;
        }
    }
}

/// `e^x` to about 2 units in the last place, without branches, so that loops over it vectorise.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it leaves the nearest integer in the low mantissa bits
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4_f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let power = (shifted.to_bits() << 23).wrapping_add(127 << 23);
    p * f32::from_bits(power)
}

/// Rows a parallel task should take so that it is worth starting: about 16 k values.
pub(super) fn rows_per_task(width: usize) -> usize {
    (16_384 / width.max(1)).max(1)
}
