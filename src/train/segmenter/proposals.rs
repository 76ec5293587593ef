//! The proposer's set loss. The first stage is assigned by place, the decoder layers by the cheapest matching.
//!
//! Place beats matching for the first stage: every cell in the middle of an object learns at once, where matching would
//! teach one cell per object and step.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

use super::batch::Truth;
use crate::{
    nn::deformable_detr::ProposerOutput,
    train::{
        boxes::giou,
        fused::{on_cpu, weighted_l1},
    },
};

const FOCAL: f64 = 2.0;
const L1: f64 = 5.0;
const GIOU: f64 = 2.0;
const ALPHA: f32 = 0.25;

/// Queries of the last layer that stand for an object.
#[derive(Default)]
pub(super) struct Matched {
    /// Rows of the features flattened over images.
    pub(super) rows: Vec<u32>,
    pub(super) colours: Vec<u32>,
    pub(super) shapes: Vec<u32>,
}

struct Focal {
    targets: Vec<f32>,
}

/// Loss (α = ¼, γ = 2) and its derivative by the logit.
fn focal(x: f32, t: f32) -> (f32, f32) {
    let e = (-x.abs()).exp();
    let p = if x >= 0.0 {
        1.0 / (1.0 + e)
    } else {
        e / (1.0 + e)
    };
    // ln p and ln (1 − p) without cancellation.
    let (ln_p, ln_q) = (x.min(0.0) - e.ln_1p(), -x.max(0.0) - e.ln_1p());
    let q = 1.0 - p;
    if t > 0.5 {
        (-ALPHA * q * q * ln_p, ALPHA * q * q * (2.0 * p * ln_p - q))
    } else {
        (
            (ALPHA - 1.0) * p * p * ln_q,
            (1.0 - ALPHA) * p * p * (p - 2.0 * q * ln_q),
        )
    }
}

