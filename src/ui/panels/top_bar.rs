//! The bar on top: the clip, the phrase, the model.

use egui::{Align, Key, Layout, Margin, Modifiers, RichText, Ui, vec2};

use super::super::{
    actions::Action,
    command::{Command, Out},
    icons::Icon,
    state::{JobKind, State},
    theme::{self, space},
    widgets::{action_icon, action_tooltip, hairline, primary_button},
};
use crate::project::counted;

/// Models that can be chosen without typing.
const MODELS: [(&str, &str); 2] = [
    ("nano", "bundled, runs on the CPU"),
    ("sparrow-videoglamm", "released checkpoint, about 11 GB"),
];

/// Points that the right side takes beside the texts of its three buttons: icons, paddings, gaps, the narrowest phrase.
const OTHERS: f32 = 376.0;

pub(crate) fn top_bar_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    hairline(ui, ui.max_rect(), false);
    ui.horizontal_centered(|ui| {
        ui.spacing_mut().item_spacing.x = space::S;
        ui.add_space(space::M + 2.0);
        ui.label(RichText::new("Sparrow").font(theme::semibold(14.5)));
        ui.add_space(space::XS);
        clip_ui(ui, state, out);
        // The right side first: the phrase takes what is left.
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = space::S;
            ui.add_space(space::S);
            let keymap = &state.keymap;
            let theme_icon = if ui.visuals().dark_mode {
                Icon::Sun
            } else {
                Icon::Moon
            };
            ui.scope(|ui| {
                ui.spacing_mut().item_spacing.x = 0.0;
                action_icon(ui, keymap, Icon::Help, Action::Help, false, out);
                action_icon(ui, keymap, theme_icon, Action::ToggleTheme, false, out);
                action_icon(ui, keymap, Icon::Search, Action::Palette, false, out);
            });
            let export = ui.add(egui::Button::new("Export…").min_size(vec2(0.0, 30.0)));
            if action_tooltip(export, keymap, Action::Export).clicked() {
                out.act(Action::Export);
            }
            model_ui(ui, state, out);
            let ground = primary_button(ui, "Ground", !state.phrase.trim().is_empty());
            if action_tooltip(ground, keymap, Action::GroundHere).clicked() {
                out.act(Action::GroundHere);
            }
            phrase_ui(ui, state, out);
        });
    });
}

fn clip_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let (Some(clip), Some(session)) = (&state.clip, &state.session) else {
        return;
    };
    let p = theme::palette(ui);
    let video = &session.doc.video;
    let mut job = egui::text::LayoutJob::default();
    let format = |colour| egui::TextFormat::simple(theme::regular(13.0), colour);
    let facts = format!(
        "  {}×{} · {}",
        video.size.width,
        video.size.height,
        counted(video.frames, "frame")
    );
    let width = |text: &str| {
        let font = theme::regular(13.0);
        let galley = ui.painter().layout_no_wrap(text.to_owned(), font, p.text);
        galley.size().x
    };
    let others: f32 = ["Export…", "Ground", &model_label(state)]
        .map(width)
        .iter()
        .sum();
    let room = ui.available_width() - others - OTHERS - 2.0 * ui.spacing().button_padding.x;
    let (title, with_facts) = fitted_title(&clip.title, &facts, room, width);
    job.append(&title, 0.0, format(p.text));
    if with_facts {
        job.append(&facts, 0.0, format(p.text_weak));
    }
    let button = ui.add(egui::Button::new(job).min_size(vec2(0.0, 30.0)));
    let button = button.on_hover_text(format!("{}{facts}", clip.path.display()));
    egui::Popup::menu(&button)
        .accessible_name("Clip")
        .show(|ui| {
            ui.set_min_width(260.0);
            for action in [
                Action::OpenVideo,
                Action::OpenFolder,
                Action::OpenProject,
                Action::LocateVideo,
                Action::CloseVideo,
            ] {
                let entry = egui::Button::new(action.label())
                    .right_text(RichText::new(state.keymap.shown(action)).color(p.text_faint));
                if ui.add(entry).clicked() {
                    out.act(action);
                    ui.close();
                }
            }
            let others: Vec<_> = state
                .settings
                .recent
                .iter()
                .filter(|path| **path != clip.path)
                .take(5)
                .collect();
            if !others.is_empty() {
                ui.separator();
            }
            for path in others {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let entry = ui.button(shortened(&name, 36));
                if entry.on_hover_text(path.display().to_string()).clicked() {
                    out.send(Command::Open(path.clone()));
                    ui.close();
                }
            }
        });
}

