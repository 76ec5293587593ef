//! File choosers of the system, and the path field that stands in for them: a desktop may have none. They answer some
//! frames later; asking never blocks the window.

use std::{
    future::Future,
    path::{Path, PathBuf, is_separator},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use super::{
    app::App,
    opener::Target,
    state::{Dialog, Weight},
};
use crate::project::{CLIP_ENDINGS, IMAGE_ENDINGS};

/// What a chosen path is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Open,
    ExportFolder,
    SaveElsewhere,
    /// The video of this project, which is not where the project says.
    LocateVideo(PathBuf),
}

/// How a chooser ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    Path(Purpose, PathBuf),
    /// There is no chooser on this desktop.
    NoChooser(Purpose),
}

/// A path that is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathForm {
    pub(crate) purpose: Purpose,
    pub(crate) text: String,
    /// Why it is asked for, one sentence.
    pub(crate) note: Option<String>,
}

impl PathForm {
    /// Whether a folder of images is as good an answer as a file.
    pub(crate) fn takes_both(&self) -> bool {
        matches!(self.purpose, Purpose::Open | Purpose::LocateVideo(_))
    }
}

type Answer = Pin<Box<dyn Future<Output = Option<PathBuf>>>>;

/// Nobody reads a chooser and closes it in less: it was never there.
const SOONEST: Duration = Duration::from_millis(500);

/// What is said then.
const NO_CHOOSER: &str =
    "No file chooser was found on this desktop (no file portal and no zenity): type the path.";

/// At most one chooser at a time.
#[derive(Default)]
pub(crate) struct FileChooser {
    pending: Option<Pending>,
}

struct Pending {
    purpose: Purpose,
    answer: Answer,
    asked: Instant,
    keyboard: Keyboard,
}

/// Whether the window has the keyboard while a chooser is asked for. One that is there takes it, and the system tells no other
/// difference between a chooser that was closed and none: on a slow machine the latter takes its time, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keyboard {
    NotYet,
    Ours,
    Taken,
}

impl Keyboard {
    fn next(self, is_ours: bool) -> Self {
        match (self, is_ours) {
            (Self::NotYet, true) => Self::Ours,
            (Self::Ours, false) => Self::Taken,
            (as_it_is, _) => as_it_is,
        }
    }
}

/// A path as people type and paste it: perhaps in quotes, perhaps from their home folder.
pub(crate) fn typed_path(text: &str) -> PathBuf {
    let text = text.trim();
    let bare = ['"', '\'']
        .iter()
        .find_map(|&q| text.strip_prefix(q)?.strip_suffix(q))
        .unwrap_or(text);
    let from_home = bare
        .strip_prefix('~')
        .filter(|rest| rest.is_empty() || rest.starts_with(is_separator));
    match from_home.zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest.trim_start_matches(is_separator)),
        None => PathBuf::from(bare),
    }
}

/// Whether a path ends as that of a folder does.
fn names_folder(path: &Path) -> bool {
    let end = path.as_os_str().as_encoded_bytes().last();
    end.is_some_and(|&end| is_separator(char::from(end)))
}

fn is_image(ending: &str) -> bool {
    IMAGE_ENDINGS.contains(&ending)
}

/// Endings of clips, in small and in capital letters: cameras write the latter, and not every chooser takes them for the same.
fn endings(counts: impl Fn(&str) -> bool) -> Vec<String> {
    let small = CLIP_ENDINGS.iter().filter(|ending| counts(ending));
    small
        .flat_map(|ending| [(*ending).to_owned(), ending.to_uppercase()])
        .collect()
}

struct Ring(egui::Context);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.0.request_repaint();
    }
}

impl FileChooser {
    /// A video file: to open it, or the one that a project is about.
    pub(crate) fn ask_video(&mut self, purpose: Purpose) {
        let dialog = rfd::AsyncFileDialog::new()
            .set_title(match purpose {
                Purpose::LocateVideo(_) => "Locate the video",
                _ => "Open a video",
            })
            .add_filter("Videos", &endings(|e| !is_image(e)))
            .add_filter("Images", &endings(is_image))
            .add_filter("All files", &["*"]);
        self.ask(purpose, async move {
            dialog.pick_file().await.map(PathBuf::from)
        });
    }

