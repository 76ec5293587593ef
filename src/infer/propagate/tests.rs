//! What a run looks at and remembers, with an untrained model on drawn frames of 64 × 48 pixels.

use candle_core::Device;

use super::{
    run::{NOT_THERE, conditioning, groups, seen_last},
    *,
};
use crate::{
    infer::{LoadedModel, leash::Leash, masks::values, model::ModelInfo, preprocess::box_to_norm},
    nn::sam2::bank::FrameInfo,
    project::Bitmap,
    video::SyntheticSource,
};

fn size() -> Size {
    Size::new(64, 48)
}

fn square() -> Rle {
    let bounds = BoxPx::from_array([10.0, 10.0, 30.0, 30.0]);
    Rle::from_bitmap(&Bitmap::from_box(size(), bounds))
}

/// An object that a person has drawn on some frames, and of which they say that it is gone on others.
fn object(id: u32, there: &[u32], gone: &[u32]) -> Object {
    let there = there.iter().map(|f| (*f, square()));
    let frames = there.chain(gone.iter().map(|f| (*f, Rle::empty(size()))));
    Object {
        id: ObjectId(id),
        name: format!("object {id}"),
        phrase: String::new(),
        colour: 0,
        visible: true,
        locked: false,
        frames: frames
            .map(|(f, rle)| (FrameIndex(f), FrameMask::by_hand(rle)))
            .collect(),
    }
}

fn nano() -> Engine {
    let info = ModelInfo::by_id("nano").unwrap();
    Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap())
}

#[test]
fn a_run_looks_at_the_anchor_ahead_however_many_lie_close_behind() {
    let looks_at = |known: &[u32], (from, forward, frames): (u32, bool, u32)| {
        let known = known.iter().map(|f| (*f, square())).collect();
        let run = Run {
            objects: vec![0],
            from,
            forward,
            frames,
        };
        conditioning(&known, &run)
    };
    let known = [37, 38, 39, 40, 1000];
    assert_eq!(looks_at(&known, (40, true, 480)), [38, 39, 40, 1000]);
    assert_eq!(looks_at(&known, (1000, false, 479)), [38, 39, 40, 1000]);
    let known = [0, 960, 961, 962, 963];
    assert_eq!(looks_at(&known, (960, false, 479)), [0, 960, 961, 962]);
    // With nothing ahead, the nearest.
    assert_eq!(looks_at(&known, (963, true, 9)), [960, 961, 962, 963]);
    assert_eq!(looks_at(&[3], (3, true, 9)), [3]);
    // From a frame where it is gone, 50: where it was seen last counts, however many lie close ahead.
    let known = [0, 40, 100, 101, 102, 103];
    assert_eq!(looks_at(&known, (50, true, 49)), [40, 100, 101, 102]);
    assert_eq!(looks_at(&known, (50, false, 9)), [0, 40, 100, 101]);
}

#[test]
fn objects_come_to_the_same_together_and_in_groups() {
    assert_eq!(groups(5, 2), [(0, 2), (2, 2), (4, 1)]);
    assert_eq!(groups(2, usize::MAX), [(0, 2)]);
    let engine = nano();
    let mut clip = Clip::new(Box::new(SyntheticSource::new(size(), 4, 8.0)));
    engine.claim(&mut clip);
    let features = engine.features(&mut clip, FrameIndex(1)).unwrap();
    assert!(engine.objects_at_once(&features, clip.at_once).unwrap() >= 64);
    let left = BoxPx::from_array([2.0, 6.0, 20.0, 40.0]);
    let masks = [square(), Rle::from_bitmap(&Bitmap::from_box(size(), left))];
    let masks: Vec<&Rle> = masks.iter().collect();
    let bank = [engine.remember_mask(&mut clip, 0, &masks).unwrap()];
    let info = FrameInfo::forward(1, 4);
    let decode = |at_once: usize| {
        let all = engine.decode_next(&features, &bank, info, &groups(2, at_once));
        all.unwrap()
    };
    let (together, apart) = (decode(2), decode(1));
    for (a, b) in [
        (&together.low_res, &apart.low_res),
        (&together.pointer, &apart.pointer),
        (&together.object_score, &apart.object_score),
    ] {
        assert_eq!(a.dims(), b.dims());
        let (a, b) = (values(a).unwrap(), values(b).unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3));
    }
    let given = |at_once| engine.remember_in(&features, 0, &masks, &groups(2, at_once));
    let (together, apart) = (given(2).unwrap(), given(1).unwrap());
    for (a, b) in [
        (&together.memory.features, &apart.memory.features),
        (&together.pointer, &apart.pointer),
    ] {
        assert_eq!(a.dims(), b.dims());
        let (a, b) = (values(a).unwrap(), values(b).unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3));
    }
    clip.keep_less();
    let most = engine.objects_at_once(&features, clip.at_once).unwrap();
    assert_eq!(most, 1, "memory has run out");
}

