//! The engine from the outside, with weights that nobody trained: what it promises whatever the model says.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use sparrow::{
    infer::{Clip, Engine, InferError, LoadedModel, PropagateOptions, model::ModelInfo},
    nn::{ops::metered, random_weights::RandomWeights, sparrow::Sparrow},
    project::{
        BoxPx, DriftSignal, FrameIndex, FrameMask, Object, ObjectId, PointPx, Provenance, Rle,
        Size, Thresholds, Trace, Usual,
    },
    task::{CancelToken, GroundOptions, Mode, Progress, Prompt, PropagateDirection},
    video::SyntheticSource,
};

const SIZE: Size = Size {
    width: 160,
    height: 96,
};
const FRAMES: u32 = 9;

fn engine() -> Engine {
    let info = ModelInfo::by_id("nano").unwrap();
    Engine::new(LoadedModel::untrained(&info, 7, &Device::Cpu).unwrap())
}

fn clip() -> Clip {
    Clip::new(Box::new(SyntheticSource::new(SIZE, FRAMES, 10.0)))
}

fn options() -> GroundOptions {
    GroundOptions {
        thresholds: Thresholds {
            objectness: 0.0,
            keep: 0.4,
            at_most: 4,
        },
        drawn_boxes: vec![],
        tsf: vec![],
    }
}

fn box_px(corners: [f32; 4]) -> BoxPx {
    BoxPx::from_array(corners)
}

/// A mask that a person drew.
fn drawn(corners: [f32; 4]) -> FrameMask {
    FrameMask {
        rle: Rle::from_bitmap(&sparrow::project::Bitmap::from_box(SIZE, box_px(corners))),
        score: 1.0,
        iou: 1.0,
        provenance: Provenance::Human,
        anchor: true,
        drift: DriftSignal::default(),
    }
}

fn object(id: u32, known: &[u32]) -> Object {
    let mask = drawn([20.0 * id as f32, 20.0, 20.0 * id as f32 + 40.0, 70.0]);
    Object {
        id: ObjectId(id),
        name: format!("object {id}"),
        phrase: String::new(),
        colour: 0,
        visible: true,
        locked: false,
        frames: known
            .iter()
            .map(|&f| (FrameIndex(f), mask.clone()))
            .collect(),
    }
}

fn propagate(
    engine: &Engine,
    clip: &mut Clip,
    objects: &[Object],
    range: std::ops::RangeInclusive<u32>,
    direction: PropagateDirection,
) -> BTreeMap<(u32, u32), FrameMask> {
    let options = PropagateOptions {
        range,
        direction,
        mode: Mode::Track,
        emissions: vec![],
    };
    let mut out = BTreeMap::new();
    engine
        .propagate(
            clip,
            objects,
            &options,
            &mut Progress::silent(),
            &mut |id, frame, mask| {
                assert!(
                    out.insert((id.0, frame.0), mask).is_none(),
                    "a frame came twice"
                );
            },
        )
        .unwrap();
    out
}

/// What a phrase costs is its own tokens, the choice among proposals and the mask: towers, image encoder and the visual part of
/// the prompt are the clip's. With towers this deep, running them again would be most of the work.
#[test]
fn a_further_phrase_does_not_run_the_towers_again() {
    let mut info = ModelInfo::by_id("nano").unwrap();
    info.config.clip.layers = 20;
    info.config.internvideo2.depth = 20;
    let (side, frames) = (info.config.clip.image_size, info.config.visual.num_frames);
    let towers = {
        let vb = RandomWeights::new(7).var_builder(&Device::Cpu);
        let net = Sparrow::new(&info.config, &vb, &vb.pp("detector")).unwrap();
        let images = Tensor::zeros((frames, 3, side, side), DType::F32, &Device::Cpu).unwrap();
        metered(|| {
            net.encode_clip(&images, &images.unsqueeze(0).unwrap())
                .unwrap()
        })
        .1
    };
    let engine = Engine::new(LoadedModel::untrained(&info, 7, &Device::Cpu).unwrap());
    let mut clip = clip();
    let mut ask = |frame: u32, phrase: &str| {
        let (frame, silent) = (FrameIndex(frame), &mut Progress::silent());
        metered(|| {
            engine
                .ground(&mut clip, frame, phrase, &options(), silent)
                .unwrap()
        })
        .1
    };
    let first = ask(3, "the red circle");
    let second = ask(3, "the small dog");
    assert!(first.flop > towers.flop, "{first:?} {towers:?}");
    assert!(second.flop < towers.flop / 2, "{second:?} {towers:?}");
    // Asked about a later frame they see other frames, which nobody could have kept.
    assert!(ask(5, "the small dog").flop > towers.flop);
    assert!(ask(5, "the red circle").flop < towers.flop / 2);
}

