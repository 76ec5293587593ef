//! The program behind the window: the state, the threads it talks to, and eframe's two calls per frame.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use egui::{Frame, Panel};

use super::{
    Options, Sample,
    ahead::Ahead,
    command::{Command, Out},
    dialogs::FileChooser,
    exporter::Exporting,
    fonts::MissingLetters,
    opener::{Answer, Closed, Resolved, wait_for},
    panels,
    session::{Saving, Wake},
    settings::{Settings, SettingsWriter, ThemeWish},
    state::{JobKind, State},
    theme::{self, space},
};
use crate::{
    project::Document,
    task::{CancelToken, Request},
    video::Decoder,
    worker::WorkerHandle,
};

/// A clip on its way in.
pub(super) enum Opening {
    /// Looking what stands behind the path.
    Resolving(Answer),
    /// The decoder reads the file.
    Decoding {
        decoder: Decoder,
        resolved: Box<Resolved>,
    },
}

/// The video's content hash on its way; dropping this stops the reading.
pub(super) struct Hashing {
    pub(super) answer: crossbeam_channel::Receiver<String>,
    pub(super) cancel: CancelToken,
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// The threads and files behind the window.
pub(super) struct Services {
    pub(super) wake: Wake,
    pub(super) worker: Option<WorkerHandle>,
    pub(super) decoder: Option<Decoder>,
    pub(super) opening: Option<Opening>,
    pub(super) settings: SettingsWriter,
    pub(super) chooser: FileChooser,
    pub(super) letters: MissingLetters,
    pub(super) exporting: Option<Exporting>,
    pub(super) hashing: Option<Hashing>,
    /// Documents on their way to the disk after they were closed.
    pub(super) closed: Vec<Closed>,
    pub(super) sample: Option<Sample>,
    /// Space was pressed and has not been used to pan.
    pub(super) space_pending: bool,
    /// A text field was asked for and does not have the keyboard yet.
    pub(super) ahead: Option<Ahead>,
}

/// The window's content.
pub struct App {
    pub(super) state: State,
    pub(super) services: Services,
    /// Whether anything was drawn, and whether a picture of a clip was.
    drawn: (bool, bool),
}

impl App {
    /// Starts the threads and sets up the look. Opens what the options name.
    ///
    /// # Errors
    /// If the inference thread cannot be started.
    pub fn new(ctx: &egui::Context, options: Options) -> std::io::Result<Self> {
        theme::install(ctx);
        let wake: Wake = {
            let ctx = ctx.clone();
            Arc::new(move || ctx.request_repaint())
        };
        let worker = {
            let wake = wake.clone();
            (options.worker)(Box::new(move || wake()))?
        };
        let settings = Settings::load(options.settings.as_deref());
        ctx.set_theme(match settings.theme {
            ThemeWish::Dark => egui::Theme::Dark,
            ThemeWish::Light => egui::Theme::Light,
        });
        let mut app = Self {
            state: State::new(settings, options.model.clone(), options.device.clone()),
            services: Services {
                wake,
                worker: Some(worker),
                decoder: None,
                opening: None,
                settings: SettingsWriter::new(options.settings),
                chooser: FileChooser::default(),
                letters: MissingLetters::watch(ctx),
                exporting: None,
                hashing: None,
                closed: Vec::new(),
                sample: options.sample,
                space_pending: false,
                ahead: None,
            },
            drawn: (false, false),
        };
        app.state.has_sample = app.services.sample.is_some();
        app.load_model(options.model);
        if let Some(path) = options.open {
            app.open(path);
        }
        Ok(app)
    }

    /// The open document, if a clip is open.
    pub fn document(&self) -> Option<&Document> {
        self.state.session.as_ref().map(|s| &s.doc)
    }

    /// The frame in view.
    pub fn frame_in_view(&self) -> u32 {
        self.state.frame
    }

    /// Whether nothing is on its way: the frame in view and the film strip are there, no job runs, everything is saved.
    pub fn is_settled(&self) -> bool {
        let clip = self.state.clip.as_ref();
        let pictures = clip.is_none_or(|c| {
            let shown = c.shown.as_ref().map(|f| f.index.0);
            let wanted = &c.thumbnails_wanted;
            shown == Some(self.state.frame) && wanted.iter().all(|f| c.thumbnails.contains_key(f))
        });
        let session = self.state.session.as_ref();
        let saved = session.is_none_or(|s| s.saving() != Saving::Waiting);
        self.state.opening.is_none() && self.state.jobs.is_empty() && pictures && saved
    }

    /// Whether the picture of the frame in view is there.
    pub fn is_showing(&self) -> bool {
        let shown = self.state.clip.as_ref().and_then(|c| c.shown.as_ref());
        shown.is_some_and(|f| f.index.0 == self.state.frame)
    }

    /// Milliseconds of the window's own work in the newest frame, without what the graphics card does.
    pub fn own_ms(&self) -> f32 {
        self.state.times.own_ms.back().copied().unwrap_or(0.0)
    }

    /// Where the project is saved, once it is.
    pub fn project_path(&self) -> Option<PathBuf> {
        let session = self.state.session.as_ref()?;
        session.path().map(PathBuf::from)
    }

