//! Our losses and their gradients on the stored case of the released training code.

use candle_core::{DType, Tensor, Var, backprop::GradStore};
use serde_json::{Map, Value, json};

use super::losses::{
    MaskSample, mask_bce, mask_dice, mask_losses, next_token_loss,
    proposal::{self, ProposalTargets, box_loss, class_loss, proposal_targets},
    set::{SetTerms, SetWeights, Source, Weights, detector_loss, focal, giou},
};
use crate::nn::{
    config::{FiltrationConfig, ProposerConfig},
    deformable_detr::Proposer,
    filtration::{Candidates, Cuttings, ReleasedHead},
    ops,
    parity::{Case, ParityError, Report, padding_rows},
};

/// Tolerance of values.
const VALUE: f64 = 1e-5;
/// Tolerance of gradients, of the gradient's maximum.
const GRADIENT: f64 = 1e-4;

type Outcome<T = ()> = Result<T, ParityError>;

/// Runs the case of losses.
pub fn losses(case: &Case) -> Report {
    let mut report = Report::new(&case.name);
    let parts = [
        masks,
        frames,
        upsampling,
        text,
        filtration,
        detector,
        boxes,
        padding_rows,
    ];
    for part in parts {
        if let Err(error) = part(case, &mut report) {
            report.stopped = Some(error.to_string());
            return report;
        }
    }
    report.note_unasked(case);
    report
}

fn var(case: &Case, name: &str) -> Outcome<Var> {
    Ok(Var::from_tensor(&case.float(name)?)?)
}

/// The gradient of `of`, zeros if nothing depends on it.
fn gradient(grads: &GradStore, of: &Tensor) -> Outcome<Tensor> {
    Ok(match grads.get(of) {
        Some(grad) => grad.clone(),
        None => of.zeros_like()?,
    })
}

fn masks(case: &Case, report: &mut Report) -> Outcome {
    let logits = var(case, "input.mask.logits")?;
    let targets = case.float("input.mask.target")?;
    let rows = targets.dim(0)? as f64;
    type Loss = fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>;
    for (name, loss) in [("bce", mask_bce as Loss), ("dice", mask_dice as Loss)] {
        let path = format!("output.mask.{name}");
        for stored in case.names(&format!("{path}.num_masks")) {
            let masks = stored
                .rsplit("num_masks")
                .next()
                .and_then(|n| n.parse::<f64>().ok());
            let got = (loss(&logits, &targets)? / (masks.unwrap_or(1.0) + 1e-8))?;
            report.compare(
                &format!("masks/{stored}"),
                &got,
                case.tensor(&stored)?,
                VALUE,
            )?;
        }
        let grads = (loss(&logits, &targets)? / rows)?.backward()?;
        let want = case.tensor(&format!("{path}.grad"))?;
        report.compare_to_max(
            &format!("masks/{name}.grad"),
            &gradient(&grads, &logits)?,
            want,
            GRADIENT,
        )?;
        let got = (loss(&logits, &targets.relu()?)? / rows)?;
        let want = case.tensor(&format!("{path}.no_ignore"))?;
        report.compare(&format!("masks/{name}.no_ignore"), &got, want, VALUE)?;
    }
    Ok(())
}

fn frames(case: &Case, report: &mut Report) -> Outcome {
    let mut stored = Vec::new();
    for s in 0.. {
        let name = format!("input.agg.sample{s}.pred_TNHW");
        if !case.has(&name) {
            break;
        }
        let targets = case.float(&format!("input.agg.sample{s}.target_NTHW"))?;
        stored.push((var(case, &name)?, targets));
    }
    let samples: Vec<MaskSample<'_>> = stored
        .iter()
        .map(|(logits, targets)| MaskSample { logits, targets })
        .collect();
    let weights = (
        case.value("agg.bce_weight")?,
        case.value("agg.dice_weight")?,
    );
    let (bce, dice) = mask_losses(&samples, weights)?;
    let total = (&bce + &dice)?;
    for (name, got) in [("bce", &bce), ("dice", &dice), ("total", &total)] {
        let want = case.tensor(&format!("output.agg.{name}"))?;
        report.compare(&format!("frames/{name}"), got, want, VALUE)?;
    }
    let grads = total.backward()?;
    let got = gradient(&grads, &stored[0].0)?.get(0)?;
    let want = case.tensor("output.agg.grad_sample0_frame0")?;
    report.compare_to_max("frames/grad", &got, want, GRADIENT)
}

