//! The released form: `proposal_selector`, `roi_helper`, `roi_fusion_gamma`.

use candle_core::{D, DType, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder, ops::sigmoid};

use super::{
    Candidates, FilterOutput, Followed, Pyramid,
    motions::Motions,
    names::numbers,
    region_code::RegionCode,
    rivals::{SIDES, extents, standing},
    roi::{RegionTokens, attend, pairs},
    travel::{Sighting, WIDTH},
};
use crate::nn::{
    config::FiltrationConfig, deformable_detr::Proposals, layers::Linear, ops,
    precision::activations,
};

/// `proposal_selector`: dot products of queries and proposals.
#[derive(Clone, Debug)]
struct Selector {
    seg_proj: Linear,
    prop_proj: Linear,
    fuse_proj: Linear,
    box_head: [Linear; 2],
    hidden: usize,
    waves: usize,
    later: usize,
    region_code: Option<Box<RegionCode>>,
    motions: Option<Motions>,
    rivals: Option<Linear>,
}

impl Selector {
    fn new(c: &FiltrationConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let hidden = c.selector_hidden;
        let head = vb.pp("box_head");
        let region = c.region_code.map_or(0, |r| {
            let said = r.width + r.names.map_or(0, |groups| numbers(&groups));
            match c.travel {
                0 => said,
                later => 2 * said + later * WIDTH,
            }
        });
        let motions = match (c.motions, c.region_code) {
            (Some(sizes), Some(r)) if c.travel > 0 => {
                Some(Motions::new(sizes, (c.travel, r.width), &vb.pp("motions"))?)
            }
            (Some(_), _) => {
                bail!("words of motion are read from where proposals go by their region codes")
            }
            (None, _) => None,
        };
        let moves = c.motions.map_or(0, |[_, words]| words);
        let known = c.prop_dim + 4 * c.place_waves + region + moves;
        Ok(Self {
            seg_proj: Linear::new(c.seg_dim, hidden, vb.pp("seg_proj"))?,
            prop_proj: Linear::new(known, hidden, vb.pp("prop_proj"))?,
            fuse_proj: Linear::new(c.prop_dim, c.seg_dim, vb.pp("fuse_proj"))?,
            box_head: [
                Linear::new(2 * hidden, hidden, head.pp(0))?,
                Linear::new(hidden, 4, head.pp(2))?,
            ],
            hidden,
            waves: c.place_waves,
            later: c.travel,
            region_code: RegionCode::new(c, &vb.pp("region_code"))?.map(Box::new),
            motions,
            rivals: match c.rivals {
                true => Some(Linear::new(c.seg_dim, SIDES, vb.pp("rivals"))?),
                false => None,
            },
        })
    }

    /// `(n, m)`: what each phrase makes of how proposals stand among those that `could_be (n, m)`, logits, lets it mean; `None`
    /// if the head does not compare.
    fn compare(
        &self,
        queries: &Tensor,
        could_be: &Tensor,
        candidates: &Candidates<'_>,
    ) -> Result<Option<Tensor>> {
        let Some(read) = &self.rivals else {
            return Ok(None);
        };
        let (n, m) = could_be.dims2()?;
        if m == 0 {
            return Ok(None);
        }
        let extents = extents(candidates)?;
        let rows = sigmoid(&could_be.detach().to_dtype(DType::F32)?)?.to_vec2::<f32>()?;
        let sides: Vec<f32> = rows
            .iter()
            .flat_map(|row| standing(&extents, row))
            .flatten()
            .collect();
        let sides = Tensor::from_vec(sides, (n, m, SIDES), queries.device())?;
        let asked = read.forward(queries)?.unsqueeze(1)?;
        let sides = sides.to_dtype(asked.dtype())?;
        Ok(Some(sides.broadcast_mul(&asked)?.sum(D::Minus1)?))
    }

