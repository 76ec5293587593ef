//! What happens between two drawings: answers of other threads, and the commands that panels sent. Key presses are
//! [`super::shortcuts`]'.

use std::time::{Duration, Instant};

use super::{
    actions::Action,
    ahead::{Ahead, Field},
    app::App,
    command::Command,
    dialogs::Purpose,
    lanes::Lane,
    leaving::Leaving,
    opener::Target,
    panels::top_bar::{MOST_LETTERS, phrase_id},
    session::{Collecting, Saving},
    settings::ThemeWish,
    state::{BoxUse, CanvasView, Dialog, Sort, State, Toast, Tool, Weight},
    time_view::TimeView,
};
use crate::{
    project::{Edit, EditError, FrameIndex, ObjectId, Touched},
    task::PropagateDirection,
};

/// How many answers of the model are looked at in one frame.
const UPDATES_PER_FRAME: usize = 64;
/// Messages that stand in the corner at once.
const MOST_TOASTS: usize = 5;
/// How messages about steps of the history begin.
const UNDONE: &str = "Undone:";
const DONE_AGAIN: &str = "Done again:";
/// How often lanes are brought up to date while a propagation runs.
const LANES_EVERY: Duration = Duration::from_millis(200);

impl App {
    /// A message in the corner; errors stay until they are dismissed.
    pub(super) fn say(&mut self, weight: Weight, text: impl Into<String>) {
        let text = sentence(&text.into());
        self.say_instead(weight, text, |before, now| before == now);
    }

    /// Says what a step of the history was, in place of what was said of the one before it, which is not true any more.
    pub(super) fn say_step(&mut self, undone: bool, what: &str) {
        let verb = if undone { UNDONE } else { DONE_AGAIN };
        let text = sentence(&format!("{verb} {what}"));
        self.say_instead(Weight::Info, text, |before, _| {
            before.starts_with(UNDONE) || before.starts_with(DONE_AGAIN)
        });
    }

    /// Shows a message in the place of those that it replaces: `replaces(theirs, this)`.
    fn say_instead(&mut self, weight: Weight, text: String, replaces: impl Fn(&str, &str) -> bool) {
        let toasts = &mut self.state.toasts;
        // With the key of the newest of them, it stands where that stood, also under a pointer.
        let place = toasts.iter().rev().find(|t| replaces(&t.text, &text));
        let place = place.map(|t| t.key);
        toasts.retain(|t| !replaces(&t.text, &text));
        let key = place.unwrap_or_else(|| self.state.fresh_key());
        self.state.toasts.push(Toast {
            weight,
            text,
            until: None,
            key,
        });
        while self.state.toasts.len() > MOST_TOASTS {
            // Errors wait to be read; the others would go by themselves. What was just said stays.
            let toasts = &mut self.state.toasts;
            let mut older = toasts.iter().take(MOST_TOASTS);
            let passing = older.position(|t| t.weight != Weight::Error);
            toasts.remove(passing.unwrap_or(0));
        }
    }

    /// Makes a change as a step of its own; says so if it is refused.
    pub(super) fn edit(&mut self, edit: Edit, label: &str) -> bool {
        let Some(session) = &mut self.state.session else {
            return false;
        };
        let result = session.edit(edit, label);
        self.refused(result)
    }

    /// Makes a change as part of a longer step.
    pub(super) fn collect(&mut self, kind: Collecting, edit: Edit, label: &str) -> bool {
        let Some(session) = &mut self.state.session else {
            return false;
        };
        let result = session.collect(kind, edit, label);
        self.refused(result)
    }

    /// Says why a change was refused, if it was; whether it was made.
    pub(super) fn refused(&mut self, result: Result<(), EditError>) -> bool {
        match result {
            Ok(()) => true,
            Err(error) => {
                self.say(Weight::Error, format!("Nothing was changed: {error}."));
                false
            }
        }
    }

