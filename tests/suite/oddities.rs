//! The peculiarities of the released code that touch an answer, by the number they have in `models/oddities.md`. Those that
//! the stored cases already cover stage by stage are here in the shape in which one would look for them.

use std::{collections::BTreeSet, fs, path::Path};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use sparrow::{
    infer::{
        Clip, Engine, Grounded, LoadedModel, PropagateOptions,
        model::{ModelInfo, ModelSource, Pixels},
    },
    nn::{
        config::SparrowConfig,
        deformable_detr::{Proposals, Proposer},
        filtration::{FiltrationHead, select},
        phi3::{KvCache, Phi3},
        random_weights::RandomWeights,
        sparrow::{Emission, Sparrow},
    },
    project::{FrameIndex, FrameMask, Object, ObjectId, Size, Thresholds},
    task::{GroundOptions, Mode, Progress, Prompt, PropagateDirection},
    video::{Frame, FrameSource, SyntheticSource, VideoError},
};

use crate::released::write::small;

fn nano() -> SparrowConfig {
    ModelInfo::by_id("nano").unwrap().config
}

/// Normally distributed numbers that follow from the shape.
fn randn(shape: &[usize]) -> Tensor {
    let seed = shape.iter().fold(0, |seed, n| 1000 * seed + *n as u64);
    RandomWeights::normal(seed, shape).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn far(a: &Tensor, b: &Tensor) -> f32 {
    let (a, b) = (values(a), values(b));
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(&b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// Random weights of which those whose name holds `part` come from another seed.
struct Changed {
    base: RandomWeights,
    other: RandomWeights,
    part: &'static str,
}

impl candle_nn::var_builder::SimpleBackend for Changed {
    fn get(
        &self,
        shape: candle_core::Shape,
        name: &str,
        init: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let from = if name.contains(self.part) {
            &self.other
        } else {
            &self.base
        };
        from.get(shape, name, init, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name} has no shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.base.contains_tensor(name) || self.other.contains_tensor(name)
    }
}

fn weights(part: &'static str) -> VarBuilder<'static> {
    let changed = Changed {
        base: RandomWeights::new(1),
        other: RandomWeights::new(2),
        part,
    };
    VarBuilder::from_backend(Box::new(changed), DType::F32, Device::Cpu)
}

/// Nothing is changed by it.
const NOTHING: &str = "\0";

fn proposals(n: usize, width: usize) -> Proposals {
    Proposals {
        boxes: Tensor::new(&[[0.1_f32, 0.2, 0.6, 0.7]], &Device::Cpu)
            .unwrap()
            .broadcast_as((n, 4))
            .unwrap()
            .contiguous()
            .unwrap(),
        scores: Tensor::full(0.9_f32, n, &Device::Cpu).unwrap(),
        features: randn(&[n, width]),
        indices: (0..n as u32).collect(),
        masks: Some(Tensor::ones((n, 1, 16, 16), DType::F32, &Device::Cpu).unwrap()),
        crops: Some(Tensor::ones((n, 3, 28, 28), DType::F32, &Device::Cpu).unwrap()),
        aspect: 0.0,
    }
}

/// The pyramid of made-up features of a 64-pixel image.
fn pyramid(net: &Sparrow) -> sparrow::nn::filtration::Pyramid {
    let image = randn(&[1, 3, 64, 64]);
    net.pyramid(&net.sam2.encode_image(&image).unwrap())
        .unwrap()
}

fn sparrow(part: &'static str) -> Sparrow {
    let vb = weights(part);
    Sparrow::new(&nano(), &vb, &vb.pp("detector")).unwrap()
}

fn engine() -> Engine {
    let info = ModelInfo::by_id("nano").unwrap();
    Engine::new(LoadedModel::untrained(&info, 7, &Device::Cpu).unwrap())
}

const SIZE: Size = Size {
    width: 96,
    height: 64,
};

fn options() -> GroundOptions {
    GroundOptions {
        thresholds: Thresholds {
            objectness: 0.0,
            keep: 0.0,
            at_most: 2,
        },
        drawn_boxes: vec![],
        tsf: vec![],
    }
}

fn object(mask: FrameMask) -> Object {
    Object {
        id: ObjectId(1),
        name: "it".into(),
        phrase: "it".into(),
        colour: 0,
        visible: true,
        locked: false,
        frames: [(FrameIndex(0), mask)].into(),
    }
}

fn carry(
    engine: &Engine,
    clip: &mut Clip,
    object: &Object,
    mode: Mode,
    emissions: Vec<sparrow::project::Emission>,
) -> Vec<(u32, FrameMask)> {
    let options = PropagateOptions {
        range: 0..=clip.frames() - 1,
        direction: PropagateDirection::Forward,
        mode,
        emissions,
    };
    let mut out = Vec::new();
    let objects = std::slice::from_ref(object);
    engine
        .propagate(
            clip,
            objects,
            &options,
            &mut Progress::silent(),
            &mut |_, frame, mask| {
                out.push((frame.0, mask));
            },
        )
        .unwrap();
    out
}

/// Released: the video branch calls a method that does not exist as soon as there are boxes.
#[test]
fn oddity_01_boxes_can_be_tracked() {
    let engine = engine();
    let mut clip = Clip::new(Box::new(SyntheticSource::new(SIZE, 4, 10.0)));
    let prompt = Prompt {
        box_px: Some(sparrow::project::BoxPx::from_array([
            10.0, 10.0, 60.0, 50.0,
        ])),
        ..Prompt::default()
    };
    let mask = engine
        .segment(&mut clip, FrameIndex(0), &prompt, &mut Progress::silent())
        .unwrap();
    let frames = carry(&engine, &mut clip, &object(mask), Mode::Track, vec![]);
    assert_eq!(
        frames.iter().map(|(f, _)| *f).collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

/// The same picture over and over.
struct Still(SyntheticSource);

impl FrameSource for Still {
    fn info(&self) -> &sparrow::project::VideoInfo {
        self.0.info()
    }

    fn warnings(&self) -> &[String] {
        &[]
    }

    fn pts_secs(&self, frame: FrameIndex) -> Option<f64> {
        self.0.pts_secs(frame)
    }

    fn frame(&mut self, _: FrameIndex) -> Result<Frame, VideoError> {
        self.0.frame(FrameIndex(0))
    }
}

/// The small released checkpoint, which says `[BOX] [SEG]` whatever it is asked, by the released rules.
fn speaking() -> Engine {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let source = ModelSource::find(dir.path().to_str().unwrap()).unwrap();
    Engine::as_released(LoadedModel::load(&source, &Device::Cpu).unwrap()).unwrap()
}

fn ask(engine: &Engine, clip: &mut Clip, phrase: &str) -> Grounded {
    let silent = &mut Progress::silent();
    let answer = engine.ground(clip, FrameIndex(0), phrase, &options(), silent);
    answer.unwrap()
}

/// Framewise, the first frame's boxes and embedding decode every frame alone, so equal frames get equal masks; tracking
/// is there beside it, on the same loaded model (46: released, the model is read again to switch).
#[test]
fn oddity_02_and_46_framewise_repeats_the_first_frames_boxes() {
    let engine = speaking();
    let mut clip = Clip::new(Box::new(Still(SyntheticSource::new(SIZE, 4, 10.0))));
    let mut answer = ask(&engine, &mut clip, "the red circle");
    let object = object(answer.masks[0].clone());
    answer.emission.objects = vec![object.id];
    let frames = carry(
        &engine,
        &mut clip,
        &object,
        Mode::Framewise,
        vec![answer.emission.clone()],
    );
    assert_eq!(frames.len(), 3);
    let first = &object.frames[&FrameIndex(0)].rle;
    assert!(first.area() > 0 && first.area() < SIZE.area());
    assert!(frames.iter().all(|(_, m)| m.rle == *first));
    let tracked = carry(
        &engine,
        &mut clip,
        &object,
        Mode::Track,
        vec![answer.emission],
    );
    assert_eq!(tracked.len(), 3);
}

/// Decoder layers look around the first references, whatever boxes the layers before them recorded.
#[test]
fn oddity_03_reference_points_stay() {
    let config = nano().proposer;
    let map = [randn(&[1, config.d_model, 8, 8])];
    let run = |part| {
        Proposer::new(&config, weights(part))
            .unwrap()
            .forward(&map)
            .unwrap()
    };
    let (a, b) = (run(NOTHING), run("bbox_embed.0."));
    assert!(far(&a.boxes_per_layer, &b.boxes_per_layer) > 1e-4);
    assert_eq!(far(&a.features, &b.features), 0.0);
    // With another first layer they do differ.
    assert!(far(&a.features, &run("decoder.layers.0.").features) > 1e-4);
}

/// Where [BOX] asks, what it attended to is computed and dropped; only without [BOX] does it prompt the mask.
#[test]
fn oddity_04_refined_embeddings_prompt_only_in_the_fallback() {
    let net = sparrow(NOTHING);
    let pyramid = pyramid(&net);
    let (d, width) = (nano().filtration.seg_dim, nano().filtration.prop_dim);
    let offered = proposals(5, width);
    let emission = |boxes: usize| Emission {
        ids: vec![],
        probabilities: vec![],
        seg: randn(&[1, d]),
        // Not the same numbers again.
        boxes: randn(&[boxes + 1, d]).narrow(0, 1, boxes).unwrap(),
    };
    let asked = emission(1);
    let chosen = net.choose(&asked, &offered, &pyramid).unwrap().unwrap();
    assert_eq!(far(&chosen.prompts, &asked.seg), 0.0);
    let asked = Emission {
        boxes: Tensor::zeros((0, d), DType::F32, &Device::Cpu).unwrap(),
        ..emission(1)
    };
    let chosen = net.choose(&asked, &offered, &pyramid).unwrap().unwrap();
    assert!(far(&chosen.prompts, &asked.seg) > 1e-6);
    assert_eq!(far(&chosen.prompts, &chosen.refined.unwrap()), 0.0);
}

/// The branch that predicts boxes was a training aid.
#[test]
fn oddity_05_the_box_branch_decides_nothing() {
    let (a, b) = (sparrow(NOTHING), sparrow("box_head"));
    let pyramid = pyramid(&a);
    let offered = proposals(4, nano().filtration.prop_dim);
    let query = randn(&[2, nano().filtration.seg_dim]);
    let score = |net: &Sparrow| net.filtration.score(&query, &offered, &pyramid).unwrap();
    let (a, b) = (score(&a), score(&b));
    assert_eq!(far(&a.confidence, &b.confidence), 0.0);
    assert_eq!(far(&a.boxes, &b.boxes), 0.0);
}

/// Two boxes in the same place are both offered and both kept.
#[test]
fn oddity_06_overlapping_proposals_are_not_suppressed() {
    let kept = select::select(&[vec![0.9, 0.9, 0.1]], &[true; 3], 0.4, 16);
    assert_eq!(kept, [[0, 1]]);
    let config = nano().proposer;
    let net = Proposer::new(&config, weights(NOTHING)).unwrap();
    let out = net.forward(&[randn(&[1, config.d_model, 8, 8])]).unwrap();
    let found = out.proposals(0, 1000, config.score_power).unwrap();
    assert_eq!(found.boxes.dims(), [config.num_queries, 4]);
}

/// One level: the coarsest map alone is read.
#[test]
fn oddity_07_only_the_coarsest_map_proposes() {
    let config = nano().proposer;
    assert_eq!(config.num_feature_levels, 1);
    let net = Proposer::new(&config, weights(NOTHING)).unwrap();
    let map = |side: usize| randn(&[1, config.d_model, side, side]);
    let coarse = map(8);
    let run = |fine: Tensor| net.forward(&[fine, map(16), coarse.clone()]).unwrap();
    let (a, b) = (run(map(32)), run(map(32)));
    assert_eq!(far(&a.features, &b.features), 0.0);
}

fn language(window: Option<usize>) -> Phi3 {
    let mut config = nano().phi3;
    config.sliding_window = window;
    config.num_hidden_layers = 1;
    Phi3::new(&config, weights(NOTHING)).unwrap()
}

/// In one layer, the last token does not see a token further back than the window.
#[test]
fn oddity_09_the_window_slides() {
    let states = |window, first: u32| {
        let net = language(window);
        let embeds = net
            .embed(&[first, 4, 5, 6, 7, 8])
            .unwrap()
            .unsqueeze(0)
            .unwrap();
        let y = net.forward(&embeds, &mut KvCache::new()).unwrap();
        y.narrow(1, 5, 1).unwrap()
    };
    assert_eq!(far(&states(Some(4), 1), &states(Some(4), 2)), 0.0);
    assert!(far(&states(Some(5), 1), &states(Some(5), 2)) > 1e-6);
    assert!(far(&states(None, 1), &states(None, 2)) > 1e-6);
}

/// Keys and values are kept: token by token gives what the whole sequence gives.
#[test]
fn oddity_10_cached_decoding_says_the_same() {
    let net = language(Some(3));
    let embeds = net
        .embed(&[1, 2, 3, 4, 5, 6, 7])
        .unwrap()
        .unsqueeze(0)
        .unwrap();
    let whole = net.forward(&embeds, &mut KvCache::new()).unwrap();
    let mut cache = KvCache::new();
    for at in 0..7 {
        let y = net
            .forward(&embeds.narrow(1, at, 1).unwrap(), &mut cache)
            .unwrap();
        assert!(far(&y, &whole.narrow(1, at, 1).unwrap()) < 1e-4);
        if at == 3 {
            cache.freeze().unwrap();
        }
    }
}

/// Regions are read from the projected high-resolution maps and from the embedding with `no_mem_embed` in it.
#[test]
fn oddity_23_regions_are_read_from_projected_maps() {
    let net = sparrow(NOTHING);
    let features = net.sam2.encode_image(&randn(&[1, 3, 64, 64])).unwrap();
    let [high0, high1, embed] = net.pyramid(&features).unwrap();
    let d = nano().sam2.d_model;
    assert_eq!(
        (high0.dim(1).unwrap(), high1.dim(1).unwrap()),
        (d / 8, d / 4)
    );
    assert_eq!(far(&high0, &features.high_res[0]), 0.0);
    assert!(far(&embed, &features.embed) > 0.0);
    assert_eq!(
        far(&embed, &net.sam2.add_no_mem(&features.embed).unwrap()),
        0.0
    );
}

/// A proposer that shares SAM2's encoder needs no second pass and no second copy.
#[test]
fn oddity_24_a_shared_encoder_runs_once() {
    let net = sparrow(NOTHING);
    assert!(nano().proposer.shared_trunk);
    let image = randn(&[1, 3, 64, 64]);
    let features = net.sam2.encode_image(&image).unwrap();
    assert!(net.propose(None, Some((&features, &image))).is_ok());
    assert!(net.propose(None, None).is_err());
}

/// Features are made once for all boxes, and an error is told instead of passing boxes unchecked.
#[test]
fn oddity_25_credibility_uses_given_features_and_tells_errors() {
    let net = sparrow(NOTHING);
    let good = pyramid(&net);
    let boxes = vec![vec![[0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.9, 0.9]]];
    let kept = net
        .credible_within(&boxes, &good, (64, 64), (2.0, 4))
        .unwrap();
    // None is as credible as 2: the best stays.
    assert_eq!(kept[0].len(), 1);
    let [high0, _, embed] = good.clone();
    let bad = [high0.clone(), high0, embed];
    assert!(
        net.credible_within(&boxes, &bad, (64, 64), (0.3, 4))
            .is_err()
    );
}

/// On a GPU they are decoded together.
#[test]
fn oddity_25_boxes_that_are_decoded_together_are_as_credible_as_alone() {
    let net = sparrow(NOTHING);
    let image = Tensor::zeros((1, 3, 64, 64), DType::F32, &Device::Cpu).unwrap();
    let features = net.sam2.encode_image(&image).unwrap();
    let pyramid = net.pyramid(&features).unwrap();
    let boxes = [
        [0.1, 0.1, 0.5, 0.5],
        [0.2, 0.6, 0.9, 0.9],
        [-0.1, 0.0, 1.2, 1.0],
    ];
    let together = net.credibilities(&boxes, &pyramid, (64, 64)).unwrap();
    let alone = boxes.map(|b| net.credibilities(&[b], &pyramid, (64, 64)).unwrap()[0]);
    assert_eq!(together.len(), 3);
    for (a, b) in together.iter().zip(alone) {
        assert!((a - b).abs() < 0.02, "{together:?}, alone {alone:?}");
    }
    assert!(
        alone.iter().any(|a| (a - alone[0]).abs() > 0.1),
        "{alone:?}"
    );
    let none = net.credibilities(&[], &pyramid, (64, 64)).unwrap();
    assert!(none.is_empty());
}

/// Boxes come from positive sizes, so that none can be mistaken for x, y, width, height.
#[test]
fn oddity_26_no_proposal_is_turned_inside_out() {
    let config = nano().proposer;
    let net = Proposer::new(&config, weights(NOTHING)).unwrap();
    let out = net.forward(&[randn(&[1, config.d_model, 8, 8])]).unwrap();
    let boxes = out
        .proposals(0, config.topk, config.score_power)
        .unwrap()
        .boxes;
    for b in boxes.to_vec2::<f32>().unwrap() {
        assert!(b[2] > b[0] && b[3] > b[1], "{b:?}");
    }
}

/// The same question on the same frame, twice: the second answer is the first.
#[test]
fn oddity_30_a_request_may_come_twice() {
    let engine = engine();
    let mut clip = Clip::new(Box::new(SyntheticSource::new(SIZE, 3, 10.0)));
    let mut ask = || {
        let silent = &mut Progress::silent();
        let answer = engine.ground(
            &mut clip,
            FrameIndex(1),
            "the red circle",
            &options(),
            silent,
        );
        answer.unwrap()
    };
    let (a, b) = (ask(), ask());
    assert_eq!(a.emission.text, b.emission.text);
    assert!(a.masks.iter().zip(&b.masks).all(|(a, b)| a.rle == b.rle));
}

/// Released, the text of an answer is the whole conversation, prompt included.
#[test]
fn oddity_32_an_answers_text_is_its_own_tokens() {
    let mut clip = Clip::new(Box::new(SyntheticSource::new(SIZE, 2, 10.0)));
    let answer = ask(&speaking(), &mut clip, "the red circle");
    assert_eq!(answer.emission.text, "[BOX] [SEG]");
}

/// The frames that the towers see of a clip of so many frames, so many a second.
fn seen(pixels: Pixels, frames: u32, fps: f64) -> Vec<u32> {
    let mut info = ModelInfo::by_id("nano").unwrap();
    info.preprocess.pixels = pixels;
    let engine = Engine::new(LoadedModel::untrained(&info, 7, &Device::Cpu).unwrap());
    let clip = Clip::new(Box::new(SyntheticSource::new(SIZE, frames, fps)));
    let seen = engine.encoder_frames(&clip, FrameIndex(0));
    seen.iter().map(|f| f.0).collect()
}

/// A clip of more seconds than the towers have places for is thinned to its end, a shorter one repeats its last frame.
/// Released loaders of training sets cut the first, and repeat the last frame of five.
#[test]
fn oddity_41_long_clips_are_thinned_and_never_cut() {
    for pixels in [Pixels::Stretched, Pixels::Released] {
        assert_eq!(seen(pixels, 3, 1.0), [0, 1, 2, 2], "{pixels:?}");
        let long = seen(pixels, 200, 1.0);
        assert_eq!((long.len(), long[0], long[3]), (4, 0, 199), "{pixels:?}");
        let mut steps = long.windows(2).map(|w| w[1] - w[0]);
        assert!(
            steps.all(|s| (60..=70).contains(&s)),
            "{pixels:?}: {long:?}"
        );
    }
}

/// Such a rate rounds to a stride of no frames.
#[test]
fn oddity_50_slow_clips_are_seen_frame_by_frame() {
    for pixels in [Pixels::Stretched, Pixels::Released] {
        assert_eq!(seen(pixels, 4, 0.3), [0, 1, 2, 3], "{pixels:?}");
    }
}

/// Each row of the table that says what an answer is has a test that bears its number; the others say why there is nothing
/// to test.
#[test]
fn every_entry_has_its_test_or_says_why_it_has_none() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tested = BTreeSet::new();
    let mut folders = vec![root.join("src"), root.join("tests/suite")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(path).unwrap();
                for rest in text.split("fn oddity_").skip(1) {
                    // One test may bear two numbers.
                    let name = rest.split('(').next().unwrap();
                    tested.extend(name.split('_').filter_map(|n| n.parse::<u32>().ok()));
                }
            }
        }
    }
    let table = fs::read_to_string(root.join("models/oddities.md")).unwrap();
    let mut entries = 0;
    for row in table.lines().filter(|l| l.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let Ok(number) = cells[0].parse::<u32>() else {
            continue;
        };
        entries += 1;
        assert_eq!((number, cells.len()), (entries, 4), "{row}");
        let status = cells[2].split([':', ' ', ';', ',']).next().unwrap();
        let needed = match status {
            "same" | "fixed" | "switch" => true,
            "training" | "dead" | "none" => false,
            other => panic!("{number} says {other:?}"),
        };
        let has = tested.contains(&number);
        assert!(has || !needed, "{number} has no test of its number");
        let named = cells[3].contains(&format!("oddity_{number:02}_"));
        assert_eq!(
            has,
            named || cells[3].contains(&format!("_and_{number:02}_")),
            "{row}"
        );
    }
    assert_eq!(entries, 52);
}

/// What predicts a token, and prompts a mask, is the state behind the last norm.
#[test]
fn oddity_45_states_are_normed() {
    let net = language(None);
    let embeds = net.embed(&[1, 2, 3]).unwrap().unsqueeze(0).unwrap();
    let states = net
        .forward(&(embeds * 50.0).unwrap(), &mut KvCache::new())
        .unwrap();
    for row in states.squeeze(0).unwrap().to_vec2::<f32>().unwrap() {
        let square = row.iter().map(|v| v * v).sum::<f32>() / row.len() as f32;
        assert!((square - 1.0).abs() < 1e-3, "{square}");
    }
}

/// The stored weight of the region score does not count unless the description says so.
#[test]
fn oddity_51_the_stored_gamma_counts_only_where_it_is_trusted() {
    let score = |trusted: bool, stored: f32| {
        let mut config = nano().filtration;
        (config.gamma, config.gamma_from_weights) = (0.1, trusted);
        let all = RandomWeights::new(1);
        // Every tensor is made once, then γ is set as a file would have it.
        FiltrationHead::new(&config, all.var_builder(&Device::Cpu)).unwrap();
        let mut tensors: std::collections::HashMap<_, _> = all.tensors().into_iter().collect();
        let gamma = Tensor::new(stored, &Device::Cpu).unwrap();
        tensors.insert("roi_fusion_gamma".into(), gamma);
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let head = FiltrationHead::new(&config, vb).unwrap();
        let pyramid: [Tensor; 3] = [12, 24, 96].map(|c| {
            let side = 192 / c;
            Tensor::ones((1, c, side, side), DType::F32, &Device::Cpu).unwrap()
        });
        let width = config.prop_dim;
        let offered = Proposals {
            features: Tensor::ones((2, width), DType::F32, &Device::Cpu).unwrap(),
            ..proposals(2, width)
        };
        let query = Tensor::ones((1, config.seg_dim), DType::F32, &Device::Cpu).unwrap();
        values(&head.score(&query, &offered, &pyramid).unwrap().logits)
    };
    assert_eq!(score(false, 0.9), score(false, 0.2));
    assert_ne!(score(true, 0.9), score(true, 0.2));
}

/// A whole answer without a GPU.
#[test]
fn oddity_52_nothing_assumes_a_gpu() {
    let engine = engine();
    assert!(engine.model().device.is_cpu());
    let mut clip = Clip::new(Box::new(SyntheticSource::new(SIZE, 2, 10.0)));
    let silent = &mut Progress::silent();
    let answer = engine.ground(
        &mut clip,
        FrameIndex(0),
        "the red circle",
        &options(),
        silent,
    );
    assert!(!answer.unwrap().emission.proposals.is_empty());
}
