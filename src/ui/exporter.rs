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
    dialogs::typed_path,
    logic::sentence,
    session::Wake,
    state::{Dialog, Weight},
};
use crate::{
    formats::{self, Existing, ExportOptions, FORMATS, FormatError, Loss, Rgb, Watcher},
    project::{Document, counted},
    task::CancelToken,
    video,
};

/// The export dialog.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExportForm {
    pub(crate) format: String,
    /// As it is typed; [`ExportForm::place`] is what it means.
    pub(crate) folder: String,
    /// Where the project lies, or its video.
    pub(crate) beside: PathBuf,
    pub(crate) verified_only: bool,
    /// Frames as JPEG beside the masks.
    pub(crate) with_images: bool,
    /// In the place of an earlier export.
    pub(crate) replace: bool,
    pub(crate) status: ExportStatus,
}

impl ExportForm {
    /// The whole path of the folder that is written; `None` as long as none is named. What is no whole path is meant from the
    /// folder of the project: where the program was started is nobody's thought in a window.
    pub(crate) fn place(&self) -> Option<PathBuf> {
        let typed = typed_path(&self.folder);
        if typed.as_os_str().is_empty() {
            return None;
        }
        let place = self.beside.join(typed);
        Some(std::path::absolute(&place).unwrap_or(place))
    }
}

/// How an export stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExportStatus {
    Idle,
    /// There is nothing to write, and nothing was begun; what to do, in sentences.
    Refused(&'static str),
    /// Frames written and frames in all, 0 before the first; once all are, they are read back.
    Running {
        done: u64,
        total: u64,
    },
    /// It was told to stop.
    Stopping,
    /// It has stopped, and nothing of it is left.
    Stopped,
    /// Written, read back and equal; what was written, what the format could not hold.
    Done {
        summary: String,
        masks: usize,
        losses: Vec<String>,
        /// What there is to tell of the video that the images come from: damaged frames are written as others.
        flaws: Vec<String>,
        /// Where it is.
        folder: PathBuf,
        /// Masks or pixels of them are among the losses.
        lost_masks: bool,
    },
    Failed(String),
}

impl ExportStatus {
    /// Whether the export has begun and not ended.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Stopping)
    }
}

/// What to do where no mask would be written; `None` where one would.
fn nothing_to_export(doc: &Document, verified_only: bool) -> Option<&'static str> {
    let masks = || doc.objects.iter().flat_map(|o| o.frames.values());
    if !masks().any(|m| !m.rle.is_empty()) {
        return Some("No object has a mask yet: ground a phrase or draw an object, then export.");
    }
    let is_missing = verified_only && !masks().any(|m| m.anchor && !m.rle.is_empty());
    is_missing.then_some(
        "No mask was made or accepted by a person yet: accept those that are right, or export the others, too.",
    )
}

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
    let beside = beside.parent().unwrap_or(Path::new(""));
    let name = FORMATS.first().map_or("", |f| f.name());
    let stem = formats::clip_name(&doc.video.path);
    let folder = beside.join(format!("{stem}-{name}"));
    ExportForm {
        format: name.to_owned(),
        folder: folder.display().to_string(),
        beside: beside.to_path_buf(),
        verified_only: false,
        // As on the command line: without them, only COCO and mattes lead back to the video.
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
        if let Some(why) = nothing_to_export(&session.doc, false) {
            self.say(Weight::Look, why);
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
        let Some(out) = form.place().filter(|_| self.state.exporting.is_none()) else {
            return;
        };
        if let Some(why) = nothing_to_export(&session.doc, form.verified_only) {
            form.status = ExportStatus::Refused(why);
            return;
        }
        let work = Work {
            doc: session.doc.clone(),
            form: form.clone(),
            out,
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
        let lost = matches!(&status, ExportStatus::Done { lost_masks, flaws, .. } if *lost_masks || !flaws.is_empty());
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
                summary,
                masks,
                losses,
                flaws,
                ..
            } => {
                let mut text = summary;
                if !losses.is_empty() {
                    text += &format!(" The format could not hold: {}.", losses.join("; "));
                }
                for flaw in &flaws {
                    text += &format!(" {}.", sentence(flaw));
                }
                let is_whole = masks > 0 && losses.is_empty() && flaws.is_empty();
                self.say(if is_whole { Weight::Info } else { Weight::Look }, text);
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
            ExportStatus::Idle
            | ExportStatus::Refused(_)
            | ExportStatus::Running { .. }
            | ExportStatus::Stopping => {}
        }
    }
}

