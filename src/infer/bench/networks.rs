//! One stage per network: built on made-up weights, run on made-up input.

use std::time::Duration;

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;

use crate::{
    infer::{InferError, InferResult, model::device_words},
    nn::{
        clip::Clip,
        config::{Phi3Config, SparrowConfig},
        deformable_detr::{Proposals, Proposer},
        filtration::FiltrationHead,
        internvideo2::InternVideo2,
        phi3::{KvCache, Phi3},
        precision::{Precision, stored_in},
        sam2::{
            BankEntry, DecodeOptions, FrameInfo, ImageFeatures, Memory, Prompts, Sam2, position,
        },
    },
    task::CancelToken,
};

use super::{
    fill,
    sizes::{Inputs, Sizes},
    stopwatch::{StageTime, quickest},
};

/// What can be timed, in the order in which an answer needs it.
pub const STAGES: [&str; 10] = [
    "clip",
    "internvideo2",
    "prefill",
    "token",
    "hiera",
    "proposer",
    "filtration",
    "mask decoder",
    "memory encoder",
    "memory attention",
];

/// A run of a stage; built networks and inputs are inside.
type Run = Box<dyn FnMut() -> Result<()>>;

/// Times the networks that `wanted` accepts, their weights stored as a precision says, each built alone and let go before
/// the next. Asked to stop, it ends between two runs.
///
/// # Errors
/// If the sizes do not fit together or the device fails; [`InferError::Cancelled`].
pub fn time_networks(
    sizes: &Sizes,
    (device, precision): (&Device, Precision),
    wanted: impl Fn(&str) -> bool,
    (least, fill): (u32, Duration),
    (cancel, mut each): (&CancelToken, impl FnMut(&StageTime)),
) -> InferResult<Vec<StageTime>> {
    let bench = Bench {
        config: &sizes.config,
        inputs: sizes.inputs,
        device,
        precision,
    };
    let mut stages = Vec::new();
    for stage in STAGES.into_iter().filter(|s| wanted(s)) {
        cancel.check()?;
        let mut run = bench.build(stage)?;
        // The first run touches fresh memory and fills caches of constants.
        run()?;
        quickest(&mut stages, stage, (least, fill), || {
            cancel.check()?;
            run()?;
            Ok::<_, InferError>(device.synchronize()?)
        })?;
        if let Some(last) = stages.last() {
            each(last);
        }
    }
    Ok(stages)
}

/// Says in a sentence that a device cannot multiply by weights of a precision, before gigabytes of them are made.
///
/// # Errors
/// The sentence.
pub fn check_precision(device: &Device, precision: Precision) -> std::result::Result<(), String> {
    // As narrow as the largest blocks of integers allow.
    let config = Phi3Config {
        hidden_size: 256,
        intermediate_size: 256,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        vocab_size: 32,
        sliding_window: None,
        rms_norm_eps: 1e-5,
        rope_theta: 1e4,
    };
    let answer = || {
        let vb = stored_in(&fill::var_builder(device), precision);
        let net = Phi3::with_precision(&config, precision, vb)?;
        let states = net.forward(&net.embed(&[1, 2])?.unsqueeze(0)?, &mut KvCache::new())?;
        net.logits(&states)?.flatten_all()?.to_vec1::<f32>()
    };
    let told = match answer() {
        Ok(logits) if logits.iter().all(|v| v.is_finite()) => return Ok(()),
        Ok(_) => "what it computes is no number".to_owned(),
        Err(e) => e.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    let device = device_words(device);
    Err(format!(
        "this device ({device}) cannot work in {precision}: {told}; give another --precision"
    ))
}

struct Bench<'a> {
    config: &'a SparrowConfig,
    inputs: Inputs,
    device: &'a Device,
    precision: Precision,
}