    /// All that is known of each proposal by itself: its features, where it is, what it looks like, where it goes and what
    /// it looks like there.
    fn describe(&self, candidates: &Candidates<'_>, pyramid: &Pyramid) -> Result<Tensor> {
        let dtype = candidates.features.dtype();
        let mut known = vec![candidates.placed(self.waves)?];
        if let Some(code) = &self.region_code {
            let (boxes, cut) = (candidates.boxes, candidates.cut);
            let own = match candidates.followed {
                Some(followed) => followed.code.clone(),
                None => code.of((boxes, cut), pyramid, candidates.image)?,
            };
            let own = own.to_dtype(dtype)?;
            known.push(own.clone());
            // Of one frame, the mean is what is seen on it.
            let mut looks = own.clone();
            match candidates.followed {
                _ if self.later == 0 => {}
                Some(f) => {
                    looks = f.looks.to_dtype(dtype)?;
                    known.extend([f.travel.to_dtype(dtype)?, looks.clone()]);
                }
                None => {
                    let shape = (boxes.dim(0)?, self.later * WIDTH);
                    known.extend([Tensor::zeros(shape, dtype, own.device())?, own.clone()]);
                }
            }
            if let Some(names) = code.names() {
                known.push(names.forward(&own)?);
                if self.later > 0 {
                    known.push(names.forward(&looks)?);
                }
            }
        }
        if let Some(motions) = &self.motions {
            let said = motions.forward(candidates.followed, candidates.scores)?;
            known.push(said.to_dtype(dtype)?);
        }
        Tensor::cat(&known, 1)
    }
}

/// `roi_helper`: a score from the pixels of each proposal.
#[derive(Clone, Debug)]
struct RoiHelper {
    regions: RegionTokens,
    query_proj: Linear,
    seg_proj: Linear,
    score_head: [Linear; 2],
}

impl RoiHelper {
    fn new(c: &FiltrationConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let d = c.roi_hidden;
        let head = vb.pp("score_head");
        Ok(Self {
            regions: RegionTokens::new(c, &vb)?,
            query_proj: Linear::new(c.seg_dim, d, vb.pp("query_proj"))?,
            seg_proj: Linear::new(c.seg_dim, d, vb.pp("seg_proj"))?,
            score_head: [
                Linear::new(3 * d, d, head.pp(0))?,
                Linear::new(d, 1, head.pp(2))?,
            ],
        })
    }

    /// `(n, m)`.
    fn score(&self, queries: &Tensor, c: &Candidates<'_>, pyramid: &Pyramid) -> Result<Tensor> {
        let regions = self.regions.forward(c, pyramid)?;
        let read = attend(&self.query_proj.forward(queries)?, &regions.tokens)?;
        let (asked, pooled) = pairs(&self.seg_proj.forward(queries)?, &regions.pooled)?;
        let x = Tensor::cat(&[read, pooled, asked], D::Minus1)?;
        let x = self.score_head[0].forward(&x)?.relu()?;
        self.score_head[1].forward(&x)?.squeeze(D::Minus1)
    }
}

/// What the selector alone says.
pub(crate) struct SelectorOutput {
    /// `(n, m)`: dot products without the objectness.
    pub(crate) matches: Tensor,
    /// `(n, m)`: with it; −∞ where invalid.
    pub(crate) logits: Tensor,
    /// `(n, m)`: softmax over the valid proposals, zeros where there is none.
    pub(crate) attention: Tensor,
    /// `(n, d)`.
    pub(crate) refined: Tensor,
}

/// The released head.
#[derive(Clone, Debug)]
pub struct ReleasedHead {
    selector: Selector,
    roi_helper: Option<RoiHelper>,
    gamma: Tensor,
}

