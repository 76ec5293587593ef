//! What released files hold that no network asks for: layers that are never run, heads of other tasks, second copies.

use super::super::{config::SparrowConfig, deformable_detr};

/// Whether a tensor, under the names of [`super::Sparrow::new`] with the proposer under `detector`, may be left over.
///
/// Everything else that is left over belongs to another model, and loading it would hide a mistake.
pub fn is_spare(config: &SparrowConfig, name: &str) -> bool {
    if let Some(rest) = name.strip_prefix("detector.") {
        return deformable_detr::is_alias(rest)
            || ((config.proposer.shared_trunk || config.proposer.encoder_of_sam2)
                && rest.starts_with("vis_encoder."));
    }
    if let Some(rest) = name.strip_prefix("model.image_vision_tower.vision_tower.vision_model.") {
        // Features are taken before the last layer.
        let last = format!("encoder.layers.{}.", config.clip.layers.saturating_sub(1));
        return rest.starts_with(&last)
            || rest.starts_with("post_layernorm.")
            || rest == "embeddings.position_ids";
    }
    if let Some(rest) = name.strip_prefix("model.vision_tower.") {
        if rest.starts_with("vision_proj.") {
            return true;
        }
        let last = format!("blocks.{}.", config.internvideo2.depth.saturating_sub(1));
        return rest.strip_prefix("vision_encoder.").is_some_and(|rest| {
            rest.starts_with(&last)
                || [
                    "clip_projector.",
                    "clip_decoder.",
                    "final_clip_decoder.",
                    "clip_pos_embed",
                    "clip_img_pos_embed",
                    "img_pos_embed",
                ]
                .iter()
                .any(|head| rest.starts_with(head))
        });
    }
    // Tables that older versions of the authors' libraries stored.
    name.ends_with(".rotary_emb.inv_freq")
        || name == "model.sam_pixel_mean"
        || name == "model.sam_pixel_std"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_are_never_run_are_spare_and_the_ones_before_are_not() {
        let text = include_str!("../../../models/sparrow-videoglamm.json");
        let description: serde_json::Value = serde_json::from_str(text).unwrap();
        let config: SparrowConfig = serde_json::from_value(description["config"].clone()).unwrap();
        let clip = "model.image_vision_tower.vision_tower.vision_model.encoder.layers";
        assert!(is_spare(&config, &format!("{clip}.23.mlp.fc1.weight")));
        assert!(!is_spare(&config, &format!("{clip}.22.mlp.fc1.weight")));
        assert!(!is_spare(&config, &format!("{clip}.2.mlp.fc1.weight")));
        let video = "model.vision_tower.vision_encoder";
        assert!(is_spare(
            &config,
            &format!("{video}.blocks.39.norm1.weight")
        ));
        assert!(!is_spare(
            &config,
            &format!("{video}.blocks.3.norm1.weight")
        ));
        assert!(is_spare(
            &config,
            &format!("{video}.clip_projector.cross_attn.q.weight")
        ));
        let boxes = "detector.ddetr_transformer";
        assert!(is_spare(
            &config,
            &format!("{boxes}.decoder.bbox_embed.0.layers.0.bias")
        ));
        assert!(!is_spare(
            &config,
            &format!("{boxes}.bbox_embed.0.layers.0.bias")
        ));
        assert!(!is_spare(&config, "model.layers.0.self_attn.q_proj.weight"));
    }
}