#[test]
fn oddity_11_grounding_says_the_same_again_and_lists_every_proposal() {
    let (engine, mut clip) = (engine(), clip());
    let ask = |clip: &mut Clip, phrase: &str| {
        let mut g = engine
            .ground(
                clip,
                FrameIndex(3),
                phrase,
                &options(),
                &mut Progress::silent(),
            )
            .unwrap();
        g.emission.secs = 0.0;
        g
    };
    let first = ask(&mut clip, "the red circle");
    let other = ask(&mut clip, "the small dog");
    let again = ask(&mut clip, "the red circle");
    let fresh = ask(&mut self::clip(), "the red circle");
    // From the cache, and from nothing.
    assert_eq!(first.emission, again.emission);
    assert_eq!(first.emission, fresh.emission);
    assert_eq!(first.masks, fresh.masks);
    assert_eq!(first.emission.frame, FrameIndex(3));
    assert_eq!(first.emission.proposals.len(), 32);
    assert_eq!(
        other.emission.unknown_words,
        [("dog".into(), "object".into())]
    );
    assert!(other.warnings.iter().any(|w| w.contains("\"dog\"")));
    let sorted: Vec<f32> = first
        .emission
        .proposals
        .iter()
        .map(|p| p.confidence)
        .collect();
    assert!(sorted.windows(2).all(|w| w[0] >= w[1]));
    for p in &first.emission.proposals {
        assert!(p.box_px.clamped(SIZE) == p.box_px);
        assert!((0.0..=1.0).contains(&p.objectness) && (0.0..=1.0).contains(&p.filtration));
    }
    for mask in &first.masks {
        assert_eq!(mask.rle.size, SIZE);
    }
}

#[test]
fn a_drawn_box_is_one_more_proposal_and_crops_become_tokens() {
    let (engine, mut clip) = (engine(), clip());
    let drawn = box_px([10.0, 10.0, 60.0, 60.0]);
    let options = GroundOptions {
        drawn_boxes: vec![drawn],
        tsf: (0..6).map(|f| (FrameIndex(f), drawn)).collect(),
        ..options()
    };
    let g = engine
        .ground(
            &mut clip,
            FrameIndex(0),
            "the red circle",
            &options,
            &mut Progress::silent(),
        )
        .unwrap();
    assert_eq!(g.emission.proposals.len(), 33);
    let ours: Vec<_> = g.emission.proposals.iter().filter(|p| p.drawn).collect();
    assert_eq!(ours.len(), 1);
    assert_eq!(ours[0].objectness, 1.0);
    assert!(ours[0].box_px.iou(drawn) > 0.999);
    assert_eq!(g.emission.tsf_tokens, 4);
}

