//! The tiny but whole SPARROW: pixels and ids to ids, embeddings, boxes and masks, in the released frame-wise form. What a
//! person asks goes through the inference room instead; that both say the same is a test's to show.

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use serde_json::{Value, json};

use super::{Case, Kind, ParityError, Report, ties};
use crate::nn::{
    config::SparrowConfig,
    deformable_detr::Proposals,
    filtration::Pyramid,
    multimodal::{self, PromptIds, TsfTokens},
    ops,
    pixels::{Rgb8, proposer_pixels},
    sparrow::{Emission, EmitOptions, Sparrow},
    weights::WeightStore,
};

const SAM: ([f32; 3], [f32; 3]) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const EMBEDDING: f64 = 1e-4;
/// Boxes, in pixels of the case's own frame.
const PIXELS: f64 = 1e-3;
/// Logits of masks. A pixel may be on the other side only where the reference's own logit is as near to nothing as this.
const LOGIT: f64 = 1e-3;

/// Runs the case if it is one of this file's; `Ok(false)` if it is not.
pub(super) fn run(kind: Kind, case: &Case, report: &mut Report) -> Result<bool, ParityError> {
    if kind != Kind::EndToEnd {
        return Ok(false);
    }
    let fixture = Fixture::new(case)?;
    fixture.encoders(report)?;
    fixture.proposals(report)?;
    let runs: serde_json::Map<String, Value> = case.value("runs")?;
    for name in runs.keys() {
        fixture.run(name, report)?;
    }
    Ok(true)
}

/// The case leaves out what a frame-wise run never uses; such tensors are zeros here.
struct OrZeros(WeightStore);

/// Parts of names that may be absent.
const UNUSED: [&str; 7] = [
    "memory_attention",
    "memory_encoder",
    "maskmem",
    "obj_ptr",
    "no_mem_pos_enc",
    "mask_downsample",
    "pred_obj_score_head",
];

impl SimpleBackend for OrZeros {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        if !self.0.contains_tensor(name) && UNUSED.iter().any(|part| name.contains(part)) {
            return Tensor::zeros(shape, dtype, device);
        }
        self.0.get(shape, name, init, dtype, device)
    }

    fn get_unchecked(
        &self,
        name: &str,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.0.get_unchecked(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.contains_tensor(name)
    }
}

struct Fixture<'a> {
    case: &'a Case,
    model: Sparrow,
    ids: PromptIds,
    end: u32,
    /// Visual block of the clip.
    block: Tensor,
    pyramids: Vec<Pyramid>,
    found: Proposals,
    /// Place in the reference's list of each of our proposals' rows: equal scores may swap.
    order: Tensor,
    size: (usize, usize),
}

fn config(case: &Case) -> Result<SparrowConfig, ParityError> {
    let frames = case.tensor("input.clip_u8")?.dim(0)?;
    let mut proposer: Value = case.value("ddetr")?;
    proposer["topk"] = case.value("filtration.topk")?;
    proposer["score_power"] = case.value("filtration.score_power")?;
    let whole = json!({
        "sam2": case.value::<Value>("sam2")?,
        "proposer": proposer,
        "clip": case.value::<Value>("clip")?,
        "internvideo2": case.value::<Value>("internvideo2")?,
        "phi3": case.value::<Value>("phi3")?,
        "filtration": case.value::<Value>("filtration")?,
        "visual": {
            "num_frames": frames,
            "spatial_pool": 2,
            "video_pool": 2,
            "tsf_k": case.value::<Value>("tsf.k")?,
            "tsf_kmeans_iters": case.value::<Value>("tsf.iters")?,
        },
    });
    serde_json::from_value(whole).map_err(|e| ParityError::Config {
        path: "whole model".into(),
        reason: e.to_string(),
    })
}

