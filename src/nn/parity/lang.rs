//! Cases of the language path: towers, language model, embedding, target-specific tokens.

use candle_core::{DType, Device, Tensor};

use super::{Case, Kind, ParityError, Report, ties};
use crate::nn::{
    clip::Clip,
    config::{ClipConfig, InternVideo2Config, Phi3Config},
    internvideo2::InternVideo2,
    multimodal::{self, Multimodal, PromptIds, Spliced, TsfTokens, Widths},
    phi3::{KvCache, Phi3},
    tsf::{self, BoxFormat},
};

const TOLERANCE: f64 = 2e-5;

/// Runs the case if it is one of this file's; `Ok(false)` if it is not.
pub(super) fn run(kind: Kind, case: &Case, report: &mut Report) -> Result<bool, ParityError> {
    match kind {
        Kind::ClipVision => clip_vision(case, report)?,
        Kind::InternVideo2 => internvideo2(case, report)?,
        Kind::Phi3 => phi3(case, report)?,
        Kind::MultimodalEmbedding => embedding(case, report)?,
        Kind::Tsf => target_specific(case, report)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn clip_vision(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let cfg: ClipConfig = case.value("model")?;
    let vb = case.var_builder("model.image_vision_tower.");
    let clip = Clip::new(&cfg, vb.pp("vision_tower"))?;
    let images = case.float("input.images")?;
    let states = clip.hidden_states(&images)?;
    for (i, state) in states.iter().enumerate() {
        let want = case.float(&format!("mid.hidden_state.{i}"))?;
        report.compare(&format!("states/{i}"), state, &want, TOLERANCE)?;
    }
    let whole = case.float("output.features_with_class_token")?;
    report.compare(
        "features/with class token",
        &states[states.len() - 1],
        &whole,
        TOLERANCE,
    )?;
    let got = clip.forward(&images)?;
    report.compare("features", &got, &case.float("output.features")?, TOLERANCE)
}

fn internvideo2(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let cfg: InternVideo2Config = case.value("model")?;
    let vb = case.var_builder("model.vision_tower.");
    let tower = InternVideo2::new(&cfg, vb.pp("vision_encoder"))?;
    let frames = case.float("input.frames")?;
    let trace = tower.trace(&frames)?;
    let want = case.float("mid.patch_embed")?;
    report.compare("patches", &trace.patches, &want, TOLERANCE)?;
    let want = case.float("mid.block0.attn")?;
    report.compare("blocks/attention 0", &trace.attention0, &want, TOLERANCE)?;
    for (i, state) in trace.blocks.iter().enumerate() {
        let want = case.float(&format!("mid.block{i}"))?;
        report.compare(&format!("blocks/{i}"), state, &want, TOLERANCE)?;
    }
    let raw = case.float("output.raw_with_class_token")?;
    if let Some(last) = trace.blocks.last() {
        report.compare("features/with class token", last, &raw, TOLERANCE)?;
    }
    let got = tower.forward(&frames)?;
    report.compare("features", &got, &case.float("output.features")?, TOLERANCE)?;
    if case.has("input.single_frame") {
        let got = tower.forward(&case.float("input.single_frame")?)?;
        let want = case.float("output.single_frame.features")?;
        report.compare("single frame", &got, &want, TOLERANCE)?;
    }
    Ok(())
}

/// The number that a name ends with.
fn trailing_number(name: &str) -> Option<usize> {
    let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name[digits..].parse().ok()
}

fn ids(case: &Case, name: &str) -> Result<Vec<u32>, ParityError> {
    Ok(case.ints(name)?.into_iter().map(|i| i as u32).collect())
}

/// Greedy continuation with the cache: ids, states `(steps, h)`, logits `(steps, v)`.
fn continuation(
    model: &Phi3,
    embeds: &Tensor,
    steps: usize,
) -> Result<(Vec<i64>, Tensor, Tensor), ParityError> {
    let mut cache = KvCache::new();
    // All but the last token are frozen, so the shared-prefix path is what is compared.
    let n = embeds.dim(1)?;
    model.forward(&embeds.narrow(1, 0, n - 1)?, &mut cache)?;
    cache.freeze()?;
    let mut next = embeds.narrow(1, n - 1, 1)?;
    let (mut out, mut states) = (vec![], vec![]);
    for _ in 0..steps {
        let state = model.forward(&next, &mut cache)?.squeeze(0)?;
        let id = model.greedy(&state.squeeze(0)?)?;
        out.push(i64::from(id));
        states.push(state);
        next = model.embed(&[id])?.unsqueeze(0)?;
    }
    let states = Tensor::cat(&states, 0)?;
    let logits = model.logits(&states)?;
    Ok((out, states, logits))
}

fn phi3(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let cfg: Phi3Config = case.value("model")?;
    let model = Phi3::new(&cfg, case.var_builder(""))?;
    let embeds = model.embed(&ids(case, "input.ids")?)?.unsqueeze(0)?;
    let states = model.hidden_states(&embeds)?;
    for (i, state) in states.iter().enumerate() {
        let want = case.float(&format!("mid.ids.hidden_state.{i}"))?;
        report.compare(&format!("states/{i}"), state, &want, TOLERANCE)?;
    }
    let logits = model.logits(&states[states.len() - 1])?;
    report.compare(
        "logits",
        &logits,
        &case.float("output.ids.logits")?,
        TOLERANCE,
    )?;

    let given = case.float("input.embeds")?;
    let hidden = model.forward(&given, &mut KvCache::new())?;
    let want = case.float("output.embeds.last_hidden")?;
    report.compare("states/from embeddings", &hidden, &want, TOLERANCE)?;
    let want = case.float("output.embeds.logits")?;
    report.compare(
        "logits/from embeddings",
        &model.logits(&hidden)?,
        &want,
        TOLERANCE,
    )?;
    let open = Phi3::new(
        &Phi3Config {
            sliding_window: None,
            ..cfg.clone()
        },
        case.var_builder(""),
    )?;
    let hidden = open.forward(&given, &mut KvCache::new())?;
    let want = case.float("output.embeds.logits_without_sliding_window")?;
    report.compare(
        "logits/without window",
        &open.logits(&hidden)?,
        &want,
        TOLERANCE,
    )?;

    let width = case.tensor("input.batch.ids")?.dim(1)?;
    let mask = case.ints("input.batch.attention_mask")?;
    for name in case.names("output.batch.logits") {
        let Some(row) = trailing_number(&name) else {
            continue;
        };
        let valid = mask[row * width..][..width]
            .iter()
            .filter(|m| **m == 1)
            .count();
        let ids = &ids(case, "input.batch.ids")?[row * width..][..width];
        let embeds = model.embed(ids)?.unsqueeze(0)?;
        let hidden = model.forward(&embeds, &mut KvCache::new())?;
        let logits = model.logits(&hidden)?.squeeze(0)?.narrow(0, 0, valid)?;
        report.compare(
            &format!("batch/row {row}"),
            &logits,
            &case.float(&name)?,
            TOLERANCE,
        )?;
    }

    let want = case.ints("output.generated")?;
    let (got, states, logits) = continuation(&model, &embeds, want.len())?;
    report.compare_ints("generated/ids", &got, &want);
    let want = case.float("output.generated.step_hidden")?;
    report.compare("generated/states", &states, &want, TOLERANCE)?;
    let want = case.float("output.generated.step_logits")?;
    report.compare("generated/logits", &logits, &want, TOLERANCE)?;
    let want = case.ints("output.generated_from_embeds")?;
    let (got, _, _) = continuation(&model, &given, want.len())?;
    report.compare_ints("generated/from embeddings", &got, &want);
    Ok(())
}

fn features(case: &Case, name: &str) -> Result<Tensor, ParityError> {
    Ok(((case.float(name)? - 128.0)? / 32.0)?)
}

/// Everything the rows of the embedding case share.
struct Prompting {
    embed: Tensor,
    ids: PromptIds,
    k: usize,
    iterations: usize,
    video: Tensor,
    image: Tensor,
    crops: Tensor,
    /// The reference's choice among all crops.
    chosen: Tensor,
}

impl Prompting {
    fn embed(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        self.embed
            .index_select(&Tensor::new(ids, self.embed.device())?, 0)
    }

    fn splice(&self, ids: &[i64], labels: &[i64], crops: usize) -> Result<Spliced, ParityError> {
        let images = ids.iter().filter(|&&i| i == multimodal::IMAGE).count();
        let visual = match images {
            0 => None,
            1 => Some(&self.image),
            _ => Some(&self.video),
        };
        let embed = |ids: &[u32]| self.embed(ids);
        let chosen = if crops == self.crops.dim(0)? {
            // So that an exact tie does not carry on into everything behind it.
            Some(self.chosen.clone())
        } else if crops > 0 {
            let tokens = self.crops.narrow(0, 0, crops)?;
            Some(tsf::select(&tokens, self.k, self.iterations)?.0)
        } else {
            None
        };
        let tokens = match &chosen {
            Some(chosen) => TsfTokens::Selected(chosen),
            None => TsfTokens::Zeros(self.k),
        };
        Ok(multimodal::splice(
            ids,
            Some(labels),
            visual,
            &tokens,
            self.ids,
            embed,
        )?)
    }
}

fn positions(mask: &[bool]) -> Vec<i64> {
    let at = mask.iter().enumerate().filter(|(_, m)| **m);
    at.map(|(i, _)| i as i64).collect()
}

fn embedding(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let size = |name: &str| case.value::<usize>(&format!("model.{name}"));
    let widths = Widths {
        spatial: size("dc")?,
        temporal: size("dv")?,
        language: size("h")?,
        out: size("out")?,
    };
    let vb = case.var_builder("");
    let model = Multimodal::new(widths, (2, 2), vb.pp("model"))?;
    let context = features(case, "input.context_features_u8")?;
    let temporal = features(case, "input.video_features_u8")?;
    let video = model.video_block(&context, &temporal)?;
    report.compare(
        "blocks/video",
        &video,
        &case.float("output.video_block")?,
        TOLERANCE,
    )?;
    let spatial = model.spatial(&context)?;
    for name in case.names("mid.pool.context_frame") {
        let Some(frame) = trailing_number(&name) else {
            continue;
        };
        report.compare(
            "blocks/spatial frame",
            &spatial.get(frame)?,
            &case.float(&name)?,
            TOLERANCE,
        )?;
    }
    let frames = model.temporal(&temporal, context.dim(0)?)?;
    let per_chunk = frames.dim(0)? / temporal.dim(0)?;
    for name in case.names("mid.pool.video_chunk") {
        let chunk = name
            .rsplit_once("_frame")
            .and_then(|(c, _)| trailing_number(c));
        let (Some(chunk), Some(frame)) = (chunk, trailing_number(&name)) else {
            continue;
        };
        report.compare(
            "blocks/temporal frame",
            &frames.get(per_chunk * chunk + frame)?,
            &case.float(&name)?,
            TOLERANCE,
        )?;
    }
    let image = model.image_block(&features(case, "input.image_features_u8")?)?;
    report.compare(
        "blocks/image",
        &image,
        &case.float("output.image_block")?,
        TOLERANCE,
    )?;

    let crops = model.crop_tokens(&features(case, "input.tsf_features_u8")?)?;
    report.compare(
        "tsf/tokens",
        &crops,
        &case.float("mid.tsf.frame_tokens")?,
        TOLERANCE,
    )?;
    let (k, iterations) = (size("k")?, size("iters")?);
    let (chosen, indices) = tsf::select(&crops, k, iterations)?;
    let indices: Vec<i64> = indices.into_iter().map(|i| i as i64).collect();
    let want = case.ints("mid.tsf.selected_indices")?;
    let settled = ties::settled(&crops, &indices, &want, (k, iterations))?;
    report.compare_ints("tsf/indices", &settled, &want);
    if indices == want {
        let want = case.float("mid.tsf.selected")?;
        report.compare("tsf/chosen", &chosen, &want, TOLERANCE)?;
    }
    let want: Vec<u32> = want.into_iter().map(|i| i as u32).collect();
    let chosen = crops.index_select(&Tensor::new(want, crops.device())?, 0)?;

    let prompting = Prompting {
        embed: case.float("model.embed_tokens.weight")?,
        ids: PromptIds {
            seg: size("seg")? as u32,
            boxes: size("box")? as u32,
        },
        k,
        iterations,
        video,
        image,
        crops,
        chosen,
    };
    rows(case, report, &prompting)?;
    batch(case, report, &prompting)?;
    generated(case, report, &prompting, &model)
}

fn rows(case: &Case, report: &mut Report, prompting: &Prompting) -> Result<(), ParityError> {
    let table: serde_json::Map<String, serde_json::Value> = case.value("rows")?;
    for name in table.keys() {
        let number = |path: &str| case.value::<usize>(&format!("rows.{name}.{path}"));
        let ids = case.ints(&format!("input.row.{name}.ids"))?;
        let labels = case.ints(&format!("input.row.{name}.labels"))?;
        let row = prompting.splice(&ids, &labels, number("uses.tsf_rows")?)?;
        let out = |what: &str| format!("output.row.{name}.{what}");
        let stage = |what: &str| format!("{what}/{name}");
        report.compare_ints(
            &stage("row length"),
            &[row.len() as i64],
            &[number("length")? as i64],
        );
        let (start, block) = (number("visual_block_start")?, number("visual_block_len")?);
        let after = row.len() - start - block;
        let got = Tensor::cat(
            &[
                row.embeds.narrow(0, 0, start)?,
                row.embeds.narrow(0, start + block, after)?,
            ],
            0,
        )?;
        let want = case.float(&out("embeds_without_visual_block"))?;
        report.compare(&stage("row embeddings"), &got, &want, TOLERANCE)?;
        let kept: Vec<bool> = row
            .labels
            .iter()
            .map(|&l| l != multimodal::IGNORE)
            .collect();
        let values: Vec<i64> = row
            .labels
            .iter()
            .copied()
            .filter(|&l| l != multimodal::IGNORE)
            .collect();
        for (what, got) in [
            ("labels_nonignored_positions", positions(&kept)),
            ("labels_nonignored_values", values),
            ("seg_positions", positions(&row.seg)),
            ("box_positions", positions(&row.boxes)),
        ] {
            report.compare_ints(&stage("row masks"), &got, &case.ints(&out(what))?);
        }
    }
    Ok(())
}

fn batch(case: &Case, report: &mut Report, prompting: &Prompting) -> Result<(), ParityError> {
    let names: Vec<String> = case.value("batch_rows")?;
    let width = case.tensor("input.batch.ids")?.dim(1)?;
    let (ids, labels, mask) = (
        case.ints("input.batch.ids")?,
        case.ints("input.batch.labels")?,
        case.ints("input.batch.attention_mask")?,
    );
    let (mut spliced, mut attention) = (vec![], vec![]);
    for (r, name) in names.iter().enumerate() {
        let part = |v: &[i64]| v[r * width..][..width].to_vec();
        let crops = case.value(&format!("rows.{name}.uses.tsf_rows"))?;
        spliced.push(prompting.splice(&part(&ids), &part(&labels), crops)?);
        attention.push(part(&mask).iter().map(|&m| m != 0).collect());
    }
    let batch = multimodal::batch(&spliced, &attention)?;
    let shape: Vec<i64> = batch.embeds.dims().iter().map(|&d| d as i64).collect();
    report.compare_ints("batch/shape", &shape, &case.ints("output.batch.shape")?);
    let flat =
        |rows: &[Vec<bool>]| -> Vec<i64> { rows.iter().flatten().map(|&m| i64::from(m)).collect() };
    let want = case.ints("output.batch.attention_mask")?;
    report.compare_ints("batch/attention", &flat(&batch.attention), &want);
    for (what, rows) in [("seg", &batch.seg), ("box", &batch.boxes)] {
        let got: Vec<i64> = rows
            .iter()
            .enumerate()
            .flat_map(|(r, row)| positions(row).into_iter().flat_map(move |p| [r as i64, p]))
            .collect();
        let want = case.ints(&format!("output.batch.{what}_positions_flat"))?;
        report.compare_ints(&format!("batch/{what}"), &got, &want);
    }
    let counts: Vec<i64> = batch
        .labels
        .iter()
        .map(|row| row.iter().filter(|&&l| l != multimodal::IGNORE).count() as i64)
        .collect();
    let want = case.ints("output.batch.labels_nonignored_counts")?;
    report.compare_ints("batch/labels", &counts, &want);
    let exact = batch.embeds.to_dtype(DType::F64)?;
    for (name, values) in [
        ("embeds_row_sums", exact.clone()),
        ("embeds_abs_row_sums", exact.abs()?),
    ] {
        let want = case.float(&format!("output.batch.{name}"))?;
        report.compare("batch/sums", &values.sum((1, 2))?, &want, TOLERANCE)?;
    }
    let heights = exact.abs()?.sum(2)?.to_vec2::<f64>()?;
    let last: Vec<i64> = heights
        .iter()
        .map(|row| row.iter().rposition(|&v| v > 0.0).map_or(-1, |p| p as i64))
        .collect();
    let want = case.ints("output.batch.last_nonzero_position")?;
    report.compare_ints("batch/last", &last, &want);
    Ok(())
}

fn generated(
    case: &Case,
    report: &mut Report,
    prompting: &Prompting,
    model: &Multimodal,
) -> Result<(), ParityError> {
    let states = case.float("input.gen.hidden")?.squeeze(0)?;
    let all = model.to_vision(&states)?;
    let want = case.float("output.text_hidden_fcs.all_rows")?;
    report.compare("to vision", &all, &want, TOLERANCE)?;
    let out = ids(case, "input.gen.output_ids")?;
    let added = case.value("gen.num_newly_added_tokens")?;
    for (what, token) in [("seg", prompting.ids.seg), ("box", prompting.ids.boxes)] {
        let at = multimodal::generated_positions(&out, token, added);
        let got: Vec<i64> = at.iter().map(|&p| p as i64).collect();
        let want = case.ints(&format!("output.gen.{what}_positions"))?;
        report.compare_ints(&format!("generated/{what}"), &got, &want);
        let mask: Vec<bool> = (0..states.dim(0)?).map(|i| at.contains(&i)).collect();
        let want = case.float(&format!("output.gen.{what}_embeddings"))?;
        if let Some(rows) = multimodal::gather(&states, &mask, &case.device)? {
            let stage = format!("generated/{what} embeddings");
            report.compare(&stage, &model.to_vision(&rows)?, &want, TOLERANCE)?;
        }
    }
    // Training gathers the rows of a batch at once and deals them out by conversation.
    let hidden = case.float("input.split.hidden")?;
    let width = hidden.dim(2)?;
    let mask = case.ints("input.split.mask")?;
    let per_row = hidden.dim(1)?;
    let counts: Vec<usize> = mask
        .chunks(per_row)
        .map(|row| row.iter().filter(|m| **m != 0).count())
        .collect();
    let offset = case.ints("input.split.offset")?;
    let picked: Vec<bool> = mask.iter().map(|&m| m != 0).collect();
    let rows = multimodal::gather(&hidden.reshape(((), width))?, &picked, &case.device)?;
    let Some(rows) = rows else { return Ok(()) };
    let start = |conversation: i64| counts[..conversation as usize].iter().sum::<usize>();
    for (i, bounds) in offset.windows(2).enumerate() {
        let (from, to) = (start(bounds[0]), start(bounds[1]));
        let want = case.float(&format!("output.split.sample{i}"))?;
        report.compare("split", &rows.narrow(0, from, to - from)?, &want, 1e-6)?;
    }
    Ok(())
}

fn target_specific(case: &Case, report: &mut Report) -> Result<(), ParityError> {
    let runs = case.get("kmeans_runs").and_then(|v| v.as_array());
    for i in 0..runs.map_or(0, Vec::len) {
        k_means(case, report, i)?;
    }
    let formats: Vec<String> = case.value("bbox_format")?;
    let size: (f32, f32) = case.value("bbox_image_wh")?;
    for (i, want) in formats.iter().enumerate() {
        let flat: Vec<f32> = case
            .float(&format!("input.bbox_file{i}"))?
            .flatten_all()?
            .to_vec1()?;
        let lines: Vec<[f32; 4]> = flat
            .chunks_exact(4)
            .map(|l| [l[0], l[1], l[2], l[3]])
            .collect();
        let got = match tsf::guess_box_format(&lines, size) {
            BoxFormat::Xyxy => "xyxy",
            BoxFormat::Xywh => "xywh",
        };
        report.check(
            &format!("box file/{i}"),
            got == want,
            format!("{got}, not {want}"),
        );
    }
    let count = case.value("crops.target_num_crops")?;
    let crops = tsf::training_crops(
        &case.float("input.crops.frames")?,
        &case.float("input.crops.masks")?,
        count,
    )?;
    let shape: Vec<usize> = case.value("crops.shape")?;
    report.check(
        "crops/shape",
        crops.dims() == shape,
        format!("{:?}", crops.dims()),
    );
    for name in case.names("output.crops.output_strided") {
        let step: usize = name
            .trim_start_matches("output.crops.output_strided")
            .parse()
            .unwrap_or(1);
        let every = |t: Tensor, axis: usize| -> candle_core::Result<Tensor> {
            let at: Vec<u32> = (0..t.dim(axis)?).step_by(step).map(|i| i as u32).collect();
            t.index_select(&Tensor::new(at, t.device())?, axis)
        };
        let got = every(every(crops.clone(), 2)?, 3)?;
        report.compare("crops", &got, &case.float(&name)?, 1e-6)?;
    }
    Ok(())
}

fn k_means(case: &Case, report: &mut Report, i: usize) -> Result<(), ParityError> {
    let number = |name: &str| case.value::<usize>(&format!("kmeans_runs.{i}.{name}"));
    let x = case.float(&format!("input.kmeans{i}.x"))?;
    let samples: Vec<Vec<f32>> = x.to_vec2()?;
    let got = tsf::k_means(&samples, number("k")?, number("iters")?);
    let as_ints = |v: &[usize]| v.iter().map(|&i| i as i64).collect::<Vec<_>>();
    let mid = |what: &str| format!("mid.kmeans{i}.{what}");
    if case.has(&mid("init_indices")) {
        let want = case.ints(&mid("init_indices"))?;
        report.compare_ints(&format!("k-means/init {i}"), &as_ints(&got.init), &want);
        let assigned: Vec<usize> = got.assignments.concat();
        let want = case.ints(&mid("assignments"))?;
        report.compare_ints(
            &format!("k-means/assignments {i}"),
            &as_ints(&assigned),
            &want,
        );
        let width = x.dim(1)?;
        let centres = Tensor::from_vec(
            got.centres.concat(),
            (got.centres.len(), width),
            &Device::Cpu,
        )?;
        let want = case.float(&mid("centers"))?;
        report.compare(&format!("k-means/centres {i}"), &centres, &want, 1e-6)?;
    }
    // With a margin of nothing the choice is an exact tie, which either member wins rightly.
    let margin = case
        .value::<f64>(&format!("kmeans_runs.{i}.selection_margin"))
        .unwrap_or(1.0);
    if margin < 1e-5 {
        return Ok(());
    }
    let index: Vec<u32> = got.selected.iter().map(|&i| i as u32).collect();
    let rows = x.index_select(&Tensor::new(index, x.device())?, 0)?;
    let want = case.float(&format!("output.kmeans{i}.selected"))?;
    report.compare(&format!("k-means/selected {i}"), &rows, &want, 1e-6)?;
    let name = format!("output.kmeans{i}.selected_indices");
    if case.has(&name) {
        let want = case.ints(&name)?;
        report.compare_ints(
            &format!("k-means/indices {i}"),
            &as_ints(&got.selected),
            &want,
        );
    }
    Ok(())
}
