//! File choosers of the system. They answer some frames later; asking never blocks the window.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

/// What a chosen path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Open,
    ExportFolder,
    SaveElsewhere,
}

type Answer = Pin<Box<dyn Future<Output = Option<PathBuf>>>>;

/// At most one chooser at a time.
#[derive(Default)]
pub(crate) struct FileChooser {
    pending: Option<(Purpose, Answer)>,
}

struct Ring(egui::Context);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.0.request_repaint();
    }
}

impl FileChooser {
    /// A video file.
    pub(crate) fn ask_video(&mut self) {
        let dialog = rfd::AsyncFileDialog::new()
            .set_title("Open a video")
            .add_filter(
                "Videos",
                &[
                    "mp4", "mov", "mkv", "webm", "avi", "m4v", "mpg", "mpeg", "gif", "ts",
                ],
            )
            .add_filter("Images", &["png", "jpg", "jpeg"])
            .add_filter("All files", &["*"]);
        self.ask(Purpose::Open, async move {
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
            Purpose::Open | Purpose::SaveElsewhere => "Open a folder of images",
        });
        self.ask(purpose, async move {
            dialog.pick_folder().await.map(PathBuf::from)
        });
    }

    /// Where to save a project; `name` is offered.
    pub(crate) fn ask_project_place(&mut self, name: &str) {
        let dialog = rfd::AsyncFileDialog::new()
            .set_title("Save the project elsewhere")
            .set_file_name(name)
            .add_filter("Sparrow projects", &["sparrow"]);
        self.ask(Purpose::SaveElsewhere, async move {
            dialog.save_file().await.map(PathBuf::from)
        });
    }

    fn ask(&mut self, purpose: Purpose, answer: impl Future<Output = Option<PathBuf>> + 'static) {
        if self.pending.is_none() {
            self.pending = Some((purpose, Box::pin(answer)));
        }
    }

    /// What is chosen where the project is to go is no answer any more: the document it was asked for is left.
    pub(crate) fn forget_project_place(&mut self) {
        self.pending
            .take_if(|(purpose, _)| *purpose == Purpose::SaveElsewhere);
    }

    /// The answer, once; `None` while there is none and after one that was called off.
    pub(crate) fn poll(&mut self, ctx: &egui::Context) -> Option<(Purpose, PathBuf)> {
        let (purpose, answer) = self.pending.as_mut()?;
        let purpose = *purpose;
        let waker = Waker::from(Arc::new(Ring(ctx.clone())));
        match answer.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => None,
            Poll::Ready(path) => {
                self.pending = None;
                path.map(|path| (purpose, path))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(chooser.poll(&ctx), Some((Purpose::Open, "a".into())));
    }
}
