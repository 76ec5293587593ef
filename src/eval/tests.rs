//! The runners on a small dataset, with models whose scores are known beforehand.

use std::{collections::BTreeMap, fs, path::Path};

use super::{
    dataset::{Sequence, Truths, open},
    error::EvalError,
    report::MaskReport,
    run::{CorrectAt, Given},
    runners::{proposals, rvos},
    subject::{Answer, Ask, Opened, Subject, Track},
    vos::vos,
};
use crate::{
    formats::labels,
    project::{
        Bitmap, DriftSignal, Emission, FrameIndex, FrameMask, Proposal, Provenance, Rle, Size,
    },
    task::{CancelToken, Mode, Progress, Prompt},
};

const S: Size = Size {
    width: 24,
    height: 16,
};
const FRAMES: u32 = 5;

/// Three discs (labels 1, 2, 3) that move right by a pixel a frame, and begin again in a longer clip.
fn frame_labels(frame: u32) -> Vec<u8> {
    let frame = frame % FRAMES;
    let mut out = vec![0; S.area() as usize];
    for (label, x, y) in [(1, 3.0, 4.0), (2, 12.0, 4.0), (3, 8.0, 11.0)] {
        for (k, value) in out.iter_mut().enumerate() {
            let (px, py) = ((k % 24) as f32, (k / 24) as f32);
            if (px - x - frame as f32).powi(2) + (py - y).powi(2) < 7.0 {
                *value = label;
            }
        }
    }
    out
}

fn dataset(dir: &Path, frames: u32) {
    let json = r#"{"schema":1,"seed":5,"width":24,"height":16,"frames":5,"fps":8.0,
        "objects":[{"id":1},{"id":2},{"id":3}],"phrases":[
        {"words":["the","red","disc"],"kind":"attribute","referents":[1],"slots":{}},
        {"words":["the","blue","disc"],"kind":"attribute","referents":[2],"slots":{}},
        {"words":["all","green","discs"],"kind":"plural","referents":[2,3],"slots":{}},
        {"words":["the","square"],"kind":"no_match","referents":[],"slots":{}}]}"#;
    let json = json.replace("\"frames\":5", &format!("\"frames\":{frames}"));
    for clip in ["a", "b"] {
        let clip = dir.join(clip);
        fs::create_dir_all(clip.join("frames")).unwrap();
        fs::create_dir_all(clip.join("masks")).unwrap();
        fs::write(clip.join("clip.json"), &json).unwrap();
        for f in 0..frames {
            let png = labels::encode(S, &frame_labels(f)).unwrap();
            fs::write(clip.join(format!("masks/{f:05}.png")), png).unwrap();
        }
    }
}

/// What a test model does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Knows the truth.
    Oracle,
    /// Always answers with object 1, and lets masks stand still.
    Stubborn,
    /// Says no to everything.
    Silent,
    /// Fails on clip `b`.
    Fragile,
}

struct Model {
    habit: Habit,
    frames: u32,
    /// What was asked, and on which frame.
    asked: Vec<(String, u32)>,
    /// Questions that it answers before it fails.
    patience: usize,
    /// Carried masks of these frames are marked, the more the later they stand in this list.
    marked: &'static [u32],
}

fn mask_of(bitmap: &Bitmap) -> FrameMask {
    FrameMask {
        rle: Rle::from_bitmap(bitmap),
        score: 1.0,
        iou: 1.0,
        provenance: Provenance::Model,
        anchor: false,
        drift: DriftSignal::default(),
    }
}

fn label_mask(frame: u32, label: u8) -> Bitmap {
    let data = frame_labels(frame)
        .iter()
        .map(|&v| u8::from(v == label))
        .collect();
    Bitmap { size: S, data }
}

fn offer(mask: &Bitmap, objectness: f32) -> Proposal {
    Proposal {
        box_px: Rle::from_bitmap(mask).bounding_box().unwrap(),
        objectness,
        filtration: objectness,
        confidence: objectness,
        selected: true,
        drawn: false,
        incredible: false,
    }
}

