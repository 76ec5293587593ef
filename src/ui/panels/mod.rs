//! The parts of the window, one file each. They read the state and send commands.

pub(super) mod canvas;
pub(super) mod emission;
mod emissions_lane;
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

use egui::{Frame, Margin, Response, RichText, ScrollArea, Ui};

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
use crate::project::{ObjectId, counted};

/// Points that the floating scroll bar takes.
const BAR: i8 = 10;
/// Margin within a dialog.
const RIM: i8 = 18;
/// Height of a dialog's buttons.
const BUTTON: f32 = 30.0;

/// The right side: objects, proposals, thresholds, emission. The emission's buttons stay in view, however long the rest is.
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
            let spacing = ui.spacing().item_spacing;
            let below = match state.emission_here() {
                Some(_) => emission::BUTTONS,
                None => 0.0,
            };
            ui.spacing_mut().item_spacing.y = 0.0;
            ScrollArea::vertical()
                .max_height((ui.available_height() - below).max(0.0))
                .auto_shrink([false, false])
                .show(ui, |ui| {
                    ui.spacing_mut().item_spacing = spacing;
                    // The scroll bar floats: it gets the margin's room instead of lying over numbers.
                    ui.set_max_width(ui.available_width() - f32::from(BAR));
                    objects::objects_ui(ui, state, out);
                    proposals::proposals_ui(ui, state, out);
                    emission::emission_ui(ui, state, out);
                });
            if below > 0.0 {
                let line = egui::Stroke::new(1.0, p.line);
                let y = ui.cursor().top();
                ui.painter().hline(ui.max_rect().x_range(), y, line);
                emission::buttons_ui(ui, state, out);
            }
        });
}

/// Whatever stands over the window.
pub(super) fn dialogs_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let Some(dialog) = &state.dialog else {
        return;
    };
    match dialog {
        Dialog::Palette { query, at } => palette::palette_ui(ui, state, query, *at, out),
        Dialog::Export(form) => export::export_ui(ui, state, form, out),
        Dialog::Help => help::help_ui(ui, state, out),
        Dialog::Words { query } => words::words_ui(ui, state, query, out),
        Dialog::Keys { query, waiting } => keys::keys_ui(ui, state, query, *waiting, out),
        Dialog::GoToFrame { text } => go_to_frame_ui(ui, state, text, out),
        Dialog::DeleteObject(id) => delete_ui(ui, state, *id, out),
        Dialog::Unsaved(how) => unsaved_ui(ui, state, how, out),
        Dialog::Path(form) => path::path_ui(ui, form, out),
        Dialog::OtherVideo {
            project,
            video,
            why,
        } => path::other_video_ui(ui, project, video, why, out),
        Dialog::OtherProject {
            project,
            video,
            why,
        } => path::other_project_ui(ui, project, video, why, out),
        Dialog::Sequences {
            dataset,
            names,
            query,
        } => path::sequences_ui(ui, dataset, names, query, out),
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
        .inner_margin(Margin::same(RIM));
    let id = egui::Id::unique(name);
    let before = ui.memory(|m| m.area_rect(id)).map(|rect| rect.size());
    let modal = egui::Modal::new(id).frame(frame).show(ui.ctx(), |ui| {
        ui.set_width(width);
        content(ui, out);
    });
    // One that has grown or shrunk stands in the middle only when it is drawn again.
    let size = modal.response.rect.size();
    if before.is_none_or(|before| (before - size).length() > 0.5) {
        ui.ctx().request_repaint();
    }
    if modal.should_close() {
        out.send(Command::ShowDialog(None));
    }
}

/// Width that the window leaves a dialog, with a rim around it.
pub(super) fn dialog_room(ui: &Ui) -> f32 {
    ui.ctx().content_rect().width() - 80.0
}

/// A list in a dialog, as high as it may be: all that the window has beside what stands above it, `below` points under it, the
/// dialog's margins and a rim. It asks for as much: a dialog offers no more room than it had when it was drawn last.
fn list_area(ui: &Ui, below: f32) -> ScrollArea {
    let taken = ui.min_rect().height() + below + 2.0 * f32::from(RIM) + 48.0;
    let height = (ui.ctx().content_rect().height() - taken).max(120.0);
    ScrollArea::vertical()
        .max_height(height)
        .min_scrolled_height(height)
        .auto_shrink([false, true])
}

/// What a dialog's list is searched by; whether it has changed. It takes the keyboard that nobody has, if it `may`.
fn search_ui(ui: &mut Ui, text: &mut String, name: &str, may: bool) -> bool {
    let field = egui::TextEdit::singleline(text)
        .hint_text("Search")
        .margin(Margin::symmetric(8, 6))
        .desired_width(f32::INFINITY);
    let field = ui.add(field).accessible_name(name);
    if may && ui.memory(|m| m.focused().is_none()) {
        field.request_focus();
    }
    ui.add_space(space::S);
    field.changed()
}

/// The field for an object's name.
pub(super) fn rename_id() -> egui::Id {
    egui::Id::unique("rename")
}

/// A dialog's last line, its buttons from right to left. It is no higher than they are: in a layout that takes the height there
/// is, a dialog that has become shorter would keep half of what it does not need.
pub(super) fn buttons_ui(ui: &mut Ui, content: impl FnOnce(&mut Ui)) {
    let size = egui::vec2(ui.available_width(), BUTTON);
    let layout = egui::Layout::right_to_left(egui::Align::Center);
    ui.allocate_ui_with_layout(size, layout, content);
}

