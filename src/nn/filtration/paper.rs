//! The form that the paper describes (its equations 6 to 10): language is fused into each region's tokens, a head scores
//! the result, objectness joins as a power, and boxes are refined.
//!
//! Projections have the released names, so released weights can start it; `reg_head` is new. The tokens attend the query
//! through a gate because attention over a single key would be constant: each token is scaled by its match with the query.

use candle_core::{D, Result, Tensor};
use candle_nn::{VarBuilder, ops::sigmoid};

use super::{
    Candidates, FilterOutput, Pyramid,
    roi::{RegionTokens, pairs},
};
use crate::nn::{config::FiltrationConfig, layers::Linear};

/// The head of the paper.
#[derive(Clone, Debug)]
pub struct PaperHead {
    regions: RegionTokens,
    query_proj: Linear,
    seg_proj: Linear,
    score_head: [Linear; 2],
    reg_head: [Linear; 2],
    language_power: f64,
}

impl PaperHead {
    /// Reads `roi_helper.*` and `roi_helper.reg_head.*`; `language_power` is α of `s^α · o^(1 − α)`, 0..1.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape.
    pub fn new(config: &FiltrationConfig, language_power: f64, vb: VarBuilder<'_>) -> Result<Self> {
        let vb = vb.pp("roi_helper");
        let d = config.roi_hidden;
        let two = |name: &str, i: usize, o: usize| -> Result<[Linear; 2]> {
            let vb = vb.pp(name);
            Ok([Linear::new(i, d, vb.pp(0))?, Linear::new(d, o, vb.pp(2))?])
        };
        Ok(Self {
            regions: RegionTokens::new(config, &vb)?,
            query_proj: Linear::new(config.seg_dim, d, vb.pp("query_proj"))?,
            seg_proj: Linear::new(config.seg_dim, d, vb.pp("seg_proj"))?,
            score_head: two("score_head", 3 * d, 1)?,
            reg_head: two("reg_head", 2 * d, 4)?,
            language_power: language_power.clamp(0.0, 1.0),
        })
    }

    pub(super) fn score(
        &self,
        queries: &Tensor,
        candidates: &Candidates<'_>,
        pyramid: &Pyramid,
    ) -> Result<FilterOutput> {
        let regions = self.regions.forward(candidates, pyramid)?;
        let fused = fuse(&self.query_proj.forward(queries)?, &regions.tokens)?;
        let (asked, pooled) = pairs(&self.seg_proj.forward(queries)?, &regions.pooled)?;
        let head = |head: &[Linear; 2], x: &Tensor| head[1].forward(&head[0].forward(x)?.relu()?);
        let x = Tensor::cat(
            &[&fused, &pooled.contiguous()?, &asked.contiguous()?],
            D::Minus1,
        )?;
        let matches = head(&self.score_head, &x)?.squeeze(D::Minus1)?;
        let x = Tensor::cat(&[fused, asked.contiguous()?], D::Minus1)?;
        let boxes = refine(
            &candidates.boxes_per_query(queries.dim(0)?)?,
            &head(&self.reg_head, &x)?,
        )?;
        // ln σ(s) · α + ln o · (1 − α), then back from a logarithm of a probability to its logit.
        let language = log_sigmoid(&matches)?;
        let visual = (candidates.log_objectness()? * (1.0 - self.language_power))?;
        let log_p = (language * self.language_power)?.broadcast_add(&visual)?;
        let log_q = (1.0 - log_p.exp()?)?.clamp(1e-7, 1.0)?.log()?;
        let logits = (log_p - log_q)?;
        let logits = logits.broadcast_add(&candidates.barrier(&logits)?)?;
        Ok(FilterOutput {
            could_be: None,
            confidence: sigmoid(&logits)?,
            matches,
            logits,
            boxes,
            refined_queries: None,
        })
    }
}

