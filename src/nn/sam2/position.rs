//! Position codes of SAM2: sine codes of maps and of time distances, Fourier codes of prompt coordinates, rotary tables.
//!
//! All are computed in f64 on the host and stored in f32; what depends on the grid alone is kept per grid size, because
//! one set of weights runs at several input sizes.

use std::{
    collections::HashMap,
    f64::consts::TAU,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{D, Device, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::nn::ops;

/// Tensors that depend on `(rows, columns)` of a grid only.
#[derive(Clone, Debug, Default)]
pub(super) struct GridCache(Arc<Mutex<HashMap<(usize, usize), Tensor>>>);

impl GridCache {
    /// The tensor of `grid`, made on first use.
    pub(super) fn get(
        &self,
        grid: (usize, usize),
        make: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = kept.get(&grid) {
            return Ok(tensor.clone());
        }
        let made = make()?;
        kept.insert(grid, made.clone());
        Ok(made)
    }
}

/// Sine code of a map: `(1, d, h, w)`, the y half of the channels first, sine and cosine interleaved.
pub fn sine_2d(d: usize, (h, w): (usize, usize), device: &Device) -> Result<Tensor> {
    if !d.is_multiple_of(4) {
        candle_core::bail!("a sine position code needs a multiple of 4 channels, not {d}");
    }
    let half = d / 2;
    let code = |at: usize, of: usize, k: usize| {
        let angle = (at + 1) as f64 / (of as f64 + 1e-6) * TAU;
        let angle = angle / 10_000_f64.powf((2 * (k / 2)) as f64 / half as f64);
        if k.is_multiple_of(2) {
            angle.sin() as f32
        } else {
            angle.cos() as f32
        }
    };
    let mut data = Vec::with_capacity(d * h * w);
    for k in 0..half {
        for y in 0..h {
            data.extend(std::iter::repeat_n(code(y, h, k), w));
        }
    }
    for k in 0..half {
        let row: Vec<f32> = (0..w).map(|x| code(x, w, k)).collect();
        for _ in 0..h {
            data.extend_from_slice(&row);
        }
    }
    Tensor::from_vec(data, (1, d, h, w), device)
}

/// Sine code of scalars: `(n, d)`, all sines before all cosines.
pub fn sine_1d(positions: &[f64], d: usize, device: &Device) -> Result<Tensor> {
    let half = d / 2;
    let mut data = Vec::with_capacity(positions.len() * d);
    for p in positions {
        let angle = |k: usize| p / 10_000_f64.powf((2 * (k / 2)) as f64 / half as f64);
        data.extend((0..half).map(|k| angle(k).sin() as f32));
        data.extend((0..half).map(|k| angle(k).cos() as f32));
    }
    Tensor::from_vec(data, (positions.len(), 2 * half), device)
}

/// Random Fourier code of coordinates in the unit square.
#[derive(Clone, Debug)]
pub(super) struct FourierCode {
    matrix: Tensor,
    constant: bool,
    dense: GridCache,
}

impl FourierCode {
    /// `positional_encoding_gaussian_matrix (2, d/2)`.
    pub(super) fn new(d: usize, vb: VarBuilder<'_>) -> Result<Self> {
        // A buffer in the released model: it never learns. Half of the released spread suits small grids better.
        let hint = Init::Randn {
            mean: 0.0,
            stdev: 0.5,
        };
        let matrix = vb.get_with_hints((2, d / 2), "positional_encoding_gaussian_matrix", hint)?;
        Ok(Self {
            constant: !matrix.is_variable(),
            matrix: matrix.detach(),
            dense: GridCache::default(),
        })
    }

    /// `(…, 2)` as (x, y) in 0–1 → `(…, d)`.
    pub(super) fn code(&self, xy: &Tensor) -> Result<Tensor> {
        let mut dims = xy.dims().to_vec();
        let last = dims.len() - 1;
        dims[last] = 2 * self.matrix.dim(1)?;
        let flat = ((xy.reshape(((), 2))? * 2.0)? - 1.0)?;
        let angle = (flat.matmul(&self.matrix)? * TAU)?;
        Tensor::cat(&[angle.sin()?, angle.cos()?], D::Minus1)?.reshape(dims)
    }

    /// The code of every cell's centre: `(1, d, h, w)`.
    pub(super) fn dense(&self, (h, w): (usize, usize)) -> Result<Tensor> {
        let make = || {
            let mut xy = Vec::with_capacity(2 * h * w);
            for y in 0..h {
                for x in 0..w {
                    xy.push(((x as f64 + 0.5) / w as f64) as f32);
                    xy.push(((y as f64 + 0.5) / h as f64) as f32);
                }
            }
            let xy = Tensor::from_vec(xy, (1, h, w, 2), self.matrix.device())?;
            self.code(&xy.to_dtype(self.matrix.dtype())?)?
                .permute((0, 3, 1, 2))?
                .contiguous()
        };
        // A variable may still be loaded or perturbed after the first use.
        if self.constant {
            self.dense.get((h, w), make)
        } else {
            make()
        }
    }
}

/// Axial rotary code of a map's tokens: adjacent pairs of features turn, the first half of the pairs by x, the second by
/// y.
#[derive(Clone, Debug)]
pub struct AxialRope {
    cos: Tensor,
    sin: Tensor,
    turn: Tensor,
}

impl AxialRope {
    /// Tables for heads of `d` features (a multiple of 4) on an `(h, w)` map.
    pub fn new(d: usize, (h, w): (usize, usize), theta: f64, device: &Device) -> Result<Self> {
        if !d.is_multiple_of(4) {
            candle_core::bail!("an axial rotary code needs heads of a multiple of 4, not {d}");
        }
        let quarter = d / 4;
        let mut cos = Vec::with_capacity(h * w * d);
        let mut sin = Vec::with_capacity(h * w * d);
        for i in 0..h * w {
            for at in [i % w, i / w] {
                for k in 0..quarter {
                    let angle = at as f64 / theta.powf((4 * k) as f64 / d as f64);
                    cos.extend([angle.cos() as f32; 2]);
                    sin.extend([angle.sin() as f32; 2]);
                }
            }
        }
        // (a, b) → (−b, a) for every pair, as a product with a matrix of 0 and ±1: exact, differentiable, and far quicker
        // than strided reads of single elements.
        let mut turn = vec![0_f32; d * d];
        for pair in 0..d / 2 {
            let (a, b) = (2 * pair, 2 * pair + 1);
            turn[b * d + a] = -1.0;
            turn[a * d + b] = 1.0;
        }
        Ok(Self {
            cos: Tensor::from_vec(cos, (h * w, d), device)?,
            sin: Tensor::from_vec(sin, (h * w, d), device)?,
            turn: Tensor::from_vec(turn, (d, d), device)?,
        })
    }

    /// `(…, m·h·w, d)` → the same shape; the table is repeated for `m` maps in a row.
    pub fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        if let Some(turned) = ops::rotate_pairs(x, &self.cos, &self.sin)? {
            return Ok(turned);
        }
        let (n, d) = self.cos.dims2()?;
        let (cos, sin) = (self.cos.to_dtype(x.dtype())?, self.sin.to_dtype(x.dtype())?);
        let maps = x.contiguous()?.reshape(((), n, d))?;
        let turned = maps
            .reshape(((), d))?
            .matmul(&self.turn.to_dtype(x.dtype())?)?
            .reshape(maps.dims())?;
        (maps.broadcast_mul(&cos)? + turned.broadcast_mul(&sin)?)?.reshape(x.dims())
    }

    /// Cosine and sine of each pair, `(h·w, d/2)` each.
    pub fn tables(&self) -> Result<(Tensor, Tensor)> {
        let (n, d) = self.cos.dims2()?;
        let pick = |t: &Tensor| t.reshape((n, d / 2, 2))?.narrow(2, 0, 1)?.squeeze(2);
        Ok((pick(&self.cos)?, pick(&self.sin)?))
    }
}

/// `(b, c, h, w)` → `(b, h·w, c)`.
pub(super) fn to_tokens(map: &Tensor) -> Result<Tensor> {
    ops::nchw_to_tokens(map)
}

/// `(b, h·w, c)` → `(b, c, h, w)`.
pub(super) fn to_map(tokens: &Tensor, grid: (usize, usize)) -> Result<Tensor> {
    ops::tokens_to_nchw(tokens, grid)
}

/// Repeats the single row of `x` to `k` rows; `k` rows are left as they are.
pub(super) fn expand_rows(x: &Tensor, k: usize) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    if dims[0] == k {
        return Ok(x.clone());
    }
    if dims[0] != 1 {
        candle_core::bail!("{} rows cannot serve {k} prompts", dims[0]);
    }
    dims[0] = k;
    x.broadcast_as(dims)?.contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::check::noise;

    #[test]
    fn a_turn_by_zero_keeps_and_norms_never_change() {
        let device = Device::Cpu;
        let rope = AxialRope::new(8, (2, 3), 10_000.0, &device).expect("8 is a multiple of 4");
        let x = noise((2, 12, 8));
        let y = rope.rotate(&x).expect("two maps of six tokens");
        let flat = |t: &Tensor| {
            t.flatten_all()
                .and_then(|t| t.to_vec1::<f32>())
                .expect("f32")
        };
        let (a, b) = (flat(&x), flat(&y));
        assert_eq!(a[..8], b[..8]);
        for (p, q) in a.chunks(2).zip(b.chunks(2)) {
            assert!((p[0].hypot(p[1]) - q[0].hypot(q[1])).abs() < 1e-5);
        }
    }

    #[test]
    fn the_kernel_turns_as_the_product_with_a_matrix_does() {
        let rope = AxialRope::new(12, (3, 2), 10_000.0, &Device::Cpu).expect("a multiple of 4");
        let x = noise((2, 18, 12));
        let var = candle_core::Var::from_tensor(&x).expect("f32");
        let (fast, composed) = (rope.rotate(&x), rope.rotate(&var));
        let flat = |t: Result<Tensor>| t.and_then(|t| t.flatten_all()?.to_vec1::<f32>());
        let (a, b) = (
            flat(fast).expect("three maps"),
            flat(composed).expect("three maps"),
        );
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn odd_widths_are_refused_in_words() {
        assert!(sine_2d(6, (2, 2), &Device::Cpu).is_err());
        assert!(AxialRope::new(6, (2, 2), 10_000.0, &Device::Cpu).is_err());
    }
}