/// The row of `found` that each reference row is: among those of about the same score the nearest box.
fn matched(found: &Proposals, scores: &Tensor, boxes: &Tensor) -> Result<Tensor, ParityError> {
    let (own_scores, own_boxes) = (
        found.scores.to_vec1::<f32>()?,
        found.boxes.to_vec2::<f32>()?,
    );
    let mut free: Vec<usize> = (0..own_scores.len()).collect();
    let mut order = Vec::with_capacity(free.len());
    let wanted = scores.to_vec1::<f32>()?;
    for (i, want) in boxes.to_vec2::<f32>()?.iter().enumerate() {
        let far = |j: usize| -> f32 {
            let apart = own_boxes[j].iter().zip(want).map(|(a, b)| (a - b).abs());
            let penalty = if (own_scores[j] - wanted[i]).abs() < 1e-4 {
                0.0
            } else {
                1e3
            };
            apart.sum::<f32>() + penalty
        };
        let Some(at) = (0..free.len()).min_by(|&a, &b| far(free[a]).total_cmp(&far(free[b])))
        else {
            break;
        };
        order.push(free.remove(at) as u32);
    }
    Ok(Tensor::new(order, found.boxes.device())?)
}

impl<'a> Fixture<'a> {
    fn new(case: &'a Case) -> Result<Self, ParityError> {
        let device = case.device.clone();
        let builder = |prefix: &str| {
            let store = OrZeros(case.weights(prefix));
            VarBuilder::from_backend(Box::new(store), DType::F32, device.clone())
        };
        let model = Sparrow::new(&config(case)?, &builder(""), &builder("detector."))?;
        let ids = PromptIds {
            seg: case.value("tokens.seg")?,
            boxes: case.value("tokens.box")?,
        };
        let frames = case.image("input.clip_u8")?;
        let video = case.image("input.internvideo_u8")?;
        let (f, c, h, w) = video.dims4()?;
        let t = model.config.internvideo2.num_frames;
        let block = model.encode_clip(&frames, &video.reshape((f / t, t, c, h, w))?)?;
        let sam = case.tensor("input.sam_u8")?;
        let mut pyramids = vec![];
        let mut first = None;
        for frame in 0..sam.dim(0)? {
            let input = normalised(&picture(sam, frame)?, 1.0, SAM, &device)?;
            let features = model.sam2.encode_image(&input)?;
            pyramids.push(model.pyramid(&features)?);
            first.get_or_insert(input);
        }
        let side = model.config.proposer.image_size;
        let Some(first) = first else {
            return Err(ParityError::MissingTensor {
                name: "input.sam_u8".into(),
            });
        };
        let pixels = proposer_pixels(&first.squeeze(0)?, side, SAM.0, SAM.1)?;
        let input = normalised(&pixels, 1.0 / 255.0, IMAGENET, &device)?;
        let found = model.propose(Some(&input), None)?;
        let order = matched(
            &found,
            &case.float("output.proposals.scores")?,
            &case.float("output.proposals.boxes")?,
        )?;
        Ok(Self {
            case,
            model,
            ids,
            end: case.value("tokens.eos")?,
            block,
            pyramids,
            found,
            order,
            size: case.value("original_size")?,
        })
    }

    fn encoders(&self, report: &mut Report) -> Result<(), ParityError> {
        let case = self.case;
        let spatial = self.model.spatial.forward(&case.image("input.clip_u8")?)?;
        every(case, report, "towers", "mid.clip_features_every", &spatial)?;
        let video = case.image("input.internvideo_u8")?;
        let (f, c, h, w) = video.dims4()?;
        let t = self.model.config.internvideo2.num_frames;
        let chunks = video.reshape((f / t, t, c, h, w))?;
        let temporal = self.model.temporal.forward(&chunks)?;
        every(
            case,
            report,
            "towers",
            "mid.internvideo_features_every",
            &temporal,
        )?;

        let embeds = self.embeds("A")?;
        every(
            case,
            report,
            "embeddings",
            "mid.A.inputs_embeds_every",
            &embeds,
        )?;
        let wide = embeds.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let wide = wide.flatten_all()?;
        let sums = Tensor::stack(
            &[
                wide.sum_all()?,
                wide.abs()?.sum_all()?,
                wide.max(0)?,
                wide.min(0)?,
            ],
            0,
        )?;
        let want = case.float("mid.A.inputs_embeds_checksum")?;
        report.compare("embeddings/sums", &sums, &want, EMBEDDING)?;
        for run in ["A", "B", "C"] {
            let name = format!("mid.{run}.inputs_embeds_tail40");
            if case.has(&name) {
                let want = case.float(&name)?;
                let embeds = self.embeds(run)?;
                let n = want.dim(0)?;
                let tail = embeds.narrow(0, embeds.dim(0)? - n, n)?;
                report.compare(&format!("embeddings/tail {run}"), &tail, &want, EMBEDDING)?;
            }
        }
        let (chosen, which, tokens) = self.model.crop_tokens(&case.image("input.tsf_u8")?)?;
        report.compare(
            "tsf/tokens",
            &tokens,
            &case.float("mid.tsf.frame_tokens")?,
            EMBEDDING,
        )?;
        let which: Vec<i64> = which.iter().map(|&i| i as i64).collect();
        let want = case.ints("output.tsf.selected_indices")?;
        let visual = &self.model.config.visual;
        let rule = (visual.tsf_k, visual.tsf_kmeans_iters);
        let settled = ties::settled(&tokens, &which, &want, rule)?;
        report.compare_ints("tsf/indices", &settled, &want);
        if which == want {
            let want = case.float("output.tsf.selected_tokens")?;
            report.compare("tsf/chosen", &chosen, &want, EMBEDDING)?;
        }
        Ok(())
    }

