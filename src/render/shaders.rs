//! The shader sources as they are compiled (shared helpers in front), and the layout that the Rust side believes their
//! uniforms to have, for the test that compares it with naga's.

use std::mem::{offset_of, size_of};

use super::{
    heat::HeatUniform, mask_overlay::MaskUniform, video_frame::VideoUniform, view::ViewUniform,
};

/// One compiled source.
pub struct Shader {
    /// File name in `shaders/`.
    pub name: &'static str,
    /// Shared helpers and the pass, in one text.
    pub source: &'static str,
}

macro_rules! with_shared {
    ($name:literal) => {
        Shader {
            name: $name,
            source: concat!(
                include_str!("../../shaders/shared/view.wgsl"),
                include_str!("../../shaders/shared/colour.wgsl"),
                include_str!(concat!("../../shaders/", $name)),
            ),
        }
    };
}

pub(super) const VIDEO_FRAME: Shader = with_shared!("video_frame.wgsl");
pub(super) const MASK_OVERLAY: Shader = with_shared!("mask_overlay.wgsl");
pub(super) const HEAT: Shader = with_shared!("heat.wgsl");

/// Every pass.
pub const SHADERS: [Shader; 3] = [VIDEO_FRAME, MASK_OVERLAY, HEAT];

/// What a Rust struct says about its twin in a shader.
pub struct UniformLayout {
    /// File name in `shaders/`.
    pub shader: &'static str,
    /// Struct name in the shader.
    pub name: &'static str,
    /// Bytes that the Rust struct occupies; at least what the shader needs.
    pub size: usize,
    /// `(field, byte offset)`.
    pub fields: Vec<(&'static str, usize)>,
}

/// The layouts of all uniform structs.
pub fn uniform_layouts() -> Vec<UniformLayout> {
    vec![
        UniformLayout {
            shader: VIDEO_FRAME.name,
            name: "View",
            size: size_of::<ViewUniform>(),
            fields: vec![
                ("origin", offset_of!(ViewUniform, origin)),
                ("extent", offset_of!(ViewUniform, extent)),
                ("size", offset_of!(ViewUniform, size)),
                ("scale", offset_of!(ViewUniform, scale)),
                ("linear_target", offset_of!(ViewUniform, linear_target)),
            ],
        },
        UniformLayout {
            shader: VIDEO_FRAME.name,
            name: "VideoFrame",
            size: size_of::<VideoUniform>(),
            fields: vec![
                ("view", offset_of!(VideoUniform, view)),
                ("coded", offset_of!(VideoUniform, coded)),
                ("rotation", offset_of!(VideoUniform, rotation)),
                ("kind", offset_of!(VideoUniform, kind)),
                ("full_range", offset_of!(VideoUniform, full_range)),
                ("bt709", offset_of!(VideoUniform, bt709)),
            ],
        },
        UniformLayout {
            shader: MASK_OVERLAY.name,
            name: "MaskOverlay",
            size: size_of::<MaskUniform>(),
            fields: vec![
                ("view", offset_of!(MaskUniform, view)),
                ("opacity", offset_of!(MaskUniform, opacity)),
                ("outline_px", offset_of!(MaskUniform, outline_px)),
                ("selected", offset_of!(MaskUniform, selected)),
                ("layers", offset_of!(MaskUniform, layers)),
                ("colours", offset_of!(MaskUniform, colours)),
            ],
        },
        UniformLayout {
            shader: HEAT.name,
            name: "Heat",
            size: size_of::<HeatUniform>(),
            fields: vec![
                ("view", offset_of!(HeatUniform, view)),
                ("opacity", offset_of!(HeatUniform, opacity)),
            ],
        },
    ]
}