#[test]
fn prompts_are_checked_before_any_work() {
    let (engine, mut clip) = (engine(), clip());
    let mut segment =
        |prompt: Prompt| engine.segment(&mut clip, FrameIndex(0), &prompt, &mut Progress::silent());
    let at = |x: f32, y: f32| vec![(PointPx { x, y }, true)];
    let bad = [
        Prompt::default(),
        Prompt {
            box_px: Some(box_px([200.0, 10.0, 300.0, 20.0])),
            ..Prompt::default()
        },
        Prompt {
            box_px: Some(box_px([10.0, 10.0, 10.0, 20.0])),
            ..Prompt::default()
        },
        Prompt {
            points: at(-1.0, 5.0),
            ..Prompt::default()
        },
        Prompt {
            points: at(f32::NAN, 5.0),
            ..Prompt::default()
        },
        Prompt {
            mask: Some(Rle::empty(Size::new(3, 3))),
            ..Prompt::default()
        },
    ];
    for prompt in bad {
        assert!(
            matches!(segment(prompt.clone()), Err(InferError::Prompt(_))),
            "{prompt:?}"
        );
    }
    let good = [
        Prompt {
            box_px: Some(box_px([-5.0, 10.0, 60.0, 80.0])),
            ..Prompt::default()
        },
        Prompt {
            points: at(50.0, 50.0),
            ..Prompt::default()
        },
        Prompt {
            points: at(50.0, 50.0),
            mask: Some(drawn([10.0, 10.0, 50.0, 50.0]).rle),
            ..Prompt::default()
        },
    ];
    for prompt in good {
        let mask = segment(prompt).unwrap();
        assert_eq!(mask.rle.size, SIZE);
        assert!(mask.anchor && mask.provenance == Provenance::Human);
    }
    let painted = drawn([10.0, 10.0, 50.0, 50.0]).rle;
    let kept = segment(Prompt {
        mask: Some(painted.clone()),
        ..Prompt::default()
    })
    .unwrap();
    assert_eq!(kept.rle, painted);
    let past = engine.segment(
        &mut clip,
        FrameIndex(FRAMES),
        &Prompt {
            points: at(5.0, 5.0),
            ..Prompt::default()
        },
        &mut Progress::silent(),
    );
    assert!(matches!(past, Err(InferError::Video(_))));
}

/// What the window marks as worth a look comes with each mask, whoever asked for it.
#[test]
fn carried_masks_come_with_their_signs_of_drift() {
    let (engine, mut clip) = (engine(), clip());
    let object = object(1, &[0, 6]);
    let of_one = std::slice::from_ref(&object);
    let all = propagate(
        &engine,
        &mut clip,
        of_one,
        0..=100,
        PropagateDirection::Both,
    );
    // Weights that nobody trained are sure of nothing.
    assert!(all.values().any(|m| m.drift.total() > 0.0));
    let signs = |beside: &[Trace], mask: &FrameMask| {
        let mut usual = Usual::of(object.frames.values());
        DriftSignal {
            // Of pixels, which only the engine sees.
            left_out: mask.drift.left_out,
            ..usual.measure(beside.iter().copied(), mask, (None, 0.0))
        }
    };
    for (frame, anchor) in [(1, 0), (5, 6), (7, 6)] {
        let (mask, anchor) = (&all[&(1, frame)], &object.frames[&FrameIndex(anchor)]);
        assert_eq!(mask.drift, signs(&[Trace::of(anchor)], mask));
    }
    // What came from either side meets between 3 and 4.
    let seam = &all[&(1, 4)];
    let beside = [&all[&(1, 3)], &all[&(1, 5)]].map(Trace::of);
    assert_eq!(seam.drift, signs(&beside, seam));
}

