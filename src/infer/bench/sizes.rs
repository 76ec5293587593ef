//! Sizes worth timing, and the description that a model of such sizes has. What is timed of them is left to the other files.

use serde::Serialize;

use crate::{
    infer::model::{ModelError, ModelInfo},
    nn::config::{
        ClipConfig, FiltrationConfig, InternVideo2Config, Phi3Config, ProposerConfig, Sam2Config,
        Sam2Flags, SparrowConfig, VisualTokenConfig,
    },
};

/// How much is put in at once.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Inputs {
    /// Images of the spatial tower.
    pub images: usize,
    /// Chunks of the temporal tower.
    pub chunks: usize,
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Rows and columns of the proposer's coarsest map.
    pub proposer_grid: usize,
    /// Proposals that are scored.
    pub proposals: usize,
    /// Objects that are decoded or tracked together.
    pub objects: usize,
    /// Spatial memories that are looked at.
    pub memories: usize,
}

/// A model's sizes with the sizes of its inputs.
#[derive(Clone, Debug, Serialize)]
pub struct Sizes {
    /// What `--random` calls it.
    pub name: &'static str,
    /// Networks.
    pub config: SparrowConfig,
    /// Inputs.
    pub inputs: Inputs,
}

impl Sizes {
    /// What there is to choose from.
    pub const NAMES: [&str; 4] = ["nano", "tiny", "released-layers", "released"];

    /// By name: `nano` (the bundled model), `tiny` (SAM2's smallest trunk at 1024 pixels with towers and a language model
    /// to match), `released-layers` (the released widths and inputs with few layers each, so that it fits a laptop),
    /// `released` (the released widths and depths: 22 GB in f32).
    ///
    /// # Errors
    /// If nano's description is damaged. An unknown name gives `None`.
    pub fn by_name(name: &str) -> Result<Option<Self>, ModelError> {
        Ok(match name {
            "nano" => Some(nano()?),
            "tiny" => Some(tiny()),
            "released-layers" => Some(released_layers()),
            "released" => Some(released_whole()),
            _ => None,
        })
    }
}

impl Sizes {
    /// The released configuration in full.
    pub fn released() -> SparrowConfig {
        released()
    }

    /// The description of a model of these sizes: the bundled one's, or the released one's with its pixels and its prompt.
    ///
    /// # Errors
    /// If that description is damaged.
    pub fn info(&self) -> Result<ModelInfo, ModelError> {
        let like = match self.name {
            "nano" => "nano",
            _ => "sparrow-videoglamm",
        };
        Ok(ModelInfo {
            id: format!("random {}", self.name),
            config: self.config.clone(),
            ..ModelInfo::by_id(like)?
        })
    }
}

fn nano() -> Result<Sizes, ModelError> {
    let config = ModelInfo::by_id("nano")?.config;
    let (video, visual) = (&config.internvideo2, &config.visual);
    Ok(Sizes {
        name: "nano",
        inputs: Inputs {
            images: visual.num_frames,
            chunks: visual.num_frames / video.num_frames,
            tokens: config.visual_tokens() + 16,
            proposer_grid: config.sam2.image_size / 16,
            proposals: config.proposer.topk,
            objects: 1,
            memories: config.sam2.num_maskmem - 1,
        },
        config,
    })
}

/// The released networks with an image encoder of its own for the proposer, which runs at another size than SAM2's.
fn two_encoders() -> SparrowConfig {
    let mut config = released();
    config.proposer.shared_trunk = false;
    config
}

fn tiny() -> Sizes {
    let mut config = two_encoders();
    config.sam2.embed_dim = 96;
    config.sam2.num_heads = 1;
    config.sam2.stages = vec![1, 2, 7, 2];
    config.sam2.global_att_blocks = vec![5, 7, 9];
    config.sam2.window_spec = vec![8, 4, 14, 7];
    config.sam2.memory_attention_layers = 1;
    config.clip = ClipConfig {
        dim: 768,
        mlp: 3072,
        layers: 4,
        heads: 12,
        image_size: 224,
        patch_size: 16,
    };
    config.internvideo2.dim = 768;
    config.internvideo2.heads = 12;
    config.internvideo2.depth = 3;
    config.phi3.hidden_size = 768;
    config.phi3.intermediate_size = 2048;
    config.phi3.num_attention_heads = 12;
    config.phi3.num_key_value_heads = 12;
    config.phi3.num_hidden_layers = 4;
    config.proposer.encoder_layers = 2;
    config.proposer.decoder_layers = 2;
    Sizes {
        name: "tiny",
        config,
        inputs: Inputs {
            tokens: 1024,
            ..RELEASED_INPUTS
        },
    }
}

fn released_layers() -> Sizes {
    let mut config = two_encoders();
    // One block on each side of every change of width, and one with global attention.
    config.sam2.stages = vec![1, 2, 3, 2];
    config.sam2.global_att_blocks = vec![5];
    config.sam2.memory_attention_layers = 1;
    config.clip.layers = 3;
    config.internvideo2.depth = 2;
    config.phi3.num_hidden_layers = 1;
    Sizes {
        name: "released-layers",
        config,
        inputs: RELEASED_INPUTS,
    }
}