    /// Everything that other threads have sent.
    pub(super) fn drain(&mut self, ctx: &egui::Context) {
        for file in ctx.input(|i| i.raw.dropped_files.clone()) {
            self.open(file.path().to_path_buf());
        }
        self.state.texture_side = ctx.input(|i| i.max_texture_side) as u32;
        self.poll_opening();
        self.poll_frames(ctx);
        for _ in 0..UPDATES_PER_FRAME {
            let Some(update) = self.services.worker.as_mut().and_then(|w| w.try_recv()) else {
                break;
            };
            self.take(update);
            ctx.request_repaint();
        }
        if let Some(chosen) = self.services.chooser.poll(ctx) {
            self.take_chosen(chosen);
        }
        self.poll_export();
        self.poll_hash();
        self.poll_saving();
        self.go_on_leaving(ctx);
        let now = ctx.input(|i| i.time);
        for toast in &mut self.state.toasts {
            if toast.until.is_none() && toast.weight != Weight::Error {
                let reading = 3.0 + toast.text.len() as f64 * 0.05;
                toast.until = Some(now + reading);
            }
        }
        self.state
            .toasts
            .retain(|t| t.until.is_none_or(|until| until > now));
        let due = self
            .state
            .memory_at
            .is_none_or(|at| at.elapsed() > Duration::from_secs(2));
        if due {
            self.state.memory_mb = memory_mb();
            self.state.memory_at = Some(Instant::now());
        }
    }

    /// Carries out a command; says whether the window should be drawn again at once.
    pub(super) fn run(&mut self, ctx: &egui::Context, command: Command) -> bool {
        // What panels report about their layout is no reason to draw again.
        let quiet = matches!(
            command,
            Command::CanvasAt(_) | Command::WantThumbnails(..) | Command::HoverProposal(_)
        );
        match command {
            Command::Do(action) => self.act(ctx, action),
            Command::Open(path) => self.open(path),
            Command::OpenTarget(target) => {
                self.state.dialog = None;
                self.open_target(target);
            }
            Command::OpenSample => self.open_sample(),
            Command::OpenSequence(dataset, name) => {
                self.state.dialog = None;
                self.open_target(Target::Sequence { dataset, name });
            }
            Command::LoadModel(id) => self.load_model(id),
            Command::Seek(frame) => {
                self.state.playing = None;
                self.seek(frame);
            }
            Command::WantThumbnails(frames, height) => self.want_thumbnails(frames, height),
            Command::SetPhrase(text) => self.set_phrase(text),
            Command::PhraseFocused => self.state.focus_phrase = false,
            Command::SetThresholds { thresholds, done } => self.set_thresholds(thresholds, done),
            Command::ToggleProposal(i) => {
                self.stay();
                self.toggle_proposal(i);
            }
            Command::UseProposal(i) => {
                self.stay();
                self.use_proposal(i);
            }
            Command::HoverProposal(i) => {
                let changed = self.state.hovered_proposal != i;
                self.state.hovered_proposal = i;
                return changed;
            }
            Command::SetTimeView(view) => self.state.time_view = view,
            Command::SetSpeed(speed) => self.set_speed(ctx, speed),
            Command::ChooseEmission(phrase) => self.state.choose_emission(phrase),
            Command::SortProposals(sort) => self.state.sort = sort,
            Command::SelectObject(id) => self.choose_object(id),
            Command::OnObject(id, action) => {
                self.select_object(Some(id));
                self.act(ctx, action);
            }
            Command::MoveObject(id, at) => self.move_object(id, at),
            Command::ShowObject(id, visible) => {
                self.edit(Edit::SetVisible { id, visible }, "show or hide");
            }
            Command::LockObject(id, locked) => {
                self.edit(Edit::SetLocked { id, locked }, "lock or unlock");
            }
            Command::SetColour(id, colour) => {
                self.edit(Edit::SetColour { id, colour }, "colour");
            }
            Command::AskDelete(id) => self.state.dialog = Some(Dialog::DeleteObject(id)),
            Command::DeleteObject(id) => self.delete_object(id),
            Command::StartRename(id) => self.start_rename(id),
            Command::EditName(name) => {
                if let Some((_, text)) = &mut self.state.renaming {
                    *text = name;
                }
            }
            Command::EndRename { keep } => self.end_rename(keep),
            Command::SetView(view) => {
                self.services.space_pending = false;
                self.state.view = view;
            }
            Command::CanvasAt(rect) => self.state.canvas = rect,
            Command::SetBoxUse(wish) => self.state.box_use = wish,
            Command::DrawBox(area) => self.draw_box(area),
            Command::Click(point, on) => self.click(point, on),
            Command::Paint(points) => self.paint_along(&points),
            Command::EndPaint => self.end_paint(),
            Command::OutlineCorner(point) => self.outline_corner(point),
            Command::OutlineBack => {
                self.outline_back();
            }
            Command::CloseOutline => {
                self.close_outline();
            }
            Command::SetOutlineCuts(cuts) => self.state.outline_cuts = cuts,
            Command::HoldCompare(held) => self.state.compare_held = held,
            Command::SetBrush(radius) => self.state.brush_radius = radius.clamp(1.0, 400.0),
            Command::SetOpacity(opacity) => {
                self.state.opacity = opacity.clamp(0.0, 1.0);
                self.state.settings.mask_opacity = self.state.opacity;
                self.services.settings.save(&self.state.settings);
            }
            Command::SetOnlySelected(on) => self.state.only_selected = on,
            Command::SetUseTsf(on) => {
                self.state.settings.use_tsf = on;
                self.services.settings.save(&self.state.settings);
            }
            Command::SetFramewise(on) => self.state.framewise = on,
            Command::SetRange(start, end) => self.state.range = (start, end),
            Command::Cancel(job) => self.stop_job(job),
            Command::ShowDialog(dialog) => {
                self.state.dialog = dialog;
            }
            Command::UpdateDialog(dialog) => self.state.dialog = Some(dialog),
            Command::LeaveUnsaved(how) => self.leave_unsaved(ctx, how),
            Command::Stay => {
                self.stay();
            }
            Command::RunExport => self.run_export(),
            Command::StopExport => self.stop_export(),
            Command::ShowFolder(folder) => self.show_folder(&folder),
            Command::PickExportFolder => self.services.chooser.ask_folder(Purpose::ExportFolder),
            Command::UsePath => self.use_path(),
            Command::BrowsePath { folder } => self.browse_path(folder),
            Command::DismissToast(key) => self.state.toasts.retain(|t| t.key != key),
            Command::RetrySave => {
                if let Some(session) = &mut self.state.session {
                    session.retry();
                }
            }
            Command::Rebind(action, shortcut) => self.rebind(action, shortcut),
            Command::UsePreset(preset) => self.use_preset(preset),
            Command::ResetKey(action) => {
                self.state.keymap.reset(action);
                self.keep_keys();
            }
        }
        !quiet
    }

