//! Parity: runs our networks on stored cases of the released code and compares every stored value.
//!
//! A case brings its own weights and sizes, so nothing here knows a width, a head count or an image size. The files of
//! this folder hold the cases of one group each; what needs more than networks (metrics, losses) is run by rooms above
//! through the same [`Case`] and [`Report`].

mod case;
mod detector;
mod end_to_end;
mod filtration;
mod lang;
mod pixel;
mod report;
mod sam;
mod sam_prompts;
mod sam_video;
mod ties;

pub use case::{Case, ParityError};
pub use report::{Report, Stage};
pub use sam::padding_rows;

/// What a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Hiera trunk, neck, `forward_image`.
    ImageEncoder,
    /// Prompt encoder and mask decoder.
    PromptMaskDecoder,
    /// Tracking of text-prompted objects (SAM2 2.0).
    VideoText,
    /// Tracking with boxes, points and corrections (SAM2 2.1).
    VideoPrompts,
    /// Class-agnostic Deformable-DETR.
    Detector,
    /// Proposal selector, region helper, selection rule.
    Filtration,
    /// CLIP vision tower.
    ClipVision,
    /// InternVideo2 video encoder.
    InternVideo2,
    /// Phi-3 language model.
    Phi3,
    /// Projectors, pooling, splicing, L→V projection.
    MultimodalEmbedding,
    /// Target-specific tokens: k-means, box files, crops.
    Tsf,
    /// Pixels and ids to ids, boxes and masks.
    EndToEnd,
    /// Pixel pipelines.
    Preprocessing,
    /// Evaluation metrics (room `eval`).
    Metrics,
    /// Training losses (room `train`).
    Losses,
}

/// File-name prefix, words of the JSON's `case`, kind. Longer prefixes stand before shorter ones.
const KINDS: [(&str, &str, Kind); 15] = [
    (
        "sam2_image_encoder",
        "sam2 trunk + neck",
        Kind::ImageEncoder,
    ),
    (
        "sam2_prompt_mask_decoder",
        "prompt encoder + mask decoder",
        Kind::PromptMaskDecoder,
    ),
    (
        "sam2_video_text",
        "video propagation, text prompt",
        Kind::VideoText,
    ),
    (
        "sam2p1_video_prompts",
        "video propagation, upstream",
        Kind::VideoPrompts,
    ),
    ("ddetr", "class-agnostic deformable DETR", Kind::Detector),
    (
        "filtration",
        "proposal selector + ROI helper",
        Kind::Filtration,
    ),
    ("clip_vision", "CLIP vision tower", Kind::ClipVision),
    ("internvideo2", "InternVideo2", Kind::InternVideo2),
    ("phi3", "Phi-3", Kind::Phi3),
    (
        "multimodal_embedding",
        "projection, pooling, splice",
        Kind::MultimodalEmbedding,
    ),
    ("tsf", "target-specific feature", Kind::Tsf),
    ("end_to_end", "tiny SPARROW", Kind::EndToEnd),
    ("preprocessing", "pixel preprocessing", Kind::Preprocessing),
    ("metrics", "evaluation metrics", Kind::Metrics),
    ("losses", "training losses", Kind::Losses),
];

impl Kind {
    /// By the file's name, else by the words of its JSON.
    pub fn of(case: &Case) -> Option<Self> {
        let words = case
            .get("case")
            .and_then(|v| v.as_str())
            .unwrap_or_default();
        let by_name = KINDS
            .iter()
            .find(|(prefix, _, _)| case.name.starts_with(prefix));
        let found = by_name.or_else(|| KINDS.iter().find(|(_, start, _)| words.starts_with(start)));
        found.map(|(_, _, kind)| *kind)
    }
}

/// Runs a case of this room. A case that stops half-way keeps what it compared and says why it stopped; a case of
/// another room, or of no known kind, gives an empty report, which does not pass.
pub fn run_case(case: &Case) -> Report {
    let mut report = Report::new(&case.name);
    let Some(kind) = Kind::of(case) else {
        report.uncovered.push("unknown kind of case".into());
        return report;
    };
    let runners = [
        detector::run,
        filtration::run,
        sam::run,
        sam_video::run,
        sam_prompts::run,
        lang::run,
        pixel::run,
        end_to_end::run,
    ];
    for run in runners {
        match run(kind, case, &mut report) {
            Ok(false) => {}
            Ok(true) => {
                report.note_unasked(case);
                return report;
            }
            Err(error) => {
                report.stopped = Some(error.to_string());
                return report;
            }
        }
    }
    report.uncovered.push("everything".into());
    report
}