impl ReleasedHead {
    /// Reads `proposal_selector.*`, `roi_helper.*` (unless its width is 0) and, where the configuration trusts it,
    /// `roi_fusion_gamma`.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape.
    pub fn new(config: &FiltrationConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let fixed = f64::from(config.gamma);
        let name = "roi_fusion_gamma";
        // Released inference never loads the stored value; it is read all the same, so that it is not superfluous.
        let stored = if config.gamma_from_weights || vb.contains_tensor(name) {
            Some(vb.get_with_hints((), name, Init::Const(fixed))?)
        } else {
            None
        };
        let gamma = match stored {
            Some(gamma) if config.gamma_from_weights => gamma,
            _ => Tensor::new(config.gamma, vb.device())?.to_dtype(activations(&vb))?,
        };
        let helper = (config.roi_hidden > 0).then(|| RoiHelper::new(config, vb.pp("roi_helper")));
        Ok(Self {
            selector: Selector::new(config, vb.pp("proposal_selector"))?,
            roi_helper: helper.transpose()?,
            gamma,
        })
    }

    /// The same head with another γ, a scalar.
    pub fn with_gamma(self, gamma: Tensor) -> Self {
        Self { gamma, ..self }
    }

    pub(super) fn follow(
        &self,
        first: (&Proposals, &Pyramid),
        later: &[Sighting],
    ) -> Result<Option<Followed>> {
        let Some(code) = self.follows_by() else {
            return Ok(None);
        };
        if later.len() != self.selector.later {
            bail!("{} later frames, not {}", later.len(), self.selector.later);
        }
        code.follow(first, later).map(Some)
    }

    pub(super) fn sighting(&self, there: (&Proposals, &Pyramid)) -> Result<Option<Sighting>> {
        let code = self.follows_by();
        code.map(|code| code.sighting(there)).transpose()
    }