    /// A phrase is a few words: of a text that was pasted by mistake, laying it out alone takes hundreds of megabytes.
    fn set_phrase(&mut self, mut text: String) {
        if let Some((end, _)) = text.char_indices().nth(MOST_LETTERS) {
            text.truncate(end);
            let text =
                format!("A phrase has at most {MOST_LETTERS} letters: the rest was left out.");
            self.say(Weight::Look, text);
        }
        self.state.phrase = text;
    }

    fn start_rename(&mut self, id: ObjectId) {
        let object = self.state.session.as_ref().and_then(|s| s.doc.object(id));
        self.state.renaming = object.map(|o| (id, o.name.clone()));
        if self.state.renaming.is_some() {
            self.services.ahead = Some(Ahead::of(Field::Rename));
        }
    }

    fn end_rename(&mut self, keep: bool) {
        let Some((id, name)) = self.state.renaming.take() else {
            return;
        };
        let name = name.trim().to_owned();
        let before = self.state.session.as_ref().and_then(|s| s.doc.object(id));
        if keep && !name.is_empty() && before.is_some_and(|o| o.name != name) {
            self.edit(Edit::Rename { id, name }, "rename");
        }
    }

    pub(super) fn select_object(&mut self, id: Option<ObjectId>) {
        // Chosen once more, a finished object is worked on again.
        self.state.finished = None;
        self.state.merging = None;
        if self.state.selected != id {
            self.end_paint();
            self.finish_prompt();
            self.state.selected = id;
        }
    }

    fn delete_object(&mut self, id: ObjectId) {
        self.state.dialog = None;
        // What is still being made of it would bring it back.
        self.forget_prompts(id, None);
        self.state.painting.take_if(|p| p.object == id);
        self.stay();
        self.about_to_edit_masks();
        self.edit(Edit::RemoveObject { id }, "delete object");
        self.mend_selection();
    }

