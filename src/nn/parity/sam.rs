//! Cases of SAM2's image side: trunk and neck, prompt encoder and mask decoder. Tracking is in `sam_video`.

use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::{Case, Kind, ParityError, Report};
use crate::nn::{
    config::Sam2Config,
    sam2::{
        DecodeOptions, MaskOutput, Prompts,
        mask_decoder::{AllMasks, HighRes, MaskDecoder, Stability, choose_stable},
        neck::Neck,
        position::sine_2d,
        prompt_encoder::PromptEncoder,
        trunk::{Trunk, TrunkPoint},
    },
};

/// Features, tokens, IoUs, scores.
const TOLERANCE: f64 = 2e-5;
/// Masks.
const MASK_TOLERANCE: f64 = 5e-5;

/// Runs the case if it is one of this file's; `Ok(false)` if it is not.
pub(super) fn run(kind: Kind, case: &Case, report: &mut Report) -> Result<bool, ParityError> {
    match kind {
        Kind::ImageEncoder => image_encoder(case, report)?,
        Kind::PromptMaskDecoder => prompt_mask_decoder(case, report)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The case's `model`, with neutral values for the parts that it does not have.
pub(super) fn config(case: &Case) -> Result<Sam2Config, ParityError> {
    let mut merged = json!({
        "image_size": 0, "embed_dim": 4, "num_heads": 1, "stages": [1, 1, 1, 1], "global_att_blocks": [],
        "window_pos_embed_bkg_spatial_size": [1, 1], "window_spec": [2, 2, 2, 2], "d_model": 8, "mem_dim": 4,
        "memory_attention_ff": 1, "memory_attention_layers": 1, "decoder_mlp_dim": 1, "decoder_heads": 1,
        "iou_head_hidden_dim": 1, "mask_in_chans": 4, "num_maskmem": 1, "max_obj_ptrs_in_encoder": 1,
    });
    let mut lay_over = |from: &Map<String, Value>| {
        for (key, value) in from {
            merged[key] = value.clone();
        }
    };
    lay_over(&case.value::<Map<String, Value>>("model")?);
    if let Some(Value::Object(flags)) = case.get("flags") {
        lay_over(&Map::from_iter([(
            "flags".to_owned(),
            Value::Object(flags.clone()),
        )]));
    }
    serde_json::from_value(merged).map_err(|e| ParityError::Config {
        path: "model".into(),
        reason: e.to_string(),
    })
}

/// What stands before the weights' names: the part of the JSON's `prefix` that the file uses.
pub(super) fn prefix(case: &Case) -> &str {
    let prefix = case
        .get("prefix")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let used = case.tensors.keys().any(|k| k.starts_with(prefix));
    if used { prefix } else { "" }
}

/// Every `step`-th row and column of the last two axes.
pub(super) fn strided(x: &Tensor, step: usize) -> Result<Tensor, ParityError> {
    let rank = x.rank();
    let mut x = x.clone();
    for axis in [rank - 2, rank - 1] {
        let kept: Vec<u32> = (0..x.dim(axis)? as u32).step_by(step).collect();
        let kept = Tensor::from_vec(kept.clone(), kept.len(), x.device())?;
        x = x.index_select(&kept, axis)?;
    }
    Ok(x)
}

/// Compares with `name`, or with the strided form in which the file keeps it.
pub(super) fn compare_stored(
    case: &Case,
    report: &mut Report,
    (stage, name): (&str, &str),
    got: &Tensor,
    tolerance: f64,
) -> Result<(), ParityError> {
    if case.has(name) {
        return report.compare(stage, got, &case.float(name)?, tolerance);
    }
    let Some(kept) = case.names(&format!("{name}_strided")).into_iter().next() else {
        return Ok(());
    };
    let step = kept
        .rsplit("_strided")
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    report.compare(stage, &strided(got, step)?, &case.float(&kept)?, tolerance)
}

fn image_encoder(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let cfg = config(case)?;
    let vb = case.var_builder(prefix(case));
    let trunk = Trunk::new(&cfg, vb.pp("image_encoder").pp("trunk"))?;
    let neck = Neck::new(&cfg, vb.pp("image_encoder").pp("neck"))?;
    let image = case.image("input.image_u8")?;

    let mut seen = Vec::new();
    let stages = trunk.forward_traced(&image, &mut |point, x| {
        seen.push((point, x.clone()));
        Ok(())
    })?;
    for (point, got) in &seen {
        let name = match point {
            TrunkPoint::PatchEmbed => "patch_embed".to_owned(),
            TrunkPoint::Positions => "pos_embed".to_owned(),
            TrunkPoint::Block(i) => format!("block{i}"),
        };
        let stage = format!("trunk/{name}");
        let name = format!("mid.trunk.{name}");
        compare_stored(case, report, (&stage, &name), got, TOLERANCE)?;
    }
    for (i, got) in stages.iter().enumerate() {
        let names = (
            format!("trunk/stage{i}"),
            format!("mid.trunk.stage_outputs.{i}"),
        );
        compare_stored(case, report, (&names.0, &names.1), got, TOLERANCE)?;
    }

    let levels = neck.forward(&stages)?;
    for (i, got) in levels.iter().enumerate() {
        let name = format!("output.backbone_fpn.{i}");
        compare_stored(case, report, (&format!("neck/{i}"), &name), got, TOLERANCE)?;
        let (_, d, h, w) = got.dims4()?;
        let code = sine_2d(d, (h, w), got.device())?;
        let want = case.float(&format!("output.vision_pos_enc.{i}"))?;
        // The finest code is stored with every fourth row and column.
        let step = h.div_ceil(want.dim(2)?);
        let stage = format!("position/{i}");
        report.compare(&stage, &strided(&code, step)?, &want, TOLERANCE)?;
    }
    let [level0, level1, ..] = levels.as_slice() else {
        return Ok(());
    };
    let high_res = HighRes::new(&cfg, vb.pp("sam_mask_decoder"))?.forward(level0, level1)?;
    for (i, got) in high_res.iter().enumerate() {
        let names = (
            format!("forward_image/{i}"),
            format!("output.forward_image.backbone_fpn.{i}"),
        );
        compare_stored(case, report, (&names.0, &names.1), got, TOLERANCE)?;
    }
    Ok(())
}

/// The two modules of the case and its constant inputs.
struct DecoderCase<'a> {
    case: &'a Case,
    encoder: PromptEncoder,
    decoder: MaskDecoder,
    image_embed: Tensor,
    high_res: [Tensor; 2],
    stability: Stability,
    image_size: usize,
}

impl DecoderCase<'_> {
    fn prompts(&self, layout: &str) -> Result<Prompts, ParityError> {
        let case = self.case;
        let k = case.tensor("input.text")?.dim(0)?;
        let args: Vec<String> = case.value(&format!("layouts.{layout}.args"))?;
        let has = |name: &str| args.iter().any(|a| a == name);
        let points = match layout {
            "video_text" | "video_tracked" => Prompts::nothing(k, &self.image_embed)?.points,
            "box_as_points" => Some((
                case.float("input.box_points.coords")?,
                case.float("input.box_points.labels")?,
            )),
            _ => Some((
                case.float("input.points.coords")?,
                case.float("input.points.labels")?,
            )),
        };
        let part = |arg: &str, name: &str| has(arg).then(|| case.float(name)).transpose();
        Ok(Prompts {
            points: points.filter(|_| has("points")),
            boxes: part("boxes", "input.boxes")?,
            mask: part("masks", "input.mask")?,
            text: part("text_embeds", "input.text")?,
        })
    }

    /// Decodes on `image_embed` of one row or of one row per prompt.
    fn decode(
        &self,
        image_embed: &Tensor,
        prompts: &Prompts,
        options: DecodeOptions,
    ) -> Result<MaskOutput, ParityError> {
        let (_, _, h, w) = image_embed.dims4()?;
        let sparse = self.encoder.sparse(prompts, self.image_size)?;
        let dense = self.encoder.dense(prompts.mask.as_ref(), (h, w))?;
        let code = self.encoder.dense_code((h, w))?;
        Ok(self.decoder.forward(
            image_embed,
            &self.high_res,
            (sparse.as_ref(), &dense, &code),
            options,
            prompts.rows()?,
        )?)
    }

    /// One mask, eval mode.
    fn single(&self) -> DecodeOptions {
        DecodeOptions {
            multimask: false,
            train: false,
            image_size: self.image_size,
        }
    }

    fn all_masks(&self, prompts: &Prompts) -> Result<AllMasks, ParityError> {
        let (_, _, h, w) = self.image_embed.dims4()?;
        let sparse = self.encoder.sparse(prompts, self.image_size)?;
        let dense = self.encoder.dense(prompts.mask.as_ref(), (h, w))?;
        let code = self.encoder.dense_code((h, w))?;
        Ok(self.decoder.all_masks(
            &self.image_embed,
            &self.high_res,
            (sparse.as_ref(), &dense, &code),
            0..4,
            prompts.rows()?,
        )?)
    }

    fn layout(&self, layout: &str, report: &mut Report) -> Result<(), ParityError> {
        let case = self.case;
        let prompts = self.prompts(layout)?;
        let want = case.tensor(&format!("output.prompt.{layout}.sparse"))?;
        match self.encoder.sparse(&prompts, self.image_size)? {
            Some(got) => report.compare(&format!("sparse/{layout}"), &got, want, TOLERANCE)?,
            None => report.check(
                &format!("sparse/{layout}"),
                want.elem_count() == 0,
                "no token where some are stored",
            ),
        }

        let all = self.all_masks(&prompts)?;
        for (name, got, tolerance) in [
            ("all_masks", &all.masks, MASK_TOLERANCE),
            ("all_ious", &all.ious, TOLERANCE),
            ("mask_tokens", &all.tokens, TOLERANCE),
            ("transformer.tokens", &all.transformed_tokens, TOLERANCE),
            ("transformer.src", &all.transformed_image, TOLERANCE),
        ] {
            let stored = format!("mid.{layout}.{name}");
            let stage = format!("{name}/{layout}");
            compare_stored(case, report, (&stage, &stored), got, tolerance)?;
        }
        let stored = format!("output.{layout}.object_score");
        let stage = format!("object_score/{layout}");
        compare_stored(
            case,
            report,
            (&stage, &stored),
            &all.object_score,
            TOLERANCE,
        )?;

        for (mode, multimask) in [("single", false), ("multi", true)] {
            let options = DecodeOptions {
                multimask,
                ..self.single()
            };
            let got = self.decode(&self.image_embed, &prompts, options)?;
            for (name, got, tolerance) in [
                ("masks", &got.low_res, MASK_TOLERANCE),
                ("ious", &got.ious, TOLERANCE),
                ("sam_tokens", &got.tokens, TOLERANCE),
            ] {
                let stored = format!("output.{layout}.{mode}.{name}");
                let stage = format!("{mode}/{layout}.{name}");
                compare_stored(case, report, (&stage, &stored), got, tolerance)?;
            }
        }
        Ok(())
    }

    /// Other thresholds of the fallback, all on the prompt that the JSON names.
    fn thresholds(&self, report: &mut Report) -> Result<(), ParityError> {
        let case = self.case;
        let layout: String = case.value("mixed_threshold.prompt")?;
        let all = self.all_masks(&self.prompts(&layout)?)?;
        let mixed: f32 = case.value("mixed_threshold.stability_thresh")?;
        for (name, threshold) in [
            ("mixed_threshold", mixed),
            ("never_fallback", -1.0),
            ("always_fallback", 1.5),
        ] {
            let stability = Stability {
                threshold,
                ..self.stability
            };
            let got = choose_stable(&all, stability)?;
            let stage = |what: &str| format!("fallback/{name}.{what}");
            let stored = |what: &str| format!("output.{name}.{what}");
            compare_stored(
                case,
                report,
                (&stage("ious"), &stored("ious")),
                &got.ious,
                TOLERANCE,
            )?;
            compare_stored(
                case,
                report,
                (&stage("masks"), &stored("masks")),
                &got.low_res,
                MASK_TOLERANCE,
            )?;
            let mean = got.low_res.flatten_from(1)?.mean(1)?;
            compare_stored(
                case,
                report,
                (&stage("mask_mean"), &stored("mask_mean")),
                &mean,
                MASK_TOLERANCE,
            )?;
        }
        let scores = self
            .stability
            .score(&all.masks.narrow(1, 0, 1)?.squeeze(1)?)?;
        let stored = format!("mid.stability_scores.{layout}");
        compare_stored(
            case,
            report,
            ("stability/of_prompt", &stored),
            &scores,
            TOLERANCE,
        )?;
        let scores = self
            .stability
            .score(&case.float("input.stability.logits")?)?;
        compare_stored(
            case,
            report,
            ("stability/unit", "output.stability.scores"),
            &scores,
            TOLERANCE,
        )
    }

    /// One image embedding per prompt, and the training mode.
    fn rows_and_training(&self, report: &mut Report) -> Result<(), ParityError> {
        let case = self.case;
        let prompts = self.prompts("boxes_text")?;
        let k = prompts.rows()?;
        let embeds = (0..k)
            .map(|i| &self.image_embed * (1.0 + 0.2 * i as f64))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let embeds = Tensor::cat(&embeds, 0)?;
        let got = self.decode(&embeds, &prompts, self.single())?;
        compare_stored(
            case,
            report,
            ("batched_embeddings", "output.batched_embeddings.masks"),
            &got.low_res,
            MASK_TOLERANCE,
        )?;
        for name in case.names("output.train_mode.") {
            let Some(layout) = name
                .strip_prefix("output.train_mode.")
                .and_then(|n| n.strip_suffix(".ious"))
            else {
                continue;
            };
            let options = DecodeOptions {
                train: true,
                ..self.single()
            };
            let got = self.decode(&self.image_embed, &self.prompts(layout)?, options)?;
            report.compare(
                &format!("train_mode/{layout}.ious"),
                &got.ious,
                &case.float(&name)?,
                TOLERANCE,
            )?;
            let mean = got.low_res.flatten_from(1)?.mean(1)?;
            let stored = format!("output.train_mode.{layout}.mask_mean");
            let stage = format!("train_mode/{layout}.mask_mean");
            compare_stored(case, report, (&stage, &stored), &mean, MASK_TOLERANCE)?;
        }
        Ok(())
    }
}

