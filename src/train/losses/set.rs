//! The detector's set loss: proposals are matched to objects, matched ones learn class and box, the others "nothing".
//!
//! As released: the last layer, every earlier layer and the first stage each have a matching of their own; the class
//! loss goes to the head of the batch's source; sums are divided by the objects of the batch.

use candle_core::{D, DType, Result, Tensor, bail};
use candle_nn::ops::sigmoid;

use super::bce_with_logits;
use crate::{
    eval::assign::best_assignment,
    nn::deformable_detr::{ProposerOutput, corners},
};

/// Weights of class, L1 and GIoU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Focal loss.
    pub class: f64,
    /// L1 of cx, cy, w, h.
    pub l1: f64,
    /// 1 − GIoU.
    pub giou: f64,
}

/// How terms add up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetWeights {
    /// In the loss.
    pub loss: Weights,
    /// In the cost of a matching.
    pub cost: Weights,
    /// α of the focal loss.
    pub alpha: f64,
}

impl Default for SetWeights {
    fn default() -> Self {
        let weights = Weights {
            class: 2.0,
            l1: 5.0,
            giou: 2.0,
        };
        Self {
            loss: weights,
            cost: weights,
            alpha: 0.25,
        }
    }
}

/// Which class head learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Annotated objects.
    Coco,
    /// Segments of anything.
    Sa1b,
}

/// The terms of one prediction set, unweighted.
#[derive(Clone, Debug)]
pub struct SetTerms {
    /// Focal loss.
    pub class: Tensor,
    /// L1.
    pub l1: Tensor,
    /// Σ 1 − GIoU.
    pub giou: Tensor,
    /// `(query, object)` per image, by query.
    pub pairs: Vec<Vec<(usize, usize)>>,
}

/// Focal loss (γ = 2) of every logit.
pub fn focal(logits: &Tensor, targets: &Tensor, alpha: f64) -> Result<Tensor> {
    let p = sigmoid(logits)?;
    // 1 − p of the true side, and α on its side.
    let off = (1.0 - targets)?;
    let miss = ((&p * &off)? + ((1.0 - &p)? * targets)?)?;
    let share = ((targets * alpha)? + (off * (1.0 - alpha))?)?;
    (bce_with_logits(logits, targets)? * miss.sqr()?)? * share
}

/// Generalised IoU of boxes x1, y1, x2, y2 whose shapes broadcast: `(…, 4)` and `(…, 4)` → `(…)`.
pub fn giou(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let low = |t: &Tensor| t.narrow(D::Minus1, 0, 2);
    let high = |t: &Tensor| t.narrow(D::Minus1, 2, 2);
    let product = |t: &Tensor| -> Result<Tensor> {
        let sides = (t.narrow(D::Minus1, 0, 1)? * t.narrow(D::Minus1, 1, 1)?)?;
        sides.squeeze(D::Minus1)
    };
    let area = |t: &Tensor| product(&(high(t)? - low(t)?)?);
    let (a1, a2, b1, b2) = (low(a)?, high(a)?, low(b)?, high(b)?);
    let common = a2
        .broadcast_minimum(&b2)?
        .sub(&a1.broadcast_maximum(&b1)?)?;
    let common = product(&common.relu()?)?;
    let around = a2
        .broadcast_maximum(&b2)?
        .sub(&a1.broadcast_minimum(&b1)?)?;
    let around = product(&around.relu()?)?;
    let union = area(a)?.broadcast_add(&area(b)?)?.sub(&common)?;
    // Boxes of no size: nothing in common with anything, and no division by zero.
    let floor = |t: &Tensor| t.clamp(1e-12, f64::INFINITY);
    (&common / floor(&union)?)? - ((&around - &union)? / floor(&around)?)?
}

