//! Properties of generated clips that training and evaluation rely on.

use super::{
    Clip, HELD_OUT, LanguageOptions, Motion, PhraseKind, SynthOptions, Variant, Vocabulary,
    generate, training_seed,
};

fn small(phrases: usize) -> SynthOptions {
    SynthOptions {
        width: 96,
        height: 80,
        frames: 4,
        phrases,
        ..SynthOptions::default()
    }
}

fn clips(n: u64, options: &SynthOptions) -> Vec<Clip> {
    (0..n).map(|s| generate(s, options)).collect()
}

#[test]
fn a_seed_is_a_clip() {
    let options = small(4);
    let (a, b) = (generate(5, &options), generate(5, &options));
    assert_eq!(a.frames, b.frames);
    assert_eq!(a.ids, b.ids);
    assert_eq!(a.phrases, b.phrases);
    assert_ne!(a.frames, generate(6, &options).frames);
}

#[test]
fn the_first_clip_is_the_same_on_every_platform() {
    let clip = generate(1, &small(4));
    let sum: u64 = clip
        .frames
        .iter()
        .flatten()
        .zip(1_u64..)
        .map(|(&v, i)| u64::from(v) * (i % 251))
        .sum();
    assert_eq!(sum, FIRST_CLIP_SUM);
}
const FIRST_CLIP_SUM: u64 = 1_149_920_101;

#[test]
fn training_never_draws_a_held_out_seed() {
    for run in [0, 1, 77, u64::MAX] {
        for n in [0, 1, 999_999_999, u64::MAX] {
            assert!(training_seed(run, n) < HELD_OUT);
        }
    }
}

#[test]
fn boxes_and_areas_are_those_of_the_masks() {
    for clip in clips(6, &small(0)) {
        for object in &clip.objects {
            for (f, ids) in clip.ids.iter().enumerate() {
                let area = ids.iter().filter(|v| **v == object.id).count();
                assert_eq!(area as u32, object.areas[f]);
                assert_eq!(object.boxes[f].is_some(), area > 0);
                if let Some([x1, y1, x2, y2]) = object.boxes[f] {
                    assert!(x1 < x2 && x2 <= 96.0 && y1 < y2 && y2 <= 80.0);
                }
            }
        }
    }
}

