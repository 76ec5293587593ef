//! Proposals drawn tight around what SAM2 paints in them: the proposer sees a cell for every sixteenth pixel, the mask decoder
//! one for every fourth, and the border between two of its cells is known to a part of one.
//!
//! Nano's own; released boxes are the proposer's. Leaves painting to SAM2.

use candle_core::{DType, Result, Tensor};

/// Where the values along one axis of a mask cross zero for the first and the last time, in cells; `None` if none is positive.
/// Behind what is not looked at (−∞), a cell ends where it ends.
fn ends(profile: &[f32]) -> Option<(f32, f32)> {
    let first = profile.iter().position(|v| *v > 0.0)?;
    let last = profile.iter().rposition(|v| *v > 0.0)?;
    // How far the border lies from the centre of the cell `inside`, towards its neighbour.
    let beyond = |inside: f32, outside: Option<&f32>| match outside {
        Some(v) if v.is_finite() && inside.is_finite() => inside / (inside - v),
        _ => 0.5,
    };
    let before = first.checked_sub(1).and_then(|i| profile.get(i));
    Some((
        first as f32 + 0.5 - beyond(profile[first], before),
        last as f32 + 0.5 + beyond(profile[last], profile.get(last + 1)),
    ))
}

/// The tight box of the positive logits of `mask (h, w)` around `corners`, all in fractions of the image; only cells whose centres lie in
/// the box grown by `reach` of its sides count, as what looks like the object elsewhere is painted, too. The box itself if there
/// are none.
fn tight(corners: [f32; 4], mask: &[f32], (h, w): (usize, usize), reach: f32) -> [f32; 4] {
    let [x1, y1, x2, y2] = corners;
    let (grow_x, grow_y) = ((x2 - x1) * reach, (y2 - y1) * reach);
    let span = |low: f32, high: f32, cells: usize| {
        let inside = move |i: &usize| {
            let centre = (*i as f32 + 0.5) / cells as f32;
            centre >= low && centre <= high
        };
        (0..cells).filter(inside)
    };
    let mut columns = vec![f32::NEG_INFINITY; w];
    let mut rows = vec![f32::NEG_INFINITY; h];
    for y in span(y1 - grow_y, y2 + grow_y, h) {
        for x in span(x1 - grow_x, x2 + grow_x, w) {
            let v = mask[y * w + x];
            columns[x] = columns[x].max(v);
            rows[y] = rows[y].max(v);
        }
    }
    match (ends(&columns), ends(&rows)) {
        (Some(x), Some(y)) => {
            let (w, h) = (w as f32, h as f32);
            [x.0 / w, y.0 / h, x.1 / w, y.1 / h]
        }
        _ => corners,
    }
}

/// [`tight`] of boxes `(m, 4)` and masks `(m, 1, h, w)`, but for the last `kept`, which stay as they are. Without a gradient.
///
/// # Errors
/// If there are not as many masks as boxes.
pub fn tighten(boxes: &Tensor, masks: &Tensor, reach: f32, kept: usize) -> Result<Tensor> {
    let (m, _, h, w) = masks.dims4()?;
    let flat = masks
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let rows = boxes.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    if rows.len() != m || h * w == 0 {
        candle_core::bail!("{} boxes and {m} masks of {h} × {w} cells", rows.len());
    }
    let found = m.saturating_sub(kept);
    let out: Vec<f32> = rows
        .iter()
        .zip(flat.chunks_exact(h * w))
        .enumerate()
        .flat_map(|(i, (b, mask))| {
            let own = [b[0], b[1], b[2], b[3]];
            if i < found {
                tight(own, mask, (h, w), reach)
            } else {
                own
            }
        })
        .collect();
    Tensor::from_vec(out, (m, 4), boxes.device())?.to_dtype(boxes.dtype())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Columns 3 and 4 and rows 2 to 5 of 8 × 8 cells, and one cell far away.
    fn mask() -> Vec<f32> {
        let mut mask = vec![-1_f32; 64];
        for y in 2..6 {
            for x in 3..5 {
                mask[y * 8 + x] = 1.0;
            }
        }
        mask[7] = 2.0;
        mask
    }

    #[test]
    fn a_box_is_drawn_around_what_is_painted_in_and_near_it() {
        let near = |a: [f32; 4], b: [f32; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        let thing = [3.0, 2.0, 5.0, 6.0].map(|v: f32| v / 8.0);
        let loose = [0.25, 0.125, 0.75, 0.75];
        assert!(near(tight(loose, &mask(), (8, 8), 0.0), thing));
        // A box that cuts it: what lies within reach is found, and no more.
        let cut = [0.25, 0.3, 0.75, 0.55];
        assert!(near(tight(cut, &mask(), (8, 8), 0.8), thing));
        let part = tight(cut, &mask(), (8, 8), 0.0);
        assert!(near(part, [0.375, 0.25, 0.625, 0.5]), "{part:?}");
        let nothing = [0.7, 0.5, 0.9, 0.7];
        assert_eq!(tight(nothing, &mask(), (8, 8), 0.1), nothing);
    }

    #[test]
    fn a_border_lies_where_the_logits_cross_zero() {
        let mask = [-3.0_f32, 1.0, 2.0, -2.0];
        let found = tight([0.0, 0.0, 1.0, 1.0], &mask, (1, 4), 0.0);
        let want = [1.5 - 0.25, 0.0, 2.5 + 0.5, 4.0].map(|v: f32| v / 4.0);
        assert!(
            found.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_no_box_stays_what_it_is() {
        for odd in [[0.9, 0.9, 0.1, 0.1], [f32::NAN; 4]] {
            let out = tight(odd, &mask(), (8, 8), 0.2);
            assert_eq!(out.map(f32::to_bits), odd.map(f32::to_bits));
        }
    }

    #[test]
    fn what_a_person_drew_stays_as_it_is() -> Result<()> {
        let loose = [0.25_f32, 0.125, 0.75, 0.75];
        let boxes = Tensor::new(&[loose, loose], &Device::Cpu)?;
        let masks = Tensor::from_vec([mask(), mask()].concat(), (2, 1, 8, 8), &Device::Cpu)?;
        let out = tighten(&boxes, &masks, 0.2, 1)?.to_vec2::<f32>()?;
        assert_eq!(out[1], loose);
        assert!((out[0][0] - 0.375).abs() < 1e-6);
        assert!(tighten(&boxes, &masks.narrow(0, 0, 1)?, 0.2, 0).is_err());
        Ok(())
    }
}
