//! Sizes of every network, read from `models/<id>.json`. Field names follow the released configurations; numbers that
//! the weights' shapes already tell are still written down, so that a mismatch is named at load.

use serde::{Deserialize, Serialize};

/// SAM2: Hiera trunk, neck, prompt encoder, mask decoder, memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sam2Config {
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Channels of the first stage.
    pub embed_dim: usize,
    /// Heads of the first stage; doubles with each stage.
    pub num_heads: usize,
    /// Blocks per stage.
    pub stages: Vec<usize>,
    /// Indices of blocks with global attention.
    pub global_att_blocks: Vec<usize>,
    /// Rows and columns of the background position table.
    pub window_pos_embed_bkg_spatial_size: [usize; 2],
    /// Window of each stage, in tokens.
    pub window_spec: Vec<usize>,
    /// Channels of the neck, prompts and decoder.
    pub d_model: usize,
    /// Channels of a spatial memory.
    pub mem_dim: usize,
    /// Hidden width of memory attention.
    pub memory_attention_ff: usize,
    /// Layers of memory attention.
    pub memory_attention_layers: usize,
    /// Hidden width of the mask decoder's transformer.
    pub decoder_mlp_dim: usize,
    /// Heads of the mask decoder's transformer.
    pub decoder_heads: usize,
    /// Layers of the mask decoder's transformer.
    #[serde(default = "two")]
    pub decoder_depth: usize,
    /// Rate by which the decoder's cross-attention narrows.
    #[serde(default = "two")]
    pub attention_downsample: usize,
    /// Hidden width of the IoU head.
    pub iou_head_hidden_dim: usize,
    /// Channels of the mask prompt's stem.
    pub mask_in_chans: usize,
    /// Memories in the bank, conditioning frames included.
    pub num_maskmem: usize,
    /// Frames whose object pointers are attended to.
    pub max_obj_ptrs_in_encoder: usize,
    /// Total stride of the memory encoder's mask down-sampler (16 as released).
    #[serde(default = "sixteen")]
    pub mask_downsampler_stride: usize,
    /// Fall back to the best of three masks when the single one is unstable.
    #[serde(default = "yes")]
    pub dynamic_multimask_via_stability: bool,
    /// Logit offset of the stability score.
    #[serde(default = "stability_delta")]
    pub stability_delta: f32,
    /// Stability below which the fallback is taken.
    #[serde(default = "stability_thresh")]
    pub stability_thresh: f32,
    /// Use the multi-mask output for tracked and single-click frames.
    #[serde(default = "yes")]
    pub multimask_output_for_tracking: bool,
    /// SAM2 2.1 flags.
    #[serde(default)]
    pub flags: Sam2Flags,
}

/// Switches between SAM2 2.0 (all false) and 2.1 (all true).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sam2Flags {
    /// A learned vector is added to the memory of a frame where the object is absent.
    pub no_obj_embed_spatial: bool,
    /// Object pointers carry their distance in time.
    pub add_tpos_enc_to_obj_ptrs: bool,
    /// That encoding is projected.
    pub proj_tpos_enc_in_obj_ptrs: bool,
    /// The distance is signed.
    pub use_signed_tpos_enc_to_obj_ptrs: bool,
    /// Every corrected frame becomes a conditioning frame.
    pub add_all_frames_to_correct_as_cond: bool,
}