    fn prompt(&self, run: &str) -> Result<Vec<i64>, ParityError> {
        match run {
            "B" | "C" => self.case.ints("input.prompt_ids_tsf"),
            _ => self.case.ints("input.prompt_ids"),
        }
    }

    fn crops(&self, run: &str) -> Result<Option<Tensor>, ParityError> {
        if run != "B" {
            return Ok(None);
        }
        // The reference's choice, so that an exact tie does not carry on into everything behind it.
        let crops = self.case.image("input.tsf_u8")?;
        let which = self.case.ints("output.tsf.selected_indices")?;
        let which: Vec<u32> = which.into_iter().map(|i| i as u32).collect();
        let tokens = self.model.crop_tokens(&crops)?.2;
        Ok(Some(
            tokens.index_select(&Tensor::new(which, tokens.device())?, 0)?,
        ))
    }

    fn embeds(&self, run: &str) -> Result<Tensor, ParityError> {
        let crops = self.crops(run)?;
        let tokens = match &crops {
            Some(chosen) => TsfTokens::Selected(chosen),
            None => TsfTokens::Zeros(self.model.config.visual.tsf_k),
        };
        let spliced = multimodal::splice(
            &self.prompt(run)?,
            None,
            Some(&self.block),
            &tokens,
            self.ids,
            |ids| self.model.language.embed(ids),
        )?;
        Ok(spliced.embeds)
    }

    fn proposals(&self, report: &mut Report) -> Result<(), ParityError> {
        let case = self.case;
        let frame = picture(case.tensor("input.sam_u8")?, 0)?;
        let input = normalised(&frame, 1.0, SAM, &case.device)?;
        let side = self.model.config.proposer.image_size;
        let pixels = proposer_pixels(&input.squeeze(0)?, side, SAM.0, SAM.1)?;
        let sum: i64 = pixels.data().iter().map(|&b| i64::from(b)).sum();
        let want = case.ints("mid.detector_pixels_u8_sum")?;
        report.compare_ints("pixels/sum", &[sum], &want);
        for name in case.names("mid.detector_pixels_u8_hwc_strided") {
            let step: usize = name
                .trim_start_matches("mid.detector_pixels_u8_hwc_strided")
                .parse()
                .unwrap_or(1);
            let rows = (0..side).step_by(step);
            let got: Vec<i64> = rows
                .flat_map(|y| (0..side).step_by(step).map(move |x| (y * side + x) * 3))
                .flat_map(|at| pixels.data()[at..at + 3].iter().map(|&b| i64::from(b)))
                .collect();
            report.compare_ints("pixels/samples", &got, &case.ints(&name)?);
        }
        let row = |t: &Tensor| t.index_select(&self.order, 0);
        for (name, got) in [
            ("scores", row(&self.found.scores)?),
            ("features", row(&self.found.features)?),
        ] {
            let want = case.float(&format!("output.proposals.{name}"))?;
            report.compare(&format!("proposals/{name}"), &got, &want, EMBEDDING)?;
        }
        let want = case.float("output.proposals.boxes")?;
        self.compare_boxes("proposals/boxes", &row(&self.found.boxes)?, &want, report)
    }

