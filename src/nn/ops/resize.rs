//! Resizing of float maps `(b, c, h, w)` with PyTorch's `interpolate` conventions: `align_corners = false`, no
//! antialiasing. Each axis is one small matrix, so the gradient is exact and the work is two matrix products.

use candle_core::{Device, Result, Tensor};

/// Rows: output positions; columns: input positions.
fn axis_matrix(
    from: usize,
    to: usize,
    device: &Device,
    taps: impl Fn(f64) -> Vec<(i64, f64)>,
) -> Result<Tensor> {
    let scale = from as f64 / to as f64;
    let mut data = vec![0_f32; from * to];
    for o in 0..to {
        for (i, w) in taps((o as f64 + 0.5) * scale - 0.5) {
            let i = i.clamp(0, from as i64 - 1) as usize;
            data[o * from + i] += w as f32;
        }
    }
    Tensor::from_vec(data, (to, from), device)
}

fn resize(
    x: &Tensor,
    (h, w): (usize, usize),
    taps: impl Fn(f64) -> Vec<(i64, f64)>,
) -> Result<Tensor> {
    let (b, c, ih, iw) = x.dims4()?;
    if (ih, iw) == (h, w) {
        return Ok(x.clone());
    }
    let across = axis_matrix(iw, w, x.device(), &taps)?.to_dtype(x.dtype())?;
    let down = axis_matrix(ih, h, x.device(), &taps)?.to_dtype(x.dtype())?;
    let x = x
        .contiguous()?
        .reshape((b * c * ih, iw))?
        .matmul(&across.t()?)?;
    let x = x.reshape((b * c, ih, w))?;
    down.unsqueeze(0)?
        .broadcast_as((b * c, h, ih))?
        .contiguous()?
        .matmul(&x)?
        .reshape((b, c, h, w))
}

/// Bilinear resize to `(h, w)`.
pub fn resize_bilinear(x: &Tensor, to: (usize, usize)) -> Result<Tensor> {
    resize(x, to, |at| {
        // PyTorch clamps the source coordinate at 0 before it splits it.
        let at = at.max(0.0);
        let i = at.floor();
        vec![(i as i64, 1.0 - (at - i)), (i as i64 + 1, at - i)]
    })
}

/// Bicubic resize to `(h, w)`, a = −0.75.
pub fn resize_bicubic(x: &Tensor, to: (usize, usize)) -> Result<Tensor> {
    const A: f64 = -0.75;
    let near = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    resize(x, to, |at| {
        let i = at.floor();
        let t = at - i;
        let i = i as i64;
        vec![
            (i - 1, far(t + 1.0)),
            (i, near(t)),
            (i + 1, near(1.0 - t)),
            (i + 2, far(2.0 - t)),
        ]
    })
}

/// Nearest-neighbour resize to `(h, w)`.
pub fn resize_nearest(x: &Tensor, (h, w): (usize, usize)) -> Result<Tensor> {
    x.upsample_nearest2d(h, w)
}