impl Model {
    fn new(habit: Habit) -> Self {
        Self {
            habit,
            frames: FRAMES,
            asked: Vec::new(),
            patience: usize::MAX,
            marked: &[],
        }
    }

    fn lose_patience(&mut self) -> Result<(), EvalError> {
        let left = self.patience.checked_sub(1);
        self.patience = left.ok_or_else(|| EvalError::Model("enough is enough".to_owned()))?;
        Ok(())
    }

    fn answer(frame: FrameIndex, phrase: &str, referents: &[u8]) -> Result<Answer, EvalError> {
        let masks: Vec<Bitmap> = referents.iter().map(|&l| label_mask(frame.0, l)).collect();
        Ok(Answer {
            emission: Emission {
                proposals: masks.iter().map(|m| offer(m, 0.9)).collect(),
                ..Emission::new(frame, phrase)
            },
            masks: masks.iter().map(mask_of).collect(),
        })
    }
}

impl Subject for Model {
    fn name(&self) -> String {
        "test".to_owned()
    }

    fn open(&mut self, images: &Path) -> Result<Opened, EvalError> {
        if self.habit == Habit::Fragile && images.parent().unwrap().ends_with("b") {
            return Err(EvalError::Model("the frames cannot be read".to_owned()));
        }
        Ok(Opened {
            size: S,
            frames: self.frames,
        })
    }

    fn ground(
        &mut self,
        frame: FrameIndex,
        phrase: &str,
        ask: &Ask,
        progress: &mut Progress<'_>,
    ) -> Result<Answer, EvalError> {
        progress.step(0, 1, "asking")?;
        self.lose_patience()?;
        self.asked.push((phrase.to_owned(), frame.0));
        if self.habit == Habit::Stubborn && ask.text_alone {
            return Model::answer(frame, phrase, &[]);
        }
        let referents: &[u8] = match (self.habit, phrase) {
            (Habit::Silent, _) | (Habit::Oracle | Habit::Fragile, "the square") => &[],
            (Habit::Stubborn, _) | (_, "the red disc") => &[1],
            (_, "the blue disc") => &[2],
            _ => &[2, 3],
        };
        if self.habit == Habit::Stubborn && !ask.anchors.is_empty() {
            // Shown what is meant, it understands.
            let there = |l: &u8| {
                let (frame, wanted) = ask.anchors[0];
                Rle::from_bitmap(&label_mask(frame.0, *l)).bounding_box() == Some(wanted)
            };
            let shown: Vec<u8> = (1..4).filter(there).collect();
            return Model::answer(frame, phrase, &shown);
        }
        Model::answer(frame, phrase, referents)
    }

    fn segment(
        &mut self,
        frame: FrameIndex,
        prompt: &Prompt,
        progress: &mut Progress<'_>,
    ) -> Result<FrameMask, EvalError> {
        progress.step(0, 1, "segmenting")?;
        self.lose_patience()?;
        if let [(at, true)] = prompt.points[..] {
            let label = frame_labels(frame.0)[at.y as usize * S.width as usize + at.x as usize];
            return Ok(mask_of(&label_mask(frame.0, label)));
        }
        let box_px = prompt.box_px.unwrap();
        let filled = Bitmap::from_box(S, box_px);
        if self.habit == Habit::Stubborn {
            return Ok(mask_of(&filled));
        }
        let label = (1..4).find(|&l| {
            let there = Rle::from_bitmap(&label_mask(frame.0, l)).bounding_box();
            there.is_some_and(|b| b.iou(box_px) > 0.99)
        });
        Ok(mask_of(&label_mask(frame.0, label.unwrap())))
    }

