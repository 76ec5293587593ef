//! Exports on a thread of its own: what is written is read back and compared before it counts. One at a time; it goes on
//! when its dialog is closed. Part of `logic`.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::{
    app::App,
    session::Wake,
    state::{Dialog, ExportForm, ExportStatus, Weight},
};
use crate::{
    formats::{self, Existing, ExportOptions, FORMATS, FormatError, Loss, Rgb, Watcher},
    project::Document,
    task::CancelToken,
    video,
};

/// An export that is under way. Dropping it stops the export and waits until nothing of it is left on the disk.
pub(super) struct Exporting {
    answer: Receiver<ExportStatus>,
    counted: Arc<Counted>,
    cancel: CancelToken,
    thread: Option<JoinHandle<()>>,
}

/// Frames written, and frames in all.
#[derive(Default)]
struct Counted {
    done: AtomicU64,
    total: AtomicU64,
}

impl Exporting {
    fn start(work: Work, wake: Wake) -> io::Result<Self> {
        let (send, answer) = bounded(1);
        let counted = Arc::new(Counted::default());
        let cancel = CancelToken::default();
        let mut watch = {
            let (counted, cancel, wake) = (Arc::clone(&counted), cancel.clone(), wake.clone());
            move |done, total| {
                counted.done.store(done, Ordering::Relaxed);
                counted.total.store(total, Ordering::Relaxed);
                wake();
                !cancel.is_cancelled()
            }
        };
        let thread = std::thread::Builder::new()
            .name("sparrow-export".to_owned())
            .spawn(move || {
                // Nobody hears the end of an export that is dropped.
                send.send(work.run(&mut watch)).ok();
                wake();
            })?;
        Ok(Self {
            answer,
            counted,
            cancel,
            thread: Some(thread),
        })
    }

    /// How it stands; the end is told once.
    fn status(&self) -> ExportStatus {
        match self.answer.try_recv() {
            Ok(end) => end,
            Err(TryRecvError::Empty) if self.cancel.is_cancelled() => ExportStatus::Stopping,
            Err(TryRecvError::Empty) => ExportStatus::Running {
                done: self.counted.done.load(Ordering::Relaxed),
                total: self.counted.total.load(Ordering::Relaxed),
            },
            Err(TryRecvError::Disconnected) => {
                ExportStatus::Failed("the export crashed; please report this".to_owned())
            }
        }
    }

    fn stop(&self) {
        self.cancel.cancel();
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        self.stop();
        // Its unfinished folder goes when the thread ends, and a program that is gone removes nothing.
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::warn!("the export's thread crashed");
        }
    }
}

/// The form as it is first shown: beside the project, or beside the video.
pub(super) fn first_form(doc: &Document, project: Option<&Path>) -> ExportForm {
    let beside = project.unwrap_or_else(|| Path::new(&doc.video.path));
    let folder = beside.parent().unwrap_or(Path::new("."));
    let name = FORMATS.first().map_or("", |f| f.name());
    let stem = formats::clip_name(&doc.video.path);
    ExportForm {
        format: name.to_owned(),
        folder: folder.join(format!("{stem}-{name}")).display().to_string(),
        verified_only: false,
        // As on the command line: without them, only COCO leads back to the video.
        with_images: true,
        replace: false,
        status: ExportStatus::Idle,
    }
}

impl App {
    /// The dialog: of the export that runs, if one does.
    pub(super) fn show_export(&mut self) {
        if let Some(form) = &self.state.exporting {
            self.state.dialog = Some(Dialog::Export(form.clone()));
            return;
        }
        let Some(session) = &self.state.session else {
            return;
        };
        if session.doc.objects.is_empty() {
            self.say(
                Weight::Info,
                "There is nothing to export yet: ground a phrase or draw an object first.",
            );
            return;
        }
        let form = first_form(&session.doc, session.path());
        self.state.dialog = Some(Dialog::Export(form));
    }

    pub(super) fn run_export(&mut self) {
        let (Some(session), Some(Dialog::Export(form))) =
            (&self.state.session, &mut self.state.dialog)
        else {
            return;
        };
        if self.state.exporting.is_some() || form.folder.trim().is_empty() {
            return;
        }
        let work = Work {
            doc: session.doc.clone(),
            form: form.clone(),
            video: self.state.clip.as_ref().map(|c| c.path.clone()),
        };
        match Exporting::start(work, self.services.wake.clone()) {
            Ok(exporting) => {
                // Not asked of the export: its end, which may have come already, is told once and to `poll_export`.
                form.status = ExportStatus::Running { done: 0, total: 0 };
                self.state.exporting = Some(form.clone());
                self.services.exporting = Some(exporting);
            }
            Err(error) => form.status = ExportStatus::Failed(error.to_string()),
        }
    }