    /// Boxes in fractions, compared in pixels of the frame.
    fn compare_boxes(
        &self,
        stage: &str,
        got: &Tensor,
        want: &Tensor,
        report: &mut Report,
    ) -> Result<(), ParityError> {
        let (h, w) = (self.size.0 as f32, self.size.1 as f32);
        let in_pixels = |t: &Tensor| t.broadcast_mul(&Tensor::new(&[w, h, w, h], t.device())?);
        report.compare_abs(stage, &in_pixels(got)?, &in_pixels(want)?, PIXELS)
    }

    fn emit(&self, run: &str, tokens: usize) -> Result<Emission, ParityError> {
        let prompt = self.prompt(run)?;
        let end = multimodal::image_run(&prompt)?.map_or(0, |r| r.end);
        let mut model_language = None;
        if run == "N" {
            let head = self.case.float("alt_lm_head.weight")?;
            model_language = Some(self.model.language.with_head(head));
        }
        let crops = self.crops(run)?;
        let tsf = match &crops {
            Some(chosen) => TsfTokens::Selected(chosen),
            None => TsfTokens::Zeros(self.model.config.visual.tsf_k),
        };
        let options = EmitOptions {
            prompt_ids: self.ids,
            ends: vec![self.end],
            max_new_tokens: tokens,
        };
        let prefix = self.model.prefix(&prompt[..end], &self.block, self.ids)?;
        let language = model_language.as_ref().unwrap_or(&self.model.language);
        Ok(self
            .model
            .emit_with(language, &prefix, &prompt[end..], &tsf, &options)?)
    }

    fn run(&self, name: &str, report: &mut Report) -> Result<(), ParityError> {
        let case = self.case;
        let out = |what: &str| format!("output.{name}.{what}");
        let stage = |what: &str| format!("run {name}/{what}");
        let want = case.ints(&out("generated_ids"))?;
        let emission = self.emit(name, want.len())?;
        let ids: Vec<i64> = emission.ids.iter().map(|&i| i64::from(i)).collect();
        report.compare_ints(&stage("ids"), &ids, &want);
        // With guidance the reference stores the refined embeddings in place of those that asked.
        let fallback = emission.boxes.dim(0)? == 0;
        for (what, got, asked) in [
            ("seg_embeddings", &emission.seg, fallback),
            ("box_embeddings", &emission.boxes, !fallback),
        ] {
            if case.has(&out(what)) && (name == "U" || !asked) {
                report.compare(&stage(what), got, &case.float(&out(what))?, EMBEDDING)?;
            }
        }
        if name == "U" {
            return self.masks(name, &emission.seg, None, report);
        }
        let Some(chosen) = self
            .model
            .choose(&emission, &self.found, &self.pyramids[0])?
        else {
            report.check(&stage("choice"), false, "no embedding asked");
            return Ok(());
        };
        if let Some(refined) = &chosen.refined {
            let asked = if fallback { "seg" } else { "box" };
            for what in ["refined_queries".to_owned(), format!("{asked}_embeddings")] {
                if case.has(&out(&what)) {
                    let want = case.float(&out(&what))?;
                    report.compare(&stage(&what), refined, &want, EMBEDDING)?;
                }
            }
        }
        if !case.has(&out("low_res")) {
            return Ok(());
        }
        let confidence = chosen.confidence.index_select(&self.order, 1)?;
        let want = case.float(&format!("mid.{name}.confidence"))?;
        report.compare(&stage("confidence"), &confidence, &want, EMBEDDING)?;
        self.boxes(
            &out("selected_boxes_before_filter"),
            &stage("boxes"),
            &chosen.boxes,
            report,
        )?;
        let kept = if name == "B" {
            self.model
                .credible(&chosen.boxes, &self.pyramids[0], self.size)?
        } else {
            chosen.boxes.clone()
        };
        self.boxes(
            &out("selected_boxes_after_filter"),
            &stage("kept"),
            &kept,
            report,
        )?;
        self.masks(name, &chosen.prompts, Some(&kept), report)
    }