/// A clip's name, short enough to fit into `room` with the facts behind it, or without them; says whether with them.
fn fitted_title(
    title: &str,
    facts: &str,
    room: f32,
    width: impl Fn(&str) -> f32,
) -> (String, bool) {
    let fits = |most: usize, room: f32| {
        let text = shortened(title, most);
        (width(&text) <= room).then_some(text)
    };
    let beside = room - width(facts);
    let with_facts = (14..=28).rev().find_map(|most| fits(most, beside));
    match with_facts {
        Some(text) => (text, true),
        None => {
            let alone = (8..=28).rev().find_map(|most| fits(most, room));
            (alone.unwrap_or_else(|| shortened(title, 7)), false)
        }
    }
}

fn is_loading(state: &State) -> bool {
    let mut kinds = state.jobs.iter().map(|j| &j.kind);
    kinds.any(|kind| matches!(kind, JobKind::LoadModel))
}

/// The model and where it runs.
fn model_label(state: &State) -> String {
    let model = &state.model;
    let device = if model.ready {
        short_device(&model.device)
    } else if is_loading(state) {
        "loading…"
    } else {
        "not loaded"
    };
    format!("{} · {device}", model.id)
}

fn model_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    let model = &state.model;
    let loading = is_loading(state);
    let colour = if model.ready || loading {
        p.text
    } else {
        p.look
    };
    let label = RichText::new(model_label(state)).color(colour);
    let button = ui.add(egui::Button::new(label).min_size(vec2(0.0, 30.0)));
    let button = button.on_hover_text(format!("Model and device: {}", model.device));
    egui::Popup::menu(&button)
        .accessible_name("Model")
        .show(|ui| {
            ui.set_min_width(320.0);
            for (id, about) in MODELS {
                let entry = egui::Button::selectable(model.id == id, id)
                    .right_text(RichText::new(about).color(p.text_faint).size(12.0));
                if ui.add(entry).clicked() {
                    out.send(Command::LoadModel(id.to_owned()));
                    ui.close();
                }
            }
            ui.separator();
            if ui.button(Action::Words.label()).clicked() {
                out.act(Action::Words);
                ui.close();
            }
        });
}

/// "CPU, 2 threads" is enough as "CPU".
fn short_device(device: &str) -> &str {
    device.split([',', '(']).next().unwrap_or(device).trim()
}

/// Letters that a phrase may have.
pub(crate) const MOST_LETTERS: usize = 500;

/// The phrase field.
pub(crate) fn phrase_id() -> egui::Id {
    egui::Id::unique("phrase")
}

/// Marks all that stands in a text field, for the keyboard that comes to it.
pub(crate) fn select_all(ui: &Ui, id: egui::Id, text: &str) {
    let mut field = egui::text_edit::TextEditState::load(ui.ctx(), id).unwrap_or_default();
    let whole = egui::text::CCursorRange::two(
        egui::text::CCursor::new(0),
        egui::text::CCursor::new(text.chars().count()),
    );
    field.cursor.set_char_range(Some(whole));
    field.store(ui.ctx(), id);
}

