//! `heat.wgsl`: where the proposer saw objects. Boxes are drawn into a coarse grid here (a few hundred of them, once per
//! emission); the shader enlarges and colours it.

use std::sync::Arc;

use egui_wgpu::{CallbackResources, CallbackTrait, ScreenDescriptor};

use super::{
    pass::{Pass, Plane, Shape, bilinear_sampler, sampler_entry, texture_entry},
    shaders::HEAT,
    view::{View, ViewUniform},
};
use crate::project::{BoxPx, Size};

/// Longer side of the grid in cells.
const LONG_SIDE: u32 = 128;

/// Objectness on a coarse grid over the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeatGrid {
    /// Cells across.
    pub width: u32,
    /// Cells down.
    pub height: u32,
    /// Row-major, 0–255 for 0..=1.
    pub cells: Vec<u8>,
}

impl HeatGrid {
    /// The strongest box over each cell, faded from the box's centre to its edge.
    pub fn new(size: Size, boxes: &[(BoxPx, f32)]) -> Self {
        let long = size.width.max(size.height).max(1);
        let cells_of = |side: u32| (side * LONG_SIDE).div_ceil(long).max(1);
        let (width, height) = (cells_of(size.width), cells_of(size.height));
        let mut heat = vec![0.0_f32; (width * height) as usize];
        let (sx, sy) = (
            size.width.max(1) as f32 / width as f32,
            size.height.max(1) as f32 / height as f32,
        );
        for &(area, score) in boxes {
            let area = area.clamped(size);
            if area.area() <= 0.0 || !score.is_finite() {
                continue;
            }
            let (cx, cy) = ((area.x1 + area.x2) / 2.0, (area.y1 + area.y2) / 2.0);
            let last = |value: f32, end: u32| (value.ceil() as u32).min(end);
            for y in (area.y1 / sy) as u32..last(area.y2 / sy, height) {
                for x in (area.x1 / sx) as u32..last(area.x2 / sx, width) {
                    let dx = ((x as f32 + 0.5) * sx - cx) / (area.width() / 2.0);
                    let dy = ((y as f32 + 0.5) * sy - cy) / (area.height() / 2.0);
                    let fade = (1.0 - dx * dx).max(0.0) * (1.0 - dy * dy).max(0.0);
                    let cell = &mut heat[(y * width + x) as usize];
                    *cell = cell.max(score * fade.sqrt());
                }
            }
        }
        Self {
            width,
            height,
            cells: heat
                .iter()
                .map(|h| (h.clamp(0.0, 1.0) * 255.0).round() as u8)
                .collect(),
        }
    }
}

/// `Heat` in the shader.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct HeatUniform {
    pub(super) view: ViewUniform,
    pub(super) opacity: f32,
    pub(super) pad: [f32; 3],
}

/// Draws the heat map over the canvas.
pub struct HeatPaint {
    /// The grid.
    pub grid: Arc<HeatGrid>,
    /// Differs between grids that differ; an equal key is not uploaded again.
    pub key: u64,
    /// Strongest opacity, 0..=1.
    pub opacity: f32,
    /// What the canvas shows.
    pub view: View,
}

pub(super) struct Resources {
    pass: Pass,
    plane: Plane,
    sampler: wgpu::Sampler,
    group: wgpu::BindGroup,
    uploaded: Option<u64>,
}

impl Resources {
    pub(super) fn new(device: &wgpu::Device, target: wgpu::TextureFormat) -> Self {
        let pass = Pass::new(
            device,
            target,
            &HEAT,
            size_of::<HeatUniform>(),
            &[
                texture_entry(
                    1,
                    wgpu::TextureSampleType::Float { filterable: true },
                    wgpu::TextureViewDimension::D2,
                ),
                sampler_entry(2),
            ],
        );
        let plane = Plane::dummy(device, wgpu::TextureFormat::R8Unorm);
        let sampler = bilinear_sampler(device);
        let group = bind(device, &pass, &plane, &sampler);
        Self {
            pass,
            plane,
            sampler,
            group,
            uploaded: None,
        }
    }
}

fn bind(
    device: &wgpu::Device,
    pass: &Pass,
    plane: &Plane,
    sampler: &wgpu::Sampler,
) -> wgpu::BindGroup {
    device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(HEAT.name),
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
            wgpu::BindGroupEntry {
                binding: 2,
                resource: wgpu::BindingResource::Sampler(sampler),
            },
        ],
    })
}

impl CallbackTrait for HeatPaint {
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
            let shape = Shape {
                width: self.grid.width,
                height: self.grid.height,
                layers: 1,
                format: wgpu::TextureFormat::R8Unorm,
            };
            if own.plane.reshape(device, shape) {
                own.group = bind(device, &own.pass, &own.plane, &own.sampler);
            }
            own.plane.write(queue, 0, &self.grid.cells);
            own.uploaded = Some(self.key);
        }
        let uniform = HeatUniform {
            view: ViewUniform::new(&self.view, own.pass.target),
            opacity: self.opacity,
            pad: [0.0; 3],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_is_strongest_at_the_centre_and_nothing_outside() {
        let size = Size::new(128, 64);
        let area = BoxPx {
            x1: 32.0,
            y1: 16.0,
            x2: 64.0,
            y2: 48.0,
        };
        let grid = HeatGrid::new(size, &[(area, 0.8)]);
        assert_eq!((grid.width, grid.height), (128, 64));
        let at = |x: u32, y: u32| grid.cells[(y * grid.width + x) as usize];
        assert!(at(48, 32) >= 202);
        assert!(at(48, 32) > at(36, 32));
        assert_eq!(at(10, 32), 0);
        assert_eq!(at(48, 60), 0);
    }

    #[test]
    fn a_box_outside_or_without_area_or_a_broken_score_adds_nothing() {
        let size = Size::new(10, 10);
        let outside = BoxPx::from_array([20.0, 20.0, 30.0, 30.0]);
        let flat = BoxPx::from_array([1.0, 1.0, 1.0, 5.0]);
        let fine = BoxPx::from_array([0.0, 0.0, 10.0, 10.0]);
        let grid = HeatGrid::new(size, &[(outside, 1.0), (flat, 1.0), (fine, f32::NAN)]);
        assert!(grid.cells.iter().all(|&c| c == 0));
    }
}