struct Work {
    doc: Document,
    form: ExportForm,
    /// The folder to write, as a whole path.
    out: PathBuf,
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
        let mut source = match (&self.video, self.form.with_images) {
            (Some(path), true) => Some(video::open(path).map_err(|e| e.to_string())?),
            _ => None,
        };
        // What the file opens with was told then.
        let told = source
            .as_ref()
            .map_or_else(Vec::new, |s| s.warnings().to_vec());
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
            &self.out,
            &options,
            read.as_mut().map(|r| r as &mut formats::FrameReader<'_>),
            &mut |done, total| watch(done, total),
        );
        let report = match report {
            Ok(report) => report,
            Err(FormatError::Cancelled) => return Ok(ExportStatus::Stopped),
            Err(error) => return Err(error.to_string()),
        };
        let mut summary = format!(
            "{} written to {}, read back and compared.",
            counted(report.masks, "mask"),
            report.path.display()
        );
        let (asked, losses): (Vec<&Loss>, Vec<&Loss>) =
            report.losses.iter().partition(|loss| loss.is_asked());
        for loss in asked {
            summary += &format!(" {}.", sentence(&loss.to_string()));
        }
        Ok(ExportStatus::Done {
            summary,
            masks: report.masks,
            lost_masks: report.masks == 0 || losses.iter().any(|loss| loss.takes_masks()),
            losses: losses.iter().map(ToString::to_string).collect(),
            flaws: source.map_or_else(Vec::new, |s| {
                let new = s.warnings().iter().filter(|w| !told.contains(w));
                new.cloned().collect()
            }),
            folder: report.path,
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
            out: out.to_path_buf(),
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

    /// Waits for the export; the weight and the text of what is said at its end.
    fn end(app: &mut App) -> (Weight, String) {
        app.state.dialog = None;
        while app.services.exporting.is_some() {
            app.poll_export();
            std::thread::yield_now();
        }
        let toast = app.state.toasts.last().unwrap();
        (toast.weight, toast.text.clone())
    }

    fn status(app: &App) -> &ExportStatus {
        match &app.state.dialog {
            Some(Dialog::Export(form)) => &form.status,
            other => panic!("{other:?}"),
        }
    }

    /// It was told in green as a success of 0 masks.
    #[test]
    fn an_export_of_no_mask_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut work = work(&dir.path().join("out"));
        work.form.verified_only = true;
        for mask in work.doc.objects[0].frames.values_mut() {
            mask.anchor = false;
        }
        let mut app = window(work);
        app.run_export();
        let ExportStatus::Refused(why) = status(&app) else {
            panic!("{:?}", status(&app));
        };
        assert!(why.contains("accept those that are right"), "{why}");
        let doc = &mut app.state.session.as_mut().unwrap().doc;
        for mask in doc.objects[0].frames.values_mut() {
            *mask = FrameMask::by_hand(Rle::empty(doc.video.size));
        }
        app.run_export();
        let ExportStatus::Refused(why) = status(&app) else {
            panic!("{:?}", status(&app));
        };
        assert!(why.starts_with("No object has a mask yet"), "{why}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        // Asked for anew, not even the dialog comes.
        app.state.dialog = None;
        app.show_export();
        assert_eq!(app.state.dialog, None);
        let said = app.state.toasts.last().unwrap();
        assert_eq!(said.weight, Weight::Look);
        assert!(
            said.text.starts_with("No object has a mask yet"),
            "{}",
            said.text
        );
    }

    /// What a format leaves out is known only once it has looked at everything.
    #[test]
    fn an_export_that_turns_out_to_hold_no_mask_is_told_as_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let mut work = work(&dir.path().join("out"));
        // More objects than DAVIS has numbers for, and the one with masks is the last.
        let last = work.doc.objects.pop().unwrap();
        for _ in 0..254 {
            let object = work.doc.new_object("");
            work.doc.objects.push(object);
        }
        let id = work.doc.next_object_id();
        work.doc.objects.push(crate::project::Object { id, ..last });
        let mut app = window(work);
        app.run_export();
        app.state.leaving = Some(Leaving::Quit);
        let (weight, text) = end(&mut app);
        assert_eq!(weight, Weight::Look);
        assert!(text.starts_with("0 masks written"), "{text}");
        assert_eq!(app.state.leaving, None, "it is to be read first");
    }

    /// The format was blamed for it.
    #[test]
    fn what_was_left_out_as_asked_is_no_loss_of_the_format() {
        let dir = tempfile::tempdir().unwrap();
        let mut work = work(&dir.path().join("out"));
        work.form.verified_only = true;
        let doc = &mut work.doc;
        doc.objects[0]
            .frames
            .get_mut(&FrameIndex(4))
            .unwrap()
            .anchor = false;
        let mut app = window(work);
        app.run_export();
        let (_, text) = end(&mut app);
        let (done, lost) = text.split_once("The format could not hold").unwrap();
        let asked = "1 mask that nobody made or accepted was left out, as asked.";
        assert!(done.starts_with("4 masks written"), "{done}");
        assert!(done.contains(asked) && !lost.contains("as asked"), "{text}");
    }

    #[test]
    fn a_folder_that_is_no_whole_path_is_meant_from_the_projects() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("clip.sparrow");
        let mut form = first_form(&work(Path::new("out")).doc, Some(&project));
        assert_eq!(form.place(), Some(dir.path().join("clip-coco")));
        form.folder = " ../out ".to_owned();
        assert_eq!(form.place(), Some(dir.path().join("../out")));
        form.folder = "'/data/a b'".to_owned();
        assert_eq!(form.place(), Some(PathBuf::from("/data/a b")));
        for none in ["", "  ", "''"] {
            form.folder = none.to_owned();
            assert_eq!(form.place(), None, "{none:?}");
        }
        if let Some(home) = std::env::home_dir() {
            form.folder = "~/out".to_owned();
            assert_eq!(form.place(), Some(home.join("out")));
        }
        // The project is not on the disk yet: beside the video.
        let mut doc = work(Path::new("out")).doc;
        doc.video.path = dir.path().join("clip.mp4").display().to_string();
        let mut work = work(Path::new("out"));
        work.form = first_form(&doc, None);
        work.form.folder = "out".to_owned();
        let mut app = window(work);
        app.run_export();
        let (_, text) = end(&mut app);
        let out = dir.path().join("out");
        assert!(out.is_dir(), "{text}");
        assert!(text.contains(&out.display().to_string()), "{text}");
    }
}