#[test]
fn every_frame_of_the_range_is_carried_once_and_no_anchor_is_touched() {
    let (engine, mut clip) = (engine(), clip());
    let objects = [object(1, &[0, 6]), object(2, &[4]), object(3, &[0, 6])];
    let all = propagate(
        &engine,
        &mut clip,
        &objects,
        0..=100,
        PropagateDirection::Both,
    );
    for object in &objects {
        let got: BTreeSet<u32> = all
            .keys()
            .filter(|(id, _)| *id == object.id.0)
            .map(|(_, f)| *f)
            .collect();
        let known: BTreeSet<u32> = object.frames.keys().map(|f| f.0).collect();
        assert!(got.is_disjoint(&known));
        assert_eq!(
            got.union(&known).copied().collect::<Vec<_>>(),
            (0..FRAMES).collect::<Vec<_>>()
        );
    }
    for mask in all.values() {
        assert_eq!(mask.provenance, Provenance::Propagated);
        assert!(!mask.anchor && mask.rle.check().is_ok() && mask.rle.size == SIZE);
    }
    let forward = propagate(
        &engine,
        &mut clip,
        &objects[1..2],
        2..=6,
        PropagateDirection::Forward,
    );
    assert_eq!(forward.keys().map(|k| k.1).collect::<Vec<_>>(), [5, 6]);
    let backward = propagate(
        &engine,
        &mut clip,
        &objects[1..2],
        2..=6,
        PropagateDirection::Backward,
    );
    assert_eq!(backward.keys().map(|k| k.1).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn objects_do_not_change_each_other() {
    let (engine, mut clip) = (engine(), clip());
    let (a, b) = (object(1, &[0]), object(2, &[0]));
    let both = propagate(
        &engine,
        &mut clip,
        &[a.clone(), b.clone()],
        0..=4,
        PropagateDirection::Forward,
    );
    let alone = propagate(&engine, &mut clip, &[a], 0..=4, PropagateDirection::Forward);
    for (key, mask) in &alone {
        // A larger batch may add the same numbers in another order.
        assert!((mask.score - both[key].score).abs() < 1e-3);
        let (common, union) = mask.rle.overlap(&both[key].rle).unwrap();
        assert!(
            union - common <= union / 50 + 4,
            "{key:?}: {common} of {union}"
        );
    }
    let locked = Object { locked: true, ..b };
    let options = PropagateOptions {
        range: 0..=3,
        direction: PropagateDirection::Both,
        mode: Mode::Track,
        emissions: vec![],
    };
    let nothing = engine.propagate(
        &mut clip,
        &[locked],
        &options,
        &mut Progress::silent(),
        &mut |_, _, _| (),
    );
    assert!(matches!(nothing, Err(InferError::Prompt(_))));
}

#[test]
fn framewise_mode_says_what_it_does_not_carry() {
    let (engine, mut clip) = (engine(), clip());
    let options = PropagateOptions {
        range: 0..=3,
        direction: PropagateDirection::Both,
        mode: Mode::Framewise,
        emissions: vec![],
    };
    let mut carried = 0;
    let said = engine
        .propagate(
            &mut clip,
            &[object(1, &[0])],
            &options,
            &mut Progress::silent(),
            &mut |_, _, _| carried += 1,
        )
        .unwrap();
    assert_eq!(carried, 0);
    assert!(said[0].contains("object 1 came of no phrase"), "{said:?}");
}

#[test]
fn cancelling_keeps_what_was_carried() {
    let (engine, mut clip) = (engine(), clip());
    let token = CancelToken::default();
    let options = PropagateOptions {
        range: 0..=8,
        direction: PropagateDirection::Both,
        mode: Mode::Track,
        emissions: vec![],
    };
    let mut frames = Vec::new();
    let mut progress = Progress::new(token.clone(), |_, _, _| ());
    let end = engine.propagate(
        &mut clip,
        &[object(1, &[0])],
        &options,
        &mut progress,
        &mut |_, frame, _| {
            frames.push(frame.0);
            if frames.len() == 3 {
                token.cancel();
            }
        },
    );
    assert!(matches!(end, Err(InferError::Cancelled(_))));
    assert_eq!(frames, [1, 2, 3]);
    let ground = engine.ground(
        &mut clip,
        FrameIndex(0),
        "the circle",
        &self::options(),
        &mut progress,
    );
    assert!(matches!(ground, Err(InferError::Cancelled(_))));
}

#[test]
fn an_anchor_without_the_object_is_remembered_as_absence() {
    let (engine, mut clip) = (engine(), clip());
    let mut object = object(1, &[0]);
    let mut gone = drawn([0.0; 4]);
    gone.rle = Rle::empty(SIZE);
    object.frames.insert(FrameIndex(8), gone);
    let all = propagate(
        &engine,
        &mut clip,
        &[object],
        0..=8,
        PropagateDirection::Both,
    );
    assert_eq!(all.len(), 7);
}
