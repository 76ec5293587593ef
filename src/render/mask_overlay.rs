//! `mask_overlay.wgsl`: the masks of all objects on a frame, filled and outlined.

use std::sync::Arc;

use egui_wgpu::{CallbackResources, CallbackTrait, ScreenDescriptor};

use super::{
    masks::{MOST_OBJECTS, MaskLayers},
    pass::{Pass, Plane, Shape, texture_entry},
    shaders::MASK_OVERLAY,
    view::{View, ViewUniform},
};

/// `MaskOverlay` in the shader.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct MaskUniform {
    pub(super) view: ViewUniform,
    pub(super) opacity: f32,
    pub(super) outline_px: f32,
    pub(super) selected: u32,
    pub(super) layers: u32,
    pub(super) colours: [[f32; 4]; MOST_OBJECTS],
}

/// How masks look.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskStyle {
    /// Opacity of the fill, 0..=1; 0 leaves the outline.
    pub opacity: f32,
    /// Width of the outline in physical pixels.
    pub outline_px: f32,
    /// Straight RGB per object, 0..=1; alpha 0 hides the object, alpha below 1 fades fill and outline.
    pub colours: Vec<[f32; 4]>,
    /// Index of the object that lies over all others, with the heavier outline.
    pub selected: Option<usize>,
}

/// Draws masks over the canvas.
pub struct MaskPaint {
    /// The masks.
    pub masks: Arc<MaskLayers>,
    /// Differs between masks that differ; an equal key is not uploaded again.
    pub key: u64,
    /// How they look.
    pub style: MaskStyle,
    /// What the canvas shows.
    pub view: View,
}

pub(super) struct Resources {
    pass: Pass,
    plane: Plane,
    group: wgpu::BindGroup,
    uploaded: Option<u64>,
}

const BITS: wgpu::TextureFormat = wgpu::TextureFormat::R8Uint;

impl Resources {
    pub(super) fn new(device: &wgpu::Device, target: wgpu::TextureFormat) -> Self {
        let pass = Pass::new(
            device,
            target,
            &MASK_OVERLAY,
            size_of::<MaskUniform>(),
            &[texture_entry(
                1,
                wgpu::TextureSampleType::Uint,
                wgpu::TextureViewDimension::D2Array,
            )],
        );
        let shape = Shape {
            width: 1,
            height: 1,
            layers: 1,
            format: BITS,
        };
        let plane = Plane::new(device, shape, true);
        let group = bind(device, &pass, &plane);
        Self {
            pass,
            plane,
            group,
            uploaded: None,
        }
    }
}

fn bind(device: &wgpu::Device, pass: &Pass, plane: &Plane) -> wgpu::BindGroup {
    device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(MASK_OVERLAY.name),
        layout: &pass.layout,
        entries: &[
            wgpu::BindGroupEntry {
                binding: 0,
                resource: pass.uniform.as_entire_binding(),
            },
            wgpu::BindGroupEntry {
                binding: 1,
                resource: wgpu::BindingResource::TextureView(&plane.view()),
            },
        ],
    })
}

impl CallbackTrait for MaskPaint {
    fn prepare(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        _screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        let Some(own) = resources.get_mut::<Resources>() else {
            return Vec::new();
        };
        if own.uploaded != Some(self.key) {
            // Transposed: rows of the texture are columns of the video.
            let shape = Shape {
                width: self.masks.size.height,
                height: self.masks.size.width,
                layers: self.masks.layers.len().max(1) as u32,
                format: BITS,
            };
            if own.plane.reshape(device, shape) {
                own.group = bind(device, &own.pass, &own.plane);
            }
            for (layer, bytes) in (0..).zip(&self.masks.layers) {
                own.plane.write(queue, layer, bytes);
            }
            own.uploaded = Some(self.key);
        }
        let mut colours = [[0.0; 4]; MOST_OBJECTS];
        for (slot, colour) in colours.iter_mut().zip(&self.style.colours) {
            *slot = *colour;
        }
        let uniform = MaskUniform {
            view: ViewUniform::new(&self.view, own.pass.target),
            opacity: self.style.opacity,
            outline_px: self.style.outline_px,
            selected: self.style.selected.map_or(u32::MAX, |i| i as u32),
            layers: self.masks.layers.len() as u32,
            colours,
        };
        queue.write_buffer(&own.pass.uniform, 0, bytemuck::bytes_of(&uniform));
        Vec::new()
    }

    fn paint(
        &self,
        _info: egui::PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        if let Some(own) = resources.get::<Resources>() {
            own.pass.draw(pass, &own.group);
        }
    }
}