    fn carry(
        &mut self,
        frame: FrameIndex,
        answer: &Answer,
        _mode: Mode,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Track>, EvalError> {
        progress.step(0, 1, "carrying")?;
        let still = self.habit == Habit::Stubborn;
        let track = |start: &FrameMask| -> Track {
            (0..self.frames)
                .map(|f| {
                    let label = (1..4).find(|&l| mask_of(&label_mask(frame.0, l)).rle == start.rle);
                    let mut mask = match label {
                        Some(label) if !still => mask_of(&label_mask(f, label)),
                        _ => start.clone(),
                    };
                    if let Some(at) = self.marked.iter().position(|m| *m == f) {
                        mask.drift.area_jump = 0.6 + 0.1 * at as f32;
                    }
                    (f, mask)
                })
                .collect()
        };
        Ok(answer.masks.iter().map(track).collect())
    }

    fn carry_between(
        &mut self,
        anchors: &BTreeMap<FrameIndex, FrameMask>,
        progress: &mut Progress<'_>,
    ) -> Result<Track, EvalError> {
        progress.step(0, 1, "carrying")?;
        // Every frame looks like the last one that a person gave.
        let before = |f: u32| anchors.range(..=FrameIndex(f)).next_back();
        Ok((0..self.frames)
            .filter_map(|f| Some((f, before(f)?.1.clone())))
            .collect())
    }

    fn propose(
        &mut self,
        frame: FrameIndex,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Proposal>, EvalError> {
        progress.step(0, 1, "proposing")?;
        self.lose_patience()?;
        let all: &[(u8, f32)] = match self.habit {
            Habit::Oracle => &[(3, 0.2), (1, 0.9), (2, 0.5)],
            _ => &[(1, 0.9)],
        };
        Ok(all
            .iter()
            .map(|&(l, o)| offer(&label_mask(frame.0, l), o))
            .collect())
    }
}

fn sequences() -> (tempfile::TempDir, Vec<Sequence>) {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), FRAMES);
    let all = open(dir.path(), "synth", None, None).unwrap();
    (dir, all)
}

fn ask(habit: Habit) -> super::report::MaskReport {
    let (_dir, all) = sequences();
    let mut model = Model::new(habit);
    rvos(
        &mut model,
        &all,
        (Mode::Track, true),
        &mut Progress::silent(),
    )
    .unwrap()
}

#[test]
fn who_knows_the_truth_scores_one_everywhere() {
    let report = ask(Habit::Oracle);
    assert_eq!((report.j, report.f, report.jf), (1.0, 1.0, 1.0));
    assert_eq!(report.sequences.len(), 6);
    assert_eq!(report.no_match.unwrap().accuracy, 1.0);
    assert_eq!(report.no_match.unwrap().phrases, 2);
    for kind in ["attribute", "plural"] {
        let k = report.kinds[kind];
        assert_eq!((k.right_object, k.answered), (1.0, 1.0));
        assert_eq!(k.right_box, Some(1.0));
        assert_eq!(k.set_50, 1.0);
    }
    assert!(!report.kinds.contains_key("no_match"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["task"], "rvos");
    assert_eq!(json["sequences"][0]["phrase"], "the red disc");
    assert_eq!(json["sequences"][0]["j"], 1.0);
}

/// Released, the first object of an answer alone is measured, which of two discs finds half.
#[test]
fn oddity_36_all_objects_of_an_answer_are_measured_together() {
    let of = |habit| {
        let report = ask(habit);
        let plural = |s: &&super::report::SequenceScore| s.phrase == "all green discs";
        report.sequences.iter().find(plural).unwrap().j_prompted
    };
    assert_eq!(of(Habit::Oracle), 1.0);
    assert_eq!(of(Habit::Stubborn), 0.0);
}

/// Released, a clip is asked about again every 64 frames.
#[test]
fn oddity_37_a_long_clip_is_asked_about_once() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 70);
    let all = open(dir.path(), "synth", None, Some(1)).unwrap();
    let mut model = Model::new(Habit::Oracle);
    model.frames = 70;
    let mode = (Mode::Track, false);
    let report = rvos(&mut model, &all, mode, &mut Progress::silent()).unwrap();
    assert_eq!(report.sequences.len(), 3);
    assert_eq!(report.j, 1.0);
    let mut asked = model.asked;
    asked.sort();
    let phrases = [
        "all green discs",
        "the blue disc",
        "the red disc",
        "the square",
    ];
    assert_eq!(asked, phrases.map(|p| (p.to_owned(), 0)));
}