    pub(super) fn act(&mut self, ctx: &egui::Context, action: Action) {
        if let Some(field) = self.field_of(ctx, action) {
            self.services.ahead = Some(Ahead::of(field));
        }
        match action {
            Action::OpenVideo => self.services.chooser.ask_video(Purpose::Open),
            Action::OpenProject => self.services.chooser.ask_project(),
            // What a folder is, a clip or a dataset, is seen when it is opened.
            Action::OpenFolder | Action::ImportDataset => {
                self.services.chooser.ask_folder(Purpose::Open);
            }
            Action::LocateVideo => self.ask_for_video(),
            Action::CloseVideo => self.leave(ctx, Leaving::Close),
            Action::Export => self.show_export(),
            Action::SaveNow => self.say_saved(),
            Action::SaveElsewhere => self.ask_where_to_save(),
            Action::Undo => self.undo_or_redo(true),
            Action::Redo => self.undo_or_redo(false),
            Action::Palette => {
                self.state.dialog = Some(Dialog::Palette {
                    query: String::new(),
                    at: 0,
                });
            }
            Action::Help => self.state.dialog = Some(Dialog::Help),
            Action::Keys => {
                self.state.dialog = Some(Dialog::Keys {
                    query: String::new(),
                    waiting: None,
                });
            }
            Action::Words => {
                self.state.dialog = Some(Dialog::Words {
                    query: String::new(),
                });
            }
            Action::GoToFrame if self.state.clip.is_some() => {
                self.state.dialog = Some(Dialog::GoToFrame {
                    text: String::new(),
                });
            }
            Action::ToggleTheme => self.toggle_theme(ctx),
            Action::FocusPhrase => self.state.focus_phrase = true,
            Action::DebugOverlay => self.state.show_times = !self.state.show_times,
            Action::Stop => self.stop(ctx),
            _ if self.state.session.is_some() => self.act_on_clip(ctx, action),
            _ => {}
        }
    }

    fn act_on_clip(&mut self, ctx: &egui::Context, action: Action) {
        match action {
            Action::GroundHere => self.ground(false),
            Action::GroundClip => self.ground(true),
            Action::EmitAgain => self.emit_again(),
            Action::PropagateForward => self.propagate(PropagateDirection::Forward),
            Action::PropagateBackward => self.propagate(PropagateDirection::Backward),
            Action::PropagateBoth => self.propagate(PropagateDirection::Both),
            Action::PlayPause => self.play_or_pause(ctx),
            Action::NextFrame => self.step(1),
            Action::PreviousFrame => self.step(-1),
            Action::JumpForward => self.step(10),
            Action::JumpBack => self.step(-10),
            Action::FirstFrame => self.step(i64::MIN / 2),
            Action::LastFrame => self.step(i64::MAX / 2),
            Action::NextAnchor => self.next_anchor(true),
            Action::PreviousAnchor => self.next_anchor(false),
            Action::NextLook => self.next_look(true),
            Action::PreviousLook => self.next_look(false),
            Action::WorstLook => self.worst_look(),
            Action::WholeClip => self.state.time_view = TimeView::default(),
            Action::RangeStart => self.state.range.0 = Some(self.state.frame),
            Action::RangeEnd => self.state.range.1 = Some(self.state.frame),
            Action::ClearRange => self.state.range = (None, None),
            Action::ToolSelect => self.set_tool(Tool::Select),
            Action::ToolBox => self.set_tool(Tool::Box),
            Action::ToolPoints => self.set_tool(Tool::Points),
            Action::ToolPolygon => self.set_tool(Tool::Polygon),
            Action::ToolBrush => self.set_tool(Tool::Brush),
            Action::ToolEraser => self.set_tool(Tool::Eraser),
            Action::ToolPan => self.set_tool(Tool::Pan),
            Action::BrushSmaller => {
                self.state.brush_radius = (self.state.brush_radius / 1.25).max(1.0);
            }
            Action::BrushLarger => {
                self.state.brush_radius = (self.state.brush_radius * 1.25).min(400.0);
            }
            Action::FinishPrompt => self.finish_what_is_drawn(),
            Action::AcceptFrame => self.accept_frame(),
            Action::NotHere => self.not_here(),
            Action::NotInRange => self.not_in_range(),
            Action::DeleteInRange => self.delete_in_range(),
            Action::MergeObject => self.begin_merge(),
            Action::SplitObject => self.split_object(),
            Action::ObjectUp => self.move_selected(false),
            Action::ObjectDown => self.move_selected(true),
            Action::KeepNew => self.keep_review(),
            Action::TakeBack => self.take_back_review(),
            Action::DeleteMask => self.delete_what_is_drawn(),
            Action::DeleteObject => {
                if let Some(id) = self.state.selected_object().map(|o| o.id) {
                    self.state.dialog = Some(Dialog::DeleteObject(id));
                }
            }
            Action::RenameObject => {
                if let Some(id) = self.state.selected {
                    self.start_rename(id);
                }
            }
            Action::NewObject => {
                self.select_object(None);
                if matches!(self.state.tool, Tool::Select | Tool::Pan) {
                    self.set_tool(Tool::Points);
                }
                self.state.box_use = BoxUse::Segment;
                self.say(
                    Weight::Info,
                    "A new object begins with your next click, box or stroke.",
                );
            }
            Action::LockObject => {
                if let Some(object) = self.state.selected_object() {
                    let (id, locked) = (object.id, !object.locked);
                    self.edit(Edit::SetLocked { id, locked }, "lock or unlock");
                }
            }
            Action::ShowObject => {
                if let Some(object) = self.state.selected_object() {
                    let (id, visible) = (object.id, !object.visible);
                    self.edit(Edit::SetVisible { id, visible }, "show or hide");
                }
            }
            Action::ToggleProposals => self.state.show_proposals = !self.state.show_proposals,
            Action::ToggleHeat => self.state.show_heat = !self.state.show_heat,
            Action::Fit => self.state.view = CanvasView::default(),
            Action::ZoomIn => self.zoom(1.25),
            Action::ZoomOut => self.zoom(0.8),
            // The others were taken by `act`.
            _ => {}
        }
    }