impl Bench<'_> {
    fn noise(&self, shape: &[usize]) -> Result<Tensor> {
        fill::tensor(shape, 1.0, self.device)
    }

    fn vb(&self) -> VarBuilder<'static> {
        stored_in(&fill::var_builder(self.device), self.precision)
    }

    fn build(&self, stage: &str) -> Result<Run> {
        match stage {
            "clip" => self.clip(),
            "internvideo2" => self.internvideo2(),
            "prefill" => self.prefill(),
            "token" => self.token(),
            "hiera" => self.hiera(),
            "proposer" => self.proposer(),
            "filtration" => self.filtration(),
            "mask decoder" => self.mask_decoder(),
            "memory encoder" => self.memory_encoder(),
            "memory attention" => self.memory_attention(),
            _ => candle_core::bail!("there is no stage {stage:?}"),
        }
    }

    fn clip(&self) -> Result<Run> {
        let net = Clip::new(&self.config.clip, self.vb())?;
        let side = self.config.clip.image_size;
        let x = self.noise(&[self.inputs.images, 3, side, side])?;
        Ok(Box::new(move || net.forward(&x).map(drop)))
    }

    fn internvideo2(&self) -> Result<Run> {
        let config = &self.config.internvideo2;
        let net = InternVideo2::new(config, self.vb())?;
        let (t, side) = (config.num_frames, config.img_size);
        let x = self.noise(&[self.inputs.chunks, t, 3, side, side])?;
        Ok(Box::new(move || net.forward(&x).map(drop)))
    }

    fn prompt(&self) -> Result<(Phi3, Tensor)> {
        let net = Phi3::with_precision(&self.config.phi3, self.precision, self.vb())?;
        let x = self.noise(&[1, self.inputs.tokens, self.config.phi3.hidden_size])?;
        Ok((net, x))
    }

    fn prefill(&self) -> Result<Run> {
        let (net, x) = self.prompt()?;
        Ok(Box::new(move || {
            net.forward_prefix(&x, &mut KvCache::new()).map(drop)
        }))
    }

    /// One token behind the prompt, with its logits.
    fn token(&self) -> Result<Run> {
        let (net, x) = self.prompt()?;
        let mut cache = KvCache::new();
        net.forward_prefix(&x, &mut cache)?;
        let x = x.narrow(1, 0, 1)?.contiguous()?;
        Ok(Box::new(move || {
            let hidden = net.forward(&x, &mut cache.clone())?;
            net.logits(&hidden).map(drop)
        }))
    }

    fn sam2(&self) -> Result<Sam2> {
        Sam2::new(&self.config.sam2, self.vb())
    }

    fn hiera(&self) -> Result<Run> {
        let net = self.sam2()?;
        let side = self.config.sam2.image_size;
        let x = self.noise(&[1, 3, side, side])?;
        Ok(Box::new(move || net.encode_image(&x).map(drop)))
    }

    fn proposer(&self) -> Result<Run> {
        let config = &self.config.proposer;
        let net = Proposer::new(config, self.vb())?;
        let (c, side) = (
            config.in_channels.unwrap_or(config.d_model),
            self.inputs.proposer_grid,
        );
        let levels = config.num_feature_levels;
        let maps = (0..levels)
            .map(|l| {
                let side = side << (levels - 1 - l);
                self.noise(&[1, c, side, side])
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Box::new(move || net.forward(&maps).map(drop)))
    }

    /// A frame's features, made up.
    fn features(&self) -> Result<ImageFeatures> {
        let config = &self.config.sam2;
        let (d, grid) = (config.d_model, config.image_size / 16);
        Ok(ImageFeatures {
            high_res: [
                self.noise(&[1, d / 8, 4 * grid, 4 * grid])?,
                self.noise(&[1, d / 4, 2 * grid, 2 * grid])?,
            ],
            embed: self.noise(&[1, d, grid, grid])?,
            pos: position::sine_2d(d, (grid, grid), self.device)?,
            fpn: Vec::new(),
        })
    }

    fn filtration(&self) -> Result<Run> {
        let config = &self.config.filtration;
        let net = FiltrationHead::new(config, self.vb())?;
        let m = self.inputs.proposals;
        // Boxes of a quarter of the image each way.
        let corners: Vec<f32> = (0..m)
            .flat_map(|i| {
                let at = 0.7 * i as f32 / m as f32;
                [at, 0.7 - at, at + 0.25, 0.95 - at]
            })
            .collect();
        let grid = self.config.sam2.image_size / 4;
        let masks = config
            .reads_masks()
            .then(|| self.noise(&[m, 1, grid, grid]));
        let crops = config
            .crop_side()
            .map(|side| self.noise(&[m, 3, side, side]));
        let proposals = Proposals {
            boxes: Tensor::from_vec(corners, (m, 4), self.device)?,
            scores: Tensor::ones(m, candle_core::DType::F32, self.device)?,
            features: self.noise(&[m, config.prop_dim])?,
            indices: (0..m as u32).collect(),
            masks: masks.transpose()?,
            crops: crops.transpose()?,
            aspect: 0.0,
        };
        let queries = self.noise(&[1, config.seg_dim])?;
        let features = self.features()?;
        let [high0, high1] = features.high_res;
        let pyramid = [high0, high1, features.embed];
        Ok(Box::new(move || {
            net.score(&queries, &proposals, &pyramid).map(drop)
        }))
    }

    fn mask_decoder(&self) -> Result<Run> {
        let net = self.sam2()?;
        let features = self.features()?;
        let (k, side) = (self.inputs.objects, self.config.sam2.image_size);
        let corners = [0.25_f32, 0.25, 0.75, 0.75].map(|v| v * side as f32);
        let prompts = Prompts {
            boxes: Some(Tensor::from_vec(corners.repeat(k), (k, 4), self.device)?),
            text: Some(self.noise(&[k, 1, self.config.sam2.d_model])?),
            ..Prompts::default()
        };
        let options = DecodeOptions {
            multimask: false,
            train: false,
            image_size: side,
        };
        Ok(Box::new(move || {
            net.decode(&features.embed, &features.high_res, &prompts, options)
                .map(drop)
        }))
    }

    fn memory_encoder(&self) -> Result<Run> {
        let net = self.sam2()?;
        let features = self.features()?;
        let (k, grid) = (self.inputs.objects, self.config.sam2.image_size / 16);
        let logits = self.noise(&[k, 1, 4 * grid, 4 * grid])?;
        let presence = self.noise(&[k, 1])?;
        Ok(Box::new(move || {
            net.encode_memory(&features.embed, &logits, &presence, false)
                .map(drop)
        }))
    }

    fn memory_attention(&self) -> Result<Run> {
        let net = self.sam2()?;
        let features = self.features()?;
        let config = &self.config.sam2;
        let (k, grid) = (self.inputs.objects, config.image_size / 16);
        let bank = (0..self.inputs.memories)
            .map(|frame| {
                Ok(BankEntry {
                    frame,
                    conditioning: frame == 0,
                    memory: Memory {
                        features: self.noise(&[k, config.mem_dim, grid, grid])?,
                    },
                    pointer: self.noise(&[k, config.d_model])?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let info = FrameInfo {
            frame: self.inputs.memories,
            num_frames: self.inputs.memories + 1,
            reverse: false,
            max_conditioning: None,
        };
        Ok(Box::new(move || {
            net.condition(&features, &bank, info).map(drop)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::bench::Ceiling;

    fn cpu(precision: Precision) -> (&'static Device, Precision) {
        (&Device::Cpu, precision)
    }

    #[test]
    fn every_stage_of_nano_runs_and_has_work_to_count() {
        let sizes = Sizes::by_name("nano").unwrap().unwrap();
        let mut seen = Vec::new();
        let once = (1, Duration::ZERO);
        let stages = time_networks(
            &sizes,
            cpu(Precision::F32),
            |_| true,
            once,
            (&CancelToken::default(), |s: &StageTime| seen.push(s.stage)),
        )
        .unwrap();
        assert_eq!(seen, STAGES);
        for stage in &stages {
            assert!(stage.gflop > 0.0 && stage.bytes > 0, "{stage:?}");
        }
        // By hand: three layers on four frames of 144 patches and a class token.
        let clip = &stages[0];
        let (n, d) = (4.0 * 145.0, 96.0);
        let per_layer = 2.0 * n * d * d * (4.0 + 8.0) + 4.0 * n * 145.0 * d;
        let patches = 2.0 * 4.0 * 144.0 * 192.0 * d;
        let want = (3.0 * per_layer + patches) * 1e-9;
        assert!((clip.gflop - want).abs() < 1e-9, "{} {want}", clip.gflop);
    }

    #[test]
    fn a_cpu_works_in_every_precision() {
        for precision in Precision::ALL {
            assert_eq!(check_precision(&Device::Cpu, precision), Ok(()));
        }
    }

    #[test]
    fn a_stop_ends_the_timing_after_the_stage_at_hand() {
        let sizes = Sizes::by_name("nano").unwrap().unwrap();
        let cancel = CancelToken::default();
        let mut seen = Vec::new();
        let stop = |s: &StageTime| {
            seen.push(s.stage);
            cancel.cancel();
        };
        let once = (1, Duration::ZERO);
        let cpu = cpu(Precision::F32);
        let end = time_networks(&sizes, cpu, |_| true, once, (&cancel, stop));
        assert!(matches!(end, Err(InferError::Cancelled(_))));
        assert_eq!(seen, ["clip"]);
        let end = Ceiling::measure(cpu.0, cpu.1, &cancel);
        assert!(matches!(end, Err(InferError::Cancelled(_))));
    }

    /// Half as many bytes a weight: what a token has to read of the language model is counted as it is stored.
    #[test]
    fn a_token_of_a_half_precision_reads_less() {
        let sizes = Sizes::by_name("nano").unwrap().unwrap();
        let bytes = |precision| {
            let once = (1, Duration::ZERO);
            let only = |stage: &str| stage == "token";
            let told = (&CancelToken::default(), |_: &StageTime| ());
            let stages = time_networks(&sizes, cpu(precision), only, once, told).unwrap();
            assert_eq!(stages.len(), 1);
            stages[0].bytes
        };
        let (whole, half) = (bytes(Precision::F32), bytes(Precision::F16));
        assert!(half < whole, "{half} {whole}");
    }
}
