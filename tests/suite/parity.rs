//! Stored cases of the released code: every comparison of every covered case stays within its tolerance.

use std::{fs, path::Path};

use sparrow::{cli::parity::run_folder, nn::parity::Case};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"))
}

/// One test per case, so that a failure names its network.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let report = sparrow::cli::parity::run_file(&folder().join(concat!(stringify!($name), ".safetensors")));
                assert!(report.passed(), "{}", report.lines());
            }
        )*
    };
}

cases!(
    clip_vision,
    ddetr_single_level,
    ddetr_three_levels,
    end_to_end,
    filtration,
    internvideo2,
    losses,
    metrics,
    multimodal_embedding,
    phi3,
    preprocessing,
    sam2_image_encoder,
    sam2_prompt_mask_decoder,
    sam2_video_text,
    sam2p1_video_prompts,
    tsf,
);

#[test]
fn every_case_reads_and_its_metadata_equals_the_json_beside_it() {
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            let case = Case::read(&path).unwrap();
            let beside = fs::read_to_string(path.with_extension("json")).unwrap();
            let beside: serde_json::Value = serde_json::from_str(&beside).unwrap();
            assert_eq!(case.config, beside, "{}", case.name);
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn a_broken_file_is_a_failed_case_and_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(folder().join("tsf.safetensors")).unwrap();
    for cut in [0, 7, 100, bytes.len() / 2] {
        fs::write(dir.path().join("tsf.safetensors"), &bytes[..cut]).unwrap();
        let mut out = Vec::new();
        let outcome = run_folder(dir.path(), &mut out).unwrap();
        assert_eq!((outcome.passed, outcome.failed), (0, 1), "cut at {cut}");
    }
}

/// What a GPU computes: candle's own operations alone. A kernel of the CPU's that reads its arguments all the same fails the case.
#[test]
fn every_case_agrees_without_the_cpus_own_kernels() {
    let run = super::cli::sparrow(folder(), &["parity", ".", "--device", "composed"]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains(" ok, 0 failed"), "{}", run.stdout);
}