    fn zoom(&mut self, factor: f32) {
        if let Some(session) = &self.state.session {
            let canvas = self.state.canvas;
            let size = session.doc.video.size;
            self.state.view = self
                .state
                .view
                .zoomed(canvas, size, canvas.center(), factor);
        }
    }

    fn toggle_theme(&mut self, ctx: &egui::Context) {
        let theme = match self.state.settings.theme {
            ThemeWish::Dark => ThemeWish::Light,
            ThemeWish::Light => ThemeWish::Dark,
        };
        self.state.settings.theme = theme;
        ctx.set_theme(match theme {
            ThemeWish::Dark => egui::Theme::Dark,
            ThemeWish::Light => egui::Theme::Light,
        });
        self.services.settings.save(&self.state.settings);
    }

    pub(super) fn set_tool(&mut self, tool: Tool) {
        self.state.merging = None;
        if self.state.tool != tool {
            self.end_paint();
            self.finish_prompt();
            self.state.tool = tool;
        }
    }

    fn step(&mut self, by: i64) {
        self.state.playing = None;
        let last = i64::from(self.state.frames() - 1);
        let frame = (i64::from(self.state.frame).saturating_add(by)).clamp(0, last);
        self.seek(frame as u32);
    }

    fn play_or_pause(&mut self, ctx: &egui::Context) {
        if self.state.playing.take().is_none() {
            if self.state.frame + 1 >= self.state.frames() {
                self.seek(self.state.range.0.unwrap_or(0));
            }
            let now = ctx.input(|i| i.time);
            self.state.playing = Some((now, self.state.frame));
        }
    }

    fn next_anchor(&mut self, forward: bool) {
        let Some(session) = &self.state.session else {
            return;
        };
        let here = self.state.here();
        let anchors = session
            .doc
            .objects
            .iter()
            .filter(|o| self.state.selected.is_none_or(|id| id == o.id))
            .flat_map(|o| o.anchors());
        let next = if forward {
            anchors.filter(|&f| f > here).min()
        } else {
            anchors.filter(|&f| f < here).max()
        };
        match next {
            Some(frame) => self.step(i64::from(frame.0) - i64::from(here.0)),
            None => self.say(Weight::Info, "No further anchor that way."),
        }
    }

    fn say_saved(&mut self) {
        let Some(session) = &self.state.session else {
            return;
        };
        let text = match (session.saving(), session.path()) {
            (Saving::Nothing, _) => {
                "There is nothing to save yet; the project is made with your first change."
                    .to_owned()
            }
            (Saving::Trouble(why), _) => return self.say_not_saved(&why),
            (_, Some(path)) => format!("Saved as you work, in {}", path.display()),
            (_, None) => "Being saved.".to_owned(),
        };
        self.say(Weight::Info, text);
    }

    pub(super) fn undo_or_redo(&mut self, undo: bool) {
        if undo && self.outline_back() {
            return;
        }
        self.end_paint();
        if undo && self.take_back_asked() {
            return;
        }
        self.step_history(undo);
    }