#[test]
fn phrases_mean_what_they_say() {
    let mut kinds = std::collections::BTreeMap::new();
    for clip in clips(120, &small(12)) {
        for phrase in &clip.phrases {
            *kinds.entry(phrase.kind).or_insert(0) += 1;
            let s = phrase.slots;
            let fits = |o: &super::ObjectInfo| {
                s.colour.is_none_or(|c| c == o.colour)
                    && s.shape.is_none_or(|v| v == o.shape)
                    && s.texture.is_none_or(|t| t == o.texture)
                    && s.motion.is_none_or(|m| {
                        o.motion == m || (m.word().len() > 14 && o.motion.word().len() > 14)
                    })
            };
            for object in &clip.objects {
                let meant = phrase.referents.contains(&object.id);
                if s.superlative.is_none() {
                    assert_eq!(
                        meant,
                        fits(object) && object.ever_visible(),
                        "{phrase:?} {object:?}"
                    );
                } else {
                    assert!(!meant || fits(object));
                }
            }
            assert_eq!(
                phrase.referents.is_empty(),
                phrase.kind == PhraseKind::NoMatch
            );
        }
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    let total: i32 = kinds.values().sum();
    assert!(
        kinds[&PhraseKind::NoMatch] * 6 > total,
        "{kinds:?} of {total}"
    );
}

#[test]
fn without_its_superlative_a_phrase_could_mean_several_things() {
    let mut compared = 0;
    for clip in clips(60, &small(12)) {
        for phrase in &clip.phrases {
            let could = phrase.could_mean(&clip.objects);
            if phrase.slots.superlative.is_none() {
                assert_eq!(could, phrase.referents);
                continue;
            }
            compared += 1;
            assert!(
                could.len() > 1 && could.contains(&phrase.referents[0]),
                "{phrase:?}"
            );
            assert!(could.is_sorted());
            let said = phrase.slots.colour;
            let others = clip.objects.iter().filter(|o| could.contains(&o.id));
            assert!(
                others
                    .into_iter()
                    .all(|o| said.is_none_or(|c| c == o.colour))
            );
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn straight_motions_go_where_they_say() {
    let options = SynthOptions {
        camera: 0.0,
        objects: [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        radius: (14.0, 30.0),
        frames: 8,
        ..small(0)
    };
    let mut seen = 0;
    for clip in clips(60, &options) {
        let o = &clip.objects[0];
        let (Some(Some(a)), Some(Some(b)), Some((dx, dy))) =
            (o.boxes.first(), o.boxes.last(), o.motion.direction())
        else {
            continue;
        };
        // Objects may leave the frame; what is left of them still lies on the right side.
        let moved = (b[0] + b[2] - a[0] - a[2], b[1] + b[3] - a[1] - a[3]);
        assert!(
            dx == 0 || moved.0 * f32::from(dx) > 0.0,
            "{:?} {moved:?}",
            o.motion
        );
        assert!(
            dy == 0 || moved.1 * f32::from(dy) > 0.0,
            "{:?} {moved:?}",
            o.motion
        );
        seen += 1;
    }
    assert!(seen > 10);
}

#[test]
fn the_core_vocabulary_stays_in_its_bounds() {
    let options = SynthOptions {
        vocabulary: Vocabulary::Core,
        ..small(6)
    };
    for clip in clips(40, &options) {
        for o in &clip.objects {
            assert!(Vocabulary::Core.shapes().contains(&o.shape));
            assert!(Vocabulary::Core.colours().contains(&o.colour));
            assert!(o.motion != Motion::Circling && o.motion != Motion::Spinning);
        }
    }
}

#[test]
fn clips_that_look_like_footage_have_masks_and_no_words() {
    let options = SynthOptions {
        wild: 1.0,
        ..small(6)
    };
    for clip in clips(8, &options) {
        assert!(clip.wild && clip.phrases.is_empty());
        assert!(clip.ids.iter().flatten().any(|id| *id > 0));
        assert!(clip.frames.iter().all(|f| f.len() == 96 * 80 * 3));
        assert_ne!(clip.frames[0], clip.frames[3]);
    }
    assert_eq!(
        generate(4, &options).frames,
        generate(4, &options).frames,
        "a seed is a clip here too"
    );
}

#[test]
fn variants_keep_masks_and_phrases_true() {
    for variant in Variant::ALL {
        for seed in 0..8 {
            let before = generate(seed, &small(8));
            let mut clip = before.clone();
            variant.apply(&mut clip, seed);
            assert_ne!(clip.frames, before.frames, "{}", variant.name());
            let moved = matches!(variant, Variant::Rotate | Variant::Scale);
            assert_eq!(clip.ids != before.ids, moved, "{}", variant.name());
            for object in &clip.objects {
                let area = clip.ids[1].iter().filter(|v| **v == object.id).count();
                assert_eq!(area as u32, object.areas[1]);
            }
            for phrase in &clip.phrases {
                assert!(before.phrases.contains(phrase));
                let turned = variant == Variant::Rotate;
                assert!(!turned || phrase.kind != PhraseKind::Position);
                let there = |id: &u8| clip.object(*id).is_some_and(|o| o.areas[0] > 0);
                assert!(phrase.referents.iter().all(there));
            }
        }
    }
}

#[test]
fn written_clips_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let clip = generate(3, &small(3));
    super::write_clip(dir.path(), 3, &clip).unwrap();
    let file: super::ClipFile =
        serde_json::from_slice(&std::fs::read(dir.path().join("clip.json")).unwrap()).unwrap();
    assert_eq!(
        (file.width, file.height, file.frames, file.seed),
        (96, 80, 4, 3)
    );
    assert_eq!(file.objects, clip.objects);
    assert_eq!(file.phrases, clip.phrases);
    let png = std::fs::File::open(dir.path().join("masks/00002.png")).unwrap();
    let mut reader = png::Decoder::new(std::io::BufReader::new(png))
        .read_info()
        .unwrap();
    let mut ids = vec![0; 96 * 80];
    reader.next_frame(&mut ids).unwrap();
    assert_eq!(ids, clip.ids[2]);
    assert!(image::open(dir.path().join("frames/00003.jpg")).is_ok());
}

#[test]
fn a_shorter_clip_in_the_place_of_a_longer_one_leaves_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    for frames in [4, 2] {
        let options = SynthOptions { frames, ..small(0) };
        super::write_clip(dir.path(), 3, &generate(3, &options)).unwrap();
        for folder in ["frames", "masks"] {
            let files = std::fs::read_dir(dir.path().join(folder)).unwrap();
            assert_eq!(files.count(), frames, "{folder}");
        }
    }
}

#[test]
fn what_is_not_there_may_be_leftmost_and_striped_too() {
    let asked = |language: LanguageOptions| {
        let options = SynthOptions {
            language: LanguageOptions {
                no_match: 1.0,
                texture: 0.5,
                ..language
            },
            ..small(16)
        };
        let clips = clips(40, &options);
        let mut counts = (0, 0);
        for clip in &clips {
            for phrase in &clip.phrases {
                assert_eq!(phrase.kind, PhraseKind::NoMatch);
                let fits = |o: &&super::ObjectInfo| {
                    let s = phrase.slots;
                    s.colour.is_none_or(|c| c == o.colour)
                        && s.shape.is_none_or(|v| v == o.shape)
                        && s.motion.is_none_or(|m| m == o.motion)
                };
                // Nothing fits with its texture, so where something fits without, the texture alone is false.
                let texture = phrase.slots.texture.is_some();
                let mut seen = clip.objects.iter().filter(|o| o.ever_visible());
                counts.1 += i32::from(texture && seen.any(|o| fits(&o)));
                if let Some(superlative) = phrase.slots.superlative {
                    counts.0 += 1;
                    let word = superlative.word().to_owned();
                    assert!(phrase.words.contains(&word) && !phrase.speaks_of_several());
                    assert!(phrase.could_mean(&clip.objects).is_empty());
                }
            }
        }
        counts
    };
    let (superlatives, textures) = asked(LanguageOptions::practice());
    assert!(
        superlatives > 40 && textures > 20,
        "{superlatives} {textures}"
    );
    assert_eq!(asked(LanguageOptions::default()).0, 0);
}