    /// Shows a folder in the system's file manager.
    pub(super) fn show_folder(&mut self, folder: &Path) {
        let program = if cfg!(windows) {
            "explorer"
        } else if cfg!(target_os = "macos") {
            "open"
        } else {
            "xdg-open"
        };
        let started = Command::new(program)
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let waited = started.and_then(|mut manager| {
            let thread = std::thread::Builder::new().name("sparrow-folder".to_owned());
            // How it ends is its own business, but somebody has to hear of it.
            thread.spawn(move || manager.wait().ok()).map(drop)
        });
        if let Err(error) = waited {
            tracing::debug!("{program}: {error}");
            let text = format!("No file manager was found to show {}.", folder.display());
            self.say(Weight::Look, text);
        }
    }

    pub(super) fn stop_export(&mut self) {
        if let Some(exporting) = &self.services.exporting {
            exporting.stop();
        }
    }

    /// The folder that was chosen. That of an export under way stays what it is.
    pub(super) fn set_export_folder(&mut self, folder: &Path) {
        if let Some(Dialog::Export(form)) = &mut self.state.dialog
            && !form.status.is_running()
        {
            form.folder = folder.display().to_string();
            form.status = ExportStatus::Idle;
        }
    }

    pub(super) fn poll_export(&mut self) {
        let Some(exporting) = &self.services.exporting else {
            return;
        };
        let status = exporting.status();
        if status.is_running() {
            if let Some(form) = &mut self.state.exporting {
                form.status = status.clone();
            }
        } else {
            self.services.exporting = None;
            self.state.exporting = None;
        }
        let lost = matches!(&status, ExportStatus::Done { lost_masks, .. } if *lost_masks);
        if lost || matches!(status, ExportStatus::Failed(_)) {
            // The window does not close over what nobody has read.
            self.stay_open();
        }
        if let Some(Dialog::Export(form)) = &mut self.state.dialog {
            form.status = status;
            return;
        }
        // The dialog was closed; the end is still worth a word.
        match status {
            ExportStatus::Done {
                summary, losses, ..
            } if losses.is_empty() => {
                self.say(Weight::Info, summary);
            }
            ExportStatus::Done {
                summary, losses, ..
            } => {
                let text = format!(
                    "{summary} The format could not hold: {}.",
                    losses.join("; ")
                );
                self.say(Weight::Look, text);
            }
            ExportStatus::Stopped => self.say(
                Weight::Info,
                "The export was stopped. Nothing was left behind.",
            ),
            ExportStatus::Failed(why) => {
                self.say(
                    Weight::Error,
                    format!("The export failed: {why}. Nothing was left behind."),
                );
            }
            ExportStatus::Idle | ExportStatus::Running { .. } | ExportStatus::Stopping => {}
        }
    }
}

struct Work {
    doc: Document,
    form: ExportForm,
    video: Option<PathBuf>,
}

impl Work {
    fn run(self, watch: &mut Watcher<'_>) -> ExportStatus {
        match self.export(watch) {
            Ok(status) => status,
            Err(why) => ExportStatus::Failed(why),
        }
    }

