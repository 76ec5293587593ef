//! Evaluation from files to report, with a real engine whose weights nobody trained: the numbers mean nothing, but each
//! task must run, measure everything and stay within its ranges.

use std::{fs, path::Path};

use candle_core::Device;
use sparrow::{
    eval::{CorrectAt, EngineSubject, EvalError, Given, Report, Request, Task, run},
    formats::labels,
    infer::{Engine, LoadedModel, model::ModelInfo},
    project::{Bitmap, BoxPx, Size},
    task::{CancelToken, Mode, Progress},
};

const SIZE: Size = Size {
    width: 96,
    height: 64,
};

fn clip(dir: &Path) {
    fs::create_dir_all(dir.join("frames")).unwrap();
    fs::create_dir_all(dir.join("masks")).unwrap();
    for frame in 0..3_u32 {
        let x = 10.0 + 4.0 * frame as f32;
        let thing = Bitmap::from_box(SIZE, BoxPx::from_array([x, 20.0, x + 24.0, 44.0]));
        let other = Bitmap::from_box(SIZE, BoxPx::from_array([70.0, 6.0, 90.0, 26.0]));
        let ids: Vec<u8> = thing
            .data
            .iter()
            .zip(&other.data)
            .map(|(a, b)| a + 2 * b)
            .collect();
        let png = labels::encode(SIZE, &ids).unwrap();
        fs::write(dir.join(format!("masks/{frame:05}.png")), png).unwrap();
        let picture = image::RgbImage::from_fn(SIZE.width, SIZE.height, |x, y| {
            match ids[(y * SIZE.width + x) as usize] {
                1 => image::Rgb([220, 30, 30]),
                2 => image::Rgb([30, 30, 220]),
                _ => image::Rgb([90, 120, 90]),
            }
        });
        picture
            .save(dir.join(format!("frames/{frame:05}.jpg")))
            .unwrap();
    }
    let json = r#"{"schema":1,"seed":1,"width":96,"height":64,"frames":3,"fps":8.0,"objects":[{"id":1},{"id":2}],
        "phrases":[{"words":["the","red","square"],"kind":"attribute","referents":[1]},
        {"words":["the","green","star"],"kind":"no_match","referents":[]}]}"#;
    fs::write(dir.join("clip.json"), json).unwrap();
}

#[test]
fn every_task_runs_with_the_real_engine() {
    let dir = tempfile::tempdir().unwrap();
    clip(&dir.path().join("a"));
    clip(&dir.path().join("b"));
    // A clip whose frames are damaged is reported, and the others are measured.
    fs::write(dir.path().join("b/frames/00000.jpg"), "not a picture").unwrap();
    let info = ModelInfo::by_id("nano").unwrap();
    let engine = Engine::new(LoadedModel::untrained(&info, 7, &Device::Cpu).unwrap());
    let mut subject = EngineSubject::new(&engine);
    let request = |task, mode| Request {
        task,
        data: dir.path().to_path_buf(),
        format: "synth".to_owned(),
        split: None,
        limit: None,
        mode,
        ablate: true,
        given: Given::Box,
        correct: Some(CorrectAt::Worst),
    };
    let unit = 0.0..=1.0;
    for (task, mode) in [
        (Task::Rvos, Mode::Track),
        (Task::Rvos, Mode::Framewise),
        (Task::Vos, Mode::Track),
    ] {
        let report = run(&request(task, mode), &mut subject, &mut Progress::silent()).unwrap();
        assert_eq!(report.failed().len(), 1, "{:?}", report.failed());
        assert_eq!(report.failed()[0].name, "b");
        let Report::Masks(report) = report else {
            panic!("{task:?} gave another report");
        };
        let expected = if task == Task::Rvos { 1 } else { 2 };
        assert_eq!(report.sequences.len(), expected);
        for score in &report.sequences {
            assert!(unit.contains(&score.j) && unit.contains(&score.f));
        }
        assert_eq!(report.no_match.is_some(), task == Task::Rvos);
        assert_eq!(report.baselines.is_some(), task == Task::Vos);
        assert_eq!(report.model, "nano");
    }
    let report = run(
        &request(Task::Proposals, Mode::Track),
        &mut subject,
        &mut Progress::silent(),
    )
    .unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["boxes"], 2);
    assert!(unit.contains(&json["recall_50"].as_f64().unwrap()));
    assert!(json["proposals_per_frame"].as_f64().unwrap() > 0.0);

    let stop = CancelToken::default();
    stop.cancel();
    let stopped = run(
        &request(Task::Vos, Mode::Track),
        &mut subject,
        &mut Progress::new(stop, |_, _, _| {}),
    );
    assert!(matches!(stopped, Err(EvalError::Cancelled(_))));
    assert!("gcg".parse::<Task>().is_err());
}
