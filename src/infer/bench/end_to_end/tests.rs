use candle_core::Device;

use super::{super::*, *};
use crate::{
    infer::{
        bench::Sizes,
        model::{ModelInfo, Pixels},
    },
    nn::precision::Precision,
    project::Size,
    video::SyntheticSource,
};

const PHRASES: [&str; 2] = ["the red square", "the blue circle"];

fn timed(precision: Precision, tokens: usize, task: &Task<'_>) -> InferResult<EndToEnd> {
    let sizes = Sizes::by_name("nano").unwrap().unwrap();
    let model = scripted(&sizes, tokens, &Device::Cpu, precision)?;
    let mut source = SyntheticSource::new(Size::new(64, 48), 4, 1.0);
    time_end_to_end(model, &mut source, task, &mut Progress::silent())
}

/// The same words and masks whether anything is kept or not, and the work is what each procedure says it does.
#[test]
fn the_authors_way_answers_as_ours_and_runs_everything_for_every_token() {
    let task = Task {
        frames: 2,
        phrases: PHRASES,
        runs: 2,
        as_authors: true,
    };
    let tokens = 4;
    let told = timed(Precision::F32, tokens, &task).unwrap();
    let names: Vec<_> = told.stages.iter().map(|s| s.stage).collect();
    assert_eq!(names, [&FIRST[..], &SECOND, &AUTHORS].concat());
    assert!(told.stages.iter().all(|s| s.runs == 2 && s.gflop > 0.0));
    assert_eq!((told.frames, told.answer_tokens), (2, tokens));
    assert!(told.prompt_tokens > told.visual_tokens && told.visual_tokens > 0);
    assert_eq!((told.first.objects, told.second.objects), (1, 1));
    assert!(told.first.boxes > 0);

    let authors = told.as_authors.unwrap();
    assert_eq!(authors.passes, tokens + 1);
    assert!(authors.same_answer);
    assert_eq!(authors.pixels, 2 * 64 * 48);
    // Sums in another order may tip a pixel on a border.
    assert!(authors.pixels_apart * 100 <= authors.pixels, "{authors:?}");

    let work = |stage: &str| {
        let stage = told.stages.iter().find(|s| s.stage == stage).unwrap();
        stage.gflop
    };
    let once = work(FIRST[0]);
    assert!(work(AUTHORS[0]) > (tokens + 1) as f64 * once);
    assert!(work(SECOND[0]) < once, "the towers are not run again");
    assert!(work(FIRST[1]) < once);
}

/// Every frame is encoded once, whichever phrase asks, as long as what is known of it is kept.
#[test]
fn a_clip_of_one_frame_has_no_others_and_a_short_one_is_not_made_longer() {
    let mut task = Task {
        frames: 1,
        phrases: PHRASES,
        runs: 1,
        as_authors: false,
    };
    let told = timed(Precision::F16, SHORTEST_ANSWER, &task).unwrap();
    assert_eq!((told.frames, told.answer_tokens), (1, SHORTEST_ANSWER));
    assert!(told.as_authors.is_none());
    let work = |told: &EndToEnd, stage: &str| {
        let stage = told.stages.iter().find(|s| s.stage == stage).unwrap();
        stage.gflop
    };
    assert_eq!(work(&told, FIRST[3]), 0.0);
    task.frames = 9;
    let told = timed(Precision::F16, SHORTEST_ANSWER, &task).unwrap();
    assert_eq!(told.frames, 4, "the clip has no more");
    // The later frames are looked at with the first, for what moves; then every mask is decoded once for each phrase.
    assert!(work(&told, FIRST[2]) > 2.0 * work(&told, SECOND[1]));
    assert!(work(&told, SECOND[1]) > 0.0 && work(&told, SECOND[2]) > 0.0);
    assert!(work(&told, FIRST[3]) >= work(&told, SECOND[2]));
}

#[test]
fn an_answer_that_cannot_be_is_refused_in_words() {
    let task = Task {
        frames: 1,
        phrases: PHRASES,
        runs: 1,
        as_authors: false,
    };
    let error = timed(Precision::F32, 2, &task).unwrap_err().to_string();
    assert!(error.contains("3 to"), "{error}");
    let task = Task {
        phrases: ["", "the blue circle"],
        ..task
    };
    let error = timed(Precision::F32, 3, &task).unwrap_err().to_string();
    assert!(error.contains("phrase is empty"), "{error}");
}

#[test]
fn a_single_picture_is_not_timed_as_a_clip() {
    let mut info = ModelInfo::by_id("nano").unwrap();
    info.preprocess.pixels = Pixels::Released;
    let model = LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap();
    let task = Task {
        frames: 1,
        phrases: PHRASES,
        runs: 1,
        as_authors: true,
    };
    let mut source = SyntheticSource::new(Size::new(64, 48), 4, 1.0);
    let refused = time_end_to_end(model, &mut source, &task, &mut Progress::silent());
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("two frames or more"), "{error}");
}
