//! Exports on a thread of its own: what is written is read back and compared before it counts. Part of `logic`.

use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, bounded};

use super::{
    app::App,
    state::{Dialog, ExportForm, ExportStatus, Weight},
};
use crate::{
    formats::{self, ExportOptions, FORMATS, Rgb},
    project::Document,
    task::CancelToken,
    video,
};

/// An export that is under way.
pub(super) struct Exporting {
    answer: Receiver<ExportStatus>,
    cancel: CancelToken,
}

impl Drop for Exporting {
    fn drop(&mut self) {
        // The window closes or the export is called off: the thread stops at the next frame and leaves nothing behind.
        self.cancel.cancel();
    }
}

/// The form as it is first shown: beside the project, or beside the video.
pub(super) fn first_form(doc: &Document, project: Option<&Path>) -> ExportForm {
    let beside = project.unwrap_or_else(|| Path::new(&doc.video.path));
    let folder = beside.parent().unwrap_or(Path::new("."));
    let name = FORMATS.first().map_or("", |f| f.name());
    let stem = Path::new(&doc.video.path)
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy();
    ExportForm {
        format: name.to_owned(),
        folder: folder.join(format!("{stem}-{name}")).display().to_string(),
        verified_only: false,
        with_images: false,
        status: ExportStatus::Idle,
    }
}

impl App {
    pub(super) fn run_export(&mut self) {
        let (Some(session), Some(Dialog::Export(form))) =
            (&self.state.session, &mut self.state.dialog)
        else {
            return;
        };
        if form.status == ExportStatus::Running || form.folder.trim().is_empty() {
            return;
        }
        let (send, answer) = bounded(1);
        let cancel = CancelToken::default();
        let work = Work {
            doc: session.doc.clone(),
            form: form.clone(),
            video: self.state.clip.as_ref().map(|c| c.path.clone()),
            cancel: cancel.clone(),
        };
        let wake = self.services.wake.clone();
        let thread = std::thread::Builder::new()
            .name("sparrow-export".to_owned())
            .spawn(move || {
                // The dialog may have been closed meanwhile.
                send.send(work.run()).ok();
                wake();
            });
        form.status = match thread {
            Ok(_) => {
                self.services.exporting = Some(Exporting { answer, cancel });
                ExportStatus::Running
            }
            Err(error) => ExportStatus::Failed(error.to_string()),
        };
    }

    pub(super) fn poll_export(&mut self) {
        let Some(exporting) = &self.services.exporting else {
            return;
        };
        let Ok(status) = exporting.answer.try_recv() else {
            return;
        };
        self.services.exporting = None;
        if let Some(Dialog::Export(form)) = &mut self.state.dialog {
            form.status = status;
            return;
        }
        // The dialog was closed; the end is still worth a word.
        match status {
            ExportStatus::Done { summary, .. } => self.say(Weight::Info, summary),
            ExportStatus::Failed(why) => {
                self.say(
                    Weight::Error,
                    format!("The export failed: {why}. Nothing was left behind."),
                );
            }
            ExportStatus::Idle | ExportStatus::Running => {}
        }
    }
}

struct Work {
    doc: Document,
    form: ExportForm,
    video: Option<PathBuf>,
    cancel: CancelToken,
}

impl Work {
    fn run(self) -> ExportStatus {
        match self.export() {
            Ok(status) => status,
            Err(why) => ExportStatus::Failed(why),
        }
    }

    fn export(&self) -> Result<ExportStatus, String> {
        let format = formats::by_name(&self.form.format).map_err(|e| e.to_string())?;
        let options = ExportOptions {
            verified_only: self.form.verified_only,
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
        let mut watch = |_done, _total| !self.cancel.is_cancelled();
        let report = formats::export(
            &self.doc,
            format,
            &out,
            &options,
            read.as_mut().map(|r| r as &mut formats::FrameReader<'_>),
            &mut watch,
        )
        .map_err(|e| e.to_string())?;
        Ok(ExportStatus::Done {
            summary: format!(
                "{} masks written to {}, read back and compared.",
                report.masks,
                report.path.display()
            ),
            losses: report.losses.iter().map(ToString::to_string).collect(),
        })
    }
}
