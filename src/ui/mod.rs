//! The window: logic, drawing, state, actions, panels. Never decodes, never infers, never waits for the disk.
//!
//! Once per frame `logic` drains what other threads have sent and applies key presses; then the panels draw: they read
//! [`state`] and the document and send [`command`]s, which `logic` carries out after drawing. The threads: the inference
//! thread behind [`crate::worker::WorkerHandle`], the decoder behind [`crate::video::Decoder`], the store's writer behind
//! [`crate::store::Writer`], and short-lived ones that open, export and save settings.

mod absence;
mod actions;
mod ahead;
mod answers;
mod app;
mod arranging;
mod brush;
mod claim;
mod command;
mod dialogs;
mod emissions;
mod exporter;
#[cfg(test)]
mod fixture;
mod fonts;
mod frames;
mod icons;
mod importer;
mod keymap;
mod lanes;
mod leaving;
mod logic;
mod looks;
mod masks;
mod opener;
mod outline;
mod overlay;
mod panels;
mod presets;
mod prompting;
mod reading;
mod review;
mod saver;
mod session;
mod settings;
mod shortcuts;
mod state;
mod theme;
mod thresholds;
mod time_view;
mod times;
mod widgets;

use std::{io, path::PathBuf, sync::Arc};

use anyhow::anyhow;

pub use app::App;

use crate::worker::WorkerHandle;

/// The clip that comes with the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sample {
    /// A file.
    Path(PathBuf),
    /// A file in the program; unpacked to the user's data folder when it is opened.
    Bytes {
        /// File name with ending.
        name: &'static str,
        /// The file.
        bytes: &'static [u8],
    },
}

/// Starts the inference thread. What it is given is to be called whenever an update was sent.
pub type SpawnWorker = Box<dyn FnOnce(Box<dyn Fn() + Send + Sync>) -> io::Result<WorkerHandle>>;

/// What the window starts with.
pub struct Options {
    /// A video, an image folder or a project to open at once; otherwise the start page.
    pub open: Option<PathBuf>,
    /// Model id.
    pub model: String,
    /// `auto`, `cpu`, `cuda` or `metal`.
    pub device: String,
    /// The bundled clip.
    pub sample: Option<Sample>,
    /// Starts the inference thread.
    pub worker: SpawnWorker,
    /// Where settings are kept; `None` keeps none.
    pub settings: Option<PathBuf>,
}

impl Options {
    /// The usual place for settings, if the system names one.
    pub fn default_settings_path() -> Option<PathBuf> {
        settings::config_dir().map(|dir| dir.join("settings.json"))
    }
}

/// Opens the window and returns when it is closed.
///
/// # Errors
/// If there is no display or no way to draw on it; says what to do instead.
pub fn run(options: Options) -> anyhow::Result<()> {
    let mut native = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title("Sparrow")
            .with_app_id("sparrow")
            .with_inner_size([1440.0, 900.0])
            .with_min_inner_size([960.0, 600.0])
            .with_drag_and_drop(true),
        renderer: eframe::Renderer::Wgpu,
        ..eframe::NativeOptions::default()
    };
    if let egui_wgpu::WgpuSetup::CreateNew(setup) = &mut native.wgpu_options.wgpu_setup {
        let usual = setup.device_descriptor.clone();
        // A frame is one texture: as large as the graphics card takes them.
        setup.device_descriptor = Arc::new(move |adapter| {
            let mut descriptor = usual(adapter);
            let limits = &mut descriptor.required_limits;
            limits.max_texture_dimension_2d = adapter.limits().max_texture_dimension_2d;
            descriptor
        });
    }
    eframe::run_native(
        "Sparrow",
        native,
        Box::new(move |creation| {
            if let Some(state) = &creation.wgpu_render_state {
                crate::render::install(state);
            }
            Ok(Box::new(App::new(&creation.egui_ctx, options)?))
        }),
    )
    .map_err(|error| {
        let error = without_place(&error.to_string()).to_owned();
        anyhow!(
            "the window could not be opened: {error}; without a display, use `sparrow ground VIDEO --phrase TEXT`"
        )
    })
}

/// An error without the line of a library's source that some begin with: it is of no use to whoever reads it.
fn without_place(error: &str) -> &str {
    let behind = error.rsplit_once(".rs:").map(|(_, behind)| behind);
    behind
        .and_then(|b| b.split_once(": "))
        .map_or(error, |(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_window_names_no_line_of_a_library() {
        let error =
            "winit EventLoopError: os error at /a/winit/src/x11/mod.rs:788: no connection: none";
        assert_eq!(without_place(error), "no connection: none");
        assert_eq!(without_place("no adapter: none"), "no adapter: none");
    }
}