/// The Deformable-DETR proposer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProposerConfig {
    /// Channels.
    pub d_model: usize,
    /// Encoder layers.
    pub encoder_layers: usize,
    /// Decoder layers.
    pub decoder_layers: usize,
    /// Encoder heads.
    pub encoder_attention_heads: usize,
    /// Decoder heads.
    pub decoder_attention_heads: usize,
    /// Sampling points per head and level, encoder.
    pub encoder_n_points: usize,
    /// Sampling points per head and level, decoder.
    pub decoder_n_points: usize,
    /// Hidden width, encoder.
    pub encoder_ffn_dim: usize,
    /// Hidden width, decoder.
    pub decoder_ffn_dim: usize,
    /// Feature levels.
    pub num_feature_levels: usize,
    /// Queries, equal to the two-stage proposals.
    pub num_queries: usize,
    /// Channels of the feature maps; `d_model` if absent.
    #[serde(default)]
    pub in_channels: Option<usize>,
    /// Hidden width of the box heads.
    #[serde(default)]
    pub box_mlp_hidden: Option<usize>,
    /// Side of the square input in pixels (448 as released); ignored with a shared trunk.
    #[serde(default = "detector_size")]
    pub image_size: usize,
    /// Width and height of the first-level anchors (0.05 as released).
    #[serde(default = "anchor_size")]
    pub anchor_size: f32,
    /// Exponents of the two class heads in the objectness (0.3 and 0.7 as released).
    #[serde(default = "score_power")]
    pub score_power: [f32; 2],
    /// Proposals offered (100 as released).
    #[serde(default = "hundred")]
    pub topk: usize,
    /// Reads SAM2's own features instead of running an encoder of its own.
    #[serde(default)]
    pub shared_trunk: bool,
    /// Overlap above which a cell of the first stage gives way to a better one, so that no query is spent on a thing that
    /// another one stands for already (Zhang et al. 2023, "dense distinct queries"); without it all are taken by score alone,
    /// as released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<f32>,
    /// Its own encoder has SAM2's very weights, so they are held once; it still runs on the proposer's own input. Found out when a
    /// model is opened, and written into the bundles that are made of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encoder_of_sam2: bool,
}

/// The CLIP vision tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipConfig {
    /// Width.
    pub dim: usize,
    /// Hidden width.
    pub mlp: usize,
    /// Layers (the last one is never run).
    pub layers: usize,
    /// Heads.
    pub heads: usize,
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
}

/// The InternVideo2 video encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InternVideo2Config {
    /// Side of the square input in pixels.
    pub img_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Width.
    pub dim: usize,
    /// Heads.
    pub heads: usize,
    /// Blocks (the last one is never run).
    pub depth: usize,
    /// Frames of a chunk.
    pub num_frames: usize,
    /// Hidden width; `dim × 48 / 11` rounded down if absent.
    #[serde(default)]
    pub mlp_hidden: Option<usize>,
}

/// The Phi-3 language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phi3Config {
    /// Width.
    pub hidden_size: usize,
    /// Hidden width of the gated MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// A query at i sees keys j with 0 <= i − j <= window; `None` = all.
    #[serde(default)]
    pub sliding_window: Option<usize>,
    /// Epsilon of the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
}

/// The filtration head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FiltrationConfig {
    /// Width of the queries (the L→V projection's output).
    pub seg_dim: usize,
    /// Width of the proposal features.
    pub prop_dim: usize,
    /// Width of the dot-product selector.
    pub selector_hidden: usize,
    /// Width of the region helper.
    pub roi_hidden: usize,
    /// Side of a region grid.
    pub roi_size: usize,
    /// Channels of the three pyramid levels (strides 4, 8, 16).
    pub level_in_dims: Vec<usize>,
    /// Weight of the region score; released inference uses 0.1 whatever the file says (oddity 51).
    pub gamma: f32,
    /// Read `roi_fusion_gamma` from the weights instead of the fixed value.
    #[serde(default)]
    pub gamma_from_weights: bool,
    /// Proposals at or above this probability are kept.
    pub score_threshold: f32,
    /// At most this many are kept per token.
    pub max_selected: usize,
    /// Minimum of the box-prior filter.
    #[serde(default = "box_prior_min_score")]
    pub box_prior_min_score: f32,
    /// Boxes that the box-prior filter keeps at most; 0 = filter off.
    #[serde(default)]
    pub box_prior_max_keep: usize,
    /// Waves per box coordinate that join the proposal features in the dot-product selector; 0, as released: none. The
    /// decoder's states know what an object looks like and hardly where it is.
    #[serde(default)]
    pub place_waves: usize,
    /// A vector per proposal of what its pixels look like together, beside the proposal features; as released: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_code: Option<RegionCodeConfig>,
    /// Later encoder frames on which proposals are found again by their region codes, so that phrases can ask for motion,
    /// and the mean of their codes joins the features; 0, as released: none.
    #[serde(default)]
    pub travel: usize,
    /// Width of what reads their ways, and words of motion whose probabilities it tells, which join the features; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub motions: Option<[usize; 2]>,
    /// Proposals are drawn tight around what SAM2 paints in them, as far as this part of their sides around them; as released: the
    /// proposer's boxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tight: Option<f32>,
    /// Whether proposals are compared with their rivals, so that phrases can ask for the leftmost and the biggest of what they
    /// name; as released: not.
    #[serde(default)]
    pub rivals: bool,
}