/// Cheapest pairs of queries and objects, by query. Logits `(q)`, boxes `(q, 4)` and targets `(t, 4)` as cx, cy, w, h.
///
/// # Errors
/// If shapes do not fit.
pub fn match_objects(
    logits: &Tensor,
    boxes: &Tensor,
    targets: &Tensor,
    weights: SetWeights,
) -> Result<Vec<(usize, usize)>> {
    let (q, t) = (boxes.dim(0)?, targets.dim(0)?);
    if t == 0 {
        return Ok(Vec::new());
    }
    let (boxes, targets) = (boxes.detach(), targets.detach());
    let p = sigmoid(&logits.detach())?;
    let a = weights.alpha;
    let log = |t: &Tensor| (t + 1e-8)?.log();
    let hit = ((((1.0 - &p)?.sqr()? * log(&p)?)?) * -a)?;
    let miss = ((p.sqr()? * log(&(1.0 - &p)?)?)? * (a - 1.0))?;
    let class = (hit - miss)?.unsqueeze(1)?;
    let (rows, columns) = (boxes.unsqueeze(1)?, targets.unsqueeze(0)?);
    let l1 = rows.broadcast_sub(&columns)?.abs()?.sum(D::Minus1)?;
    let giou = giou(&corners(&rows)?, &corners(&columns)?)?;
    let cost = ((l1 * weights.cost.l1)? - (giou * weights.cost.giou)?)?;
    let cost = cost.broadcast_add(&(class * weights.cost.class)?)?;
    let scores = cost
        .neg()?
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1::<f64>()?;
    Ok(best_assignment(&scores, q, t))
}

/// The terms of one prediction set: logits `(b, q)`, boxes `(b, q, 4)`, objects `(t, 4)` per image, all cx, cy, w, h.
///
/// # Errors
/// If shapes do not fit.
pub fn set_terms(
    logits: &Tensor,
    boxes: &Tensor,
    objects: &[Tensor],
    weights: SetWeights,
) -> Result<SetTerms> {
    let (b, q) = logits.dims2()?;
    if objects.len() != b {
        bail!("objects of {} images for predictions of {b}", objects.len());
    }
    let mut hits = vec![0.0_f32; b * q];
    let mut rows = Vec::new();
    let mut wanted = Vec::new();
    let mut pairs = Vec::with_capacity(b);
    let mut count = 0;
    for (image, targets) in objects.iter().enumerate() {
        let found = match_objects(&logits.get(image)?, &boxes.get(image)?, targets, weights)?;
        count += targets.dim(0)?;
        for &(query, object) in &found {
            hits[image * q + query] = 1.0;
            rows.push((image * q + query) as u32);
            wanted.push(targets.get(object)?);
        }
        pairs.push(found);
    }
    let share = 1.0 / count.max(1) as f64;
    let device = logits.device();
    let hits = Tensor::from_vec(hits, (b, q), device)?.to_dtype(logits.dtype())?;
    let class = (focal(logits, &hits, weights.alpha)?.sum_all()? * share)?;
    if rows.is_empty() {
        let none = (boxes.zeros_like()?).sum_all()?;
        return Ok(SetTerms {
            class,
            l1: none.clone(),
            giou: none,
            pairs,
        });
    }
    let k = rows.len();
    let picked = boxes.reshape((b * q, 4))?;
    let picked = picked.index_select(&Tensor::from_vec(rows, k, device)?, 0)?;
    let wanted = Tensor::stack(&wanted, 0)?;
    let overlap = giou(&corners(&picked)?, &corners(&wanted)?)?;
    Ok(SetTerms {
        class,
        l1: ((picked - wanted)?.abs()?.sum_all()? * share)?,
        giou: ((1.0 - overlap)?.sum_all()? * share)?,
        pairs,
    })
}

