//! Cases of the filtration head: selector, region pooling, fusion, selection rule, box prior.

use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Case, Kind, ParityError, Report, sam};
use crate::nn::{
    config::FiltrationConfig,
    filtration::{
        Candidates, Cuttings, FiltrationHead, Pyramid, ReleasedHead, prior,
        roi::rois,
        select::{align, select},
    },
    ops,
};

/// Tolerance of pooled regions.
const POOLED: f64 = 1e-5;
/// Tolerance of logits and everything built on them.
const LOGITS: f64 = 5e-5;

/// Runs the case if it is one of this file's; `Ok(false)` if it is not.
pub(super) fn run(kind: Kind, case: &Case, report: &mut Report) -> Result<bool, ParityError> {
    if kind != Kind::Filtration {
        return Ok(false);
    }
    let setup = Setup::read(case)?;
    pooling(case, report, &setup)?;
    scores(case, report, &setup)?;
    for run in case.value::<Vec<Run>>("selection_runs")? {
        selection(case, report, &setup, &run)?;
    }
    sets(case, report)?;
    box_prior(case, report)?;
    Ok(true)
}

/// One setting of the selection rule.
#[derive(Deserialize)]
struct Run {
    tag: String,
    valid: String,
    threshold: f32,
    cap: usize,
    gamma: f32,
}

struct Setup {
    head: ReleasedHead,
    queries: Tensor,
    features: Tensor,
    scores: Tensor,
    boxes: Tensor,
    pyramid: Pyramid,
    size: usize,
    image: (usize, usize),
}

impl Setup {
    fn read(case: &Case) -> Result<Self, ParityError> {
        let mut sizes = json!({
            "gamma": 0.1, "gamma_from_weights": true, "score_threshold": 0.4, "max_selected": 16,
        });
        for (key, value) in case.value::<Map<String, Value>>("model")? {
            sizes[key] = value;
        }
        let config: FiltrationConfig =
            serde_json::from_value(sizes).map_err(|e| ParityError::Config {
                path: "model".into(),
                reason: e.to_string(),
            })?;
        let side: usize = case.value("model.image_size")?;
        let level = |l: usize| case.float(&format!("input.pyramid.{l}"));
        Ok(Self {
            head: ReleasedHead::new(&config, case.var_builder(sam::prefix(case)))?,
            queries: case.float("input.queries")?,
            features: case.float("input.features")?,
            scores: case.float("input.scores")?,
            boxes: case.float("input.boxes")?,
            pyramid: [level(0)?, level(1)?, level(2)?],
            size: config.roi_size,
            image: (side, side),
        })
    }

    fn candidates(&self, valid: Vec<bool>) -> Candidates<'_> {
        Candidates {
            features: &self.features,
            scores: &self.scores,
            boxes: &self.boxes,
            valid,
            image: Some(self.image),
            followed: None,
            cut: Cuttings::default(),
        }
    }

    /// `all`, `none` or the name of a stored mask.
    fn valid(&self, case: &Case, which: &str) -> Result<Vec<bool>, ParityError> {
        let m = self.boxes.dim(0)?;
        Ok(match which {
            "all" => vec![true; m],
            "none" => vec![false; m],
            name => case.ints(name)?.into_iter().map(|v| v != 0).collect(),
        })
    }
}

fn pooling(case: &Case, report: &mut Report, s: &Setup) -> Result<(), ParityError> {
    let mut pool = |map: &Tensor, image: (usize, usize), name: &str| {
        let scale = map.dim(2)? as f32 / image.0 as f32;
        let got = ops::roi_align(map, &rois(&s.boxes, image)?, scale, s.size)?;
        sam::compare_stored(
            case,
            report,
            (&format!("roi_align/{name}"), name),
            &got,
            POOLED,
        )
    };
    for (l, map) in s.pyramid.iter().enumerate() {
        pool(map, s.image, &format!("mid.roi_align.{l}"))?;
    }
    if let Some(name) = case.names("input.wide_pyramid_level").first() {
        let level = name.trim_start_matches("input.wide_pyramid_level");
        let image = case.value("roi_align_wide.image_hw")?;
        pool(
            &case.float(name)?,
            image,
            &format!("mid.roi_align_wide.level{level}"),
        )?;
    }
    Ok(())
}