/// Low-resolution logits against the first rows of the masks, as many masks counted as there are.
fn upsampling(case: &Case, report: &mut Report) -> Outcome {
    let low = var(case, "input.upsample.low")?;
    let targets = case.float("input.mask.target")?;
    let (k, _, _, _) = low.dims4()?;
    let (masks, h, w) = targets.dims3()?;
    let full = ops::resize_bilinear(&low, (h, w))?;
    let want = case.tensor("output.upsample.full")?;
    report.compare("upsampling/full", &full, want, VALUE)?;
    let loss = (mask_dice(&full.squeeze(1)?, &targets.narrow(0, 0, k)?)? / masks as f64)?;
    report.compare(
        "upsampling/dice",
        &loss,
        case.tensor("output.upsample.dice")?,
        VALUE,
    )?;
    let got = gradient(&loss.backward()?, &low)?;
    let want = case.tensor("output.upsample.grad")?;
    report.compare_to_max("upsampling/grad", &got, want, GRADIENT)
}

fn text(case: &Case, report: &mut Report) -> Outcome {
    let logits = var(case, "input.ce.logits")?;
    let loss = next_token_loss(&logits, &case.ints("input.ce.labels")?)?;
    report.compare("text", &loss, case.tensor("output.ce.loss")?, VALUE)?;
    let got = gradient(&loss.backward()?, &logits)?;
    report.compare_to_max("text/grad", &got, case.tensor("output.ce.grad")?, GRADIENT)
}

/// The filtration head with trainable weights, and its inputs.
struct Filter {
    head: ReleasedHead,
    weights: Case,
    queries: Var,
    features: Var,
    targets: ProposalTargets,
}

impl Filter {
    fn read(case: &Case) -> Outcome<Self> {
        let queries = var(case, "input.proposal.queries")?;
        let features = var(case, "input.proposal.features")?;
        let mut sizes = json!({
            "seg_dim": queries.dim(1)?, "prop_dim": features.dim(1)?, "gamma_from_weights": true,
            "score_threshold": 0.4, "max_selected": 16,
        });
        for (key, value) in case.value::<Map<String, Value>>("proposal")? {
            sizes[key] = value;
        }
        let config: FiltrationConfig =
            serde_json::from_value(sizes).map_err(|e| ParityError::Config {
                path: "proposal".into(),
                reason: e.to_string(),
            })?;
        let mut weights = case.clone();
        for name in case
            .names("model.proposal_selector.")
            .iter()
            .chain(&case.names("model.roi_"))
        {
            let tensor = Var::from_tensor(case.tensor(name)?)?.into_inner();
            weights.tensors.insert(name.clone(), tensor);
        }
        let head = ReleasedHead::new(&config, weights.var_builder("model."))?;
        let threshold = case
            .value("proposal.iou_threshold")
            .unwrap_or(proposal::MATCH);
        let masks = case.float("input.proposal.gt_masks_NTHW")?;
        let boxes = case.float("input.proposal.boxes")?;
        let targets = proposal_targets(&masks, &boxes, queries.dim(0)?, threshold)?;
        Ok(Self {
            head,
            weights,
            queries,
            features,
            targets,
        })
    }

    /// Compares the gradients stored under `prefix`; the detail is an input's name, or a weight's with underscores.
    fn gradients(&self, report: &mut Report, prefix: &str, loss: &Tensor) -> Outcome {
        let grads = loss.backward()?;
        for name in self.weights.names(prefix) {
            let detail = &name[prefix.len()..];
            let of = match detail {
                "queries" => Some(self.queries.as_tensor()),
                "features" => Some(self.features.as_tensor()),
                _ => self.weight(detail),
            };
            match of {
                Some(of) => {
                    let want = self.weights.tensor(&name)?;
                    let stage = format!("filtration/{name}");
                    report.compare_to_max(&stage, &gradient(&grads, of)?, want, GRADIENT)?;
                }
                None => report.uncovered.push(name),
            }
        }
        Ok(())
    }

    /// `roi_query_proj_weight` → `model.roi_helper.query_proj.weight`, and so on.
    fn weight(&self, detail: &str) -> Option<&Tensor> {
        let (part, rest) = if detail == "gamma" {
            ("model.", "roi_fusion_gamma")
        } else if let Some(rest) = detail.strip_prefix("roi_") {
            ("model.roi_helper.", rest)
        } else {
            let rest = detail.strip_prefix("selector_").unwrap_or(detail);
            ("model.proposal_selector.", rest)
        };
        let found = self.weights.tensors.iter().find(|(name, _)| {
            name.strip_prefix(part)
                .is_some_and(|n| n.replace('.', "_") == rest)
        });
        found.map(|(_, tensor)| tensor)
    }
}

