//! The parts of the window, one file each. They read the state and send commands.

pub(super) mod canvas;
pub(super) mod emission;
pub(super) mod export;
pub(super) mod help;
pub(super) mod keys;
pub(super) mod marks;
pub(super) mod objects;
pub(super) mod palette;
pub(super) mod path;
pub(super) mod proposals;
pub(super) mod review;
pub(super) mod start;
pub(super) mod status;
pub(super) mod timeline;
pub(super) mod toasts;
pub(super) mod tools;
pub(super) mod top_bar;
pub(super) mod words;

use egui::{Frame, Margin, RichText, ScrollArea, Ui};

use super::{
    actions::Action,
    command::{Command, Out},
    leaving::Leaving,
    logic::sentence,
    session::{Saving, Session},
    state::{Dialog, State},
    theme::{self, space},
    widgets::primary_button,
};

/// Points that the floating scroll bar takes.
const BAR: i8 = 10;

/// The right side: objects, proposals, thresholds, emission.
pub(super) fn inspector_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let rect = ui.max_rect();
    let p = theme::palette(ui);
    ui.painter()
        .vline(rect.left(), rect.y_range(), egui::Stroke::new(1.0, p.line));
    Frame::NONE
        .inner_margin(Margin {
            left: 14,
            right: 14 - BAR,
            top: 0,
            bottom: 12,
        })
        .show(ui, |ui| {
            ScrollArea::vertical()
                .auto_shrink([false, false])
                .show(ui, |ui| {
                    // The scroll bar floats: it gets the margin's room instead of lying over numbers.
                    ui.set_max_width(ui.available_width() - f32::from(BAR));
                    objects::objects_ui(ui, state, out);
                    proposals::proposals_ui(ui, state, out);
                    emission::emission_ui(ui, state, out);
                });
        });
}

/// Whatever stands over the window.
pub(super) fn dialogs_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let Some(dialog) = &state.dialog else {
        return;
    };
    match dialog {
        Dialog::Palette { query, at } => palette::palette_ui(ui, state, query, *at, out),
        Dialog::Export(form) => export::export_ui(ui, form, out),
        Dialog::Help => help::help_ui(ui, state, out),
        Dialog::Words { query } => words::words_ui(ui, state, query, out),
        Dialog::Keys { query, waiting } => keys::keys_ui(ui, state, query, *waiting, out),
        Dialog::GoToFrame { text } => go_to_frame_ui(ui, state, text, out),
        Dialog::DeleteObject(id) => delete_ui(ui, state, *id, out),
        Dialog::Unsaved(how) => unsaved_ui(ui, state, how, out),
        Dialog::Path(form) => path::path_ui(ui, form, out),
        Dialog::Sequences { dataset, names } => path::sequences_ui(ui, dataset, names, out),
    }
}

/// A dialog's frame: closed by Esc or a click beside it.
pub(super) fn dialog_ui(
    ui: &mut Ui,
    name: &str,
    width: f32,
    out: &mut Out,
    content: impl FnOnce(&mut Ui, &mut Out),
) {
    let p = theme::palette(ui);
    let frame = Frame::NONE
        .fill(p.panel)
        .stroke(egui::Stroke::new(1.0, p.line))
        .corner_radius(10)
        .shadow(ui.visuals().window_shadow)
        .inner_margin(Margin::same(18));
    let modal = egui::Modal::new(egui::Id::unique(name))
        .frame(frame)
        .show(ui.ctx(), |ui| {
            ui.set_width(width);
            content(ui, out);
        });
    if modal.should_close() {
        out.send(Command::ShowDialog(None));
    }
}

/// A dialog's title line.
pub(super) fn dialog_title(ui: &mut Ui, title: &str) {
    ui.label(RichText::new(title).font(theme::semibold(16.0)));
    ui.add_space(space::S);
}

fn go_to_frame_ui(ui: &mut Ui, state: &State, text: &str, out: &mut Out) {
    dialog_ui(ui, "go to frame", 280.0, out, |ui, out| {
        dialog_title(ui, "Go to frame");
        let mut typed = text.to_owned();
        let last = state.frames() - 1;
        let field = ui.add(
            egui::TextEdit::singleline(&mut typed)
                .hint_text(format!("0 to {last}"))
                .margin(Margin::symmetric(8, 6))
                .desired_width(f32::INFINITY),
        );
        let field = field.accessible_name("Frame number");
        if ui.input(|i| i.key_pressed(egui::Key::Enter)) {
            if let Ok(frame) = typed.parse::<u32>() {
                out.send(Command::Seek(frame.min(last)));
            }
            out.send(Command::ShowDialog(None));
        } else if field.changed() {
            typed.retain(|c| c.is_ascii_digit());
            out.send(Command::UpdateDialog(Dialog::GoToFrame { text: typed }));
        }
        field.request_focus();
    });
}

fn unsaved_ui(ui: &mut Ui, state: &State, how: &Leaving, out: &mut Out) {
    let session = state.session.as_ref();
    let why = match session.and_then(Session::would_lose) {
        Some(why) => why,
        None if session.is_some_and(|s| s.saving() == Saving::Waiting) => "trying again".to_owned(),
        // It has been saved after all.
        None => {
            out.send(Command::ShowDialog(None));
            return;
        }
    };
    dialog_ui(ui, "not saved", 460.0, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, "Your last changes are not saved");
        let why = sentence(why.trim_end_matches('.'));
        ui.label(RichText::new(format!("{why}.")).color(p.text_weak));
        ui.add_space(space::M);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let save = primary_button(ui, "Save elsewhere…", true);
            // Enter does so from everywhere but a button that has the keyboard.
            let pressed = ui.input(|i| i.key_pressed(egui::Key::Enter));
            if save.clicked() || (pressed && ui.memory(|m| m.focused().is_none())) {
                out.act(Action::SaveElsewhere);
            }
            if session.is_some_and(Session::can_retry) && ui.button("Try again").clicked() {
                out.send(Command::RetrySave);
            }
            if ui.button("Stay").clicked() {
                out.send(Command::ShowDialog(None));
            }
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                let lose = egui::Button::new(RichText::new("Leave without saving").color(p.bad));
                if ui.add(lose).clicked() {
                    out.send(Command::LeaveUnsaved(how.clone()));
                }
            });
        });
    });
}

fn delete_ui(ui: &mut Ui, state: &State, id: crate::project::ObjectId, out: &mut Out) {
    let object = state.session.as_ref().and_then(|s| s.doc.object(id));
    let Some(object) = object else {
        out.send(Command::ShowDialog(None));
        return;
    };
    dialog_ui(ui, "delete object", 380.0, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, &format!("Delete “{}”?", object.name));
        let anchors = object.anchors().count();
        ui.label(
            RichText::new(format!(
                "Its masks on {} frames go with it, {anchors} of them made or accepted by you. Undo brings them back.",
                object.frames.len()
            ))
            .color(p.text_weak),
        );
        ui.add_space(space::M);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let delete = egui::Button::new(RichText::new("Delete object").color(p.panel))
                .fill(p.bad)
                .stroke(egui::Stroke::NONE);
            let clicked = ui.add(delete).clicked();
            // Enter does so from everywhere but a button that has the keyboard.
            let pressed = ui.input(|i| i.key_pressed(egui::Key::Enter));
            if clicked || (pressed && ui.memory(|m| m.focused().is_none())) {
                out.send(Command::DeleteObject(id));
            }
            if ui.button("Keep it").clicked() {
                out.send(Command::ShowDialog(None));
            }
        });
    });
}
