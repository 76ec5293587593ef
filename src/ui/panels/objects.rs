//! The objects: colour, name, phrase, score on this frame, shown, locked, deleted.

use egui::{Align2, Color32, Rect, RichText, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use super::{
    super::{
        actions::Action,
        command::{Command, Out},
        icons::{Icon, anchor_mark},
        looks,
        state::State,
        theme::{self, Palette, RADIUS, space},
        widgets::{
            action_tooltip, fitted_text, focus_ring, section_header, sized_icon_button, slider,
            two_digits,
        },
    },
    top_bar::select_all,
};
use crate::project::{FrameMask, Object};

const ICON: f32 = 24.0;
/// Colours that are offered in one row, and rows.
const COLOURS: (u32, u32) = (6, 4);

pub(crate) fn objects_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let Some(session) = &state.session else {
        return;
    };
    let p = theme::palette(ui);
    let objects = &session.doc.objects;
    let remark = match objects.len() {
        0 => String::new(),
        n => format!("{n}"),
    };
    section_header(ui, "Objects", &remark);
    if objects.is_empty() {
        let text = "None yet. Type a phrase and press Enter, or draw one with the box, the points or the brush.";
        ui.label(RichText::new(text).size(12.5).color(p.text_weak));
    }
    ui.spacing_mut().item_spacing.y = 2.0;
    for object in objects {
        row_ui(ui, state, object, out);
    }
    ui.add_space(space::XS);
    ui.horizontal(|ui| {
        let new = sized_icon_button(ui, Icon::Plus, Action::NewObject.label(), false, ICON);
        if action_tooltip(new, &state.keymap, Action::NewObject).clicked() {
            out.act(Action::NewObject);
        }
        if !objects.is_empty() {
            opacity_ui(ui, state, out);
        }
    });
}

fn opacity_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
        let mut opacity = state.opacity;
        ui.label(
            RichText::new(two_digits(opacity))
                .size(12.0)
                .color(p.text_weak),
        );
        let range = egui::Slider::new(&mut opacity, 0.0..=1.0);
        let opacity_slider = slider(ui, "Mask opacity", 96.0, range);
        let by_key = match state.keymap.shown(Action::HideMasks) {
            key if key.is_empty() => String::new(),
            key => format!(" Hold {key} to hide them."),
        };
        if opacity_slider
            .on_hover_text(format!("Opacity of the masks.{by_key}"))
            .changed()
        {
            out.send(Command::SetOpacity(opacity));
        }
        ui.label(RichText::new("fill").size(12.0).color(p.text_weak));
    });
}