/// Enter takes the first choice of a dialog without a text field, unless a button has the keyboard.
fn is_confirmed(ui: &Ui) -> bool {
    ui.input(|i| i.key_pressed(egui::Key::Enter)) && ui.memory(|m| m.focused().is_none())
}

/// [`is_confirmed`], and from a text field as well.
fn is_entered(ui: &Ui) -> bool {
    let pressed = ui.input(|i| i.key_pressed(egui::Key::Enter));
    pressed && (ui.ctx().text_edit_focused() || ui.memory(|m| m.focused().is_none()))
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
        buttons_ui(ui, |ui| {
            let save = primary_button(ui, "Save elsewhere…", true);
            if save.clicked() || is_confirmed(ui) {
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

fn delete_ui(ui: &mut Ui, state: &State, id: ObjectId, out: &mut Out) {
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
                "Its masks on {} go with it, {anchors} of them made or accepted by you. Undo brings them back.",
                counted(object.frames.len(), "frame")
            ))
            .color(p.text_weak),
        );
        ui.add_space(space::M);
        buttons_ui(ui, |ui| {
            let delete = egui::Button::new(RichText::new("Delete object").color(p.panel))
                .fill(p.bad)
                .stroke(egui::Stroke::NONE);
            let clicked = ui.add(delete).clicked();
            if clicked || is_confirmed(ui) {
                out.send(Command::DeleteObject(id));
            }
            if ui.button("Keep it").clicked() {
                out.send(Command::ShowDialog(None));
            }
        });
    });
}

/// Brings the row of what is selected into view if that was selected elsewhere, or has moved in its list; after that the list
/// stays where a person scrolls it. `selected`: the object, and which of `rows` it has.
fn bring_into_view(
    ui: &Ui,
    list: &str,
    selected: (Option<ObjectId>, Option<usize>),
    rows: &[Response],
) {
    let id = egui::Id::unique(("brought into view", list));
    if ui.data(|d| d.get_temp(id)) == Some(selected) {
        return;
    }
    ui.data_mut(|d| d.insert_temp(id, selected));
    if let Some(row) = selected.1.and_then(|at| rows.get(at)) {
        row.scroll_to_me(None);
    }
}

#[cfg(test)]
mod tests {
    use egui_kittest::{Harness, kittest::Queryable as _};

    use super::*;
    use crate::{
        project::{Emission, Size},
        ui::settings::Settings,
    };

    /// Two objects pushed the buttons partly below the edge of a window of 1440×900, four did wholly.
    #[test]
    fn the_emissions_buttons_are_in_view_however_many_objects_there_are() {
        for objects in [1, 2, 4, 30] {
            let mut doc = crate::ui::fixture::document(Size::new(4, 4), 1);
            for _ in 0..objects {
                let object = doc.new_object("a horse");
                doc.objects.push(object);
            }
            doc.emissions.push(Emission {
                text: "it is [BOX] [SEG]".to_owned(),
                ..crate::ui::fixture::emission(0, "a horse")
            });
            let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
            state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
            let size = [360.0, 400.0];
            let mut harness = Harness::builder()
                .with_size(size)
                .with_context_setup(theme::install)
                .build_ui_state(
                    |ui, state: &mut State| inspector_ui(ui, state, &mut Out::default()),
                    state,
                );
            harness.run_steps(4);
            let window = egui::Rect::from_min_size(egui::Pos2::ZERO, size.into());
            let again = harness.get_by_label("Emit again").rect();
            assert!(window.contains_rect(again), "{objects}: {again:?}");
            // What is new stands below the list, wherever that ends.
            let new = harness.get_by_label("New object").rect();
            assert!(new.bottom() < again.top(), "{objects}: {new:?}");
        }
    }

    /// Where the dialog of that name stands in a window of this size.
    fn place_of(name: &str, dialog: Dialog, size: [f32; 2]) -> egui::Rect {
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        state.model.vocabulary = (0..900).map(|n| format!("word{n}")).collect();
        state.dialog = Some(dialog);
        let mut harness = Harness::builder()
            .with_size(size)
            .with_context_setup(theme::install)
            .build_ui_state(
                |ui, state: &mut State| dialogs_ui(ui, state, &mut Out::default()),
                state,
            );
        harness.run_steps(6);
        let id = egui::Id::unique(name);
        let place = harness.ctx.memory(|m| m.area_rect(id));
        place.unwrap()
    }

    /// They were 400 points high in a window of any size.
    #[test]
    fn lists_in_dialogs_use_the_height_there_is_and_fit_the_smallest_window() {
        let query = String::new;
        let dialogs = [
            (
                "keys",
                Dialog::Keys {
                    query: query(),
                    waiting: None,
                },
            ),
            ("words", Dialog::Words { query: query() }),
            (
                "sequences",
                Dialog::Sequences {
                    dataset: "/data".into(),
                    names: (0..600).map(|n| format!("shot-{n}")).collect(),
                    query: query(),
                },
            ),
        ];
        for (name, dialog) in dialogs {
            for size in [[1440.0, 900.0], [960.0, 600.0]] {
                let window = egui::Rect::from_min_size(egui::Pos2::ZERO, size.into());
                let place = place_of(name, dialog.clone(), size);
                assert!(window.contains_rect(place), "{name}: {place:?}");
                assert!(place.height() > size[1] - 80.0, "{name}: {place:?}");
            }
        }
    }
}
