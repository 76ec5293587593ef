//! The line at the bottom: where one is, what is saved, what runs and how to stop it.

use egui::{Align, Layout, Rect, RichText, Role, Sense, Ui, WidgetInfo, vec2};

use super::{
    super::{
        absence::{NOT_HERE, is_absent},
        actions::Action,
        arranging::merge_hint,
        command::{Command, Out},
        icons::Icon,
        leaving::Leaving,
        looks,
        session::Saving,
        state::{ExportStatus, State},
        theme::{self, space},
        widgets::{fitted_text, hairline, sized_icon_button},
    },
    top_bar::shortened,
};
use crate::{project::counted, render::MOST_OBJECTS};

pub(crate) fn status_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    hairline(ui, ui.max_rect(), true);
    let p = theme::palette(ui);
    ui.horizontal_centered(|ui| {
        ui.spacing_mut().item_spacing.x = space::L + space::XS;
        ui.add_space(space::M + 2.0);
        let small = |text: String| RichText::new(text).size(12.0).color(p.text_weak);
        let (frame, frames) = (state.frame, state.frames());
        let pts = state.clip.as_ref().map_or(0.0, |c| c.pts_secs);
        ui.label(small(format!("frame {frame} / {frames} · {pts:.3} s")));
        saving_ui(ui, state, out);
        let model = &state.model;
        let device = if model.ready {
            model.device.as_str()
        } else {
            "not loaded"
        };
        ui.label(small(format!("{} · {device}", model.id)));
        look_ui(ui, state, out);
        said_ui(ui, state);
        let left_out = state.overlay.as_ref().map_or(0, |o| o.left_out);
        if left_out > 0 {
            let text = format!("{} not drawn", counted(left_out, "mask"));
            let label = ui.label(RichText::new(text).size(12.0).color(p.look));
            label.on_hover_text(format!(
                "The canvas draws {MOST_OBJECTS} masks at once; hide objects to see the others."
            ));
        }
        if state.memory_mb > 0 {
            let memory = ui.label(small(format!("{} MB", state.memory_mb)));
            memory.on_hover_text("Memory that Sparrow holds");
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = space::S;
            ui.add_space(space::M);
            leaving_ui(ui, state, out);
            export_ui(ui, state, out);
            if let Some(name) = &state.opening {
                let text = format!("opening {}…", shortened(name, 28));
                ui.label(RichText::new(text).size(12.0).color(p.accent_text));
                ui.add(egui::Spinner::new().size(12.0));
            }
            job_ui(ui, state, out);
        });
    });
}

fn saving_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    let Some(session) = &state.session else {
        return;
    };
    let saving = session.saving();
    let (colour, text) = match saving {
        Saving::Nothing => (p.text_faint, "nothing to save"),
        Saving::Saved => (p.good, "saved"),
        Saving::Waiting => (p.look, "saving…"),
        Saving::Trouble(_) => (p.bad, "not saved"),
    };
    let font = theme::regular(12.0);
    let galley = ui
        .painter()
        .layout_no_wrap(text.to_owned(), font, p.text_weak);
    let (rect, response) = ui.allocate_exact_size(galley.size() + vec2(14.0, 4.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, text));
    let dot = egui::pos2(rect.left() + 4.0, rect.center().y);
    ui.painter().circle_filled(dot, 4.0, colour);
    let at = egui::pos2(rect.left() + 14.0, rect.center().y - galley.size().y / 2.0);
    ui.painter().galley(at, galley, p.text_weak);
    let trouble = match saving {
        Saving::Trouble(why) => Some(why),
        _ => None,
    };
    let hover = match (&trouble, session.path()) {
        (Some(why), _) if session.can_retry() => format!("{why}. Click to try again."),
        (Some(why), _) => format!("{why}. Click to save elsewhere."),
        (None, Some(path)) => format!("Every change is saved in {}", path.display()),
        (None, None) => "The project file is made with your first change.".to_owned(),
    };
    if response.on_hover_text(hover).clicked() {
        match trouble {
            Some(_) if session.can_retry() => out.send(Command::RetrySave),
            Some(_) => out.act(Action::SaveElsewhere),
            None => out.act(Action::SaveNow),
        }
    }
}

fn look_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let stretches = || state.lanes.iter().flat_map(|l| &l.drift);
    let frames: u32 = stretches().map(|(from, to)| to - from + 1).sum();
    if frames == 0 {
        return;
    }
    let p = theme::palette(ui);
    let key = state.keymap.in_brackets(Action::NextLook);
    // What a person accepts within a stretch makes two of it: what becomes less is the frames.
    let frames = counted(frames as usize, "frame");
    let text = match stretches().count() {
        1 => format!("{frames} worth a look{key}"),
        n => format!("{frames} worth a look, in {n} stretches{key}"),
    };
    let link = egui::Label::new(RichText::new(text).size(12.0).color(p.look)).sense(Sense::click());
    if ui.add(link).clicked() {
        out.act(Action::NextLook);
    }
    why_ui(ui, state);
}

