//! What the window remembers between two starts: theme and zoom.

use crate::theme::Choice;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

/// Zoom, in per cent: least, most, and one step.
pub const ZOOM: (u32, u32, u32) = (80, 200, 10);

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The theme.
    pub theme: Choice,
    /// Size of everything, in per cent.
    pub zoom_percent: u32,
    /// The file that it is kept in; none keeps nothing.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { theme: Choice::System, zoom_percent: 100, file: None }
    }
}

impl Settings {
    /// Reads `gui.toml` in `folder`; what cannot be read is as it was made.
    #[must_use]
    pub fn load(folder: &Path) -> Self {
        let file = folder.join("gui.toml");
        let mut settings: Self = match std::fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text).unwrap_or_else(|error| {
                tracing::warn!(file = %file.display(), %error, "the window's settings cannot be read and are ignored");
                Self::default()
            }),
            Err(_) => Self::default(),
        };
        settings.zoom_percent = settings.zoom_percent.clamp(ZOOM.0, ZOOM.1);
        settings.file = Some(file);
        settings
    }

    /// Writes them. A folder that cannot be written is no reason to disturb anybody.
    pub fn save(&self) {
        let Some(file) = &self.file else { return };
        let written = toml::to_string(self).map_err(|error| error.to_string()).and_then(|text| {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
            }
            // Whoever reads at the same time sees the old ones or the new ones.
            let new = file.with_extension("toml.new");
            std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, file)).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(file = %file.display(), %error, "the window's settings cannot be written");
        }
    }

    /// One step larger or smaller.
    pub fn zoom(&mut self, larger: bool) {
        let (least, most, step) = ZOOM;
        let wanted = if larger { self.zoom_percent + step } else { self.zoom_percent.saturating_sub(step) };
        self.zoom_percent = wanted.clamp(least, most);
    }
}

/// Writes settings on a thread of its own: the interface's never waits for a disk. Dropping it waits for what
/// is not written yet.
#[derive(Debug)]
pub struct Keeper {
    newest: Arc<Mutex<Option<Settings>>>,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread; none when the system gives none, and then nothing is remembered.
    #[must_use]
    pub fn start() -> Option<Self> {
        // One is enough: who wakes writes the newest.
        let (wake, woken) = sync_channel(1);
        let newest: Arc<Mutex<Option<Settings>>> = Arc::default();
        let shared = Arc::clone(&newest);
        let write = move || {
            while woken.recv().is_ok() {
                let settings = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(settings) = settings {
                    settings.save();
                }
            }
        };
        match std::thread::Builder::new().name("ruche-settings".to_owned()).spawn(write) {
            Ok(thread) => Some(Self { newest, wake: Some(wake), thread: Some(thread) }),
            Err(error) => {
                tracing::warn!(%error, "the window's settings are not remembered");
                None
            }
        }
    }

    /// Writes these, in place of any that are not written yet.
    pub fn keep(&self, settings: &Settings) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings.clone());
        if let Some(wake) = &self.wake {
            // Full: the thread is about to look anyway.
            wake.try_send(()).ok();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the settings panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_by_a_thread_and_the_newest_wins() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::load(folder.path());
        let keeper = Keeper::start().unwrap();
        for _ in 0..5 {
            settings.zoom(true);
            keeper.keep(&settings);
        }
        drop(keeper);
        assert_eq!(Settings::load(folder.path()).zoom_percent, 150);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn settings_are_remembered_and_bad_ones_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::load(folder.path());
        assert_eq!((settings.theme, settings.zoom_percent), (Choice::System, 100));
        settings.theme = Choice::Light;
        settings.zoom(true);
        settings.save();
        let again = Settings::load(folder.path());
        assert_eq!((again.theme, again.zoom_percent), (Choice::Light, 110));
        std::fs::write(folder.path().join("gui.toml"), "theme = 7\n").unwrap();
        assert_eq!(Settings::load(folder.path()).theme, Choice::System);
        std::fs::write(folder.path().join("gui.toml"), "zoom_percent = 9000\n").unwrap();
        assert_eq!(Settings::load(folder.path()).zoom_percent, 200);
    }

    #[test]
    fn zoom_stays_between_80_and_200() {
        let mut settings = Settings::default();
        for _ in 0..30 {
            settings.zoom(true);
        }
        assert_eq!(settings.zoom_percent, 200);
        for _ in 0..30 {
            settings.zoom(false);
        }
        assert_eq!(settings.zoom_percent, 80);
    }
}