fn filtration(case: &Case, report: &mut Report) -> Outcome {
    let f = Filter::read(case)?;
    let boxes = case.float("input.proposal.boxes")?;
    let m = boxes.dim(0)?;
    let device = boxes.device();
    let hits = Tensor::new(f.targets.hits.clone(), device)?;
    report.compare_exact("targets", &hits, case.tensor("output.proposal.targets")?)?;
    let masks = case.float("input.proposal.gt_masks_NTHW")?;
    let all = proposal_targets(&masks, &boxes, masks.dim(0)?, proposal::MATCH)?;
    let objects: Vec<Vec<f32>> = all.boxes.iter().flatten().map(|b| b.to_vec()).collect();
    let want = case.tensor("output.proposal.target_boxes_valid_rows")?;
    report.compare("targets", &Tensor::new(objects, device)?, want, VALUE)?;

    let side: usize = case.value("proposal.image_size")?;
    let level = |l: usize| case.float(&format!("input.proposal.pyramid.{l}"));
    let pyramid = [level(0)?, level(1)?, level(2)?];
    let scores = case.float("input.proposal.scores")?;
    let everyone = vec![true; m];
    let candidates = Candidates {
        features: &f.features,
        scores: &scores,
        boxes: &boxes,
        valid: everyone.clone(),
        image: Some((side, side)),
        followed: None,
        cut: Cuttings::default(),
    };
    let out = f.head.score(&f.queries, &candidates, &pyramid)?;
    let loss = class_loss(&out.logits, &f.targets, &everyone)?;
    let want = case.tensor("output.proposal.all_valid.cls_loss")?;
    report.compare("filtration/class", &loss, want, VALUE)?;
    f.gradients(report, "output.proposal.all_valid.cls_grad.", &loss)?;

    let predicted = f.head.predicted_boxes(&f.queries, &f.features)?;
    let loss = box_loss(&predicted, &f.targets, &everyone)?;
    let want = case.tensor("output.proposal.all_valid.box_loss")?;
    report.compare("filtration/box", &loss, want, VALUE)?;
    let valid: Vec<bool> = case
        .ints("input.proposal.valid")?
        .iter()
        .map(|v| *v != 0)
        .collect();
    let loss = box_loss(&predicted, &f.targets, &valid)?;
    report.compare(
        "filtration/box",
        &loss,
        case.tensor("output.proposal.box_loss")?,
        VALUE,
    )?;
    f.gradients(report, "output.proposal.box_grad.", &loss)
}

fn detector(case: &Case, report: &mut Report) -> Outcome {
    let config: ProposerConfig = case.value("ddetr")?;
    // The case starts behind the input projection.
    let proposer = Proposer::new(
        &config,
        case.var_builder_omitting("detector.", &["input_proj."]),
    )?;
    let maps: Vec<Var> = (0..config.num_feature_levels)
        .map(|l| var(case, &format!("input.det.source.{l}")))
        .collect::<Outcome<_>>()?;
    let images = maps[0].dim(0)?;
    let mut objects = Vec::with_capacity(images);
    for image in 0..images {
        // An image without objects may have no entry.
        let name = format!("input.det.target_boxes.{image}");
        objects.push(if case.has(&name) {
            let boxes = case.float(&name)?;
            boxes.reshape((boxes.elem_count() / 4, 4))?
        } else {
            Tensor::zeros((0, 4), DType::F32, maps[0].device())?
        });
    }
    let weight = |name: &str, default: f64| case.value(&format!("ddetr.{name}")).unwrap_or(default);
    let usual = SetWeights::default();
    let weights = SetWeights {
        loss: Weights {
            class: weight("cls_loss_coefficient", usual.loss.class),
            l1: weight("bbox_loss_coefficient", usual.loss.l1),
            giou: weight("giou_loss_coefficient", usual.loss.giou),
        },
        cost: Weights {
            class: weight("class_cost", usual.cost.class),
            l1: weight("bbox_cost", usual.cost.l1),
            giou: weight("giou_cost", usual.cost.giou),
        },
        alpha: weight("focal_alpha", usual.alpha),
    };
    for (name, source) in [("coco", Source::Coco), ("sa1b", Source::Sa1b)] {
        let inputs: Vec<Tensor> = maps.iter().map(|v| v.as_tensor().clone()).collect();
        let output = proposer.transform(&inputs)?;
        let last = config.decoder_layers - 1;
        let (logits, other) = match source {
            Source::Coco => (
                &output.logits_coco,
                ("mid.det.enc_class", &output.encoder_logits.unsqueeze(2)?),
            ),
            Source::Sa1b => (
                &output.logits_sa1b,
                ("mid.det.enc_boxes_sigmoid", &output.encoder_boxes),
            ),
        };
        report.compare("detector", other.1, case.tensor(other.0)?, VALUE)?;
        let layer = |t: &Tensor| t.narrow(1, last, 1)?.squeeze(1)?.contiguous();
        let want = case.tensor("output.det.pred_boxes")?;
        report.compare(
            "detector/boxes",
            &layer(&output.boxes_per_layer)?,
            want,
            VALUE,
        )?;
        let want = case.tensor(&format!("output.det.{name}.logits"))?;
        report.compare(
            "detector/logits",
            &layer(logits)?.unsqueeze(2)?,
            want,
            VALUE,
        )?;
        let (loss, sets) = detector_loss(&output, source, &objects, weights)?;
        let want = case.tensor(&format!("output.det.{name}.loss"))?;
        report.compare(&format!("detector/{name}.loss"), &loss, want, VALUE)?;
        terms(case, report, name, &sets, &objects)?;
        for (image, pairs) in sets[last].pairs.iter().enumerate() {
            let path = format!("output.det.{name}.match.image{image}");
            let queries: Vec<i64> = pairs.iter().map(|p| p.0 as i64).collect();
            let found: Vec<i64> = pairs.iter().map(|p| p.1 as i64).collect();
            for (part, got) in [("query", queries), ("target", found)] {
                let name = format!("{path}_{part}");
                let want = if case.has(&name) {
                    case.ints(&name)?
                } else {
                    Vec::new()
                };
                report.compare_ints("matching", &got, &want);
            }
        }
        let grads = loss.backward()?;
        for (l, map) in maps.iter().enumerate() {
            let path = format!("output.det.{name}.grad_source{l}");
            if case.has(&path) {
                let want = case.tensor(&path)?;
                report.compare_to_max(
                    &format!("detector/{path}"),
                    &gradient(&grads, map)?,
                    want,
                    GRADIENT,
                )?;
            }
        }
    }
    Ok(())
}

