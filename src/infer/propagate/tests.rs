//! What a run looks at and remembers, with an untrained model on drawn frames of 64 × 48 pixels.

use candle_core::Device;

use super::*;
use crate::{
    infer::{LoadedModel, model::ModelInfo},
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
    clip.keep_less();
    let most = engine.objects_at_once(&features, clip.at_once).unwrap();
    assert_eq!(most, 1, "memory has run out");
}

#[test]
fn an_object_that_its_leash_has_taken_is_remembered_as_absent() {
    let engine = nano();
    let mut clip = Clip::new(Box::new(SyntheticSource::new(size(), 4, 8.0)));
    engine.claim(&mut clip);
    let known = |id: u32| Carried {
        id: ObjectId(id),
        known: BTreeMap::from([(0, square())]),
        traces: BTreeMap::new(),
    };
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