fn scores(case: &Case, report: &mut Report, s: &Setup) -> Result<(), ParityError> {
    for (tag, valid) in [("all_valid", "all"), ("masked", "input.valid")] {
        let got = s
            .head
            .select(&s.queries, &s.candidates(s.valid(case, valid)?), &s.pyramid)?;
        let parts = [
            ("logits_neginf_as_-1e30", &got.logits),
            ("attention", &got.attention),
            ("refined", &got.refined),
        ];
        for (part, got) in parts {
            let name = format!("output.{tag}.selector.{part}");
            report.compare(
                &format!("selector/{name}"),
                got,
                case.tensor(&name)?,
                LOGITS,
            )?;
        }
    }
    let got = s.head.predicted_boxes(&s.queries, &s.features)?;
    report.compare(
        "selector/pred_boxes",
        &got,
        case.tensor("output.selector.pred_boxes")?,
        LOGITS,
    )?;
    let candidates = s.candidates(s.valid(case, "all")?);
    if let Some(got) = s.head.region_scores(&s.queries, &candidates, &s.pyramid)? {
        report.compare(
            "roi_logits",
            &got,
            case.tensor("output.roi_logits")?,
            LOGITS,
        )?;
    }
    Ok(())
}

fn selection(case: &Case, report: &mut Report, s: &Setup, run: &Run) -> Result<(), ParityError> {
    let tag = &run.tag;
    let valid = s.valid(case, &run.valid)?;
    let gamma = Tensor::new(run.gamma, &case.device)?;
    let head = FiltrationHead::Released(s.head.clone().with_gamma(gamma));
    let got = head.score_candidates(&s.queries, &s.candidates(valid.clone()), &s.pyramid)?;
    let want = case.tensor(&format!("output.{tag}.fused_logits_neginf_as_-1e30"))?;
    report.compare(&format!("fusion/{tag}.logits"), &got.logits, want, LOGITS)?;
    let want = case.tensor(&format!("output.{tag}.confidence"))?;
    report.compare(
        &format!("fusion/{tag}.confidence"),
        &got.confidence,
        want,
        LOGITS,
    )?;
    let kept = select(
        &got.confidence.to_vec2::<f32>()?,
        &valid,
        run.threshold,
        run.cap,
    );
    let counts: Vec<i64> = kept.iter().map(|k| k.len() as i64).collect();
    let order: Vec<i64> = kept.iter().flatten().map(|&j| j as i64).collect();
    let want = case.ints(&format!("output.{tag}.num_selected"))?;
    report.compare_ints(&format!("selection/{tag}.count"), &counts, &want);
    let want = case.ints(&format!("output.{tag}.selected_indices_in_order"))?;
    report.compare_ints(&format!("selection/{tag}.order"), &order, &want);
    Ok(())
}

/// `output.align_2_sets_to_4_tokens`, with any counts.
fn sets(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    for name in case.names("output.align_") {
        let counts = name
            .strip_prefix("output.align_")
            .and_then(|n| n.strip_suffix("_tokens"))
            .and_then(|n| n.split_once("_sets_to_"))
            .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let Some((sets, tokens)) = counts else {
            report.uncovered.push(name);
            continue;
        };
        let got: Vec<i64> = align(sets, tokens).into_iter().map(|i| i as i64).collect();
        report.compare_ints("align", &got, &case.ints(&name)?);
    }
    Ok(())
}

fn box_prior(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let masks = case.float("input.prior.masks")?;
    let (k, _, h, w) = masks.dims4()?;
    let boxes = case.float("input.prior.boxes")?.to_vec2::<f32>()?;
    let masks = masks.reshape((k, h * w))?.to_vec2::<f32>()?;
    let mut scores = Vec::with_capacity(k);
    for (bounds, mask) in boxes.iter().zip(&masks) {
        let mask: Vec<bool> = mask.iter().map(|v| *v > 0.5).collect();
        let bounds = std::array::from_fn(|i| bounds[i]);
        scores.push(prior::credibility(bounds, &mask, (h, w)));
    }
    let got = Tensor::new(scores.as_slice(), &Device::Cpu)?;
    report.compare("prior", &got, case.tensor("output.prior.scores")?, LOGITS)?;
    for name in case.names("output.prior.kept_indices.min") {
        let limits = name
            .strip_prefix("output.prior.kept_indices.min")
            .and_then(|n| n.split_once("_max"))
            .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let Some((least, most)) = limits else {
            report.uncovered.push(name);
            continue;
        };
        let got = prior::keep(&scores, least, most)
            .into_iter()
            .map(|i| i as i64);
        let got: Vec<i64> = got.collect();
        report.compare_ints(&format!("prior/{name}"), &got, &case.ints(&name)?);
    }
    Ok(())
}