    /// The last step of the history back, or the last undone one again.
    pub(super) fn step_history(&mut self, undo: bool) {
        let goes_on = !undo && self.redo_goes_on();
        let session = self.state.session.as_ref();
        let next = session.and_then(|s| if undo { s.undo_id() } else { s.redo_id() });
        if next.is_some() && !goes_on {
            self.finish_prompt();
        }
        self.drop_propagations();
        self.state.finished = None;
        self.state.merging = None;
        let objects = self.object_ids();
        let Some(session) = &mut self.state.session else {
            return;
        };
        session.finish();
        let next = session.next_edit(undo);
        let touched = next.map(|e| e.touched(&session.doc)).unwrap_or_default();
        let result = if undo { session.undo() } else { session.redo() };
        match result {
            Ok(Some(label)) => {
                let at = self.show_change(&touched);
                if goes_on {
                    self.mark_made_again();
                } else {
                    self.select_returned(&objects);
                }
                self.say_step(undo, &format!("{label}{at}"));
            }
            Ok(None) => {
                let what = if undo { "undo" } else { "redo" };
                self.say(Weight::Info, format!("There is nothing to {what}."));
            }
            Err(error) => self.say(Weight::Error, format!("Nothing was changed: {error}.")),
        }
        self.mend_selection();
    }

    /// Goes to what has changed, if nothing of it is in view, and selects the object; what a message says of the place.
    fn show_change(&mut self, touched: &Touched) -> String {
        let here = self.state.here();
        let frames = touched.frames.iter().copied();
        let Some(nearest) = frames.min_by_key(|f| f.0.abs_diff(here.0)) else {
            return String::new();
        };
        let at = self.go_to(nearest);
        let mut objects = touched.objects.iter();
        if let (false, Some(object), None) = (at.is_empty(), objects.next(), objects.next()) {
            self.select_object(Some(*object));
        }
        at
    }

    /// Shows a frame on which something has changed; what a message says of it if it was not in view.
    pub(super) fn go_to(&mut self, frame: FrameIndex) -> String {
        if frame == self.state.here() {
            return String::new();
        }
        self.state.playing = None;
        self.seek(frame.0);
        format!(", on frame {}", frame.0)
    }

    /// Esc: the nearest thing that can be stopped.
    fn stop(&mut self, ctx: &egui::Context) {
        // egui takes the keyboard from the field before anybody else hears of the key.
        let in_phrase =
            ctx.memory(|m| m.had_focus_last_frame(phrase_id()) && m.focused().is_none());
        if self.state.dialog.take().is_some() {
        } else if self.state.renaming.is_some() {
            self.end_rename(false);
        } else if in_phrase {
            self.state.focus_phrase = false;
        } else if self.stay()
            || self.drop_merge()
            || self.drop_paint()
            || self.state.outline.take().is_some()
            || self.drop_prompt()
        {
        } else if let Some(job) = self.state.job_to_stop() {
            self.stop_job(job.id);
        } else if self.state.playing.take().is_none() {
            self.state.selected = None;
        }
    }

    /// Brings what is worked out from the document up to date.
    pub(super) fn refresh(&mut self) {
        self.state.end_chosen_emission();
        let Some(session) = &self.state.session else {
            return;
        };
        // A running propagation changes lanes with each frame; they are drawn from all masks, so not as often as that.
        let running = self.state.propagation().is_some();
        let since = self.state.lanes_at.map(|at| at.elapsed());
        let due = !running || since.is_none_or(|s| s > LANES_EVERY);
        if self.state.lanes_of != session.revision && due {
            self.state.lanes_at = Some(Instant::now());
            self.state.lanes = session.doc.objects.iter().map(Lane::new).collect();
            self.state.lanes_of = session.revision;
        }
        self.refresh_overlay();
        self.state.rows = sorted_rows(&self.state);
        self.refresh_heat();
    }
}

/// A message of another room as a sentence: its first letter large.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// The first `most` characters of a text, the last of them an ellipsis if there are more.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let front: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", front.trim_end())
}

/// Rows of the proposals table in the order asked for.
fn sorted_rows(state: &State) -> Vec<usize> {
    let Some((_, emission)) = state.emission_here() else {
        return Vec::new();
    };
    let proposals = &emission.proposals;
    let mut rows: Vec<usize> = (0..proposals.len()).collect();
    let score = |i: &usize| match state.sort {
        Sort::Number => -(*i as f32),
        Sort::Objectness => proposals[*i].objectness,
        Sort::Filtration => proposals[*i].filtration,
        Sort::Confidence => proposals[*i].confidence,
    };
    rows.sort_by(|a, b| score(b).total_cmp(&score(a)));
    rows
}

/// Resident memory in MiB, 0 where the system does not say.
fn memory_mb() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    (pages.unwrap_or(0) * 4096) >> 20
}