fn row_ui(ui: &mut Ui, state: &State, object: &Object, out: &mut Out) {
    let p = theme::palette(ui);
    let chosen = state.selected == Some(object.id);
    let full = ui.available_width();
    let (rect, response) = ui.allocate_exact_size(vec2(full, 32.0), Sense::click());
    response.widget_info(|| {
        WidgetInfo::selected(
            Role::Button,
            true,
            chosen,
            format!("Object {}", object.name),
        )
    });
    let body = rect.expand2(vec2(6.0, 0.0));
    if chosen {
        ui.painter().rect_filled(body, RADIUS, p.chosen);
    } else if response.hovered() {
        ui.painter()
            .rect_filled(body, RADIUS, theme::faded(p.raised, 0.7));
    }
    if response.has_focus() {
        focus_ring(ui, body);
    }
    let colour = theme::object_colour(object.colour);
    let swatch = Rect::from_center_size(pos2(rect.left() + 7.0, rect.center().y), vec2(12.0, 12.0));
    ui.painter().rect_filled(swatch, 3, colour);
    colour_ui(ui, object, swatch, out);

    // From the right: delete, lock, eye, score.
    let mut right = rect.right() + 4.0;
    let mut place = |width: f32| {
        right -= width;
        Rect::from_min_size(
            pos2(right, rect.center().y - width.min(ICON) / 2.0),
            vec2(width, width.min(ICON)),
        )
    };
    let (trash, lock, eye, score) = (place(ICON), place(ICON), place(ICON), place(40.0));
    let button = |ui: &mut Ui, at: Rect, icon: Icon, label: &str, hint: &str| {
        let mut child = ui.new_child(egui::UiBuilder::new().max_rect(at));
        sized_icon_button(&mut child, icon, label, false, ICON)
            .on_hover_text(hint)
            .clicked()
    };
    let name = &object.name;
    let (icon, verb) = if object.visible {
        (Icon::Eye, "Hide")
    } else {
        (Icon::EyeOff, "Show")
    };
    if button(ui, eye, icon, &format!("{verb} {name}"), verb) {
        out.send(Command::ShowObject(object.id, !object.visible));
    }
    let (icon, verb) = if object.locked {
        (Icon::Lock, "Unlock")
    } else {
        (Icon::Unlock, "Lock")
    };
    let hint = format!(
        "{verb} ({}): locked objects are untouched by propagation",
        state.keymap.shown(Action::LockObject)
    );
    if button(ui, lock, icon, &format!("{verb} {name}"), &hint) {
        out.send(Command::LockObject(object.id, !object.locked));
    }
    if button(
        ui,
        trash,
        Icon::Trash,
        &format!("Delete {name}"),
        "Delete object…",
    ) {
        out.send(Command::AskDelete(object.id));
    }
    score_ui(ui, state, object, score);

    let text_left = swatch.right() + 10.0;
    let text_rect = Rect::from_min_max(
        pos2(text_left, rect.top()),
        pos2(score.left() - space::XS, rect.bottom()),
    );
    if let Some((id, draft)) = &state.renaming
        && *id == object.id
    {
        rename_ui(ui, text_rect, draft, out);
        return;
    }
    name_ui(ui, object, text_rect);
    let on_score = response.hover_pos().is_some_and(|at| score.contains(at));
    let about_score = on_score.then(|| about_score(state, object)).flatten();
    let response = response.on_hover_text(match about_score {
        Some(about) => about,
        None if object.phrase.is_empty() => {
            format!("{name}\nDrawn by hand. Double-click to rename.")
        }
        None => format!("{name}\nPhrase: {}. Double-click to rename.", object.phrase),
    });
    if response.double_clicked() {
        out.send(Command::StartRename(object.id));
    } else if response.clicked() {
        out.send(Command::SelectObject(Some(object.id)));
    }
}

/// The swatch, which opens the colours to choose from.
fn colour_ui(ui: &Ui, object: &Object, swatch: Rect, out: &mut Out) {
    let id = ui.scope_id().with(("colour", object.id.0));
    let button = ui.interact(swatch.expand(4.0), id, Sense::click());
    let label = format!("Colour of {}", object.name);
    button.widget_info(|| WidgetInfo::labeled(Role::Button, true, &label));
    if button.has_focus() || button.hovered() {
        focus_ring(ui, swatch.expand(1.0));
    }
    let button = button.on_hover_text("Change the colour");
    egui::Popup::menu(&button)
        .accessible_name(label)
        .show(|ui| {
            egui::Grid::new("colours")
                .spacing(vec2(4.0, 4.0))
                .show(ui, |ui| {
                    let (columns, rows) = COLOURS;
                    for index in 0..columns * rows {
                        let (rect, cell) = ui.allocate_exact_size(vec2(20.0, 20.0), Sense::click());
                        let chosen = object.colour == index;
                        let name = format!("Colour {}", index + 1);
                        cell.widget_info(|| {
                            WidgetInfo::selected(Role::Button, true, chosen, &name)
                        });
                        ui.painter()
                            .rect_filled(rect, 3, theme::object_colour(index));
                        if chosen || cell.hovered() || cell.has_focus() {
                            focus_ring(ui, rect);
                        }
                        if cell.clicked() {
                            if !chosen {
                                out.send(Command::SetColour(object.id, index));
                            }
                            ui.close();
                        }
                        if index % columns == columns - 1 {
                            ui.end_row();
                        }
                    }
                });
        });
}

fn name_ui(ui: &Ui, object: &Object, rect: Rect) {
    let p = theme::palette(ui);
    let (strong, weak) = if object.visible {
        (p.text, p.text_weak)
    } else {
        (p.text_faint, p.text_faint)
    };
    let name = fitted_text(ui, &object.name, theme::regular(13.0), strong, rect.width());
    let at = pos2(rect.left(), rect.center().y - name.size().y / 2.0);
    let end = at.x + name.size().x;
    ui.painter().galley(at, name, strong);
    if !object.phrase.is_empty() && object.phrase != object.name {
        let text = format!(" · {}", object.phrase);
        let rest = fitted_text(ui, &text, theme::regular(12.5), weak, rect.right() - end);
        let at = pos2(end, rect.center().y - rest.size().y / 2.0);
        ui.painter().galley(at, rest, weak);
    }
}

