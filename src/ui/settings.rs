//! What is remembered between sessions: theme, recent clips, keys. One small JSON file, written by a thread of its own
//! that writes the newest and skips what is older.

use std::{
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use crossbeam_channel::{Sender, bounded};
use serde::{Deserialize, Serialize};

use super::keymap::KeyChanges;

/// At most so many recent clips.
const MOST_RECENT: usize = 8;

/// Dark, light, or as the system says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ThemeWish {
    #[default]
    Dark,
    Light,
}

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Of this file's form.
    pub(crate) version: u32,
    pub(crate) theme: ThemeWish,
    pub(crate) recent: Vec<PathBuf>,
    pub(crate) keys: KeyChanges,
    pub(crate) mask_opacity: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: 1,
            theme: ThemeWish::default(),
            recent: Vec::new(),
            keys: KeyChanges::default(),
            mask_opacity: 0.45,
        }
    }
}

impl Settings {
    /// Reads them; a file that is missing or damaged gives the defaults.
    pub(crate) fn load(path: Option<&Path>) -> Self {
        let mut settings: Self = path
            .and_then(|path| std::fs::read(path).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        if !(0.0..=1.0).contains(&settings.mask_opacity) {
            settings.mask_opacity = Self::default().mask_opacity;
        }
        settings.recent.truncate(MOST_RECENT);
        settings
    }

    /// Puts a clip on top of the recent ones.
    pub(crate) fn remember(&mut self, path: &Path) {
        self.recent.retain(|p| p != path);
        self.recent.insert(0, path.to_path_buf());
        self.recent.truncate(MOST_RECENT);
    }
}

/// The folder for settings, or `None` if the system names none.
pub(crate) fn config_dir() -> Option<PathBuf> {
    folder(
        "XDG_CONFIG_HOME",
        ".config",
        "Library/Application Support",
        "APPDATA",
    )
}

/// The folder for projects of clips that lie in write-protected places.
pub(crate) fn data_dir() -> Option<PathBuf> {
    folder(
        "XDG_DATA_HOME",
        ".local/share",
        "Library/Application Support",
        "LOCALAPPDATA",
    )
}

fn folder(xdg: &str, linux: &str, mac: &str, windows: &str) -> Option<PathBuf> {
    let var = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let base = if cfg!(windows) {
        var(windows)?
    } else if cfg!(target_os = "macos") {
        var("HOME")?.join(mac)
    } else {
        var(xdg).or_else(|| var("HOME").map(|home| home.join(linux)))?
    };
    Some(base.join("sparrow"))
}

/// Writes settings on a thread of its own.
pub(crate) struct SettingsWriter {
    queue: Option<Sender<Settings>>,
    thread: Option<JoinHandle<()>>,
}

impl SettingsWriter {
    /// Without a path nothing is ever written.
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        let Some(path) = path else {
            return Self {
                queue: None,
                thread: None,
            };
        };
        let (queue, inbox) = bounded::<Settings>(8);
        let thread = std::thread::Builder::new()
            .name("sparrow-settings".to_owned())
            .spawn(move || {
                while let Ok(mut settings) = inbox.recv() {
                    while let Ok(newer) = inbox.try_recv() {
                        settings = newer;
                    }
                    if let Err(error) = write(&path, &settings) {
                        tracing::warn!("settings were not saved to {}: {error}", path.display());
                    }
                }
            });
        match thread {
            Ok(thread) => Self {
                queue: Some(queue),
                thread: Some(thread),
            },
            Err(error) => {
                tracing::warn!("settings will not be saved: {error}");
                Self {
                    queue: None,
                    thread: None,
                }
            }
        }
    }

    /// Never waits; if the thread is eight changes behind, the next change carries this one too.
    pub(crate) fn save(&self, settings: &Settings) {
        if let Some(queue) = &self.queue {
            queue.try_send(settings.clone()).ok();
        }
    }
}

impl Drop for SettingsWriter {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic there lost only settings, and has said so.
            drop(thread.join());
        }
    }
}

fn write(path: &Path, settings: &Settings) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&mut file, settings)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_writing_and_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below").join("settings.json");
        let mut settings = Settings {
            theme: ThemeWish::Light,
            ..Settings::default()
        };
        for i in 0..12 {
            settings.remember(Path::new(&format!("{i}.mp4")));
        }
        settings.remember(Path::new("7.mp4"));
        assert_eq!(settings.recent.len(), MOST_RECENT);
        assert_eq!(settings.recent[0], Path::new("7.mp4"));
        let writer = SettingsWriter::new(Some(path.clone()));
        writer.save(&settings);
        drop(writer);
        assert_eq!(Settings::load(Some(&path)), settings);
        std::fs::write(&path, "{\"theme\": 7").unwrap();
        assert_eq!(Settings::load(Some(&path)), Settings::default());
        assert_eq!(Settings::load(None), Settings::default());
    }
}
