//! Cases of the proposer.

use candle_core::{DType, Tensor};

use super::{Case, Kind, ParityError, Report, sam};
use crate::nn::{
    config::ProposerConfig,
    deformable_detr::{Memory, Proposer, is_alias, sine_of_cells, two_stage::Anchors},
    sam2::{neck::Neck, trunk::Trunk},
};

/// Runs the case if it is one of this file's; `Ok(false)` if it is not.
pub(super) fn run(kind: Kind, case: &Case, report: &mut Report) -> Result<bool, ParityError> {
    match kind {
        Kind::Detector => proposer(case, report)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Tolerance of features and logits.
const FEATURES: f64 = 5e-5;
/// Tolerance of boxes.
const BOXES: f64 = 1e-5;

/// Compares with the stored tensor, whole or strided, if the case holds it; the detail is its name.
fn compare_if(
    case: &Case,
    report: &mut Report,
    (stage, name): (&str, &str),
    got: &Tensor,
    tol: f64,
) -> Result<(), ParityError> {
    sam::compare_stored(case, report, (&format!("{stage}/{name}"), name), got, tol)
}

fn proposer(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let mut config: ProposerConfig = case.value("ddetr")?;
    config.in_channels = Some(case.value("model.d_model")?);
    let weights = case.weights("");
    let proposer = Proposer::new(&config, weights.var_builder())?;
    let unused = weights.unused(|name| name.starts_with("vis_encoder.") || is_alias(name));
    report.check(
        "names",
        unused.is_empty(),
        format!("not asked for: {}", unused.join(", ")),
    );
    let sizes = sam::config(case)?;
    let encoder = case.var_builder("").pp("vis_encoder");
    let stages =
        Trunk::new(&sizes, encoder.pp("trunk"))?.forward(&case.image("input.image_u8")?)?;
    let levels = Neck::new(&sizes, encoder.pp("neck"))?.forward(&stages)?;
    transformer(case, report, &proposer, &levels)?;
    if case.has("input.proposal_unit.encoder_output") {
        proposal_unit(case, report, &proposer)?;
    }
    Ok(())
}

fn transformer(
    case: &Case,
    report: &mut Report,
    proposer: &Proposer,
    levels: &[Tensor],
) -> Result<(), ParityError> {
    let maps = proposer.project(levels)?;
    for (l, map) in maps.iter().enumerate() {
        compare_if(
            case,
            report,
            ("projection", &format!("mid.input_proj.{l}")),
            map,
            FEATURES,
        )?;
        let (_, d, h, w) = map.dims4()?;
        let code = sine_of_cells(d, (h, w), map.device())?;
        let code = code.transpose(1, 2)?.reshape((1, d, h, w))?;
        compare_if(
            case,
            report,
            ("position", &format!("mid.position.{l}")),
            &code,
            FEATURES,
        )?;
    }
    let mut layers: Vec<(Tensor, Tensor)> = Vec::new();
    let mut keep = |out: &Tensor, read: &Tensor| layers.push((out.clone(), read.clone()));
    let memory = proposer.encode(&maps, &mut keep)?;
    for (l, (out, read)) in layers.iter().enumerate() {
        let name = format!("mid.encoder.layer{l}");
        compare_if(case, report, ("encoder", &name), out, FEATURES)?;
        let name = format!("{name}.deformable_attention");
        compare_if(case, report, ("encoder", &name), read, FEATURES)?;
        let first = read.narrow(0, 0, 1)?;
        compare_if(
            case,
            report,
            ("encoder", &format!("{name}_row0")),
            &first,
            FEATURES,
        )?;
    }
    let first = proposer.first_stage(&memory)?;
    let logits = first.logits.unsqueeze(2)?;
    compare_if(
        case,
        report,
        ("proposals", "mid.enc_class_logits"),
        &logits,
        FEATURES,
    )?;
    let name = "mid.enc_box_logits_inf_as_1e30";
    compare_if(
        case,
        report,
        ("proposals", name),
        &first.box_logits,
        FEATURES,
    )?;
    let (b, cells) = first.logits.dims2()?;
    let valid = first.anchors.valid.squeeze(2)?.broadcast_as((b, cells))?;
    if case.has("mid.enc_valid_cells") {
        report.compare_exact("valid", &valid, case.tensor("mid.enc_valid_cells")?)?;
    }
    for name in case.names("mid.object_query_features_every") {
        let Some(step) = first_number(&name) else {
            continue;
        };
        let every = Tensor::arange_step(0_u32, cells as u32, step, maps[0].device())?;
        let got = first.object_queries.index_select(&every, 1)?;
        compare_if(case, report, ("proposals", &name), &got, FEATURES)?;
    }
    let start = proposer.start(&first)?;
    report.compare_exact("topk", &start.chosen, case.tensor("mid.topk_indices")?)?;
    compare_if(
        case,
        report,
        ("references", "mid.reference_points"),
        &start.references,
        BOXES,
    )?;
    compare_if(
        case,
        report,
        ("references", "mid.proposal_sine_embedding"),
        &start.code,
        FEATURES,
    )?;
    compare_if(
        case,
        report,
        ("references", "mid.pos_trans_norm"),
        &start.placed,
        FEATURES,
    )?;
    let mut layers: Vec<(Tensor, Tensor)> = Vec::new();
    let mut keep = |out: &Tensor, read: &Tensor| layers.push((out.clone(), read.clone()));
    let states = proposer.decode(&memory, &start, &mut keep)?;
    for (l, (out, read)) in layers.iter().enumerate() {
        let name = format!("mid.decoder.layer{l}");
        compare_if(case, report, ("decoder", &name), out, FEATURES)?;
        let name = format!("{name}.deformable_attention");
        compare_if(case, report, ("decoder", &name), read, FEATURES)?;
    }
    let (reported, recorded) = proposer.boxes(&states, &start)?;
    compare_if(
        case,
        report,
        ("boxes", "mid.boxes_per_layer"),
        &reported,
        BOXES,
    )?;
    compare_if(
        case,
        report,
        ("boxes", "mid.recorded_reference_per_layer"),
        &recorded,
        BOXES,
    )?;
    outputs(case, report, proposer, levels)
}

/// The public way: maps in, proposals out.
fn outputs(
    case: &Case,
    report: &mut Report,
    proposer: &Proposer,
    levels: &[Tensor],
) -> Result<(), ParityError> {
    let output = proposer.forward(levels)?;
    let last = output.boxes_per_layer.dim(1)? - 1;
    let layer = |t: &Tensor| t.narrow(1, last, 1)?.squeeze(1)?.contiguous();
    let boxes = layer(&output.boxes_per_layer)?;
    report.compare("boxes", &boxes, case.tensor("output.boxes_cxcywh")?, BOXES)?;
    report.compare(
        "features",
        &output.features,
        case.tensor("output.features")?,
        FEATURES,
    )?;
    for (name, logits) in [("coco", &output.logits_coco), ("sa1b", &output.logits_sa1b)] {
        let want = case.tensor(&format!("output.logits.{name}"))?;
        report.compare("logits", &layer(logits)?.unsqueeze(2)?, want, FEATURES)?;
    }
    for name in case.names("output.proposals.") {
        let Some(run) = name.strip_suffix(".indices") else {
            continue;
        };
        let (power, topk) = powers(run)?;
        let got = output.proposals(0, topk, power)?;
        let indices: Vec<i64> = got.indices.iter().map(|&i| i64::from(i)).collect();
        report.compare_ints(&format!("selection/{run}"), &indices, &case.ints(&name)?);
        let boxes = case.tensor(&format!("{run}.boxes_xyxy"))?;
        report.compare(&format!("selection/{run}.boxes"), &got.boxes, boxes, BOXES)?;
        let scores = case.tensor(&format!("{run}.scores"))?;
        report.compare(
            &format!("selection/{run}.scores"),
            &got.scores,
            scores,
            FEATURES,
        )?;
    }
    Ok(())
}

/// `output.proposals.power0.3_0.7_top10` → exponents and count.
fn powers(run: &str) -> Result<([f32; 2], usize), ParityError> {
    let parse = || {
        let (powers, topk) = run
            .strip_prefix("output.proposals.power")?
            .split_once("_top")?;
        let (a, b) = powers.split_once('_')?;
        Some(([a.parse().ok()?, b.parse().ok()?], topk.parse().ok()?))
    };
    parse().ok_or_else(|| ParityError::Config {
        path: run.into(),
        reason: "the name does not tell its exponents".into(),
    })
}

/// Grids wide enough that some anchors are invalid.
fn proposal_unit(case: &Case, report: &mut Report, proposer: &Proposer) -> Result<(), ParityError> {
    let shapes: Vec<(usize, usize)> = case.value("proposal_unit.spatial_shapes")?;
    let tokens = case.float("input.proposal_unit.encoder_output")?;
    let b = tokens.dim(0)?;
    let anchors = Anchors::new(&shapes, proposer.config().anchor_size, tokens.device())?;
    let name = "mid.proposal_unit.anchor_logits_inf_as_1e30";
    let cells = tokens.dim(1)?;
    let logits = anchors.logits.broadcast_as((b, cells, 4))?;
    compare_if(case, report, ("invalid_anchors", name), &logits, BOXES)?;
    if let Some(invalid) = case.get("proposal_unit.invalid").and_then(|v| v.as_u64()) {
        let valid = anchors
            .valid
            .to_dtype(DType::F64)?
            .sum_all()?
            .to_scalar::<f64>()?;
        let counted = (cells as f64 - valid) as i64;
        report.compare_ints("invalid_anchors/count", &[counted], &[invalid as i64]);
    }
    let first = proposer.first_stage(&Memory { tokens, shapes })?;
    let name = "mid.proposal_unit.object_query";
    // "every 3rd cell stored"; without such words all are.
    let words = case
        .get("proposal_unit.object_query")
        .and_then(|v| v.as_str());
    let step = words.and_then(first_number).unwrap_or(1);
    let every = Tensor::arange_step(0_u32, cells as u32, step, first.logits.device())?;
    let got = first.object_queries.index_select(&every, 1)?;
    compare_if(case, report, ("invalid_anchors", name), &got, FEATURES)
}

/// The first run of digits in `words`, if it is a positive number.
fn first_number(words: &str) -> Option<u32> {
    let digits = words
        .split(|c: char| !c.is_ascii_digit())
        .find(|d| !d.is_empty())?;
    digits.parse().ok().filter(|n| *n > 0)
}