    fn boxes(
        &self,
        name: &str,
        stage: &str,
        sets: &[Vec<[f32; 4]>],
        report: &mut Report,
    ) -> Result<(), ParityError> {
        let counts: Vec<i64> = sets.iter().map(|s| s.len() as i64).collect();
        let want = self.case.ints(&format!("{name}.counts"))?;
        report.compare_ints(&format!("{stage} counts"), &counts, &want);
        let flat: Vec<f32> = sets.iter().flatten().flatten().copied().collect();
        let got = Tensor::from_vec(flat.clone(), (flat.len() / 4, 4), &Device::Cpu)?;
        let want = self.case.float(&format!("{name}.boxes"))?;
        self.compare_boxes(stage, &got, &want, report)
    }

    fn masks(
        &self,
        name: &str,
        prompts: &Tensor,
        boxes: Option<&[Vec<[f32; 4]>]>,
        report: &mut Report,
    ) -> Result<(), ParityError> {
        let mut low_res = vec![];
        let mut masks = vec![];
        for pyramid in &self.pyramids {
            let logits = self.model.decode_frame(pyramid, prompts, boxes)?;
            masks.push(self.model.masks(&logits, self.size)?);
            low_res.push(logits);
        }
        let logits = Tensor::stack(&low_res, 0)?;
        let want = self.case.float(&format!("output.{name}.low_res"))?;
        report.compare_abs(&format!("run {name}/low-res"), &logits, &want, LOGIT)?;
        let (t, n, h, w) = want.dims4()?;
        let full = ops::resize_bilinear(&want.reshape((t * n, 1, h, w))?, self.size)?;
        let full: Vec<f32> = full.flatten_all()?.to_vec1()?;
        let got: Vec<u8> = Tensor::stack(&masks, 0)?.flatten_all()?.to_vec1()?;
        let want = self.case.ints(&format!("output.{name}.masks"))?;
        let stage = format!("run {name}/masks");
        if got.len() != want.len() || full.len() != want.len() {
            report.check(&stage, false, "masks of another size");
            return Ok(());
        }
        let differing = (got.iter().zip(&want).zip(&full))
            .filter(|((got, want), _)| i64::from(**got) != **want)
            .map(|(_, logit)| f64::from(logit.abs()));
        let (count, worst) = differing.fold((0, 0.0_f64), |(n, worst), l| (n + 1, worst.max(l)));
        let note = (count > 0).then(|| format!("{count} pixels differ"));
        report.push(&stage, worst, LOGIT, note);
        Ok(())
    }
}

/// Compares every n-th row of a token map with `{prefix}{n}…`.
fn every(
    case: &Case,
    report: &mut Report,
    stage: &str,
    prefix: &str,
    x: &Tensor,
) -> Result<(), ParityError> {
    let width = x.dim(candle_core::D::Minus1)?;
    let x = x.reshape(((), width))?;
    for name in case.names(prefix) {
        let digits: String = name[prefix.len()..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let step: usize = digits.parse().unwrap_or(1);
        let at: Vec<u32> = (0..x.dim(0)?).step_by(step).map(|i| i as u32).collect();
        let got = x.index_select(&Tensor::new(at, x.device())?, 0)?;
        report.compare(
            &format!("{stage}/{name}"),
            &got,
            &case.float(&name)?,
            EMBEDDING,
        )?;
    }
    Ok(())
}

/// Frame `i` of bytes `(t, 3, h, w)`.
fn picture(frames: &Tensor, i: usize) -> Result<Rgb8, ParityError> {
    let frame = frames.get(i)?.permute((1, 2, 0))?;
    let (h, w, _) = frame.dims3()?;
    let bytes = frame.flatten_all()?.to_dtype(DType::U8)?.to_vec1()?;
    Ok(Rgb8::new(w, h, bytes)?)
}

fn normalised(
    image: &Rgb8,
    scale: f64,
    (mean, std): ([f32; 3], [f32; 3]),
    device: &Device,
) -> Result<Tensor, ParityError> {
    Ok(image.normalised(scale, mean, std, device)?.unsqueeze(0)?)
}
