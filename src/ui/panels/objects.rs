//! The objects: colour, name, phrase, score on this frame, shown, locked, deleted.

use egui::{
    Align2, Color32, CursorIcon, PointerButton, Rect, Response, RichText, Role, Sense, Stroke, Ui,
    WidgetInfo, pos2, vec2,
};

use super::{
    super::{
        absence::{NOT_HERE, is_absent},
        actions::Action,
        command::{Command, Out},
        icons::{Icon, absence_mark, anchor_mark},
        looks,
        state::State,
        theme::{self, Palette, RADIUS, space},
        widgets::{
            action_tooltip, fitted_text, focus_ring, section_header, sized_icon_button, slider,
            two_digits,
        },
    },
    bring_into_view, rename_id,
    top_bar::select_all,
};
use crate::project::{FrameMask, Object, ObjectId};

const ICON: f32 = 24.0;
/// Height of a row, and between two of them.
const ROW: f32 = 32.0;
const BETWEEN: f32 = 2.0;
/// Rows that are always in view, and the share of the panel's height that more of them may take: the proposals and what the
/// model said stand below.
const FEWEST_ROWS: f32 = 3.0;
const SHARE: f32 = 0.2;
/// What the pointer does to a row.
const HOW: &str = "Double-click to rename, right-click for more, drag to move. Where masks overlap, a DAVIS export gives the pixels to the later object of the list.";
/// What the menu of a row offers, in groups.
const MENU: [&[Action]; 4] = [
    &[Action::NotHere, Action::NotInRange, Action::DeleteInRange],
    &[Action::MergeObject, Action::SplitObject],
    &[Action::ObjectUp, Action::ObjectDown],
    &[Action::RenameObject, Action::DeleteObject],
];
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
    ui.spacing_mut().item_spacing.y = BETWEEN;
    let most = (ui.clip_rect().height() * SHARE).max(FEWEST_ROWS * (ROW + BETWEEN));
    if objects.len() as f32 * (ROW + BETWEEN) <= most {
        rows_ui(ui, state, objects, out);
    } else {
        egui::ScrollArea::vertical()
            .id_salt("objects")
            .max_height(most)
            .min_scrolled_height(most)
            .auto_shrink([false, true])
            .show(ui, |ui| {
                ui.set_max_width(ui.available_width() - f32::from(super::BAR));
                rows_ui(ui, state, objects, out);
            });
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

fn rows_ui(ui: &mut Ui, state: &State, objects: &[Object], out: &mut Out) {
    let rows: Vec<Response> = objects
        .iter()
        .map(|object| row_ui(ui, state, object, out))
        .collect();
    drag_ui(ui, objects, &rows, out);
    let at = objects.iter().position(|o| Some(o.id) == state.selected);
    bring_into_view(ui, "objects", (state.selected, at), &rows);
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

/// Where in the list a row goes that is let go at `y`: below all others whose middle lies above it.
fn place_at(from: usize, middles: impl Iterator<Item = f32>, y: f32) -> usize {
    let others = middles.enumerate().filter(|(i, _)| *i != from);
    others.filter(|(_, middle)| *middle < y).count()
}

/// A row that is dragged goes to where a line shows.
fn drag_ui(ui: &Ui, objects: &[Object], rows: &[Response], out: &mut Out) {
    let button = PointerButton::Primary;
    let is_dragged = |r: &Response| r.dragged_by(button) || r.drag_stopped_by(button);
    let Some(from) = rows.iter().position(is_dragged) else {
        return;
    };
    let Some(at) = ui.input(|i| i.pointer.latest_pos()) else {
        return;
    };
    let to = place_at(from, rows.iter().map(|r| r.rect.center().y), at.y);
    if rows[from].dragged_by(button) {
        ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
    }
    if to == from {
        return;
    }
    if rows[from].drag_stopped_by(button) {
        out.send(Command::MoveObject(objects[from].id, to));
        return;
    }
    let beside = rows[to].rect;
    let y = if to > from {
        beside.bottom() + 1.0
    } else {
        beside.top() - 1.0
    };
    let stroke = Stroke::new(2.0, theme::palette(ui).accent);
    ui.painter().hline(beside.x_range(), y, stroke);
}

/// What the palette does with the selected object, for the object of a row.
fn menu_ui(ui: &mut Ui, state: &State, object: &Object, out: &mut Out) {
    ui.set_min_width(220.0);
    for (i, actions) in MENU.iter().enumerate() {
        if i > 0 {
            ui.separator();
        }
        for &action in *actions {
            let key = state.keymap.shown(action);
            let button = ui.add(egui::Button::new(action.label()).shortcut_text(key));
            let button = button.accessible_name(action.label());
            if action_tooltip(button, &state.keymap, action).clicked() {
                out.send(Command::OnObject(object.id, action));
                ui.close();
            }
        }
    }
}

fn row_ui(ui: &mut Ui, state: &State, object: &Object, out: &mut Out) -> Response {
    let p = theme::palette(ui);
    let chosen = state.selected == Some(object.id);
    let full = ui.available_width();
    let (rect, _) = ui.allocate_exact_size(vec2(full, ROW), Sense::hover());
    // It goes with the object, wherever that stands.
    let id = ui.scope_id().with(("object", object.id.0));
    let response = ui.interact(rect, id, Sense::click_and_drag());
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
        return response;
    }
    name_ui(ui, object, text_rect);
    egui::Popup::context_menu(&response)
        .accessible_name(format!("What to do with {name}"))
        .show(|ui| menu_ui(ui, state, object, out));
    let on_score = response.hover_pos().is_some_and(|at| score.contains(at));
    let about_score = on_score.then(|| about_score(state, object)).flatten();
    let response = response.on_hover_text(match about_score {
        Some(about) => about,
        None if object.phrase.is_empty() => format!("{name}\nDrawn by hand. {HOW}"),
        None => format!("{name}\nPhrase: {}. {HOW}", object.phrase),
    });
    if response.double_clicked() {
        out.send(Command::StartRename(object.id));
    } else if response.clicked() || response.secondary_clicked() {
        out.send(Command::SelectObject(Some(object.id)));
    }
    response
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
        .id(rename_id())
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

/// What the number behind an object's name is, and what stands behind it.
fn about_score(state: &State, object: &Object) -> Option<String> {
    let doc = &state.session.as_ref()?.doc;
    let mask = object.frames.get(&state.here())?;
    if mask.says_absent() {
        let key = state.keymap.in_brackets(Action::NotHere);
        let text =
            format!("It is {NOT_HERE}: no propagation fills this frame. Again takes it back{key}.");
        return Some(text);
    }
    if mask.anchor {
        return Some("An anchor: you made or accepted this mask.".to_owned());
    }
    let mut text = format!(
        "Predicted quality {}: the model's own estimate of the mask's overlap with the object.\nPresence {}: how sure the model is that the object is here, near 1 also where the mask is wrong.",
        two_digits(mask.iou),
        two_digits(mask.score)
    );
    let reasons = looks::reasons(doc, object, state.here());
    if reasons.is_empty() {
        text.push_str("\nNo sign of drift; it may be wrong all the same.");
    } else {
        text.push_str(&format!("\nWorth a look: {}.", reasons.join("; ")));
    }
    Some(text)
}

/// A score vouches for nothing: it is coloured where the mask is worth a look, and never as what is good.
fn score_colour(state: &State, object: ObjectId, p: &Palette) -> Color32 {
    if state.is_marked(object) {
        p.look
    } else {
        p.text_weak
    }
}

/// The presence is near 1 whatever the mask is like, so that it is the quality; what is gone has none.
fn shown_score(mask: &FrameMask) -> String {
    if mask.rle.is_empty() {
        "gone".to_owned()
    } else {
        two_digits(mask.iou)
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
    let centre = rect.right_center() - vec2(12.0, 0.0);
    if is_absent(object, state.here()) {
        absence_mark(ui.painter(), centre, 4.0, p.text);
        return;
    }
    if mask.anchor {
        anchor_mark(ui.painter(), centre, 5.0, p.text, p.panel);
        return;
    }
    let colour = score_colour(state, object.id, p);
    ui.painter().text(
        rect.right_center() - vec2(6.0, 0.0),
        Align2::RIGHT_CENTER,
        shown_score(mask),
        theme::regular(12.5),
        colour,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{DriftSignal, FrameIndex, Provenance, Rle, Size},
        ui::{lanes::Lane, session::Session, settings::Settings},
    };
    use egui_kittest::{Harness, kittest::Queryable as _};

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
        assert!(about.contains("Predicted quality .93") && about.contains("Presence 1.00"));
        assert!(
            about.contains("Worth a look: mask and box disagree."),
            "{about}"
        );
        let p = &theme::DARK;
        state.lanes = vec![Lane::new(&object)];
        assert_eq!(score_colour(&state, object.id, p), p.look);
        mask.drift.box_mask = 0.0;
        object.frames.insert(FrameIndex(0), mask.clone());
        state.lanes = vec![Lane::new(&object)];
        assert_eq!(score_colour(&state, object.id, p), p.text_weak);
        object
            .frames
            .insert(FrameIndex(0), FrameMask::by_hand(Rle::empty(mask.rle.size)));
        let about = about_score(&state, &object).unwrap();
        assert!(about.contains("not here, by hand") && about.contains("(E)"));
    }

    /// "1.00" stood beside masks that were plainly wrong.
    #[test]
    fn the_score_in_the_list_is_the_predicted_quality_and_not_the_presence() {
        let size = Size::new(2, 1);
        let mut mask = FrameMask {
            rle: Rle::new(size, vec![1, 1]).unwrap(),
            score: 1.0,
            iou: 0.77,
            provenance: Provenance::Model,
            anchor: false,
            drift: DriftSignal::default(),
        };
        assert_eq!(shown_score(&mask), ".77");
        mask.rle = Rle::empty(size);
        assert_eq!(shown_score(&mask), "gone");
    }

    /// The list of an object more than there is room for pushed all below it out of the panel.
    #[test]
    fn a_long_list_of_objects_scrolls_by_itself_and_shows_what_is_selected() {
        let mut harness = harness(30);
        let new = harness.get_by_label("New object").rect();
        assert!(new.bottom() < 300.0, "{new:?}");
        let last = "Object horse 29";
        let row = harness.query_by_label(last).map(|row| row.rect());
        assert!(row.is_none_or(|row| row.top() > new.bottom()), "{row:?}");
        let id = id_of(&harness, 29);
        harness.state_mut().0.selected = Some(id);
        // Scrolling there takes a moment.
        harness.run_steps(60);
        let row = harness.get_by_label(last).rect();
        assert!(row.bottom() < new.bottom(), "{row:?}");
    }

    #[test]
    fn a_row_goes_where_it_is_let_go() {
        let place = |from, y| place_at(from, [10.0, 20.0, 30.0, 40.0].into_iter(), y);
        assert_eq!(
            [5.0, 19.0, 21.0, 35.0, 99.0].map(|y| place(0, y)),
            [0, 0, 1, 2, 3]
        );
        assert_eq!(
            [5.0, 19.0, 25.0, 35.0, 99.0].map(|y| place(1, y)),
            [0, 1, 1, 2, 3]
        );
        assert_eq!(
            [5.0, 15.0, 25.0, 39.0, 99.0].map(|y| place(3, y)),
            [0, 1, 2, 3, 3]
        );
    }

    /// The state, and what the panel has asked for.
    type Asked = (State, Vec<Command>);

    /// The list of so many objects, drawn by itself.
    fn harness(objects: u32) -> Harness<'static, Asked> {
        let mut doc = crate::ui::fixture::document(Size::new(2, 1), 1);
        for i in 0..objects {
            let mut object = doc.new_object("");
            object.name = format!("horse {i}");
            doc.objects.push(object);
        }
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        let mut harness = Harness::builder()
            .with_size([360.0, 400.0])
            .with_step_dt(1.0 / 60.0)
            .with_context_setup(theme::install)
            .build_ui_state(
                |ui, (state, asked): &mut Asked| {
                    let mut out = Out::default();
                    objects_ui(ui, state, &mut out);
                    asked.append(&mut out.0);
                },
                (state, Vec::new()),
            );
        harness.run_steps(3);
        harness
    }

    fn id_of(harness: &Harness<'_, Asked>, row: usize) -> ObjectId {
        harness.state().0.session.as_ref().unwrap().doc.objects[row].id
    }

    /// Where a row has its name; its buttons stand right of it.
    fn name_of(harness: &Harness<'_, Asked>, row: usize) -> egui::Pos2 {
        let label = format!("Object horse {row}");
        harness.get_by_label(&label).rect().left_center() + vec2(60.0, 0.0)
    }

    /// Moves the pointer, then presses a button or lets it go.
    fn point(
        harness: &mut Harness<'_, Asked>,
        at: egui::Pos2,
        press: Option<(PointerButton, bool)>,
    ) {
        harness.event(egui::Event::PointerMoved(at));
        harness.run_steps(2);
        if let Some((button, pressed)) = press {
            harness.event(egui::Event::PointerButton {
                pos: at,
                button,
                pressed,
                modifiers: egui::Modifiers::NONE,
            });
            harness.run_steps(2);
        }
    }

    fn click(harness: &mut Harness<'_, Asked>, at: egui::Pos2, button: PointerButton) {
        point(harness, at, Some((button, true)));
        point(harness, at, Some((button, false)));
    }

    #[test]
    fn a_row_is_dragged_to_another_place_and_a_click_still_selects() {
        let mut harness = harness(3);
        let button = PointerButton::Primary;
        let (from, to) = (name_of(&harness, 0), name_of(&harness, 2) + vec2(0.0, 4.0));
        point(&mut harness, from, Some((button, true)));
        point(&mut harness, from + vec2(0.0, 20.0), None);
        point(&mut harness, to, Some((button, false)));
        let first = id_of(&harness, 0);
        let asked = &harness.state().1;
        assert!(
            matches!(asked[..], [Command::MoveObject(moved, 2)] if moved == first),
            "{asked:?}"
        );
        let at = name_of(&harness, 1);
        click(&mut harness, at, button);
        let second = id_of(&harness, 1);
        let asked = &harness.state().1;
        assert!(
            matches!(asked[..], [_, Command::SelectObject(Some(id))] if id == second),
            "{asked:?}"
        );
    }

    #[test]
    fn the_menu_of_a_row_acts_on_its_object() {
        let mut harness = harness(3);
        assert!(harness.query_by_label("Split here").is_none());
        let at = name_of(&harness, 1);
        click(&mut harness, at, PointerButton::Secondary);
        harness.get_by_label("Split here").click();
        harness.run_steps(6);
        let second = id_of(&harness, 1);
        let asked = &harness.state().1;
        assert!(
            matches!(
                asked[..],
                [Command::SelectObject(Some(chosen)), Command::OnObject(id, Action::SplitObject)]
                    if chosen == second && id == second
            ),
            "{asked:?}"
        );
        assert!(harness.query_by_label("Split here").is_none());
    }
}