fn phrase_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    let width = ui.available_width().max(80.0);
    let mut text = state.phrase.clone();
    let field = egui::TextEdit::singleline(&mut text)
        .id(phrase_id())
        // One more than is taken, so that it is seen that there were more.
        .char_limit(MOST_LETTERS + 1)
        .font(theme::regular(14.0))
        .hint_text(RichText::new("Say what to find: the red ball").color(p.text_faint))
        .margin(Margin::symmetric(12, 7))
        .desired_width(width);
    let response = ui.add(field).accessible_name("Phrase");
    if state.focus_phrase {
        response.request_focus();
        select_all(ui, response.id, &text);
        out.send(Command::PhraseFocused);
    }
    let painter = ui.painter();
    let lay = |text: String, size| painter.layout_no_wrap(text, theme::regular(size), p.text_faint);
    let hint = lay(
        "Enter: this frame    Ctrl+Enter: whole clip".to_owned(),
        11.5,
    );
    let wants = if text.is_empty() {
        220.0
    } else {
        lay(text.clone(), 14.0).size().x
    };
    if wants + hint.size().x + 48.0 < response.rect.width() {
        let at = egui::pos2(
            response.rect.right() - 12.0 - hint.size().x,
            response.rect.center().y - hint.size().y / 2.0,
        );
        painter.galley(at, hint, p.text_faint);
    }
    if response.changed() {
        out.send(Command::SetPhrase(text));
    }
    let whole_clip =
        response.has_focus() && ui.input_mut(|i| i.consume_key(Modifiers::COMMAND, Key::Enter));
    if whole_clip {
        response.surrender_focus();
        out.act(Action::GroundClip);
    } else if response.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter)) {
        out.act(Action::GroundHere);
    }
}

/// At most `most` characters, with the middle left out.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let half = (most - 1) / 2;
    let front: String = text.chars().take(half).collect();
    let back: String = text.chars().skip(count - half).collect();
    format!("{front}…{back}")
}

#[cfg(test)]
mod tests {
    use egui_kittest::Harness;

    use super::*;
    use crate::ui::{app::App, settings::Settings};

    #[test]
    fn a_long_clip_name_gives_way_to_the_phrase() {
        let width = |text: &str| text.chars().count() as f32 * 7.0;
        let (name, facts) = ("a very long name of a clip.mp4", "  1920×1080 · 24 frames");
        let fitted = |room| fitted_title(name, facts, room, width);
        let (whole, with_facts) = fitted(1000.0);
        assert_eq!((whole, with_facts), (shortened(name, 28), true));
        for room in [330.0, 300.0, 223.0, 150.0, 60.0] {
            let (text, with_facts) = fitted(room);
            let behind = if with_facts { width(facts) } else { 0.0 };
            assert!(width(&text) + behind <= room, "{text} in {room}");
            assert_eq!(with_facts, room >= 300.0);
        }
    }

    /// Laid out for drawing, a page that was pasted took 700 MB that never came back.
    #[test]
    fn a_pasted_page_is_cut_to_a_phrase() {
        let state = State::new(Settings::default(), "nano".into(), "cpu".into());
        let mut harness = Harness::builder()
            .with_context_setup(theme::install)
            .build_ui_state(
                |ui, (state, typed): &mut (State, Option<String>)| {
                    let mut out = Out::default();
                    phrase_ui(ui, state, &mut out);
                    for command in out.0 {
                        if let Command::SetPhrase(text) = command {
                            *typed = Some(text);
                        }
                    }
                },
                (state, None),
            );
        harness.state_mut().0.focus_phrase = true;
        harness.run_steps(2);
        harness.event(egui::Event::Paste("ä".repeat(5100)));
        harness.step();
        let typed = harness.state_mut().1.take().expect("it was pasted");
        assert_eq!(typed.chars().count(), MOST_LETTERS + 1);
        let ctx = egui::Context::default();
        let mut app = App::without_model(&ctx);
        app.run(&ctx, Command::SetPhrase(typed));
        assert_eq!(app.state.phrase.chars().count(), MOST_LETTERS);
        let said = app.state.toasts.iter();
        assert_eq!(said.filter(|t| t.text.contains("500 letters")).count(), 1);
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shortened("clip.mp4", 28), "clip.mp4");
        assert_eq!(shortened("ääääääääääbbbb.mp4", 9), "ääää….mp4");
        assert_eq!(short_device("CPU, 2 threads"), "CPU");
        assert_eq!(short_device("CUDA (H200)"), "CUDA");
    }
}