    /// A project.
    pub(crate) fn ask_project(&mut self) {
        let dialog = rfd::AsyncFileDialog::new()
            .set_title("Open a Sparrow project")
            .add_filter("Sparrow projects", &["sparrow"]);
        self.ask(Purpose::Open, async move {
            dialog.pick_file().await.map(PathBuf::from)
        });
    }

    /// A folder of images, or one to export to.
    pub(crate) fn ask_folder(&mut self, purpose: Purpose) {
        let dialog = rfd::AsyncFileDialog::new().set_title(match purpose {
            Purpose::ExportFolder => "Export to a folder",
            Purpose::LocateVideo(_) => "Locate the video",
            _ => "Open a folder",
        });
        self.ask(purpose, async move {
            dialog.pick_folder().await.map(PathBuf::from)
        });
    }

    /// Where to save a project; `place` is offered.
    pub(crate) fn ask_project_place(&mut self, place: &Path) {
        let name = place.file_name().unwrap_or_default();
        let mut dialog = rfd::AsyncFileDialog::new()
            .set_title("Save the project elsewhere")
            .set_file_name(name.to_string_lossy())
            .add_filter("Sparrow projects", &["sparrow"]);
        if let Some(folder) = place.parent().filter(|f| f.is_absolute()) {
            dialog = dialog.set_directory(folder);
        }
        self.ask(Purpose::SaveElsewhere, async move {
            dialog.save_file().await.map(PathBuf::from)
        });
    }

    fn ask(&mut self, purpose: Purpose, answer: impl Future<Output = Option<PathBuf>> + 'static) {
        if self.pending.is_none() {
            self.pending = Some(Pending {
                purpose,
                answer: Box::pin(answer),
                asked: Instant::now(),
                keyboard: Keyboard::NotYet,
            });
        }
    }

    /// What is chosen where the project is to go is no answer any more: the document it was asked for is left.
    pub(crate) fn forget_project_place(&mut self) {
        self.pending
            .take_if(|p| p.purpose == Purpose::SaveElsewhere);
    }

    /// The answer, once; `None` while there is none and after one that was called off.
    pub(crate) fn poll(&mut self, ctx: &egui::Context) -> Option<Chosen> {
        let pending = self.pending.as_mut()?;
        pending.keyboard = pending.keyboard.next(ctx.input(|i| i.focused));
        let waker = Waker::from(Arc::new(Ring(ctx.clone())));
        let Poll::Ready(path) = pending
            .answer
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
        else {
            return None;
        };
        let pending = self.pending.take()?;
        let purpose = pending.purpose;
        let was_there = pending.keyboard == Keyboard::Taken && pending.asked.elapsed() >= SOONEST;
        match path {
            Some(path) => Some(Chosen::Path(purpose, path)),
            None if was_there => None,
            None => Some(Chosen::NoChooser(purpose)),
        }
    }
}

impl App {
    /// Goes on with what the system's chooser said.
    pub(super) fn take_chosen(&mut self, chosen: Chosen) {
        match chosen {
            Chosen::Path(purpose, path) => self.take_path(purpose, path),
            // The field is there already: in the export's dialog, or in this one.
            Chosen::NoChooser(_)
                if matches!(self.state.dialog, Some(Dialog::Path(_) | Dialog::Export(_))) =>
            {
                self.say(Weight::Look, NO_CHOOSER);
            }
            // The dialog that had the field was closed meanwhile: a folder alone is no export.
            Chosen::NoChooser(Purpose::ExportFolder) => {}
            Chosen::NoChooser(purpose) => {
                self.state.dialog = Some(Dialog::Path(PathForm {
                    purpose,
                    text: String::new(),
                    note: Some(NO_CHOOSER.to_owned()),
                }));
            }
        }
    }