#[test]
fn who_always_names_the_first_object_is_found_out() {
    let report = ask(Habit::Stubborn);
    let attribute = report.kinds["attribute"];
    assert_eq!(attribute.right_object, 0.5);
    assert_eq!(attribute.right_box, Some(0.5));
    let plural = report.kinds["plural"];
    assert_eq!((plural.right_object, plural.answered), (0.0, 1.0));
    assert_eq!((plural.set_50, attribute.set_50), (0.0, 0.5));
    let [no_boxes, anchored] = &report.ablations[..] else {
        panic!("two changes, not {}", report.ablations.len());
    };
    assert_eq!((no_boxes.all.answered, no_boxes.gain), (0.0, -report.jf));
    assert!(anchored.all.right_object > 0.6 && anchored.gain > 0.1);
    assert_eq!(report.no_match.unwrap().accuracy, 0.0);
    // Right on the first frame, then left behind.
    let red = &report.sequences[0];
    assert_eq!(red.j_prompted, 1.0);
    assert!(red.j < 0.7 && red.j > 0.2);
    assert!(report.lines().len() > 4);
}

#[test]
fn who_says_nothing_is_right_only_about_what_is_not_there() {
    let report = ask(Habit::Silent);
    assert_eq!((report.j, report.f), (0.0, 0.0));
    assert_eq!(report.no_match.unwrap().accuracy, 1.0);
    let all = report.all_kinds.unwrap();
    assert_eq!((all.right_object, all.answered), (0.0, 0.0));
    assert_eq!(all.right_box, Some(0.0));
}

#[test]
fn a_clip_that_fails_is_listed_and_the_rest_is_measured() {
    let report = ask(Habit::Fragile);
    assert_eq!(report.sequences.len(), 3);
    assert_eq!(report.j, 1.0);
    assert_eq!(report.failed.len(), 1);
    assert_eq!(report.failed[0].name, "b");
}

/// A description that cannot be read, or masks that are missing, ended the whole run.
#[test]
fn a_clip_that_cannot_be_read_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), FRAMES);
    fs::write(dir.path().join("a/clip.json"), "{").unwrap();
    let failed = || {
        let all = open(dir.path(), "synth", None, None).unwrap();
        let mut model = Model::new(Habit::Oracle);
        let how = (Mode::Track, false);
        rvos(&mut model, &all, how, &mut Progress::silent()).unwrap()
    };
    let report = failed();
    assert_eq!((report.failed.len(), report.sequences.len()), (1, 3));
    assert!(report.failed[0].error.contains("clip.json"));
    fs::remove_dir_all(dir.path().join("b/masks")).unwrap();
    let names: Vec<String> = failed().failed.into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["a", "b"]);
}

/// The entry without `[BOX]` told how good the boxes are that it did not use, and which phrases of nothing were answered was told
/// nowhere.
#[test]
fn an_ablation_has_its_own_figures_and_phrases_of_nothing_their_rows() {
    let report = ask(Habit::Stubborn);
    let [no_boxes, anchored] = &report.ablations[..] else {
        panic!("two changes, not {}", report.ablations.len());
    };
    assert_eq!(no_boxes.all.right_box, None);
    assert!(anchored.all.right_box.is_some());
    assert_eq!(no_boxes.kinds["plural"].phrases, 2);
    // Asked without boxes it says nothing, and then it is right.
    assert_eq!(no_boxes.no_match.unwrap().accuracy, 1.0);
    assert_eq!(anchored.no_match, None);
    let [first, _] = &report.no_match_phrases[..] else {
        panic!("two phrases, not {}", report.no_match_phrases.len());
    };
    assert_eq!(
        (
            first.name.as_str(),
            first.phrase.as_str(),
            first.kind.as_str()
        ),
        ("a", "the square", "no_match")
    );
    assert!(first.answered && first.confidence == Some(0.9));
    let silent = ask(Habit::Silent);
    assert!(silent.no_match_phrases.iter().all(|n| !n.answered));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["ablations"][0]["all"].get("right_box"), None);
    assert_eq!(json["no_match_phrases"][0]["answered"], true);
    assert_eq!(json["partial"], false);
}

