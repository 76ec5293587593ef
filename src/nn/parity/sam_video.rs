//! Cases of SAM2's tracking with text (SAM2 2.0): memory encoder, memory attention and rotary code alone, then a clip,
//! once through the state machine and once unrolled by hand as a trainer does.

use std::ops::ControlFlow;

use candle_core::Tensor;

use super::{
    Case, Kind, ParityError, Report,
    sam::{compare_stored, config, prefix, strided},
};
use crate::nn::{
    config::Sam2Config,
    ops,
    sam2::{
        BankEntry, DecodeOptions, Decoded, FrameInfo, ImageFeatures, Prompts, Sam2,
        memory_attention::{MemoryAttention, MemoryTokens},
        memory_encoder::MemoryEncoder,
        position::{AxialRope, sine_2d},
        video::{
            Direction, MemoryPrecision, ObjectId, Retention, Semantics, VideoError, VideoOptions,
            VideoPredictor,
        },
    },
};

/// Memory encoder, memory attention, rotary code.
const UNIT_TOLERANCE: f64 = 5e-5;

/// Runs the case if it is one of this file's; `Ok(false)` if it is not.
pub(super) fn run(kind: Kind, case: &Case, report: &mut Report) -> Result<bool, ParityError> {
    match kind {
        Kind::VideoText => {
            let cfg = config(case)?;
            memory_encoder(case, &cfg, report)?;
            memory_attention(case, &cfg, report)?;
            rope(case, report)?;
            track_text(case, &cfg, report)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn memory_encoder(case: &Case, cfg: &Sam2Config, report: &mut Report) -> Result<(), ParityError> {
    let vb = case.var_builder(prefix(case));
    let encoder = MemoryEncoder::new(cfg, vb.pp("memory_encoder"))?;
    let embed = case.float("input.memory_encoder.pix_feat")?;
    let (_, _, h, w) = embed.dims4()?;
    let low_res = case.float("input.memory_encoder.low_res_logits")?;
    let stride = encoder.mask_stride();
    let logits = ops::resize_bilinear(&low_res, (h * stride, w * stride))?;
    compare_stored(
        case,
        report,
        (
            "memory_encoder/high_res",
            "mid.memory_encoder.high_res_logits",
        ),
        &logits,
        UNIT_TOLERANCE,
    )?;
    for (name, mask) in [
        ("sigmoid", candle_nn::ops::sigmoid(&logits)?),
        ("binarized", logits.gt(0.0)?.to_dtype(logits.dtype())?),
    ] {
        let mask = mask.affine(20.0, -10.0)?;
        let stored = format!("mid.memory_encoder.{name}.mask_downsampled");
        let stage = format!("memory_encoder/{name}.mask");
        let got = encoder.downsample(&mask)?;
        compare_stored(case, report, (&stage, &stored), &got, UNIT_TOLERANCE)?;
        let stored = format!("output.memory_encoder.{name}.features");
        let stage = format!("memory_encoder/{name}.features");
        let got = encoder.forward(&embed, &mask)?;
        compare_stored(case, report, (&stage, &stored), &got, UNIT_TOLERANCE)?;
    }
    let code = sine_2d(cfg.mem_dim, (h, w), embed.device())?;
    let names = ("memory_encoder/position", "output.memory_encoder.pos_enc");
    compare_stored(case, report, names, &code, UNIT_TOLERANCE)
}

/// Inputs are stored sequence first; the network is batch first.
fn memory_attention(case: &Case, cfg: &Sam2Config, report: &mut Report) -> Result<(), ParityError> {
    let vb = case.var_builder(prefix(case));
    let attention = MemoryAttention::new(cfg, vb.pp("memory_attention"))?;
    let batch_first = |name: &str| -> Result<Tensor, ParityError> {
        let stored = case.float(&format!("input.memory_attention.{name}"))?;
        Ok(stored.transpose(0, 1)?.contiguous()?)
    };
    let (frame, frame_pos) = (batch_first("curr")?, batch_first("curr_pos")?);
    let (memory, memory_pos) = (batch_first("memory")?, batch_first("memory_pos")?);
    let grid: (usize, usize) = case.value("memory_unit.rope.feat")?;
    let pointers: usize = case.value("memory_attention.num_obj_ptr_tokens")?;
    let spatial = memory.dim(1)? - pointers;
    let part = |t: &Tensor, from: usize, n: usize| t.narrow(1, from, n)?.contiguous();

    let tokens = MemoryTokens {
        spatial: part(&memory, 0, spatial)?,
        spatial_pos: part(&memory_pos, 0, spatial)?,
        pointers: Some((
            part(&memory, spatial, pointers)?,
            part(&memory_pos, spatial, pointers)?,
        )),
    };
    let mut first = None;
    let got = attention.forward_traced(&frame, &frame_pos, grid, &tokens, &mut |i, x| {
        if i == 0 {
            first = Some(x.clone());
        }
        Ok(())
    })?;
    if let Some(first) = first {
        let names = ("memory_attention/layer0", "mid.memory_attention.layer0");
        compare_stored(case, report, names, &first, UNIT_TOLERANCE)?;
    }
    let sequence_first = |t: Tensor| t.transpose(0, 1)?.contiguous();
    let names = ("memory_attention/all", "output.memory_attention");
    compare_stored(case, report, names, &sequence_first(got)?, UNIT_TOLERANCE)?;

    let n = grid.0 * grid.1;
    let tokens = MemoryTokens {
        spatial: part(&memory, 0, n)?,
        spatial_pos: part(&memory_pos, 0, n)?,
        pointers: None,
    };
    let got = attention.forward(&frame, &frame_pos, grid, &tokens)?;
    let names = (
        "memory_attention/no_pointers",
        "output.memory_attention.no_pointers",
    );
    compare_stored(case, report, names, &sequence_first(got)?, UNIT_TOLERANCE)
}

fn rope(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let q = case.float("input.rope.q")?;
    let k = case.float("input.rope.k")?;
    let grid: (usize, usize) = case.value("memory_unit.rope.feat")?;
    let theta: f64 = case.value("memory_unit.rope.theta")?;
    let rope = AxialRope::new(q.dim(3)?, grid, theta, q.device())?;
    let (cos, sin) = rope.tables()?;
    for (name, got) in [
        ("mid.rope.cos", cos),
        ("mid.rope.sin", sin),
        ("output.rope.q", rope.rotate(&q)?),
        ("output.rope.k", rope.rotate(&k)?),
    ] {
        let stage = format!("rope/{name}");
        compare_stored(case, report, (&stage, name), &got, UNIT_TOLERANCE)?;
    }
    Ok(())
}

/// Logits of the run with exact memories: what a perturbation of 1e-6 does to them grows with time.
pub(super) fn exact_tolerance(frame: usize) -> f64 {
    if frame < 2 { 1e-3 } else { 1e-2 }
}

/// A tracking failure as a case's failure.
pub(super) fn stop(error: VideoError) -> ParityError {
    match error {
        VideoError::Network(error) => error.into(),
        other => candle_core::Error::Msg(other.to_string()).into(),
    }
}

/// Features of every frame of `input.frames_u8`, one row each.
pub(super) fn features(case: &Case, model: &Sam2) -> Result<Vec<ImageFeatures>, ParityError> {
    let frames = case.image("input.frames_u8")?;
    (0..frames.dim(0)?)
        .map(|i| Ok(model.encode_image(&frames.narrow(0, i, 1)?)?))
        .collect()
}

/// Side of the model image, from the frames themselves.
pub(super) fn image_size(case: &Case) -> Result<usize, ParityError> {
    Ok(case.tensor("input.frames_u8")?.dim(2)?)
}

/// Settings under which the released predictor ran.
pub(super) fn released(num_frames: usize, precision: MemoryPrecision) -> VideoOptions {
    VideoOptions {
        precision,
        retention: Retention::Everything,
        ..VideoOptions::new(num_frames)
    }
}

/// Counts of positive pixels against the stored ones, in parts of them: a rounding moves a border, not a mask.
pub(super) fn compare_areas(report: &mut Report, stage: &str, got: &[i64], want: &[i64]) {
    report.check(
        &format!("{stage}.count"),
        got.len() == want.len(),
        format!("{} areas, not {}", got.len(), want.len()),
    );
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs() as f64 / (*want).max(1).abs() as f64;
        let note = format!("{got} pixels, not {want}");
        report.push(&format!("{stage}.{i}"), error, 0.03, Some(note));
    }
}

/// Pixels above zero.
pub(super) fn area(logits: &Tensor) -> Result<i64, ParityError> {
    let inside = logits.gt(0.0)?.to_dtype(candle_core::DType::F32)?;
    Ok(inside.sum_all()?.to_scalar::<f32>()? as i64)
}

fn track_text(case: &Case, cfg: &Sam2Config, report: &mut Report) -> Result<(), ParityError> {
    let model = Sam2::new(cfg, case.var_builder(prefix(case)))?;
    let feats = features(case, &model)?;
    unrolled(case, &model, &feats, report)?;
    for (precision, stored) in [
        (MemoryPrecision::F32, "mid.f32mem"),
        (MemoryPrecision::Bf16, "output"),
    ] {
        let tolerance = match precision {
            MemoryPrecision::F32 => None,
            MemoryPrecision::Bf16 => Some(case.value("max_abs_diff_bf16_vs_f32_memory")?),
        };
        state_machine(case, &model, &feats, (precision, stored, tolerance), report)?;
    }
    Ok(())
}

/// Compares absolutely, if the case holds `name`.
pub(super) fn compare_if_stored(
    case: &Case,
    report: &mut Report,
    (stage, name): (&str, &str),
    got: &Tensor,
    tolerance: f64,
) -> Result<(), ParityError> {
    if case.has(name) {
        report.compare_abs(stage, got, &case.float(name)?, tolerance)?;
    }
    Ok(())
}

/// Rows of one frame over all objects.
struct Rows {
    low_res: Tensor,
    pointer: Tensor,
    memory: Tensor,
}

fn state_machine(
    case: &Case,
    model: &Sam2,
    feats: &[ImageFeatures],
    (precision, stored, tolerance): (MemoryPrecision, &str, Option<f64>),
    report: &mut Report,
) -> Result<(), ParityError> {
    let text = case.float("input.text")?;
    let objects = text.dim(0)? as ObjectId;
    let hw: (usize, usize) = case.value("video_hw")?;
    let options = VideoOptions {
        semantics: Semantics::Joint,
        ..released(feats.len(), precision)
    };
    let mut predictor = VideoPredictor::new(model, options, |f: usize| Ok(feats[f].clone()));
    for object in 0..objects {
        let prompts = Prompts {
            text: Some(text.narrow(0, object as usize, 1)?),
            ..Prompts::default()
        };
        predictor.add_prompt(0, object, &prompts).map_err(stop)?;
    }
    predictor
        .propagate(0..feats.len(), Direction::Forward, None, |_| {
            ControlFlow::Continue(())
        })
        .map_err(stop)?;

    let run = match precision {
        MemoryPrecision::F32 => "track_f32",
        MemoryPrecision::Bf16 => "track_bf16",
    };
    let mut areas = Vec::new();
    for frame in 0..feats.len() {
        let mut known = Vec::new();
        for object in 0..objects {
            known.extend(predictor.known(object, frame));
        }
        let cat = |rows: Vec<&Tensor>| Tensor::cat(&rows, 0);
        let memories = known.iter().filter_map(|k| k.memory.as_ref());
        let rows = Rows {
            low_res: cat(known.iter().map(|k| &k.low_res).collect())?,
            pointer: cat(known.iter().map(|k| &k.pointer).collect())?,
            memory: cat(memories.map(|m| &m.features).collect())?,
        };
        let allowed = tolerance.unwrap_or_else(|| exact_tolerance(frame));
        for (name, got) in [
            ("low_res", &rows.low_res),
            ("obj_ptr", &rows.pointer),
            ("maskmem_features", &rows.memory),
        ] {
            let stored = format!("{stored}.frame{frame}.{name}");
            let stage = format!("{run}/{frame}.{name}");
            compare_if_stored(case, report, (&stage, &stored), got, allowed)?;
        }
        let full = ops::resize_bilinear(&rows.low_res, hw)?;
        let name = format!("{stored}.frame{frame}.video_res_strided2");
        let stage = format!("{run}/{frame}.video_res");
        compare_if_stored(case, report, (&stage, &name), &strided(&full, 2)?, allowed)?;
        for row in 0..full.dim(0)? {
            areas.push(area(&full.narrow(0, row, 1)?)?);
        }
    }
    if precision == MemoryPrecision::Bf16 {
        compare_areas(
            report,
            "area/frame",
            &areas,
            &case.ints("output.mask_area")?,
        );
    }
    Ok(())
}

/// The same clip through the pieces that a trainer unrolls, all objects in one batch.
fn unrolled(
    case: &Case,
    model: &Sam2,
    feats: &[ImageFeatures],
    report: &mut Report,
) -> Result<(), ParityError> {
    let text = case.float("input.text")?;
    let k = text.dim(0)?;
    let options = DecodeOptions {
        multimask: true,
        train: false,
        image_size: image_size(case)?,
    };
    let mut bank: Vec<BankEntry> = Vec::new();
    for (frame, feats) in feats.iter().enumerate() {
        let tolerance = exact_tolerance(frame);
        let info = FrameInfo::forward(frame, case.value("num_frames")?);
        let embed = model.condition(feats, &bank, info)?;
        let prompts = Prompts {
            text: (frame == 0).then(|| text.clone()),
            ..Prompts::nothing(k, &text)?
        };
        let all = model.decode(&embed, &feats.high_res, &prompts, options)?;
        let Decoded {
            low_res,
            object_score,
            pointer,
            ..
        } = model.decode_object(&embed, &feats.high_res, &prompts, options)?;
        let stage = |what: &str| format!("unrolled/{frame}.{what}");
        let own = |what: &str| format!("mid.f32mem.track{frame}.{what}");
        for (name, got) in [
            ("conditioned_features", &embed),
            ("ious", &all.ious),
            ("object_score", &object_score),
        ] {
            compare_if_stored(case, report, (&stage(name), &own(name)), got, tolerance)?;
        }
        if frame == 0 {
            for row in 0..k {
                let own = |what: &str| format!("mid.f32mem.init_obj{row}.{what}");
                let got = all.ious.narrow(0, row, 1)?;
                compare_if_stored(
                    case,
                    report,
                    (&stage("ious"), &own("ious")),
                    &got,
                    tolerance,
                )?;
                let got = object_score.narrow(0, row, 1)?;
                let names = (stage("object_score"), own("object_score"));
                compare_if_stored(case, report, (&names.0, &names.1), &got, tolerance)?;
            }
        }
        let memory = model.encode_memory(&feats.embed, &low_res, &object_score, frame == 0)?;
        for (name, got) in [
            ("low_res", &low_res),
            ("obj_ptr", &pointer),
            ("maskmem_features", &memory.features),
        ] {
            let stored = format!("mid.f32mem.frame{frame}.{name}");
            compare_if_stored(case, report, (&stage(name), &stored), got, tolerance)?;
        }
        bank.push(BankEntry {
            frame,
            conditioning: frame == 0,
            memory,
            pointer,
        });
    }
    Ok(())
}