fn prompt_mask_decoder(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let cfg = config(case)?;
    let vb = case.var_builder(prefix(case));
    let decoder = MaskDecoder::new(&cfg, vb.pp("sam_mask_decoder"))?;
    let encoder = PromptEncoder::new(&cfg, vb.pp("sam_prompt_encoder"))?;
    let this = DecoderCase {
        case,
        encoder,
        decoder,
        image_embed: case.float("input.image_embed")?,
        high_res: [
            case.float("input.high_res.s0")?,
            case.float("input.high_res.s1")?,
        ],
        stability: Stability {
            delta: cfg.stability_delta,
            threshold: cfg.stability_thresh,
        },
        image_size: cfg.image_size,
    };
    let (_, _, h, w) = this.image_embed.dims4()?;
    let code = this.encoder.dense_code((h, w))?;
    compare_stored(
        case,
        report,
        ("dense_pe", "output.dense_pe"),
        &code,
        TOLERANCE,
    )?;
    let mask = case.float("input.mask")?;
    let dense = this.encoder.dense(Some(&mask), (h, w))?;
    compare_stored(
        case,
        report,
        ("mask_dense", "output.prompt.mask_dense"),
        &dense,
        TOLERANCE,
    )?;
    let layouts: Map<String, Value> = case.value("layouts")?;
    for layout in layouts.keys() {
        this.layout(layout, report)?;
    }
    this.thresholds(report)?;
    this.rows_and_training(report)
}