    fn take_path(&mut self, purpose: Purpose, path: PathBuf) {
        if matches!(self.state.dialog, Some(Dialog::Path(_))) {
            self.state.dialog = None;
        }
        match purpose {
            Purpose::Open => self.open(path),
            Purpose::ExportFolder => self.set_export_folder(&path),
            Purpose::SaveElsewhere => self.save_elsewhere(path),
            Purpose::LocateVideo(project) => self.open_target(Target::Located {
                project,
                video: path,
                anyway: false,
            }),
        }
    }

    /// Asks where the video of the open project is; it may be another than the one shown.
    pub(super) fn ask_for_video(&mut self) {
        let Some(session) = &self.state.session else {
            self.say(Weight::Info, "Open the project first.");
            return;
        };
        let Some(project) = session.path().map(PathBuf::from) else {
            let text = "There is no project yet that could be shown on another video: open that one instead.";
            self.say(Weight::Info, text);
            return;
        };
        let clip = self.state.clip.as_ref();
        self.state.dialog = Some(Dialog::Path(PathForm {
            purpose: Purpose::LocateVideo(project),
            text: clip.map_or_else(String::new, |c| c.path.display().to_string()),
            note: None,
        }));
    }

    /// Goes on with the path that was typed.
    pub(super) fn use_path(&mut self) {
        let Some(Dialog::Path(form)) = &self.state.dialog else {
            return;
        };
        if form.text.trim().is_empty() {
            return;
        }
        let (purpose, mut path) = (form.purpose.clone(), typed_path(&form.text));
        if path.as_os_str().is_empty() {
            return;
        }
        match &purpose {
            Purpose::SaveElsewhere if names_folder(&path) => path.push(self.project_name()),
            // One that is typed without a folder lies where the project lies.
            Purpose::LocateVideo(project) => {
                path = project.parent().unwrap_or(Path::new("")).join(path);
            }
            _ => {}
        }
        self.take_path(purpose, path);
    }