/// What the filtration head's region code is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionCodeConfig {
    /// Side of the grid that a region is read on.
    pub grid: usize,
    /// Width of the code.
    pub width: usize,
    /// Whether it also reads what SAM2 paints in each proposal's box: the outline is what names of shapes are about.
    #[serde(default)]
    pub masks: bool,
    /// Whether it also looks at the pixels themselves, on twice the grid: the finest map has a cell for every fourth pixel, too
    /// few for the outline of something small.
    #[serde(default)]
    pub pixels: bool,
    /// Whether its convolutions hear of the region's form: on its grid every region is square.
    #[serde(default)]
    pub form: bool,
    /// Inner channels of a residual block behind its first convolution and of one behind its second; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<[usize; 2]>,
    /// Words of each class (colours, shapes, textures) whose probabilities are read from the code and join it; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<[usize; 3]>,
}

impl RegionCodeConfig {
    /// Side of the crops that it looks at, if it does.
    pub fn crop_side(&self) -> Option<usize> {
        self.pixels.then_some(2 * self.grid)
    }
}

impl FiltrationConfig {
    /// Whether proposals must come with masks: to be drawn tight, or for [`RegionCodeConfig::masks`].
    pub fn reads_masks(&self) -> bool {
        self.tight.is_some() || self.region_code.is_some_and(|r| r.masks)
    }

    /// Side of the crops that proposals must come with, if they must.
    pub fn crop_side(&self) -> Option<usize> {
        self.region_code.and_then(|r| r.crop_side())
    }
}

/// How frames become visual tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VisualTokenConfig {
    /// Encoder frames taken from a clip (16 as released).
    pub num_frames: usize,
    /// Pooling of the spatial stream (CLIP tokens), per axis.
    pub spatial_pool: usize,
    /// Pooling of the video stream (InternVideo2 tokens), per axis.
    pub video_pool: usize,
    /// TSF tokens kept by k-means.
    pub tsf_k: usize,
    /// Iterations of k-means.
    pub tsf_kmeans_iters: usize,
}

/// The whole model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SparrowConfig {
    /// SAM2.
    pub sam2: Sam2Config,
    /// Proposer.
    pub proposer: ProposerConfig,
    /// Spatial tower.
    pub clip: ClipConfig,
    /// Temporal tower.
    pub internvideo2: InternVideo2Config,
    /// Language model.
    pub phi3: Phi3Config,
    /// Filtration head.
    pub filtration: FiltrationConfig,
    /// Visual tokens.
    pub visual: VisualTokenConfig,
}

impl SparrowConfig {
    /// Tokens of both streams that a clip takes up in a prompt (3 328 as released).
    pub fn visual_tokens(&self) -> usize {
        let grid = |side: usize, patch: usize, pool: usize| (side / (patch * pool).max(1)).pow(2);
        let (clip, video, visual) = (&self.clip, &self.internvideo2, &self.visual);
        let spatial = grid(clip.image_size, clip.patch_size, visual.spatial_pool);
        let temporal = grid(video.img_size, video.patch_size, visual.video_pool);
        visual.num_frames * (spatial + temporal)
    }
}

fn yes() -> bool {
    true
}
fn two() -> usize {
    2
}
fn sixteen() -> usize {
    16
}
fn hundred() -> usize {
    100
}
fn detector_size() -> usize {
    448
}
fn anchor_size() -> f32 {
    0.05
}
fn stability_delta() -> f32 {
    0.05
}
fn stability_thresh() -> f32 {
    0.98
}
fn box_prior_min_score() -> f32 {
    0.35
}
fn score_power() -> [f32; 2] {
    [0.3, 0.7]
}