/// `loss_ce`, `loss_bbox_0`, `loss_giou_enc`, `cardinality_error` …: the last layer bears no number.
fn terms(
    case: &Case,
    report: &mut Report,
    source: &str,
    sets: &[SetTerms],
    objects: &[Tensor],
) -> Outcome {
    let want = case.float(&format!("output.det.{source}.loss_terms"))?;
    let names: Vec<String> = case.value("det_loss_terms_order")?;
    // With one class the reference never sees an object predicted, so its count is off by all of them.
    let count: usize = objects
        .iter()
        .map(|t| t.dim(0))
        .sum::<candle_core::Result<usize>>()?;
    let cardinality = count as f32 / objects.len().max(1) as f32;
    let mut got = Vec::with_capacity(names.len());
    for name in &names {
        let kinds = ["cardinality_error", "loss_bbox", "loss_ce", "loss_giou"];
        let kind = kinds
            .iter()
            .find(|k| name.starts_with(**k))
            .copied()
            .unwrap_or_default();
        let set = match name[kind.len()..].trim_start_matches('_') {
            "" => sets.len() - 2,
            "enc" => sets.len() - 1,
            number => number.parse().unwrap_or(usize::MAX),
        };
        let Some(set) = sets.get(set) else {
            report.uncovered.push(name.clone());
            return Ok(());
        };
        got.push(match kind {
            "cardinality_error" => cardinality,
            "loss_bbox" => set.l1.to_scalar::<f32>()?,
            "loss_ce" => set.class.to_scalar::<f32>()?,
            _ => set.giou.to_scalar::<f32>()?,
        });
    }
    let got = Tensor::new(got.as_slice(), want.device())?;
    report.compare(&format!("detector/{source}.terms"), &got, &want, VALUE)
}

fn boxes(case: &Case, report: &mut Report) -> Outcome {
    let logits = var(case, "input.focal.logits")?;
    let targets = case.float("input.focal.targets")?;
    for name in case.names("output.focal.loss_num_boxes") {
        let count = name
            .rsplit("num_boxes")
            .next()
            .and_then(|n| n.parse::<f64>().ok());
        let terms = focal(&logits, &targets, SetWeights::default().alpha)?;
        let loss = (terms.mean(1)?.sum_all()? / count.unwrap_or(1.0))?;
        report.compare("focal", &loss, case.tensor(&name)?, VALUE)?;
        let want = case.tensor("output.focal.grad")?;
        report.compare_to_max(
            "focal/grad",
            &gradient(&loss.backward()?, &logits)?,
            want,
            GRADIENT,
        )?;
    }
    let (a, b) = (case.float("input.giou.a")?, case.float("input.giou.b")?);
    let got = giou(&a.unsqueeze(1)?, &b.unsqueeze(0)?)?;
    report.compare("giou", &got, case.tensor("output.giou")?, VALUE)
}
