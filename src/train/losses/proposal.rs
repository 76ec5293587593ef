//! What the filtration head learns from: each query's object as a box, and which proposals cover it.

use candle_core::{DType, Result, Tensor, bail};

use super::{bce_with_logits, set::giou};

/// Overlap from which a proposal counts as the object, as released.
pub const MATCH: f32 = 0.3;

/// What each query is about.
#[derive(Clone, Debug, PartialEq)]
pub struct ProposalTargets {
    /// Per query the tight box of its object over all frames (x1, y1, x2, y2 as fractions), if it has one.
    pub boxes: Vec<Option<[f32; 4]>>,
    /// `(n, m)`: 1 where a proposal covers the object.
    pub hits: Vec<Vec<f32>>,
}

/// Targets of `n` queries from masks `(rows, t, h, w)` (0, 1, negative = ignored) and proposals `(m, 4)` as x1, y1, x2,
/// y2. Queries beyond the rows get none.
///
/// # Errors
/// If shapes do not fit.
pub fn proposal_targets(
    masks: &Tensor,
    boxes: &Tensor,
    n: usize,
    match_from: f32,
) -> Result<ProposalTargets> {
    let (rows, _, h, w) = masks.dims4()?;
    // One frame's 1 is enough: the object is the union over time.
    let on = masks
        .to_dtype(DType::F32)?
        .max(1)?
        .flatten_from(1)?
        .to_vec2::<f32>()?;
    let proposals = boxes.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let boxes: Vec<Option<[f32; 4]>> = on
        .iter()
        .take(n.min(rows))
        .map(|row| tight(row, (h, w)))
        .collect();
    let hit = |object: Option<[f32; 4]>, p: &[f32]| {
        object.map_or(0.0, |o| f32::from(u8::from(iou(o, p) >= match_from)))
    };
    let hits = boxes
        .iter()
        .map(|b| proposals.iter().map(|p| hit(*b, p)).collect())
        .collect();
    Ok(ProposalTargets { boxes, hits })
}

fn tight(mask: &[f32], (h, w): (usize, usize)) -> Option<[f32; 4]> {
    let (mut x1, mut y1, mut x2, mut y2) = (w, h, 0, 0);
    for (at, _) in mask.iter().enumerate().filter(|(_, v)| **v > 0.5) {
        let (x, y) = (at % w, at / w);
        (x1, y1, x2, y2) = (x1.min(x), y1.min(y), x2.max(x + 1), y2.max(y + 1));
    }
    let part = |v: usize, of: usize| v as f32 / of as f32;
    (x2 > 0).then(|| [part(x1, w), part(y1, h), part(x2, w), part(y2, h)])
}

fn iou(a: [f32; 4], b: &[f32]) -> f32 {
    let area = |x1: f32, y1: f32, x2: f32, y2: f32| (x2 - x1).max(0.0) * (y2 - y1).max(0.0);
    let common = area(
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    );
    let both = area(a[0], a[1], a[2], a[3]) + area(b[0], b[1], b[2], b[3]) - common;
    common / both.max(1e-6)
}

/// Mean cross entropy of the logits `(n, m)` over the first queries that have targets, valid proposals only. (The
/// reference gives NaN as soon as one proposal is invalid; leaving those out is what it means.)
///
/// # Errors
/// If shapes do not fit.
pub fn class_loss(logits: &Tensor, targets: &ProposalTargets, valid: &[bool]) -> Result<Tensor> {
    let (n, m) = logits.dims2()?;
    if valid.len() != m {
        bail!("{} validity marks for {m} proposals", valid.len());
    }
    let device = logits.device();
    let kept: Vec<u32> = (0..m as u32).filter(|&j| valid[j as usize]).collect();
    let rows = targets.hits.len().min(n);
    if rows == 0 || kept.is_empty() {
        return Tensor::zeros((), logits.dtype(), device);
    }
    let hits: Vec<f32> = targets.hits[..rows]
        .iter()
        .flat_map(|row| kept.iter().map(|&j| row[j as usize]))
        .collect();
    let k = kept.len();
    let hits = Tensor::from_vec(hits, (rows, k), device)?.to_dtype(logits.dtype())?;
    let logits = logits.narrow(0, 0, rows)?.contiguous()?;
    let logits = logits.index_select(&Tensor::from_vec(kept, k, device)?, 1)?;
    bce_with_logits(&logits, &hits)?.mean_all()
}

/// Mean L1 plus mean 1 − GIoU of the predicted boxes `(n, m, 4)` of pairs that are hits: first over the hits of a query,
/// then over the queries that have any; 0 if none has.
///
/// # Errors
/// If shapes do not fit.
pub fn box_loss(predicted: &Tensor, targets: &ProposalTargets, valid: &[bool]) -> Result<Tensor> {
    let (n, m, _) = predicted.dims3()?;
    if valid.len() != m {
        bail!("{} validity marks for {m} proposals", valid.len());
    }
    let device = predicted.device();
    let mut terms = Vec::new();
    for (i, (row, object)) in targets.hits.iter().zip(&targets.boxes).take(n).enumerate() {
        let kept: Vec<u32> = (0..m as u32)
            .filter(|&j| valid[j as usize] && row[j as usize] > 0.5)
            .collect();
        let (Some(object), k) = (object, kept.len()) else {
            continue;
        };
        if k == 0 {
            continue;
        }
        let picked = predicted
            .get(i)?
            .index_select(&Tensor::from_vec(kept, k, device)?, 0)?;
        let wanted = Tensor::new(&[*object], device)?.to_dtype(predicted.dtype())?;
        let l1 = picked.broadcast_sub(&wanted)?.abs()?.mean_all()?;
        terms.push((l1 + (1.0 - giou(&picked, &wanted)?)?.mean_all()?)?);
    }
    if terms.is_empty() {
        return Tensor::zeros((), predicted.dtype(), device);
    }
    Tensor::stack(&terms, 0)?.mean_all()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn oddity_19_targets_are_the_union_over_time_and_ignored_pixels_are_none() -> Result<()> {
        let mut masks = vec![0.0_f32; 3 * 2 * 4 * 4];
        masks[5] = 1.0;
        masks[16 + 10] = 1.0;
        masks[2 * 32..].fill(-1.0);
        let masks = Tensor::from_vec(masks, (3, 2, 4, 4), &Device::Cpu)?;
        let boxes = Tensor::new(
            &[[0.25_f32, 0.25, 0.75, 0.75], [0.0, 0.0, 0.3, 0.3]],
            &Device::Cpu,
        )?;
        let targets = proposal_targets(&masks, &boxes, 5, MATCH)?;
        assert_eq!(targets.boxes, [Some([0.25, 0.25, 0.75, 0.75]), None, None]);
        assert_eq!(targets.hits, [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]);
        Ok(())
    }

    #[test]
    fn an_invalid_proposal_neither_counts_nor_spoils_the_loss() -> Result<()> {
        let logits = Tensor::new(&[[0.5_f32, f32::NEG_INFINITY, -1.0]], &Device::Cpu)?;
        let targets = ProposalTargets {
            boxes: vec![Some([0.0, 0.0, 0.5, 0.5])],
            hits: vec![vec![1.0, 0.0, 0.0]],
        };
        let loss = class_loss(&logits, &targets, &[true, false, true])?.to_scalar::<f32>()?;
        let want = ((1.0 + (-0.5_f32).exp()).ln() + (1.0 + (-1.0_f32).exp()).ln()) / 2.0;
        assert!((loss - want).abs() < 1e-6);
        Ok(())
    }
}