fn rename_ui(ui: &mut Ui, rect: Rect, draft: &str, out: &mut Out) {
    let mut text = draft.to_owned();
    let field = egui::TextEdit::singleline(&mut text)
        .id(egui::Id::unique("rename"))
        .margin(egui::Margin::symmetric(4, 3))
        .desired_width(rect.width());
    let response = ui
        .place(rect.shrink2(vec2(0.0, 3.0)), field)
        .accessible_name("Object name");
    if response.changed() {
        out.send(Command::EditName(text));
    }
    if response.lost_focus() {
        let keep = !ui.input(|i| i.key_pressed(egui::Key::Escape));
        out.send(Command::EndRename { keep });
    } else if !response.has_focus() {
        response.request_focus();
        select_all(ui, response.id, draft);
    }
}

/// What the number behind an object's name is, and what it is not.
fn about_score(state: &State, object: &Object) -> Option<String> {
    let doc = &state.session.as_ref()?.doc;
    let mask = object.frames.get(&state.here())?;
    if mask.anchor {
        return Some("An anchor: you made or accepted this mask.".to_owned());
    }
    let mut text = format!(
        "Object score {}: how sure the model is that the object is here.\nThe model's own estimate of the mask's overlap: {}.",
        two_digits(mask.score),
        two_digits(mask.iou)
    );
    let reasons = looks::reasons(doc, object, state.here());
    if reasons.is_empty() {
        text.push_str("\nNo sign of drift; it may be wrong all the same.");
    } else {
        text.push_str(&format!("\nWorth a look: {}.", reasons.join("; ")));
    }
    Some(text)
}

/// A score vouches for nothing: it is coloured by the signs of drift, and never as what is good.
fn score_colour(mask: &FrameMask, p: &Palette) -> Color32 {
    if mask.is_worth_a_look() {
        p.look
    } else {
        p.text_weak
    }
}

fn score_ui(ui: &Ui, state: &State, object: &Object, rect: Rect) {
    let p = theme::palette(ui);
    let Some(mask) = object.frames.get(&state.here()) else {
        ui.painter().text(
            rect.right_center() - vec2(6.0, 0.0),
            Align2::RIGHT_CENTER,
            "–",
            theme::regular(12.0),
            p.text_faint,
        );
        return;
    };
    if mask.anchor {
        let centre = rect.right_center() - vec2(12.0, 0.0);
        anchor_mark(ui.painter(), centre, 5.0, p.text, p.panel);
        return;
    }
    let colour = score_colour(mask, p);
    ui.painter().text(
        rect.right_center() - vec2(6.0, 0.0),
        Align2::RIGHT_CENTER,
        two_digits(mask.score),
        theme::regular(12.5),
        colour,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{DriftSignal, FrameIndex, Provenance, Rle, Size},
        ui::{session::Session, settings::Settings},
    };

    #[test]
    fn a_score_is_explained_and_coloured_by_the_signs_of_drift() {
        let mut doc = crate::ui::fixture::document(Size::new(2, 1), 1);
        let mut object = doc.new_object("a horse");
        let mut mask = FrameMask {
            rle: Rle::new(Size::new(2, 1), vec![1, 1]).unwrap(),
            score: 1.0,
            iou: 0.93,
            provenance: Provenance::Propagated,
            anchor: false,
            drift: DriftSignal {
                box_mask: 0.9,
                ..DriftSignal::default()
            },
        };
        object.frames.insert(FrameIndex(0), mask.clone());
        doc.objects.push(object.clone());
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        let about = about_score(&state, &object).unwrap();
        assert!(about.contains("Object score 1.00") && about.contains("overlap: .93"));
        assert!(
            about.contains("Worth a look: mask and box disagree."),
            "{about}"
        );
        let p = &theme::DARK;
        assert_eq!(score_colour(&mask, p), p.look);
        mask.drift.box_mask = 0.0;
        assert_eq!(score_colour(&mask, p), p.text_weak);
    }
}
