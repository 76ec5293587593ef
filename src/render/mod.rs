//! wgpu passes: one `.rs` per `.wgsl`, texture upload. Knows nothing of panels or state, and nothing of where frames
//! come from: a frame is whatever implements [`FrameImage`].
//!
//! Each pass is an egui paint callback that covers the canvas; [`View`] says which part of the video the canvas shows.
//! Textures live in egui's callback resources and are reused as long as the size stays.

mod heat;
mod mask_overlay;
mod masks;
mod pass;
mod shaders;
mod twin;
mod video_frame;
mod view;

pub use heat::{HeatGrid, HeatPaint};
pub use mask_overlay::{MaskPaint, MaskStyle};
pub use masks::{MOST_OBJECTS, MaskLayers};
pub use shaders::{SHADERS, Shader, UniformLayout, uniform_layouts};
pub use twin::{YuvCoding, blend_over, heat_ramp, yuv_to_rgb};
pub use video_frame::{FrameImage, PixelsRef, VideoPaint};
pub use view::View;

/// Compiles the passes for a target and puts them where the paint callbacks find them. Call once, before the first
/// frame.
pub fn install(state: &egui_wgpu::RenderState) {
    let mut renderer = state.renderer.write();
    let resources = &mut renderer.callback_resources;
    resources.insert(video_frame::Resources::new(
        &state.device,
        state.target_format,
    ));
    resources.insert(mask_overlay::Resources::new(
        &state.device,
        state.target_format,
    ));
    resources.insert(heat::Resources::new(&state.device, state.target_format));
}
