//! Sine codes of cells and boxes, and the inverse sigmoid that boxes are refined in.

use std::f64::consts::TAU;

use candle_core::{Device, Result, Tensor, bail};

/// Wavelength of feature `k` out of `features`: sine on even places, cosine on odd.
fn divisor(k: usize, features: usize) -> f64 {
    10_000_f64.powf((2 * (k / 2)) as f64 / features as f64)
}

/// The code of a map's cells `(1, h · w, d)`: the y half first, sine and cosine interleaved.
pub(crate) fn sine_of_cells(d: usize, (h, w): (usize, usize), device: &Device) -> Result<Tensor> {
    if !d.is_multiple_of(4) {
        bail!("a sine position code needs a multiple of 4 channels, not {d}");
    }
    let half = d / 2;
    let code = |at: usize, of: usize| -> Vec<f32> {
        let angle = (at as f64 + 0.5) / (of as f64 + 1e-6) * TAU;
        let feature = |k: usize| {
            let angle = angle / divisor(k, half);
            let value = if k.is_multiple_of(2) {
                angle.sin()
            } else {
                angle.cos()
            };
            value as f32
        };
        (0..half).map(feature).collect()
    };
    let columns: Vec<Vec<f32>> = (0..w).map(|x| code(x, w)).collect();
    let mut data = Vec::with_capacity(h * w * d);
    for y in 0..h {
        let row = code(y, h);
        for column in &columns {
            data.extend_from_slice(&row);
            data.extend_from_slice(column);
        }
    }
    Tensor::from_vec(data, (1, h * w, d), device)
}

/// The code of boxes `(b, q, 4)` in 0..1 → `(b, q, 4 · features)`.
pub(super) fn sine_of_boxes(boxes: &Tensor, features: usize) -> Result<Tensor> {
    let (b, q, n) = boxes.dims3()?;
    if !features.is_multiple_of(2) {
        bail!("a sine code of boxes needs an even number of features, not {features}");
    }
    let rates: Vec<f32> = (0..features)
        .step_by(2)
        .map(|k| (TAU / divisor(k, features)) as f32)
        .collect();
    let rates = Tensor::from_vec(rates, (1, 1, 1, features / 2), boxes.device())?;
    let rates = rates.to_dtype(boxes.dtype())?;
    let angles = boxes.unsqueeze(3)?.broadcast_mul(&rates)?;
    Tensor::stack(&[angles.sin()?, angles.cos()?], 4)?.reshape((b, q, n * features))
}

/// The centres of all cells `(1, cells, 2)` as fractions x, y.
pub(super) fn centres(shapes: &[(usize, usize)], device: &Device) -> Result<Tensor> {
    let mut data = Vec::new();
    for &(h, w) in shapes {
        for cell in 0..h * w {
            data.push(((cell % w) as f32 + 0.5) / w as f32);
            data.push(((cell / w) as f32 + 0.5) / h as f32);
        }
    }
    let cells = data.len() / 2;
    Tensor::from_vec(data, (1, cells, 2), device)
}

/// `ln(x / (1 − x))`, both parts at least 1e-5.
pub(super) fn inverse_sigmoid(x: &Tensor) -> Result<Tensor> {
    let x = x.clamp(0.0, 1.0)?;
    let low = x.clamp(1e-5, f64::INFINITY)?;
    let high = (1.0 - x)?.clamp(1e-5, f64::INFINITY)?;
    low.log()? - high.log()?
}