    pub(super) fn load_model(&mut self, model: String) {
        self.state.model.ask_for(model.clone());
        let device = self.state.model.device_wish.clone();
        self.submit(Request::LoadModel { model, device }, JobKind::LoadModel);
    }

    /// Drains what other threads have sent and applies key presses. No drawing.
    pub fn run_logic(&mut self, ctx: &egui::Context) {
        let start = Instant::now();
        self.guard_leaving(ctx);
        self.drain(ctx);
        self.services.letters.poll(ctx);
        let before = self.revision();
        self.keys(ctx);
        self.stay_if_edited(before);
        self.refresh();
        self.state.times.push(start.elapsed().as_secs_f32() * 1e3);
    }

    /// Draws the window over `ui`, then carries out what was asked for.
    pub fn draw(&mut self, ui: &mut egui::Ui) {
        let start = Instant::now();
        let mut out = Out::default();
        if self.state.clip.is_some() && self.state.session.is_some() {
            editor_ui(ui, &self.state, &mut out);
        } else {
            panels::start::start_ui(ui, &self.state, &mut out);
        }
        panels::dialogs_ui(ui, &self.state, &mut out);
        panels::toasts::toasts_ui(ui, &self.state, &mut out);
        // Whoever has the pointer on a proposal says so every frame.
        let hovers = |c: &Command| matches!(c, Command::HoverProposal(_));
        if self.state.hovered_proposal.is_some() && !out.0.iter().any(hovers) {
            out.send(Command::HoverProposal(None));
        }
        let asked = !out.0.is_empty();
        let mut needs_frame = false;
        let before = self.revision();
        for command in out.0 {
            needs_frame |= self.run(ui.ctx(), command);
        }
        self.stay_if_edited(before);
        if asked {
            self.refresh();
        }
        if needs_frame {
            ui.ctx().request_repaint();
        }
        self.log_firsts();
        if let Some(last) = self.state.times.own_ms.back_mut() {
            *last += start.elapsed().as_secs_f32() * 1e3;
        }
        // The memory figure and toasts that run out.
        ui.ctx().request_repaint_after(Duration::from_secs(2));
    }

    /// What `tests/bench/window.rs` waits for.
    fn log_firsts(&mut self) {
        if !std::mem::replace(&mut self.drawn.0, true) {
            tracing::debug!("first frame drawn");
        }
        if self.is_showing() && !std::mem::replace(&mut self.drawn.1, true) {
            tracing::debug!("first picture of the clip drawn");
        }
    }
}

fn editor_ui(ui: &mut egui::Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    let plain = Frame::NONE.fill(p.panel);
    Panel::top("top-bar")
        .exact_size(space::TOP_BAR)
        .resizable(false)
        .frame(plain)
        .show(ui, |ui| panels::top_bar::top_bar_ui(ui, state, out));
    Panel::bottom("status")
        .exact_size(space::STATUS)
        .resizable(false)
        .frame(plain)
        .show(ui, |ui| panels::status::status_ui(ui, state, out));
    // The tools beside the picture need their height, whatever the window's.
    let room = ui.max_rect().height() - space::TOP_BAR - space::STATUS;
    let most = (room - panels::tools::LEAST_HEIGHT).clamp(150.0, 480.0);
    Panel::bottom("timeline")
        .default_size(
            (ui.max_rect().height() * 0.26)
                .clamp(176.0, 300.0)
                .min(most),
        )
        .size_range(150.0..=most)
        .resizable(true)
        .frame(plain)
        .show(ui, |ui| panels::timeline::timeline_ui(ui, state, out));
    Panel::left("tools")
        .exact_size(space::TOOLS)
        .resizable(false)
        .frame(plain)
        .show(ui, |ui| panels::tools::tools_ui(ui, state, out));
    Panel::right("inspector")
        .default_size(360.0)
        .size_range(300.0..=560.0)
        .resizable(true)
        .frame(plain)
        .show(ui, |ui| panels::inspector_ui(ui, state, out));
    egui::CentralPanel::default()
        .frame(Frame::NONE.fill(p.canvas))
        .show(ui, |ui| panels::canvas::canvas_ui(ui, state, out));
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        self.run_logic(ctx);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.draw(ui);
    }

    fn on_exit(&mut self) {
        // Jobs are told to stop; the store's writer finishes what was handed to it when the session is dropped.
        if let Some(worker) = &mut self.services.worker {
            worker.cancel_all();
        }
        wait_for(&self.services.closed);
    }
}

#[cfg(test)]
impl App {
    /// A window behind which no model works: tests hand in what one would answer.
    pub(super) fn without_model(ctx: &egui::Context) -> Self {
        use crate::worker::{InferBackend, Worker};
        let options = Options {
            open: None,
            model: "nano".to_owned(),
            device: "cpu".to_owned(),
            sample: None,
            worker: Box::new(|wake| {
                let none = || Err::<InferBackend, _>(anyhow::anyhow!("no model here"));
                Worker::spawn(none, wake)
            }),
            settings: None,
        };
        Self::new(ctx, options).expect("the system gives a thread")
    }
}