#[test]
fn a_report_says_which_frames_it_scores() {
    let by_phrase = ask(Habit::Oracle);
    assert_eq!(by_phrase.frames_scored, "every annotated frame");
    assert_eq!(by_phrase.sequences[0].frames, FRAMES as usize);
    let (_dir, all) = sequences();
    let by_box = by_boxes(Habit::Oracle, FRAMES, &all);
    assert!(by_box.frames_scored.contains("first and last"));
    assert_eq!(by_box.sequences[0].frames, FRAMES as usize - 2);
}

#[test]
fn a_clip_that_fails_half_way_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path(), 12);
    let all = open(dir.path(), "synth", None, None).unwrap();
    let silent = &mut Progress::silent();
    let model = |patience| Model {
        frames: 12,
        patience,
        ..Model::new(Habit::Oracle)
    };
    // A clip's eleven questions, and five of the next clip's.
    let report = rvos(&mut model(16), &all, (Mode::Track, true), silent).unwrap();
    assert_eq!((report.sequences.len(), report.jf), (3, 1.0));
    assert_eq!(report.no_match.unwrap().phrases, 1);
    for change in &report.ablations {
        assert_eq!((change.all.phrases, change.gain), (3, 0.0));
    }
    assert_eq!(report.failed[0].name, "b");
    let how = (Given::Box, Mode::Track, None);
    let report = vos(&mut model(4), &all, how, silent).unwrap();
    assert_eq!((report.sequences.len(), report.failed.len()), (3, 1));
    // Two frames of each clip are looked at.
    let report = proposals(&mut model(3), &all, silent).unwrap();
    assert_eq!((report.frames, report.boxes), (2, 6));
    assert_eq!(report.proposals_per_frame, 3.0);
    assert_eq!((report.sequences.len(), report.failed.len()), (1, 1));
}

#[test]
fn boxes_or_clicks_as_prompts_and_what_filling_boxes_would_reach() {
    let (_dir, all) = sequences();
    let given = |habit, given| {
        vos(
            &mut Model::new(habit),
            &all,
            (given, Mode::Track, Some(CorrectAt::Worst)),
            &mut Progress::silent(),
        )
        .unwrap()
    };
    let run = |habit| given(habit, Given::Box);
    let report = given(Habit::Stubborn, Given::Click);
    assert_eq!(report.j_prompted, 1.0, "each click lies on its object");
    let report = run(Habit::Oracle);
    assert_eq!((report.j, report.j_prompted), (1.0, 1.0));
    assert_eq!(report.sequences.len(), 6);
    assert_eq!(report.sequences[2].object, Some(3));
    // A model that fills the box and lets it stand is the baseline.
    let report = run(Habit::Stubborn);
    let fill = report.baselines.unwrap();
    assert_eq!(report.j_prompted, fill.fill_box_j_prompted);
    assert!((report.j - fill.still_box_j).abs() < 1e-12);
    assert!(fill.fill_each_box_j > fill.still_box_j);
    assert!(report.j_corrected.unwrap() > report.j + 0.05);
    // A disc is its 5×5 box without the corners.
    assert!((fill.fill_box_j_prompted - 21.0 / 25.0).abs() < 0.05);
}