impl CustomOp1 for Focal {
    fn name(&self) -> &'static str {
        "focal"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(x), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            candle_core::bail!("loss terms take contiguous f32 tensors");
        };
        let pairs = x[start..end].iter().zip(&self.targets);
        let sum: f64 = pairs.map(|(x, t)| f64::from(focal(*x, *t).0)).sum();
        Ok((CpuStorage::F32(vec![sum as f32]), Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let g = grad.to_scalar::<f32>()?;
        let flat: Vec<f32> = x.flatten_all()?.to_vec1()?;
        let out: Vec<f32> = flat
            .iter()
            .zip(&self.targets)
            .map(|(x, t)| g * focal(*x, *t).1)
            .collect();
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

fn focal_sum(logits: &Tensor, targets: Vec<f32>) -> Result<Tensor> {
    on_cpu(logits, Focal { targets })
}

fn corners([cx, cy, w, h]: [f32; 4]) -> [f32; 4] {
    [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0]
}

/// `Σ 1 − GIoU` of boxes `(k, 4)` as cx, cy, w, h with targets in the same form.
fn giou_loss(boxes: &Tensor, targets: &[f32]) -> Result<Tensor> {
    let k = boxes.dim(0)?;
    let t = Tensor::from_slice(targets, (k, 4), boxes.device())?;
    let split = |x: &Tensor| -> Result<(Tensor, Tensor, Tensor)> {
        let centre = x.narrow(1, 0, 2)?;
        let size = x.narrow(1, 2, 2)?;
        let half = (&size * 0.5)?;
        Ok(((&centre - &half)?, (centre + half)?, size))
    };
    let (a1, a2, a_size) = split(boxes)?;
    let (b1, b2, b_size) = split(&t)?;
    let product = |x: &Tensor| x.narrow(1, 0, 1)? * x.narrow(1, 1, 1)?;
    let inner = product(&(a2.minimum(&b2)? - a1.maximum(&b1)?)?.relu()?)?;
    let outer = product(&(a2.maximum(&b2)? - a1.minimum(&b1)?)?)?;
    let union = ((product(&a_size)? + product(&b_size)?)? - &inner)?;
    let giou = ((inner / (&union + 1e-6)?)? - ((&outer - &union)? / (&outer + 1e-6)?)?)?;
    (1.0 - giou)?.sum_all()
}

/// Cheapest assignment of each row to a column of its own (at most as many rows as columns): columns by row.
/// Shortest augmenting paths, O(rows² · columns).
pub(super) fn assign(cost: &[Vec<f32>]) -> Vec<usize> {
    let n = cost.len();
    let m = cost.first().map_or(0, Vec::len);
    let mut row_price = vec![0.0_f64; n + 1];
    let mut column_price = vec![0.0_f64; m + 1];
    // Column 0 and row 0 are the path's start; owner[j] is the row that holds column j.
    let mut owner = vec![0_usize; m + 1];
    for row in 1..=n.min(m) {
        owner[0] = row;
        let mut at = 0;
        let mut slack = vec![f64::INFINITY; m + 1];
        let mut came_from = vec![0_usize; m + 1];
        let mut done = vec![false; m + 1];
        loop {
            done[at] = true;
            let r = owner[at];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for j in 1..=m {
                if done[j] {
                    continue;
                }
                let c = f64::from(cost[r - 1][j - 1]) - row_price[r] - column_price[j];
                if c < slack[j] {
                    slack[j] = c;
                    came_from[j] = at;
                }
                if slack[j] < step {
                    step = slack[j];
                    next = j;
                }
            }
            for j in 0..=m {
                if done[j] {
                    row_price[owner[j]] += step;
                    column_price[j] -= step;
                } else {
                    slack[j] -= step;
                }
            }
            at = next;
            if owner[at] == 0 {
                break;
            }
        }
        while at != 0 {
            owner[at] = owner[came_from[at]];
            at = came_from[at];
        }
    }
    let mut columns = vec![0; n.min(m)];
    for j in 1..=m {
        if owner[j] > 0 {
            columns[owner[j] - 1] = j - 1;
        }
    }
    columns
}

/// Cells whose centre lies in the middle half of an object's box, given to the smallest such object, and for each object
/// the nearest cell: `(cell, object)`.
fn by_place(truths: &[Truth], shapes: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut owner: Vec<Option<usize>> = Vec::new();
    let mut centres = Vec::new();
    for &(h, w) in shapes {
        for y in 0..h {
            for x in 0..w {
                centres.push(((x as f32 + 0.5) / w as f32, (y as f32 + 0.5) / h as f32));
            }
        }
    }
    owner.resize(centres.len(), None);
    let mut order: Vec<usize> = (0..truths.len()).collect();
    let area = |i: usize| truths[i].cxcywh[2] * truths[i].cxcywh[3];
    // The smallest last, so that it wins.
    order.sort_by(|a, b| area(*b).total_cmp(&area(*a)));
    for &i in &order {
        let [cx, cy, w, h] = truths[i].cxcywh;
        for (cell, (x, y)) in centres.iter().enumerate() {
            if (x - cx).abs() < w * 0.25 && (y - cy).abs() < h * 0.25 {
                owner[cell] = Some(i);
            }
        }
    }
    for &i in &order {
        let [cx, cy, ..] = truths[i].cxcywh;
        let distance = |(x, y): &(f32, f32)| (x - cx) * (x - cx) + (y - cy) * (y - cy);
        let nearest = (0..centres.len())
            .min_by(|a, b| distance(&centres[*a]).total_cmp(&distance(&centres[*b])));
        if let Some(cell) = nearest {
            owner[cell] = Some(i);
        }
    }
    owner
        .into_iter()
        .enumerate()
        .filter_map(|(cell, o)| Some((cell, o?)))
        .collect()
}

/// Focal, L1 and GIoU terms of one set: logits of `n` places, chosen rows and their targets.
fn set_loss(
    logits: &[&Tensor],
    boxes: &Tensor,
    places: usize,
    chosen: &[(usize, [f32; 4])],
    positives: f64,
) -> Result<Tensor> {
    let mut targets = vec![0.0_f32; places];
    for (row, _) in chosen {
        targets[*row] = 1.0;
    }
    let mut total = Tensor::zeros((), DType::F32, boxes.device())?;
    let share = 1.0 / positives.max(1.0);
    for logits in logits {
        let term = focal_sum(logits, targets.clone())?;
        total = (total + (term * (FOCAL * share))?)?;
    }
    if chosen.is_empty() {
        return Ok(total);
    }
    let rows: Vec<u32> = chosen.iter().map(|(row, _)| *row as u32).collect();
    let k = rows.len();
    let picked = boxes.index_select(&Tensor::from_vec(rows, k, boxes.device())?, 0)?;
    let targets: Vec<f32> = chosen.iter().flat_map(|(_, b)| *b).collect();
    let overlap = (giou_loss(&picked, &targets)? * (GIOU / k as f64))?;
    let distance = weighted_l1(&picked, targets, vec![(L1 / k as f64) as f32; 4 * k])?;
    (total + overlap)? + distance
}

/// Loss of the proposals of `b` images, and which queries of the last layer found what.
pub(super) fn loss(out: &ProposerOutput, truths: &[&[Truth]]) -> Result<(Tensor, Matched)> {
    let (b, layers, q, _) = out.boxes_per_layer.dims4()?;
    let (_, s) = out.encoder_logits.dims2()?;
    let mut chosen = Vec::new();
    for (image, truths) in truths.iter().enumerate() {
        for (cell, object) in by_place(truths, &out.shapes) {
            chosen.push((image * s + cell, truths[object].cxcywh));
        }
    }
    let positives = chosen.len() as f64;
    let mut total = set_loss(
        &[&out.encoder_logits.flatten_all()?],
        &out.encoder_boxes.flatten_to(1)?,
        b * s,
        &chosen,
        positives,
    )?;
    let mut matched = Matched::default();
    for layer in 0..layers {
        let boxes = out.boxes_per_layer.narrow(1, layer, 1)?.squeeze(1)?;
        let coco = out.logits_coco.narrow(1, layer, 1)?.squeeze(1)?;
        let sa1b = out.logits_sa1b.narrow(1, layer, 1)?.squeeze(1)?;
        let host_boxes: Vec<f32> = boxes.flatten_all()?.to_vec1()?;
        let host_logits: Vec<f32> = ((&coco + &sa1b)? * 0.5)?.flatten_all()?.to_vec1()?;
        let mut chosen = Vec::new();
        for (image, truths) in truths.iter().enumerate() {
            let cost: Vec<Vec<f32>> = truths
                .iter()
                .map(|t| {
                    (0..q)
                        .map(|i| {
                            let at = image * q + i;
                            let cell = &host_boxes[at * 4..at * 4 + 4];
                            let own = [cell[0], cell[1], cell[2], cell[3]];
                            let l1: f32 =
                                own.iter().zip(t.cxcywh).map(|(a, b)| (a - b).abs()).sum();
                            let class =
                                focal(host_logits[at], 1.0).0 - focal(host_logits[at], 0.0).0;
                            let cost = FOCAL as f32 * class + L1 as f32 * l1
                                - GIOU as f32 * giou(corners(own), corners(t.cxcywh));
                            // A box gone wrong must not stop the matching; the loss will say it.
                            if cost.is_finite() { cost } else { 1e6 }
                        })
                        .collect()
                })
                .collect();
            for (t, query) in assign(&cost).into_iter().enumerate() {
                chosen.push((image * q + query, truths[t].cxcywh));
                if layer + 1 == layers {
                    matched.rows.push((image * q + query) as u32);
                    matched.colours.push(truths[t].colour);
                    matched.shapes.push(truths[t].shape);
                }
            }
        }
        let found = chosen.len() as f64;
        let term = set_loss(
            &[&coco.flatten_all()?, &sa1b.flatten_all()?],
            &boxes.flatten_to(1)?,
            b * q,
            &chosen,
            found * 2.0,
        )?;
        total = (total + term)?;
    }
    Ok((total, matched))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn the_cheapest_matching_is_found() {
        let cost = vec![
            vec![4.0, 1.0, 3.0, 9.0],
            vec![2.0, 0.0, 5.0, 9.0],
            vec![3.0, 2.0, 2.0, 9.0],
        ];
        assert_eq!(assign(&cost), [1, 0, 2]);
        assert_eq!(assign(&[vec![5.0, 1.0]]), [1]);
        assert!(assign(&[]).is_empty());
    }

    #[test]
    fn focal_derivative_agrees_with_differences() {
        for x in [-3.0_f32, -0.5, 0.0, 1.5, 4.0] {
            for t in [0.0, 1.0] {
                let want = (focal(x + 1e-2, t).0 - focal(x - 1e-2, t).0) / 2e-2;
                assert!((focal(x, t).1 - want).abs() < 1e-3, "{x} {t}");
            }
        }
    }

    #[test]
    fn giou_of_tensors_and_numbers_agree() {
        let boxes = [0.4_f32, 0.5, 0.3, 0.2, 0.2, 0.2, 0.1, 0.1];
        let targets = [0.5_f32, 0.5, 0.2, 0.4, 0.7, 0.8, 0.2, 0.1];
        let var = Var::from_slice(&boxes, (2, 4), &Device::Cpu).unwrap();
        let loss = giou_loss(var.as_tensor(), &targets).unwrap();
        let four = |v: &[f32]| corners([v[0], v[1], v[2], v[3]]);
        let want: f32 = (0..2)
            .map(|i| {
                1.0 - giou(
                    four(&boxes[i * 4..i * 4 + 4]),
                    four(&targets[i * 4..i * 4 + 4]),
                )
            })
            .sum();
        assert!((loss.to_scalar::<f32>().unwrap() - want).abs() < 1e-3);
        assert!(loss.backward().unwrap().get(var.as_tensor()).is_some());
    }

    #[test]
    fn places_go_to_the_smallest_object() {
        let truth = |cxcywh| Truth {
            id: 1,
            cxcywh,
            colour: 0,
            shape: 0,
            texture: 0,
        };
        let truths = [truth([0.5, 0.5, 1.0, 1.0]), truth([0.5, 0.5, 0.1, 0.1])];
        let cells = by_place(&truths, &[(8, 8)]);
        assert_eq!(cells.iter().filter(|(_, o)| *o == 1).count(), 1);
        assert!(cells.iter().filter(|(_, o)| *o == 0).count() > 10);
    }
}