fn released_whole() -> Sizes {
    let config = two_encoders();
    let visual = &config.visual;
    Sizes {
        name: "released",
        inputs: Inputs {
            images: visual.num_frames,
            chunks: visual.num_frames / config.internvideo2.num_frames,
            memories: config.sam2.num_maskmem - 1,
            ..RELEASED_INPUTS
        },
        config,
    }
}

const RELEASED_INPUTS: Inputs = Inputs {
    images: 2,
    chunks: 1,
    tokens: 3360,
    proposer_grid: 28,
    proposals: 100,
    objects: 1,
    memories: 2,
};

/// The released sizes (VideoGLaMM's towers, Phi-3-mini, SAM2 Hiera-L).
fn released() -> SparrowConfig {
    SparrowConfig {
        sam2: Sam2Config {
            image_size: 1024,
            embed_dim: 144,
            num_heads: 2,
            stages: vec![2, 6, 36, 4],
            global_att_blocks: vec![23, 33, 43],
            window_pos_embed_bkg_spatial_size: [7, 7],
            window_spec: vec![8, 4, 16, 8],
            d_model: 256,
            mem_dim: 64,
            memory_attention_ff: 2048,
            memory_attention_layers: 4,
            decoder_mlp_dim: 2048,
            decoder_heads: 8,
            decoder_depth: 2,
            attention_downsample: 2,
            iou_head_hidden_dim: 256,
            mask_in_chans: 16,
            num_maskmem: 7,
            max_obj_ptrs_in_encoder: 16,
            mask_downsampler_stride: 16,
            dynamic_multimask_via_stability: true,
            stability_delta: 0.05,
            stability_thresh: 0.98,
            multimask_output_for_tracking: true,
            flags: Sam2Flags::default(),
        },
        proposer: ProposerConfig {
            d_model: 256,
            encoder_layers: 6,
            decoder_layers: 6,
            encoder_attention_heads: 8,
            decoder_attention_heads: 8,
            encoder_n_points: 4,
            decoder_n_points: 4,
            encoder_ffn_dim: 1024,
            decoder_ffn_dim: 1024,
            num_feature_levels: 1,
            num_queries: 300,
            in_channels: None,
            box_mlp_hidden: None,
            image_size: 448,
            anchor_size: 0.05,
            score_power: [0.3, 0.7],
            topk: 100,
            shared_trunk: true,
            distinct: None,
            encoder_of_sam2: false,
        },
        clip: ClipConfig {
            dim: 1024,
            mlp: 4096,
            layers: 24,
            heads: 16,
            image_size: 336,
            patch_size: 14,
        },
        internvideo2: InternVideo2Config {
            img_size: 224,
            patch_size: 14,
            dim: 1408,
            heads: 16,
            depth: 40,
            num_frames: 4,
            mlp_hidden: None,
        },
        phi3: Phi3Config {
            hidden_size: 3072,
            intermediate_size: 8192,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 32,
            vocab_size: 32_013,
            sliding_window: Some(2047),
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
        },
        filtration: FiltrationConfig {
            seg_dim: 256,
            prop_dim: 256,
            selector_hidden: 256,
            roi_hidden: 256,
            roi_size: 7,
            level_in_dims: vec![32, 64, 256],
            gamma: 0.1,
            gamma_from_weights: false,
            score_threshold: 0.4,
            max_selected: 16,
            box_prior_min_score: 0.35,
            box_prior_max_keep: 4,
            place_waves: 0,
            motions: None,
            region_code: None,
            travel: 0,
            rivals: false,
            tight: None,
        },
        visual: VisualTokenConfig {
            num_frames: 16,
            spatial_pool: 2,
            video_pool: 2,
            tsf_k: 4,
            tsf_kmeans_iters: 8,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_sizes_and_no_other_has() {
        for name in Sizes::NAMES {
            let sizes = Sizes::by_name(name).unwrap().unwrap();
            assert_eq!(sizes.name, name);
            assert!(sizes.inputs.tokens > 0 && sizes.inputs.memories > 0);
        }
        assert!(Sizes::by_name("huge").unwrap().is_none());
    }

    /// What is timed under the released name is what the released files are built into, number for number.
    #[test]
    fn released_sizes_are_those_of_the_released_description() {
        let sizes = Sizes::by_name("released").unwrap().unwrap();
        let want = ModelInfo::by_id("sparrow-videoglamm").unwrap();
        let shapes = |info: &ModelInfo| crate::infer::memory::weights(info).unwrap();
        assert_eq!(shapes(&sizes.info().unwrap()), shapes(&want));
        assert_eq!(want.config.visual_tokens(), 3328);
        assert_eq!((sizes.inputs.images, sizes.inputs.chunks), (16, 4));
    }
}