#[test]
fn who_goes_by_the_marks_corrects_where_the_strongest_is_and_nothing_without_any() {
    let (_dir, all) = sequences();
    let run = |marked, at| {
        let mut model = Model::new(Habit::Stubborn);
        model.marked = marked;
        let how = (Given::Box, Mode::Track, Some(at));
        vos(&mut model, &all, how, &mut Progress::silent()).unwrap()
    };
    let frames = |report: &MaskReport| -> Vec<Option<u32>> {
        report.sequences.iter().map(|s| s.corrected_frame).collect()
    };
    let unmarked = run(&[], CorrectAt::Marked);
    assert_eq!(frames(&unmarked), [None; 6]);
    assert_eq!(unmarked.j_corrected, Some(unmarked.j));
    let marked = run(&[1, 3, 2], CorrectAt::Marked);
    assert_eq!(frames(&marked), [Some(2); 6], "of the strongest mark");
    assert!(marked.j_corrected.unwrap() > marked.j);
    assert_eq!(marked.marks.unwrap().marked, 18);
    assert!(
        marked
            .lines()
            .iter()
            .any(|l| l.contains("where the strongest mark is"))
    );
    // A disc that goes on while its mask stands still is worst on the last frame that is scored.
    let worst = run(&[], CorrectAt::Worst);
    assert_eq!(frames(&worst), [Some(3); 6]);
    let last = &worst.sequences[0].by_frame;
    assert_eq!(last.iter().map(|f| f.frame).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(last[0].j > last[2].j);
}

#[test]
fn proposals_are_counted_by_box() {
    let (_dir, all) = sequences();
    let run = |habit| proposals(&mut Model::new(habit), &all, &mut Progress::silent()).unwrap();
    let report = run(Habit::Oracle);
    assert_eq!((report.recall_50, report.average_recall), (1.0, 1.0));
    assert_eq!((report.frames, report.boxes), (2, 6));
    assert!((report.recall_50_at[&1] - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(report.recall_50_at[&10], 1.0);
    let report = run(Habit::Stubborn);
    assert!((report.recall_50 - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(report.sequences["a"], report.recall_50);
    assert!(report.lines()[0].contains("recall 0.333"));
}

#[test]
fn a_stop_ends_a_run_and_a_dataset_without_phrases_is_refused() {
    let (_dir, mut all) = sequences();
    let cancel = CancelToken::default();
    let mut seen = 0;
    let stopper = cancel.clone();
    let mut progress = Progress::new(cancel, |done, total, _| {
        seen += 1;
        assert_eq!(total, 2);
        if done == 1 {
            stopper.cancel();
        }
    });
    let mut model = Model::new(Habit::Oracle);
    let stopped = rvos(&mut model, &all, (Mode::Track, false), &mut progress).unwrap();
    assert!(stopped.partial && stopped.failed.is_empty());
    assert_eq!((stopped.sequences_done, stopped.sequences_asked), (1, 2));
    assert_eq!((stopped.sequences.len(), stopped.j), (3, 1.0));
    // With nothing finished there is nothing to report.
    let stop = CancelToken::default();
    stop.cancel();
    let at_once = &mut Progress::new(stop, |_, _, _| {});
    let nothing = rvos(&mut model, &all, (Mode::Track, false), at_once);
    assert!(matches!(nothing, Err(EvalError::Cancelled(_))));
    for sequence in &mut all {
        sequence.queries.clear();
    }
    let asked = rvos(
        &mut model,
        &all,
        (Mode::Track, false),
        &mut Progress::silent(),
    );
    assert!(matches!(asked, Err(EvalError::NoPhrases)));
}

#[test]
fn datasets_are_opened_by_name() {
    let (dir, all) = sequences();
    assert_eq!(all.len(), 2);
    assert_eq!(open(dir.path(), "synth", None, Some(1)).unwrap().len(), 1);
    assert!(matches!(
        open(dir.path(), "coco", None, None),
        Err(EvalError::UnknownFormat(_))
    ));
    assert!(open(dir.path(), "davis", None, None).is_err());
    // The DAVIS 2016 layout: grey masks of 0 and 255 are one object.
    let davis = dir.path().join("davis");
    let masks = davis.join("Annotations/480p/one");
    let images = davis.join("JPEGImages/480p/one");
    fs::create_dir_all(&masks).unwrap();
    let without = &open(&davis, "davis", None, None).unwrap()[0];
    assert_eq!(without.unusable.as_deref(), Some("it has no images"));
    fs::create_dir_all(&images).unwrap();
    for f in 0..2 {
        let grey = image::GrayImage::from_fn(24, 16, |x, _| image::Luma([u8::from(x > 9) * 255]));
        grey.save(masks.join(format!("{f:05}.png"))).unwrap();
        grey.save(images.join(format!("{f:05}.jpg"))).unwrap();
    }
    let one = &open(&davis, "davis", None, None).unwrap()[0];
    assert_eq!((one.frames, one.masks.len()), (2, 2));
    let truth = one.truth(0).unwrap().unwrap();
    assert_eq!(truth.objects(), vec![1]);
    assert_eq!(truth.mask(&[1]).area(), 14 * 16);
    assert_eq!(one.truth(2).unwrap(), None);
    let by_label: BTreeMap<u8, u64> = truth
        .objects()
        .into_iter()
        .map(|l| (l, truth.mask(&[l]).area()))
        .collect();
    assert_eq!(by_label[&1], 224);
}

/// A clip of the dataset whose masks after the first frame are changed.
fn with_masks_changed(dir: &Path, change: impl Fn(u32, &mut [u8])) -> Vec<Sequence> {
    dataset(dir, FRAMES);
    for f in 1..FRAMES {
        let mut labels = frame_labels(f);
        change(f, &mut labels);
        let png = labels::encode(S, &labels).unwrap();
        fs::write(dir.join(format!("a/masks/{f:05}.png")), png).unwrap();
    }
    open(dir, "synth", None, Some(1)).unwrap()
}

fn by_boxes(habit: Habit, frames: u32, all: &[Sequence]) -> super::report::MaskReport {
    let mut model = Model::new(habit);
    model.frames = frames;
    let how = (Given::Box, Mode::Track, None);
    vos(&mut model, all, how, &mut Progress::silent()).unwrap()
}

#[test]
fn frames_that_are_void_everywhere_are_not_annotated() {
    let (long, short) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = with_masks_changed(long.path(), |f, labels| {
        if f > 1 {
            labels.fill(labels::VOID);
        }
    });
    assert!(all[0].truth(1).unwrap().is_some());
    assert_eq!(all[0].truth(2).unwrap(), None);
    // As in a clip that ends there.
    dataset(short.path(), 3);
    let ends = open(short.path(), "synth", None, Some(1)).unwrap();
    let (all, ends) = (
        by_boxes(Habit::Stubborn, FRAMES, &all),
        by_boxes(Habit::Stubborn, 3, &ends),
    );
    assert_eq!((all.j, all.f), (ends.j, ends.f));
    assert!(all.j < 1.0);
}

#[test]
fn a_clip_without_an_annotated_frame_that_is_scored_is_not_measured() {
    let dir = tempfile::tempdir().unwrap();
    let all = with_masks_changed(dir.path(), |f, labels| {
        if f < FRAMES - 1 {
            labels.fill(labels::VOID);
        }
    });
    let report = by_boxes(Habit::Oracle, FRAMES, &all);
    assert_eq!((report.sequences.len(), report.failed.len()), (0, 1));
    let told = &report.failed[0].error;
    assert!(told.contains("annotated"), "{told}");
}

#[test]
fn a_frame_is_read_once_and_a_phrase_of_nothing_needs_none_but_the_first() {
    let (_dir, mut all) = sequences();
    let [first, second] = &mut all[..] else {
        panic!("two clips");
    };
    let truths = Truths::new(first);
    let read = truths.at(1).unwrap();
    assert!(read.is_some());
    fs::remove_file(&first.masks[&1]).unwrap();
    assert_eq!(truths.at(1).unwrap(), read);
    second.queries.retain(|q| q.referents.is_empty());
    for path in second.masks.values().skip(1) {
        fs::remove_file(path).unwrap();
    }
    let mode = (Mode::Track, true);
    let mut model = Model::new(Habit::Oracle);
    let report = rvos(&mut model, &all[1..], mode, &mut Progress::silent()).unwrap();
    assert_eq!((report.failed.len(), report.sequences.len()), (0, 0));
    assert_eq!(report.no_match.unwrap().accuracy, 1.0);
}

#[test]
fn void_is_background_where_boxes_are_given_and_left_out_where_phrases_are() {
    let dir = tempfile::tempdir().unwrap();
    let all = with_masks_changed(dir.path(), |_, labels| {
        let half = labels.iter_mut().step_by(2).filter(|l| **l == 1);
        half.for_each(|l| *l = labels::VOID);
    });
    let report = by_boxes(Habit::Oracle, FRAMES, &all);
    assert_eq!(report.sequences[0].object, Some(1));
    assert!(report.sequences[0].j < 0.8 && report.sequences[1].j == 1.0);
    let mode = (Mode::Track, false);
    let mut model = Model::new(Habit::Oracle);
    let report = rvos(&mut model, &all, mode, &mut Progress::silent()).unwrap();
    assert_eq!(report.j, 1.0);
}

#[test]
fn a_split_names_its_sequences_and_a_bad_one_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let png = labels::encode(S, &frame_labels(0)).unwrap();
    for name in ["a", "b", "c"] {
        let masks = dir.path().join("Annotations/480p").join(name);
        let images = dir.path().join("JPEGImages/480p").join(name);
        fs::create_dir_all(&masks).unwrap();
        fs::create_dir_all(&images).unwrap();
        fs::write(masks.join("00000.png"), &png).unwrap();
        fs::write(images.join("00000.jpg"), b"").unwrap();
    }
    fs::write(dir.path().join("Annotations/480p/b/00009.png"), &png).unwrap();
    let lists = dir.path().join("ImageSets/2017");
    fs::create_dir_all(&lists).unwrap();
    fs::write(lists.join("val.txt"), "b\nd\n\na\n").unwrap();
    let old = "/JPEGImages/480p/c/00000.jpg /Annotations/480p/c/00000.png\n";
    fs::write(lists.join("train.txt"), old).unwrap();
    let names = |split| -> Vec<String> {
        let all = open(dir.path(), "davis", split, None).unwrap();
        all.into_iter().map(|s| s.name).collect()
    };
    assert_eq!(names(None), ["a", "b", "c"]);
    assert_eq!(names(Some("train")), ["c"]);
    assert_eq!(names(Some("val")), ["a", "b", "d"]);
    assert_eq!(names(Some("2017/val")), ["a", "b", "d"]);
    let unknown = open(dir.path(), "davis", Some("test"), None).unwrap_err();
    assert!(unknown.to_string().contains("train, val"), "{unknown}");
    let all = open(dir.path(), "davis", Some("val"), None).unwrap();
    let report = by_boxes(Habit::Oracle, 1, &all);
    assert_eq!((report.sequences.len(), report.j), (3, 1.0));
    let failed: Vec<&str> = report.failed.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(failed, ["b", "d"]);
    assert!(report.failed[0].error.contains("00009"));
    // Beyond a limit nothing need be whole.
    fs::remove_dir_all(dir.path().join("JPEGImages/480p/c")).unwrap();
    let all = open(dir.path(), "davis", None, None).unwrap();
    assert!(all[0].unusable.is_none() && all[2].unusable.is_some());
    let limited = |n: usize| open(dir.path(), "davis", None, Some(n)).unwrap().len();
    assert_eq!([limited(0), limited(1), limited(2)], [0, 1, 2]);
}