#[test]
fn an_object_that_its_leash_has_taken_is_remembered_as_absent() {
    let engine = nano();
    let mut clip = Clip::new(Box::new(SyntheticSource::new(size(), 4, 8.0)));
    engine.claim(&mut clip);
    let known = |id: u32| Carried::new(&object(id, &[0], &[]));
    let run = Run {
        objects: vec![0, 1],
        from: 0,
        forward: true,
        frames: 3,
    };
    let objects = [known(1), known(2)];
    let mut active = engine.start_run(&mut clip, &objects, run).unwrap();
    let nowhere = Some([9.0, 9.0, 9.1, 9.1]);
    active.leashes[0] = Leash::new(engine.model().info.leash.unwrap(), nowhere);
    let mut decoded = engine.track(&mut clip, &mut active).unwrap().decoded;
    let rows = |t: &Tensor| t.to_vec2::<f32>().unwrap();
    let sam2 = &engine.model().networks.sam2;
    let absent = rows(&sam2.absent_pointer(1).unwrap());
    let last = active.bank.last().unwrap();
    assert_eq!(rows(&last.pointer)[0], absent[0]);
    // Whatever the decoder said of them.
    decoded.pointer = Tensor::ones_like(&last.pointer).unwrap();
    decoded.object_score = Tensor::new(&[[NOT_THERE], [2.0]], &Device::Cpu).unwrap();
    let mixed = sam2.present_or_absent(&decoded.pointer, &decoded.object_score);
    let mixed = rows(&mixed.unwrap());
    assert_eq!(mixed[0], absent[0]);
    assert!(mixed[1].iter().all(|v| *v == 1.0));
}

fn clip(frames: u32) -> Clip {
    Clip::new(Box::new(SyntheticSource::new(size(), frames, 8.0)))
}

/// Carries objects over a clip of so many frames: each mask by object and frame.
fn carry(
    engine: &Engine,
    objects: &[Object],
    frames: u32,
    direction: PropagateDirection,
) -> BTreeMap<(u32, u32), FrameMask> {
    let options = PropagateOptions {
        range: 0..=frames - 1,
        direction,
        mode: Mode::Track,
        emissions: Vec::new(),
    };
    let mut clip = clip(frames);
    let mut work = engine
        .begin(&mut clip, objects, &options, &mut Progress::silent())
        .unwrap();
    let (mut steps, (_, total)) = (0, work.progress());
    let mut found = BTreeMap::new();
    while let Some(masks) = engine.step(&mut clip, &mut work).unwrap() {
        steps += 1;
        for (id, frame, mask) in masks {
            assert!(found.insert((id.0, frame.0), mask).is_none(), "came twice");
        }
    }
    assert_eq!((work.progress(), steps), ((total, total), total));
    found
}

#[test]
fn a_frame_where_a_person_says_that_it_is_gone_is_never_computed_and_a_gap_between_two_is_left() {
    let engine = nano();
    let objects = [object(1, &[0], &[3, 6]), object(2, &[7], &[])];
    let found = carry(&engine, &objects, 9, PropagateDirection::Both);
    let of = |id: u32| -> Vec<u32> {
        let frames = found.keys().filter(|(object, _)| *object == id);
        frames.map(|(_, frame)| *frame).collect()
    };
    assert_eq!(of(1), [1, 2, 4, 5, 7, 8]);
    assert_eq!(of(2), [0, 1, 2, 3, 4, 5, 6, 8]);
    for frame in [4, 5] {
        assert_eq!(found[&(1, frame)], nothing(size()));
        assert!(!found[&(1, frame)].is_given());
    }
    // A range within such a gap needs no model at all, only its frames.
    let options = PropagateOptions {
        range: 4..=4,
        direction: PropagateDirection::Backward,
        mode: Mode::Track,
        emissions: Vec::new(),
    };
    let (mut clip, one) = (clip(9), &objects[..1]);
    let mut work = engine
        .begin(&mut clip, one, &options, &mut Progress::silent())
        .unwrap();
    let masks = engine.step(&mut clip, &mut work).unwrap().unwrap();
    assert_eq!(masks, [(ObjectId(1), FrameIndex(4), nothing(size()))]);
    assert!(engine.step(&mut clip, &mut work).unwrap().is_none());
    assert!(clip.features.get(&FrameIndex(0)).is_none());
}