    fn export(&self, watch: &mut Watcher<'_>) -> Result<ExportStatus, String> {
        let format = formats::by_name(&self.form.format).map_err(|e| e.to_string())?;
        let options = ExportOptions {
            verified_only: self.form.verified_only,
            existing: if self.form.replace {
                Existing::Replace
            } else {
                Existing::Refuse
            },
            video: self.video.clone(),
            ..ExportOptions::default()
        };
        let out = PathBuf::from(self.form.folder.trim());
        let mut source = match (&self.video, self.form.with_images) {
            (Some(path), true) => Some(video::open(path).map_err(|e| e.to_string())?),
            _ => None,
        };
        let mut read = source.as_mut().map(|source| {
            move |index| {
                let frame = source.frame(index).map_err(|e| e.to_string())?;
                let rgb = video::to_rgb(&frame);
                Ok(Rgb {
                    size: rgb.size,
                    data: rgb.data,
                })
            }
        });
        let report = formats::export(
            &self.doc,
            format,
            &out,
            &options,
            read.as_mut().map(|r| r as &mut formats::FrameReader<'_>),
            &mut |done, total| watch(done, total),
        );
        let report = match report {
            Ok(report) => report,
            Err(FormatError::Cancelled) => return Ok(ExportStatus::Stopped),
            Err(error) => return Err(error.to_string()),
        };
        Ok(ExportStatus::Done {
            summary: format!(
                "{} masks written to {}, read back and compared.",
                report.masks,
                report.path.display()
            ),
            folder: report.path.clone(),
            lost_masks: report.losses.iter().any(Loss::takes_masks),
            losses: report.losses.iter().map(ToString::to_string).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::OnceLock};

    use super::*;
    use crate::{
        project::{FrameIndex, FrameMask, ObjectId, Rle, Size, Thresholds, VideoInfo},
        ui::{leaving::Leaving, session::Session},
    };

    /// An object that covers the same pixels on five frames, as DAVIS.
    fn work(out: &Path) -> Work {
        let size = Size::new(8, 6);
        let video = VideoInfo {
            path: "clip".to_owned(),
            size,
            frames: 5,
            fps: 25.0,
            hash: String::new(),
        };
        let mut doc = Document::new(video, "nano", Thresholds::default());
        let mut object = doc.new_object("the box");
        for frame in 0..5 {
            let rle = Rle {
                size,
                counts: vec![6, 12, 30],
            };
            let mask = FrameMask::by_hand(rle);
            object.frames.insert(FrameIndex(frame), mask);
        }
        doc.objects.push(object);
        let mut form = first_form(&doc, None);
        form.format = "davis".to_owned();
        form.folder = out.display().to_string();
        Work {
            doc,
            form,
            video: None,
        }
    }

    /// A window on the work's document, its export dialog open.
    fn window(Work { doc, form, .. }: Work) -> App {
        let mut app = App::without_model(&egui::Context::default());
        app.state.session = Some(Session::unsaved(doc, Vec::new(), Arc::new(|| {})));
        app.state.dialog = Some(Dialog::Export(form));
        app
    }

    #[test]
    fn a_stopped_export_leaves_nothing_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        // The export waits at every step until it is let go on.
        let (told, steps) = bounded(0);
        let (go_on, permits) = bounded::<()>(0);
        let wake: Wake = Arc::new(move || {
            told.send(()).ok();
            permits.recv().ok();
        });
        let exporting = Exporting::start(work(&dir.path().join("out")), wake).unwrap();
        for done in 0..3 {
            steps.recv().unwrap();
            assert_eq!(exporting.status(), ExportStatus::Running { done, total: 5 });
            go_on.send(()).unwrap();
        }
        steps.recv().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        exporting.stop();
        assert_eq!(exporting.status(), ExportStatus::Stopping);
        drop((go_on, steps));
        assert_eq!(exporting.answer.recv().unwrap(), ExportStatus::Stopped);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn leaving_waits_until_nothing_of_the_export_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (told, steps) = bounded(1);
        let token: Arc<OnceLock<CancelToken>> = Arc::default();
        let wake: Wake = {
            let token = Arc::clone(&token);
            // Held at its first step until it is told to stop.
            Arc::new(move || {
                told.try_send(()).ok();
                while !token.get().is_some_and(CancelToken::is_cancelled) {
                    std::thread::yield_now();
                }
            })
        };
        let exporting = Exporting::start(work(&dir.path().join("out")), wake).unwrap();
        token.set(exporting.cancel.clone()).ok();
        steps.recv().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(exporting);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_export_goes_on_without_its_dialog_and_another_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let (told, steps) = bounded(0);
        let (go_on, permits) = bounded::<()>(0);
        let wake: Wake = Arc::new(move || {
            told.send(()).ok();
            permits.recv().ok();
        });
        let mut app = window(work(&out));
        app.services.wake = wake;
        app.run_export();
        steps.recv().unwrap();
        app.state.dialog = None;
        app.poll_export();
        // Asked for again, the dialog is that of the export that runs, and it is not begun a second time or elsewhere.
        app.show_export();
        app.set_export_folder(&dir.path().join("elsewhere"));
        app.run_export();
        let running = ExportStatus::Running { done: 0, total: 5 };
        assert!(matches!(&app.state.dialog, Some(Dialog::Export(form))
            if form.status == running && form.folder == out.display().to_string()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        app.state.dialog = None;
        app.state.leaving = Some(Leaving::Quit);
        drop((go_on, steps));
        while app.state.exporting.is_some() {
            app.poll_export();
            std::thread::yield_now();
        }
        assert!(out.join("ImageSets/2017/train.txt").exists());
        let said = &app.state.toasts.last().unwrap().text;
        assert!(
            said.contains("read back and compared") && said.contains("could not hold"),
            "{said}"
        );
        let told = "what every such export loses is told in its dialog";
        assert_eq!(app.state.leaving, Some(Leaving::Quit), "{told}");
    }

    /// Most formats lead back to no video without them.
    #[test]
    fn images_go_along_unless_somebody_says_no() {
        let form = work(Path::new("out")).form;
        assert!(form.with_images);
    }

    #[test]
    fn the_window_does_not_close_over_an_export_that_lost_masks() {
        let dir = tempfile::tempdir().unwrap();
        let mut work = work(&dir.path().join("out"));
        let mut above = work.doc.objects[0].clone();
        above.id = ObjectId(above.id.0 + 1);
        work.doc.objects.push(above);
        let mut app = window(work);
        app.run_export();
        app.state.dialog = None;
        app.state.leaving = Some(Leaving::Quit);
        while app.services.exporting.is_some() {
            app.poll_export();
            std::thread::yield_now();
        }
        let said = &app.state.toasts.last().unwrap().text;
        assert!(said.contains("overlapping objects"), "{said}");
        assert_eq!(app.state.leaving, None, "it is to be read first");
    }

    #[test]
    fn an_export_that_crashes_ends_as_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let wake: Wake = Arc::new(|| panic!("no window to wake"));
        let mut exporting = Exporting::start(work(&dir.path().join("out")), wake).unwrap();
        exporting.thread.take().unwrap().join().unwrap_err();
        assert!(matches!(exporting.status(), ExportStatus::Failed(_)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