/// Training-time decoding with padding rows: text prompts first, then rows whose prompt and dense map are all zero
/// (`input.padrows.*` of the case of losses).
///
/// # Errors
/// If the case lacks a tensor or a size.
pub fn padding_rows(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let mut inner = case.clone();
    inner.config = case.value("padrows")?;
    let cfg = config(&inner)?;
    // Heads and stems that no mask depends on are left out of the file.
    let omitted = &[
        "output_hypernetworks_mlps",
        "iou_prediction_head",
        "pred_obj_score_head",
        "mask_downscaling",
    ];
    let vb = case.var_builder_omitting("model.visual_model.", omitted);
    let decoder = MaskDecoder::new(&cfg, vb.pp("sam_mask_decoder"))?;
    let encoder = PromptEncoder::new(&cfg, vb.pp("sam_prompt_encoder"))?;
    let image_embed = case.float("input.padrows.image_embed")?;
    let high_res = [
        case.float("input.padrows.high_res.s0")?,
        case.float("input.padrows.high_res.s1")?,
    ];
    let want = case.tensor("output.padrows.low_res")?;
    let text = case.float("input.padrows.text")?;
    let (k, tokens, d) = text.dims3()?;
    let (_, _, h, w) = image_embed.dims4()?;
    let padding = want.dim(0)?.saturating_sub(k);
    let prompts = Prompts {
        text: Some(text.clone()),
        ..Prompts::default()
    };
    let sparse = encoder.sparse(&prompts, cfg.image_size)?.unwrap_or(text);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, sparse.dtype(), sparse.device());
    let sparse = Tensor::cat(&[&sparse, &zeros(&[padding, tokens, d])?], 0)?;
    let dense = encoder.dense(None, (h, w))?.broadcast_as((k, d, h, w))?;
    let dense = Tensor::cat(&[&dense.contiguous()?, &zeros(&[padding, d, h, w])?], 0)?;
    let options = DecodeOptions {
        multimask: false,
        train: true,
        image_size: cfg.image_size,
    };
    let code = encoder.dense_code((h, w))?;
    let rows = k + padding;
    let prompt = (Some(&sparse), &dense, &code);
    let out = decoder.forward(&image_embed, &high_res, prompt, options, rows)?;
    report.compare("padrows", &out.low_res.squeeze(1)?, want, MASK_TOLERANCE)
}
