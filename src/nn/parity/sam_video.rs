//! Cases of SAM2's tracking: memory encoder, memory attention and rotary code alone, then whole clips.

use candle_core::Tensor;

use super::{
    Case, Kind, ParityError, Report,
    sam::{compare_stored, config, prefix},
};
use crate::nn::{
    config::Sam2Config,
    ops,
    sam2::{
        memory_attention::{MemoryAttention, MemoryTokens},
        memory_encoder::MemoryEncoder,
        position::{AxialRope, sine_2d},
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