/// What is to be clicked, or that the selected object is not to be seen on the frame in view.
fn said_ui(ui: &mut Ui, state: &State) {
    let p = theme::palette(ui);
    let absent = state.selected_object();
    let absent = absent.filter(|o| is_absent(o, state.here()));
    let (text, colour) = match (merge_hint(state), absent) {
        (Some(hint), _) => (hint, p.accent_text),
        (None, Some(object)) => (format!("{}: {NOT_HERE}", object.name), p.text_weak),
        (None, None) => return,
    };
    // What runs stands on the right, and has room enough in any window.
    let room = (ui.available_width() - 260.0).max(160.0);
    let galley = fitted_text(ui, &text, theme::regular(12.0), colour, room);
    let label = ui.add(egui::Label::new(galley).sense(Sense::hover()));
    label.on_hover_text(text);
}

/// Why the selected object's mask on the frame in view is worth a look: the strongest sign, all of them under the pointer.
fn why_ui(ui: &mut Ui, state: &State) {
    let (Some(session), Some(object)) = (&state.session, state.selected_object()) else {
        return;
    };
    if !state.is_marked(object.id) {
        // Reasons are looked for among all its frames.
        return;
    }
    let reasons = looks::reasons(&session.doc, object, state.here());
    let Some(first) = reasons.first() else {
        return;
    };
    let p = theme::palette(ui);
    // What runs stands on the right.
    let room = ui.available_width() - 260.0;
    if room < 60.0 {
        return;
    }
    let galley = fitted_text(ui, first, theme::regular(12.0), p.look, room);
    let label = ui.add(egui::Label::new(galley).sense(Sense::hover()));
    label.on_hover_text(format!("{}: {}", object.name, reasons.join("; ")));
}

/// An export under way; leads to its dialog.
fn export_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let Some(form) = &state.exporting else {
        return;
    };
    let p = theme::palette(ui);
    let text = match form.status {
        ExportStatus::Running { done, total } if total > 0 => {
            format!("exporting · {} %", done * 100 / total)
        }
        _ => "exporting".to_owned(),
    };
    let text = RichText::new(text).size(12.0).color(p.accent_text);
    let link = ui.add(egui::Label::new(text).sense(Sense::click()));
    if link.on_hover_text("Show the export, or stop it").clicked() {
        out.act(Action::Export);
    }
}

/// That the window is about to close, and how to call it off.
pub(super) fn leaving_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    if state.leaving != Some(Leaving::Quit) {
        return;
    }
    let p = theme::palette(ui);
    let stay = ui.small_button("Stay");
    let key = state.keymap.in_brackets(Action::Stop);
    let hint = format!("Do not close the window{key}");
    if stay.on_hover_text(hint).clicked() {
        out.send(Command::Stay);
    }
    let text = match state.exporting {
        Some(_) => "closes after the export",
        None => "closes once all is saved",
    };
    ui.label(RichText::new(text).size(12.0).color(p.look));
}

fn job_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    let Some(job) = state.shown_job() else {
        ui.label(RichText::new("ready").size(12.0).color(p.text_faint));
        return;
    };
    if job.can_be_stopped() {
        let stop = sized_icon_button(ui, Icon::Close, "Stop the job", false, 22.0);
        let key = state.keymap.in_brackets(Action::Stop);
        let hint = format!("Stop{key}; what is finished is kept");
        if stop.on_hover_text(hint).clicked() {
            out.send(Command::Cancel(job.id));
        }
    }
    let fraction = (job.total > 0).then(|| (job.done as f32 / job.total as f32).clamp(0.0, 1.0));
    let (rect, response) = ui.allocate_exact_size(vec2(110.0, 6.0), Sense::hover());
    ui.painter().rect_filled(rect, 3, p.raised_hot);
    let filled = match fraction {
        Some(f) => Rect::from_min_size(rect.min, vec2(rect.width() * f, rect.height())),
        None => {
            // Nothing is known but that it runs: a short bar to and fro.
            let t = ui.input(|i| i.time) as f32;
            let at = (t * 2.0).sin().mul_add(0.5, 0.5) * (rect.width() - 28.0);
            ui.ctx().request_repaint_after_secs(0.05);
            Rect::from_min_size(rect.min + vec2(at, 0.0), vec2(28.0, rect.height()))
        }
    };
    ui.painter().rect_filled(filled, 3, p.accent);
    let mut text = job.title();
    if job.stopping {
        text.push_str(" · stopping");
    } else if !job.started {
        text.push_str(" · waiting");
    } else if !job.stage.is_empty() {
        text.push_str(" · ");
        text.push_str(&job.stage);
    }
    if let Some(f) = fraction {
        text.push_str(&format!(" · {} %", (f * 100.0).round() as u32));
    }
    let more = state.jobs.len() - 1;
    if more > 0 {
        text.push_str(&format!(" · {more} more"));
    }
    response.on_hover_text(&text);
    let room = ui.available_width() - space::M;
    let galley = fitted_text(ui, &text, theme::regular(12.0), p.text_weak, room);
    ui.add(egui::Label::new(galley));
}
