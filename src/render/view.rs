//! Which part of the video the canvas shows: the uniform that every pass starts with.

use crate::project::Size;

/// The part of the video that the canvas shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Video pixel at the canvas's top left corner.
    pub origin: [f32; 2],
    /// Video pixels across the canvas.
    pub extent: [f32; 2],
    /// Displayed size of the video.
    pub size: Size,
    /// Video pixels per physical pixel of the screen.
    pub scale: f32,
}

/// `View` in `shaders/shared/view.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct ViewUniform {
    pub(super) origin: [f32; 2],
    pub(super) extent: [f32; 2],
    pub(super) size: [f32; 2],
    pub(super) scale: f32,
    pub(super) linear_target: u32,
}

impl ViewUniform {
    pub(super) fn new(view: &View, target: wgpu::TextureFormat) -> Self {
        Self {
            origin: view.origin,
            extent: view.extent,
            size: [view.size.width as f32, view.size.height as f32],
            scale: view.scale,
            linear_target: u32::from(target.is_srgb()),
        }
    }
}