/// `ln σ(x)` without overflow.
fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    let tail = (x.abs()?.neg()?.exp()? + 1.0)?.log()?;
    x.minimum(&x.zeros_like()?)? - tail
}

/// Queries `(n, d)` into tokens `(m, t, d)`, pooled over the tokens → `(n, m, d)`.
fn fuse(queries: &Tensor, tokens: &Tensor) -> Result<Tensor> {
    let (n, d) = queries.dims2()?;
    let (m, t, _) = tokens.dims3()?;
    let scale = (d as f64).powf(-0.5);
    let all = queries
        .unsqueeze(0)?
        .broadcast_as((m, n, d))?
        .contiguous()?;
    let gate = sigmoid(&(all.matmul(&tokens.transpose(1, 2)?.contiguous()?)? * scale)?)?;
    let read = (gate.matmul(tokens)? / t as f64)?;
    read.transpose(0, 1)?.contiguous()
}

/// Moves each box by a step in units of its own size: `(…, 4)` corners and `(…, 4)` steps of centre and log size.
fn refine(boxes: &Tensor, steps: &Tensor) -> Result<Tensor> {
    let (low, high) = (
        boxes.narrow(D::Minus1, 0, 2)?,
        boxes.narrow(D::Minus1, 2, 2)?,
    );
    let size = (&high - &low)?;
    let centre = ((low + high)? * 0.5)?;
    let centre = (centre + (steps.narrow(D::Minus1, 0, 2)? * &size)?)?;
    let half = ((size * steps.narrow(D::Minus1, 2, 2)?.clamp(-2.0, 2.0)?.exp()?)? * 0.5)?;
    Tensor::cat(&[(&centre - &half)?, (centre + half)?], D::Minus1)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::nn::{filtration::Cuttings, ops::check::noise, random_weights::RandomWeights};

    #[test]
    fn confidence_joins_language_and_objectness_and_boxes_move() -> Result<()> {
        let sizes = serde_json::json!({
            "seg_dim": 6, "prop_dim": 5, "selector_hidden": 4, "roi_hidden": 8, "roi_size": 3,
            "level_in_dims": [2, 3, 6], "gamma": 0.1, "score_threshold": 0.4, "max_selected": 4,
        });
        let config: FiltrationConfig = serde_json::from_value(sizes).expect("the fields are right");
        let vb = RandomWeights::new(1).var_builder(&Device::Cpu);
        let head = PaperHead::new(&config, 0.25, vb)?;
        let pyramid = [
            noise((1, 2, 16, 16)),
            noise((1, 3, 8, 8)),
            noise((1, 6, 4, 4)),
        ];
        let boxes = Tensor::new(
            &[[0.1_f32, 0.1, 0.5, 0.6], [0.3, 0.2, 0.9, 0.8]],
            &Device::Cpu,
        )?;
        let candidates = Candidates {
            features: &noise((2, 5)),
            scores: &Tensor::new(&[0.9_f32, 0.2], &Device::Cpu)?,
            boxes: &boxes,
            valid: vec![true, false],
            image: None,
            followed: None,
            cut: Cuttings::default(),
        };
        let out = head.score(&noise((3, 6)), &candidates, &pyramid)?;
        assert_eq!(out.boxes.dims(), [3, 2, 4]);
        let (match_, confidence) = (
            out.matches.to_vec2::<f32>()?,
            out.confidence.to_vec2::<f32>()?,
        );
        for (s, c) in match_.iter().zip(&confidence) {
            let s = 1.0 / (1.0 + (-s[0]).exp());
            assert!((c[0] - s.powf(0.25) * 0.9_f32.powf(0.75)).abs() < 1e-5);
            assert_eq!(c[1], 0.0);
        }
        let still = refine(&boxes, &Tensor::zeros((2, 4), DType::F32, &Device::Cpu)?)?;
        let error = (still - &boxes)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(error < 1e-6);
        Ok(())
    }
}