    pub(super) fn motions(&self, candidates: &Candidates<'_>) -> Result<Option<Tensor>> {
        match (&self.selector.motions, candidates.followed) {
            (Some(motions), Some(followed)) => {
                motions.logits(followed, candidates.scores).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// What proposals are found again by on later frames.
    fn follows_by(&self) -> Option<&RegionCode> {
        let s = &self.selector;
        s.region_code.as_deref().filter(|_| s.later > 0)
    }

    pub(crate) fn score(
        &self,
        queries: &Tensor,
        candidates: &Candidates<'_>,
        pyramid: &Pyramid,
    ) -> Result<FilterOutput> {
        let chosen = self.select(queries, candidates, pyramid)?;
        let (mut matches, mut logits) = (chosen.matches, chosen.logits);
        if let Some(score) = self.region_scores(queries, candidates, pyramid)? {
            let gamma = self.gamma.clamp(0.0, 1.0)?;
            let share = score.broadcast_mul(&gamma)?;
            matches = (matches + &share)?;
            logits = (logits + share)?;
        }
        let mut could_be = None;
        if let Some(rank) = self.selector.compare(queries, &logits, candidates)? {
            matches = (matches + &rank)?;
            let ranked = (&logits + rank)?;
            could_be = Some(std::mem::replace(&mut logits, ranked));
        }
        Ok(FilterOutput {
            could_be,
            confidence: sigmoid(&logits)?,
            matches,
            logits,
            boxes: candidates.boxes_per_query(queries.dim(0)?)?,
            refined_queries: Some(chosen.refined),
        })
    }

    pub(crate) fn region_scores(
        &self,
        queries: &Tensor,
        candidates: &Candidates<'_>,
        pyramid: &Pyramid,
    ) -> Result<Option<Tensor>> {
        match &self.roi_helper {
            // A region grid of no proposal at all is a matrix product of nothing.
            Some(helper) if candidates.boxes.dim(0)? > 0 => {
                Ok(Some(helper.score(queries, candidates, pyramid)?))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn select(
        &self,
        queries: &Tensor,
        candidates: &Candidates<'_>,
        pyramid: &Pyramid,
    ) -> Result<SelectorOutput> {
        let s = &self.selector;
        let q = s.seg_proj.forward(queries)?;
        let k = s.prop_proj.forward(&s.describe(candidates, pyramid)?)?;
        let scale = (s.hidden as f64).powf(-0.5);
        let matches = (q.matmul(&k.t()?.contiguous()?)? * scale)?;
        let objects = matches.broadcast_add(&candidates.log_objectness()?)?;
        let logits = objects.broadcast_add(&candidates.barrier(&objects)?)?;
        let attention = if candidates.valid.contains(&true) {
            ops::softmax_last(&logits)?
        } else {
            logits.zeros_like()?
        };
        let read = s
            .fuse_proj
            .forward(&attention.matmul(candidates.features)?)?;
        Ok(SelectorOutput {
            refined: (queries + read)?,
            matches,
            logits,
            attention,
        })
    }

    /// The box branch `(n, m, 4)` as x1, y1, x2, y2: trained as a side task, never used for an answer.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn predicted_boxes(&self, queries: &Tensor, features: &Tensor) -> Result<Tensor> {
        let s = &self.selector;
        let (q, k) = pairs(
            &s.seg_proj.forward(queries)?,
            &s.prop_proj.forward(features)?,
        )?;
        let x = s.box_head[0]
            .forward(&Tensor::cat(&[q, k], D::Minus1)?)?
            .relu()?;
        let u = sigmoid(&s.box_head[1].forward(&x)?)?;
        let (a, b) = (u.narrow(D::Minus1, 0, 2)?, u.narrow(D::Minus1, 2, 2)?);
        Tensor::cat(&[a.minimum(&b)?, a.maximum(&b)?], D::Minus1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::Device;

    use super::*;

    #[test]
    fn a_proposal_is_known_by_the_names_of_its_code_too() -> Result<()> {
        let device = &Device::Cpu;
        let sizes = serde_json::json!({
            "seg_dim": 6, "prop_dim": 5, "selector_hidden": 4, "roi_hidden": 0, "roi_size": 3,
            "level_in_dims": [2, 3, 6], "gamma": 0.0, "score_threshold": 0.4, "max_selected": 4, "travel": 2,
            "region_code": { "grid": 7, "width": 12, "names": [3, 4, 2] },
        });
        let config: FiltrationConfig = serde_json::from_value(sizes).expect("the fields are right");
        let vb = crate::nn::random_weights::RandomWeights::new(1).var_builder(device);
        let head = ReleasedHead::new(&config, vb)?;
        let proposals = Proposals {
            boxes: Tensor::new(&[[0.1_f32, 0.1, 0.4, 0.3], [0.5, 0.5, 0.7, 0.9]], device)?,
            scores: Tensor::new(&[0.9_f32, 0.8], device)?,
            features: Tensor::ones((2, 5), DType::F32, device)?,
            indices: vec![0, 1],
            masks: None,
            crops: None,
            aspect: 0.0,
        };
        let map = |c: usize, side: usize| Tensor::ones((1, c, side, side), DType::F32, device);
        let pyramid = [map(2, 16)?, map(3, 8)?, map(6, 4)?];
        let code = |from: f32| Tensor::arange(from, from + 24.0, device)?.reshape((2, 12));
        let followed = Followed {
            travel: Tensor::zeros((2, 2 * WIDTH), DType::F32, device)?,
            code: code(0.0)?,
            looks: (code(3.0)?.neg()? * 0.1)?,
        };
        let mut candidates = Candidates::all_valid(&proposals)?;
        candidates.followed = Some(&followed);
        let known = head.selector.describe(&candidates, &pyramid)?;
        let names = head
            .follows_by()
            .and_then(RegionCode::names)
            .expect("it says names");
        let said = 3 + 4 + 2 + 1;
        assert_eq!(known.dims(), [2, 5 + 12 + 2 * WIDTH + 12 + 2 * said]);
        let last = known.narrow(1, known.dim(1)? - 2 * said, 2 * said)?;
        let own = names.forward(&followed.code)?.to_vec2::<f32>()?;
        let looks = names.forward(&followed.looks)?.to_vec2::<f32>()?;
        assert_ne!(own, looks);
        let expected: Vec<Vec<f32>> = own
            .iter()
            .zip(&looks)
            .map(|(a, b)| [&a[..], b].concat())
            .collect();
        assert_eq!(last.to_vec2::<f32>()?, expected);
        // As many columns where nothing is followed.
        candidates.followed = None;
        assert_eq!(
            head.selector.describe(&candidates, &pyramid)?.dims(),
            known.dims()
        );
        Ok(())
    }

    #[test]
    fn a_superlative_lifts_what_has_no_rival_on_its_side() -> Result<()> {
        let device = &Device::Cpu;
        let sizes = serde_json::json!({
            "seg_dim": 2, "prop_dim": 2, "selector_hidden": 2, "roi_hidden": 0, "roi_size": 3,
            "level_in_dims": [2, 3, 6], "gamma": 0.0, "score_threshold": 0.4, "max_selected": 4, "rivals": true,
        });
        let mut config: FiltrationConfig =
            serde_json::from_value(sizes).expect("the fields are right");
        let one = |rows: &[[f32; 2]]| Tensor::from_vec(rows.concat(), (rows.len(), 2), device);
        let row = |n: usize| Tensor::zeros(n, DType::F32, device);
        // Both layers hand on what they are given; the second number of a query asks for what is farthest left.
        let mut read = vec![[0.0_f32, 0.0]; SIDES];
        read[0] = [0.0, -2.0];
        let weights: HashMap<String, Tensor> = [
            ("seg_proj.weight", one(&[[1.0, 0.0], [0.0, 0.0]])?),
            ("seg_proj.bias", row(2)?),
            ("prop_proj.weight", one(&[[1.0, 0.0], [0.0, 1.0]])?),
            ("prop_proj.bias", row(2)?),
            ("fuse_proj.weight", one(&[[0.0, 0.0], [0.0, 0.0]])?),
            ("fuse_proj.bias", row(2)?),
            (
                "box_head.0.weight",
                Tensor::zeros((2, 4), DType::F32, device)?,
            ),
            ("box_head.0.bias", row(2)?),
            (
                "box_head.2.weight",
                Tensor::zeros((4, 2), DType::F32, device)?,
            ),
            ("box_head.2.bias", row(4)?),
            ("rivals.weight", one(&read)?),
            ("rivals.bias", row(SIDES)?),
        ]
        .map(|(name, t)| (format!("proposal_selector.{name}"), t))
        .into();
        let head = |config: &FiltrationConfig| {
            ReleasedHead::new(
                config,
                VarBuilder::from_tensors(weights.clone(), DType::F32, device),
            )
        };
        // From left to right: something else, and two of the kind that is asked for.
        let square = |x: f32| [x, 0.4, x + 0.1, 0.5];
        let proposals = Proposals {
            boxes: Tensor::new(&[square(0.1), square(0.4), square(0.7)], device)?,
            scores: Tensor::new(&[0.9_f32, 0.9, 0.9], device)?,
            features: one(&[[-8.0, 0.0], [8.0, 0.0], [8.0, 0.0]])?,
            indices: vec![0, 1, 2],
            masks: None,
            crops: None,
            aspect: 0.0,
        };
        let map = |c: usize, side: usize| Tensor::zeros((1, c, side, side), DType::F32, device);
        let pyramid = [map(2, 16)?, map(3, 8)?, map(6, 4)?];
        let candidates = Candidates::all_valid(&proposals)?;
        let queries = one(&[[1.0, 0.0], [1.0, 1.0]])?;
        let out = head(&config)?.score(&queries, &candidates, &pyramid)?;
        let logits = out.logits.to_vec2::<f32>()?;
        let before = out.could_be.expect("it compares").to_vec2::<f32>()?;
        assert_eq!(
            logits[0], before[0],
            "without a superlative nothing changes"
        );
        assert!(logits[0][1] > 5.0 && logits[0][2] == logits[0][1]);
        assert!(
            logits[1][1] > 5.0 && logits[1][2] < logits[1][1] - 5.0,
            "{logits:?}"
        );
        assert!(
            logits[1][0] < 0.0,
            "what lies farther left is of another kind"
        );
        config.rivals = false;
        let alone = head(&config)?.score(&queries, &candidates, &pyramid)?;
        assert!(alone.could_be.is_none());
        assert_eq!(alone.logits.to_vec2::<f32>()?, before);
        Ok(())
    }
}
