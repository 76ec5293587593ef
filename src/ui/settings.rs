//! What is remembered between sessions: theme, recent clips, keys. One small JSON file, written by a thread of its own
//! that writes the newest and skips what is older.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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
    /// Crops of anchors become tokens of the next emission; not so by default, as everywhere else.
    pub(crate) use_tsf: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: 1,
            theme: ThemeWish::default(),
            recent: Vec::new(),
            keys: KeyChanges::default(),
            mask_opacity: 0.45,
            use_tsf: false,
        }
    }
}

impl Settings {
    /// Reads them; a file that is missing or damaged gives the defaults. A damaged one is put aside, since the next change
    /// would take its place, and somebody's keys may be in it.
    pub(crate) fn load(path: Option<&Path>) -> Self {
        let read = path.and_then(|path| Some((path, std::fs::read(path).ok()?)));
        let mut settings = match read {
            None => Self::default(),
            Some((path, bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let aside = path.with_extension("damaged.json");
                let moved = std::fs::rename(path, &aside);
                let (path, aside) = (path.display(), aside.display());
                tracing::warn!("{path} is damaged ({error}) and goes to {aside}: {moved:?}");
                Self::default()
            }),
        };
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
    /// The newest that are not written yet.
    newest: Arc<Mutex<Option<Settings>>>,
    /// Says that there are some.
    bell: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SettingsWriter {
    /// Without a path nothing is ever written.
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        let newest: Arc<Mutex<Option<Settings>>> = Arc::default();
        let mut writer = Self {
            newest: Arc::clone(&newest),
            bell: None,
            thread: None,
        };
        let Some(path) = path else {
            return writer;
        };
        let (bell, rung) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("sparrow-settings".to_owned())
            .spawn(move || {
                while let Ok(()) = rung.recv() {
                    let Some(settings) = lock(&newest).take() else {
                        continue;
                    };
                    if let Err(error) = write(&path, &settings) {
                        let path = path.display();
                        tracing::warn!("settings were not saved to {path}: {error}");
                    }
                }
            });
        match thread {
            Ok(thread) => {
                writer.bell = Some(bell);
                writer.thread = Some(thread);
            }
            Err(error) => tracing::warn!("settings will not be saved: {error}"),
        }
        writer
    }

    /// Never waits for the disk; of several changes while it writes, the last counts.
    pub(crate) fn save(&self, settings: &Settings) {
        if let Some(bell) = &self.bell {
            *lock(&self.newest) = Some(settings.clone());
            // Full, it rings already.
            bell.try_send(()).ok();
        }
    }
}

/// Whoever panicked with the lock held left whole settings.
fn lock(newest: &Mutex<Option<Settings>>) -> std::sync::MutexGuard<'_, Option<Settings>> {
    newest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for SettingsWriter {
    fn drop(&mut self) {
        // A bell that was rung is heard before its end.
        self.bell = None;
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

    /// The window used the anchors unasked, the command line did not.
    #[test]
    fn anchors_become_tokens_only_for_who_said_so_and_that_is_kept() {
        assert!(!Settings::default().use_tsf);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        // What was written before there was the setting.
        std::fs::write(&path, "{\"mask_opacity\": 0.3}").unwrap();
        let before = Settings::load(Some(&path));
        assert_eq!((before.mask_opacity, before.use_tsf), (0.3, false));
        let on = Settings {
            use_tsf: true,
            ..before
        };
        let writer = SettingsWriter::new(Some(path.clone()));
        writer.save(&on);
        drop(writer);
        assert!(Settings::load(Some(&path)).use_tsf);
    }

    /// The next change wrote over somebody's keys.
    #[test]
    fn damaged_settings_are_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        let damaged = "{\"keys\": {}, \"theme\": \"sepia\"}";
        std::fs::write(&path, damaged).unwrap();
        Settings::load(Some(&path));
        assert!(!path.exists());
        let aside = dir.path().join("settings.damaged.json");
        assert_eq!(std::fs::read_to_string(aside).unwrap(), damaged);
    }

    /// What came while eight others waited for the disk was lost if nothing came after it.
    #[test]
    fn of_many_changes_at_once_the_last_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        let writer = SettingsWriter::new(Some(path.clone()));
        let mut settings = Settings::default();
        for i in 0..=500_u16 {
            settings.mask_opacity = f32::from(i) / 500.0;
            writer.save(&settings);
        }
        drop(writer);
        assert_eq!(Settings::load(Some(&path)), settings);
    }
}