    /// Asks the system's chooser for what the path field is about.
    pub(super) fn browse_path(&mut self, folder: bool) {
        let Some(Dialog::Path(form)) = &self.state.dialog else {
            return;
        };
        let chooser = &mut self.services.chooser;
        match &form.purpose {
            Purpose::SaveElsewhere => chooser.ask_project_place(&typed_path(&form.text)),
            Purpose::ExportFolder => chooser.ask_folder(Purpose::ExportFolder),
            purpose if folder => chooser.ask_folder(purpose.clone()),
            purpose => chooser.ask_video(purpose.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{Document, Size, Thresholds, VideoInfo},
        store::{Existing, Store},
        ui::{actions::Action, session::Saving},
    };

    #[test]
    fn a_place_that_was_asked_for_one_document_is_not_anothers() {
        let ctx = egui::Context::default();
        let mut chooser = FileChooser::default();
        let at = || async { Some(PathBuf::from("a")) };
        chooser.ask(Purpose::SaveElsewhere, at());
        chooser.forget_project_place();
        assert_eq!(chooser.poll(&ctx), None);
        chooser.ask(Purpose::Open, at());
        chooser.forget_project_place();
        let chosen = Chosen::Path(Purpose::Open, "a".into());
        assert_eq!(chooser.poll(&ctx), Some(chosen));
    }

    /// Asked long ago; it says nothing.
    fn silent(keyboard: Keyboard) -> FileChooser {
        let now = Instant::now();
        FileChooser {
            pending: Some(Pending {
                purpose: Purpose::Open,
                answer: Box::pin(async { None }),
                asked: now.checked_sub(2 * SOONEST).unwrap_or(now),
                keyboard,
            }),
        }
    }

    #[test]
    fn a_chooser_that_is_not_there_is_told_from_one_that_was_closed() {
        let ctx = egui::Context::default();
        let mut missing = silent(Keyboard::Taken);
        let pending = missing.pending.as_mut().unwrap();
        // However slow this machine is.
        pending.asked += Duration::from_secs(3600);
        let told = Some(Chosen::NoChooser(Purpose::Open));
        assert_eq!(missing.poll(&ctx), told);
        assert_eq!(silent(Keyboard::Taken).poll(&ctx), None);
    }

    #[test]
    fn a_chooser_that_never_took_the_keyboard_was_not_there_however_late_that_is_known() {
        let ctx = egui::Context::default();
        let told = Some(Chosen::NoChooser(Purpose::Open));
        assert_eq!(silent(Keyboard::NotYet).poll(&ctx), told);
        let seen = |seen: &[bool]| seen.iter().fold(Keyboard::NotYet, |k, is| k.next(*is));
        assert_eq!(seen(&[false, true, false, true]), Keyboard::Taken);
        assert_eq!(seen(&[false, false]), Keyboard::NotYet);
        assert_eq!(seen(&[true, true]), Keyboard::Ours);
    }

    #[test]
    fn where_there_is_no_chooser_a_path_is_typed() {
        let ctx = egui::Context::default();
        let mut app = App::without_model(&ctx);
        app.take_chosen(Chosen::NoChooser(Purpose::Open));
        let Some(Dialog::Path(form)) = &mut app.state.dialog else {
            panic!("{:?}", app.state.dialog);
        };
        assert!(form.note.as_ref().unwrap().contains("No file chooser"));
        app.use_path();
        assert!(app.state.dialog.is_some(), "nothing was typed");
        let Some(Dialog::Path(form)) = &mut app.state.dialog else {
            panic!("{:?}", app.state.dialog);
        };
        form.text = " \"/nowhere/a b.mp4\" ".to_owned();
        app.use_path();
        assert_eq!(app.state.dialog, None);
        assert_eq!(app.state.opening.as_deref(), Some("a b.mp4"));
    }

    /// Looks for the clip on its way in until there is something to see.
    fn wait(app: &mut App, done: impl Fn(&App) -> bool) {
        let start = Instant::now();
        while !done(app) {
            assert!(start.elapsed().as_secs() < 120, "{:?}", app.state.dialog);
            app.poll_opening();
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_video_of_a_project_is_asked_for_and_kept_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let recorded = dir.path().join("gone").display().to_string();
        // One of a dataset without images, and one whose video was moved.
        for (name, recorded) in [("imported", String::new()), ("moved", recorded)] {
            let video = VideoInfo {
                path: recorded,
                size: Size::new(4, 4),
                frames: 1,
                fps: 6.0,
                hash: String::new(),
            };
            let doc = Document::new(video, "nano", Thresholds::default());
            let project = dir.path().join(format!("{name}.sparrow"));
            Store::create(&project, &doc, Existing::Refuse).unwrap();
            let clip = dir.path().join(format!("{name} clip"));
            std::fs::create_dir(&clip).unwrap();
            image::RgbImage::new(4, 4).save(clip.join("1.png")).unwrap();
            let mut app = App::without_model(&egui::Context::default());
            app.open(project.clone());
            wait(&mut app, |app| app.state.dialog.is_some());
            let Some(Dialog::Path(form)) = &mut app.state.dialog else {
                panic!("{:?}", app.state.dialog);
            };
            assert_eq!(form.purpose, Purpose::LocateVideo(project.clone()));
            // Beside the project a name will do.
            form.text = match name {
                "moved" => format!("{name} clip"),
                _ => clip.display().to_string(),
            };
            app.use_path();
            wait(&mut app, |app| app.state.session.is_some());
            // Dropping it waits for the disk.
            app.state.session = None;
            let kept = Store::open(&project).unwrap().load().unwrap().video;
            assert_eq!(Path::new(&kept.path), clip);
        }
    }

    /// Bound to another clip, a project stayed so for good, and the header told the length of its own.
    #[test]
    fn the_video_of_an_open_project_can_be_located_again() {
        let dir = tempfile::tempdir().unwrap();
        let clip = |name: &str, frames: u32| {
            let at = dir.path().join(name);
            std::fs::create_dir(&at).unwrap();
            for frame in 0..frames {
                let picture = image::RgbImage::new(4, 4);
                picture.save(at.join(format!("{frame}.png"))).unwrap();
            }
            at
        };
        let (own, other) = (clip("own", 2), clip("other", 3));
        let video = VideoInfo {
            path: own.display().to_string(),
            size: Size::new(4, 4),
            frames: 2,
            fps: 6.0,
            hash: String::new(),
        };
        let doc = Document::new(video, "nano", Thresholds::default());
        let project = dir.path().join("a.sparrow");
        Store::create(&project, &doc, Existing::Refuse).unwrap();
        let ctx = egui::Context::default();
        let mut app = App::without_model(&ctx);
        app.open(project);
        wait(&mut app, |app| app.state.session.is_some());
        let locate = |app: &mut App, video: &Path, asks: bool| {
            // What is asked about is what the file says.
            let is_saved =
                |app: &App| app.state.session.as_ref().unwrap().saving() != Saving::Waiting;
            while !is_saved(app) {
                app.poll_saving();
                std::thread::yield_now();
            }
            app.act(&ctx, Action::LocateVideo);
            let Some(Dialog::Path(form)) = &mut app.state.dialog else {
                panic!("{:?}", app.state.dialog);
            };
            form.text = video.display().to_string();
            app.use_path();
            if asks {
                wait(app, |app| app.state.dialog.is_some());
                let Some(Dialog::OtherVideo {
                    project,
                    video,
                    why,
                }) = app.state.dialog.take()
                else {
                    panic!("another clip was accepted without a word");
                };
                assert!(why.contains("frames"), "{why}");
                assert!(
                    app.state.session.is_some(),
                    "it stays until that is decided"
                );
                app.open_target(Target::Located {
                    project,
                    video,
                    anyway: true,
                });
            }
            wait(app, |app| app.state.leaving.is_some());
            let start = Instant::now();
            while app.state.clip.as_ref().is_none_or(|c| c.path != video) {
                assert!(start.elapsed().as_secs() < 120, "{:?}", app.state.dialog);
                app.poll_opening();
                app.poll_saving();
                app.go_on_leaving(&ctx);
                std::thread::yield_now();
            }
        };
        locate(&mut app, &other, true);
        assert_eq!(app.state.frames(), 3, "as long as what is shown");
        locate(&mut app, &own, true);
        assert_eq!(app.state.frames(), 2);
    }

    #[test]
    fn typed_paths_lose_their_quotes_and_nothing_else() {
        for (typed, path) in [
            ("/a/b.mp4", "/a/b.mp4"),
            ("'/a/b c.mp4'", "/a/b c.mp4"),
            ("\"/a\"", "/a"),
            ("/it's", "/it's"),
            ("\"", "\""),
            ("~someone/a", "~someone/a"),
        ] {
            assert_eq!(typed_path(typed), Path::new(path));
        }
    }

    #[test]
    fn a_typed_path_may_begin_at_home() {
        let Some(home) = std::env::home_dir() else {
            return;
        };
        for (typed, inside) in [("~", ""), ("~/", ""), (" '~/a b/c' ", "a b/c")] {
            assert_eq!(typed_path(typed), home.join(inside), "{typed}");
        }
    }

    #[test]
    fn a_typed_folder_in_quotes_is_a_folder_to_save_in() {
        let folder = |typed: &str| names_folder(&typed_path(typed));
        assert!(folder("'/a/'") && folder("~/"));
        assert!(!folder("/a") && !folder(""));
    }

    /// The chooser hid them.
    #[test]
    fn videos_of_cameras_are_offered() {
        let videos = endings(|e| !is_image(e));
        for name in ["mp4", "MP4", "MOV", "MTS", "mxf"] {
            assert!(videos.iter().any(|e| e == name), "{name}");
        }
        assert!(!videos.iter().any(|e| e.eq_ignore_ascii_case("png")));
        assert!(endings(is_image).iter().any(|e| e == "JPG"));
    }

    /// The field asked for a folder to export to, and what was typed came to nothing.
    #[test]
    fn no_folder_is_asked_for_an_export_that_was_closed() {
        let mut app = App::without_model(&egui::Context::default());
        app.take_chosen(Chosen::NoChooser(Purpose::ExportFolder));
        assert_eq!(app.state.dialog, None);
    }
}