#[test]
fn an_object_that_is_nowhere_to_be_seen_has_no_mask_to_start_from() {
    let engine = nano();
    let options = PropagateOptions {
        range: 0..=3,
        direction: PropagateDirection::Both,
        mode: Mode::Track,
        emissions: Vec::new(),
    };
    let (nowhere, there) = (object(1, &[], &[0, 3]), object(2, &[0], &[]));
    let begin = |objects: &[Object]| {
        let work = engine.begin(&mut clip(4), objects, &options, &mut Progress::silent());
        work.map(|work| work.warnings)
    };
    let said = begin(&[nowhere.clone(), there]).unwrap();
    assert_eq!(said, ["object 1 has no mask to start from"]);
    assert!(matches!(begin(&[nowhere]), Err(InferError::Prompt(_))));
}

/// What a model emits without a pixel starts runs as ever.
#[test]
fn an_emitted_mask_without_a_pixel_is_no_word_of_a_person() {
    let mut emitted = object(1, &[], &[0]);
    for mask in emitted.frames.values_mut() {
        (mask.provenance, mask.anchor) = (Provenance::Model, false);
    }
    let found = carry(&nano(), &[emitted], 3, PropagateDirection::Both);
    assert_eq!(found.keys().map(|k| k.1).collect::<Vec<_>>(), [1, 2]);
}

/// What it looks for is what it saw; that it is not there is a memory like any other, which passes.
#[test]
fn a_run_from_where_it_is_gone_looks_for_what_was_seen_before() {
    let engine = nano();
    let mut clip = clip(8);
    engine.claim(&mut clip);
    let objects = carried(&[object(1, &[0, 7], &[4]), object(2, &[0, 7], &[4])]);
    let start = |from: u32, forward: bool| Run {
        objects: vec![0, 1],
        from,
        forward,
        frames: 2,
    };
    let remembered = |active: &Active| -> Vec<(usize, bool)> {
        let bank = active.bank.iter();
        bank.map(|e| (e.frame, e.conditioning)).collect()
    };
    let absent = engine.model().networks.sam2.absent_pointer(2).unwrap();
    let config = engine.model().info.leash.unwrap();
    for (forward, seen, away) in [(true, 0, 4), (false, 7, 3)] {
        let run = start(4, forward);
        assert_eq!(seen_last(&objects[0].known, &run), seen);
        let mut active = engine.start_run(&mut clip, &objects, run).unwrap();
        let bank = [(0, true), (7, true), (4, false)];
        assert_eq!(remembered(&active), bank);
        let pointer = &active.bank[2].pointer;
        assert_eq!(values(pointer).unwrap(), values(&absent).unwrap());
        // As far off as in all the frames since.
        let last = square().bounding_box().map(|b| box_to_norm(b, size()));
        let leash = Leash::new(config, last).unseen_for(away);
        assert_eq!(active.leashes, [leash, leash]);
        let next = if forward { 5 } else { 3 };
        assert_eq!(engine.track(&mut clip, &mut active).unwrap().frame, next);
    }
    let begun = engine.start_run(&mut clip, &objects, start(0, true));
    assert_eq!(remembered(&begun.unwrap()), [(0, true), (7, true)]);
}

/// In tracking mode and framewise both, this is what marks a mask as worth a look.
#[test]
fn vanishing_where_a_person_says_that_it_is_gone_is_no_drift() {
    let mask = |rle: Rle, score: f32| FrameMask {
        rle,
        score,
        ..nothing(size())
    };
    let there = || mask(square(), 0.95);
    let away = || mask(Rle::empty(size()), 0.1);
    let signs = |object: &mut Carried, frame: u32, mut mask: FrameMask| {
        mask.iou = 0.95;
        object.measured(frame, mask, (None, 0.0)).2.drift
    };
    let none = DriftSignal::default();
    // Still there right before it is gone.
    let mut kept = Carried::new(&object(1, &[0], &[3]));
    for frame in [1, 2] {
        assert_eq!(signs(&mut kept, frame, there()), none);
    }
    // Gone a frame early.
    let mut early = Carried::new(&object(1, &[0], &[3]));
    assert_eq!(signs(&mut early, 1, there()), none);
    assert_eq!(signs(&mut early, 2, away()), none);
    // Afterwards it may stay away; that it comes back is worth a look.
    assert_eq!(signs(&mut early, 4, away()), none);
    assert_eq!(signs(&mut early, 5, there()).area_jump, 1.0);
    // Nobody has said so here.
    let mut lost = Carried::new(&object(1, &[0, 3], &[]));
    assert_eq!(signs(&mut lost, 1, there()), none);
    assert_eq!(signs(&mut lost, 2, away()).area_jump, 1.0);
}
