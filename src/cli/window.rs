//! `sparrow [VIDEO|PROJECT|DATASET]`: the window. Where there is no display, says so and shows the command that needs none.

use std::path::Path;

use anyhow::{Result, bail};

use super::output::require_input;

pub(super) fn run(path: Option<&Path>) -> Result<()> {
    if let Some(path) = path {
        require_input(path, "a video, an image folder, a project or a dataset")?;
    }
    if let Err(why) = display() {
        let video = path.map_or_else(|| "VIDEO".into(), |p| p.display().to_string());
        bail!(
            "{why}; without a window, try: sparrow ground {video} --phrase \"the red circle\" --out masks"
        );
    }
    open(path)
}

/// Whether a window can be opened, or why not.
pub(super) fn display() -> Result<(), &'static str> {
    if cfg!(not(feature = "gui")) {
        return Err("this build has no window (it was built without the `gui` feature)");
    }
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let needs_server = cfg!(all(unix, not(target_os = "macos")));
    if needs_server && !set("DISPLAY") && !set("WAYLAND_DISPLAY") && !set("WAYLAND_SOCKET") {
        return Err("there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)");
    }
    Ok(())
}

#[cfg(feature = "gui")]
fn open(path: Option<&Path>) -> Result<()> {
    use crate::{
        ui,
        worker::{InferBackend, Worker},
    };
    ui::run(ui::Options {
        open: path.map(Path::to_path_buf),
        model: "nano".to_owned(),
        device: "auto".to_owned(),
        sample: Some(ui::Sample::Bytes {
            name: "sample.mp4",
            bytes: include_bytes!("../../assets/sample.mp4"),
        }),
        worker: Box::new(|wake| Worker::spawn(|| Ok(InferBackend::default()), wake)),
        settings: ui::Options::default_settings_path(),
    })
}

#[cfg(not(feature = "gui"))]
fn open(_: Option<&Path>) -> Result<()> {
    bail!("this build has no window (it was built without the `gui` feature)")
}