/// The whole loss and its terms: the decoder layers from first to last, then the first stage.
///
/// # Errors
/// If shapes do not fit.
pub fn detector_loss(
    output: &ProposerOutput,
    source: Source,
    objects: &[Tensor],
    weights: SetWeights,
) -> Result<(Tensor, Vec<SetTerms>)> {
    let logits = match source {
        Source::Coco => &output.logits_coco,
        Source::Sa1b => &output.logits_sa1b,
    };
    let layers = logits.dim(1)?;
    let mut sets = Vec::with_capacity(layers + 1);
    for l in 0..layers {
        let layer = |t: &Tensor| t.narrow(1, l, 1)?.squeeze(1)?.contiguous();
        let (logits, boxes) = (layer(logits)?, layer(&output.boxes_per_layer)?);
        sets.push(set_terms(&logits, &boxes, objects, weights)?);
    }
    let (logits, boxes) = (&output.encoder_logits, &output.encoder_boxes);
    sets.push(set_terms(logits, boxes, objects, weights)?);
    let mut total = Tensor::zeros((), logits.dtype(), logits.device())?;
    for set in &sets {
        total = (total + (&set.class * weights.loss.class)?)?;
        total = (total + (&set.l1 * weights.loss.l1)?)?;
        total = (total + (&set.giou * weights.loss.giou)?)?;
    }
    Ok((total, sets))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::nn::ops::check::gradients_agree;

    fn var(values: &[f32], shape: &[usize]) -> Var {
        let t = Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
        Var::from_tensor(&t).unwrap()
    }

    #[test]
    fn gradients_are_those_of_the_values() {
        let x = var(&[-2.0, -0.5, 0.3, 1.5], &[1, 4]);
        let t = var(&[0.0, 1.0, 0.0, 1.0], &[1, 4]);
        gradients_agree(&[&x], |a| focal(&a[0], &t, 0.25));
        let a = var(&[0.1, 0.1, 0.5, 0.6, 0.2, 0.3, 0.9, 0.8], &[2, 4]);
        let b = var(&[0.2, 0.15, 0.6, 0.5, 0.7, 0.1, 0.8, 0.2], &[2, 4]);
        gradients_agree(&[&a], |v| giou(&v[0], &b));
    }

    #[test]
    fn giou_of_equal_boxes_is_one_and_of_empty_ones_is_finite() -> Result<()> {
        let a = var(&[0.1, 0.1, 0.5, 0.6, 0.3, 0.3, 0.3, 0.3], &[2, 4]);
        let g = giou(&a, &a)?.to_vec1::<f32>()?;
        assert!((g[0] - 1.0).abs() < 1e-6);
        assert!(g[1].is_finite());
        Ok(())
    }

    #[test]
    fn each_object_gets_the_query_that_fits_it() -> Result<()> {
        let boxes = var(
            &[0.8, 0.8, 0.1, 0.1, 0.5, 0.5, 0.2, 0.2, 0.2, 0.2, 0.3, 0.3],
            &[3, 4],
        );
        let targets = var(&[0.21, 0.2, 0.3, 0.28, 0.79, 0.8, 0.1, 0.12], &[2, 4]);
        let logits = var(&[0.0, 3.0, -1.0], &[3]);
        let found = match_objects(&logits, &boxes, &targets, SetWeights::default())?;
        assert_eq!(found, [(0, 1), (2, 0)]);
        let none = Tensor::zeros((0, 4), DType::F32, &Device::Cpu)?;
        assert!(match_objects(&logits, &boxes, &none, SetWeights::default())?.is_empty());
        Ok(())
    }

    #[test]
    fn an_image_without_objects_teaches_only_absence() -> Result<()> {
        let boxes = var(&[0.5; 8], &[1, 2, 4]);
        let logits = var(&[1.0, -1.0], &[1, 2]);
        let none = Tensor::zeros((0, 4), DType::F32, &Device::Cpu)?;
        let terms = set_terms(&logits, &boxes, &[none], SetWeights::default())?;
        assert_eq!(terms.l1.to_scalar::<f32>()?, 0.0);
        let grads = terms.class.backward()?;
        let grad = grads
            .get(&logits)
            .unwrap()
            .flatten_all()?
            .to_vec1::<f32>()?;
        assert!(grad.iter().all(|g| *g > 0.0));
        Ok(())
    }
}
