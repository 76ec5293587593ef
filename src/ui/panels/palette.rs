//! Everything Sparrow can do, by typing a few letters of it.

use egui::{Key, Margin, Modifiers, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, vec2};

use super::{
    super::{
        actions::{ACTIONS, Action, Info},
        command::{Command, Out},
        state::{Dialog, State},
        theme::{self, RADIUS, space},
    },
    dialog_ui,
};

const ROW: f32 = 30.0;

/// One line of the palette.
enum Entry {
    Action(&'static Info),
    /// The typed text is a path.
    Open(std::path::PathBuf),
    /// The typed text as a phrase.
    Ground(String),
}

/// Higher is better; `None` does not match. All letters must come in order; starts of words count most.
fn score(query: &str, label: &str) -> Option<i32> {
    let label = label.to_lowercase();
    if let Some(at) = label.find(query) {
        let at_word = at == 0 || label.as_bytes().get(at - 1) == Some(&b' ');
        return Some(1000 - at as i32 + if at_word { 500 } else { 0 });
    }
    let mut letters = label.chars().enumerate();
    let mut total = 0;
    let mut last = None;
    for wanted in query.chars().filter(|c| !c.is_whitespace()) {
        let (at, _) = letters.find(|(_, c)| *c == wanted)?;
        total += if last.is_some_and(|l| l + 1 == at) {
            5
        } else {
            -1
        };
        last = Some(at);
    }
    Some(total)
}

fn entries(query: &str, has_clip: bool) -> Vec<Entry> {
    let plain = query.trim().to_lowercase();
    let mut found: Vec<(i32, &Info)> = ACTIONS
        .iter()
        .filter(|i| i.action != Action::Palette && !i.action.is_held())
        .filter_map(|info| score(&plain, info.label).map(|s| (s, info)))
        .collect();
    // Stable: equal scores stay in the table's order.
    found.sort_by_key(|(s, _)| -s);
    let mut all: Vec<Entry> = found.into_iter().map(|(_, i)| Entry::Action(i)).collect();
    let typed = query.trim();
    if typed.starts_with('/') || typed.starts_with('~') || typed.contains(":\\") {
        let path = match (typed.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => std::path::PathBuf::from(home).join(rest),
            _ => std::path::PathBuf::from(typed),
        };
        all.insert(0, Entry::Open(path));
    } else if has_clip && typed.contains(' ') {
        all.push(Entry::Ground(typed.to_owned()));
    }
    all
}

pub(crate) fn palette_ui(ui: &mut Ui, state: &State, query: &str, at: usize, out: &mut Out) {
    dialog_ui(ui, "palette", 520.0, out, |ui, out| {
        let p = theme::palette(ui);
        let up = ui.input_mut(|i| i.consume_key(Modifiers::NONE, Key::ArrowUp));
        let down = ui.input_mut(|i| i.consume_key(Modifiers::NONE, Key::ArrowDown));
        let mut text = query.to_owned();
        let field = egui::TextEdit::singleline(&mut text)
            .hint_text("What do you want to do? A path opens a file.")
            .font(theme::regular(14.0))
            .margin(Margin::symmetric(12, 8))
            .desired_width(f32::INFINITY);
        let field = ui.add(field).accessible_name("Search commands");
        field.request_focus();
        let list = entries(&text, state.clip.is_some());
        let last = list.len().saturating_sub(1);
        let mut next = if text == query { at.min(last) } else { 0 };
        if down {
            next = (next + 1).min(last);
        }
        if up {
            next = next.saturating_sub(1);
        }
        if ui.input(|i| i.key_pressed(Key::Enter)) {
            if let Some(entry) = list.get(next) {
                run(entry, out);
            }
            return;
        }
        ui.add_space(space::S);
        if list.is_empty() {
            ui.label(RichText::new("Nothing is called that.").color(p.text_weak));
        }
        ui.spacing_mut().item_spacing.y = 0.0;
        ScrollArea::vertical()
            .max_height(ROW * 10.0)
            .auto_shrink([false, true])
            .show(ui, |ui| {
                for (i, entry) in list.iter().enumerate() {
                    row_ui(ui, state, entry, i == next, i == next && next != at, out);
                }
            });
        if text != query || next != at {
            out.send(Command::UpdateDialog(Dialog::Palette {
                query: text,
                at: next,
            }));
        }
    });
}

fn run(entry: &Entry, out: &mut Out) {
    // First, so that an action may open a dialog of its own.
    out.send(Command::ShowDialog(None));
    match entry {
        Entry::Action(info) => out.act(info.action),
        Entry::Open(path) => out.send(Command::Open(path.clone())),
        Entry::Ground(phrase) => {
            out.send(Command::SetPhrase(phrase.clone()));
            out.act(Action::GroundHere);
        }
    }
}

#[expect(
    clippy::fn_params_excessive_bools,
    reason = "chosen and in need of scrolling are two facts of a row"
)]
fn row_ui(ui: &mut Ui, state: &State, entry: &Entry, chosen: bool, scroll: bool, out: &mut Out) {
    let p = theme::palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
    let (label, group, key) = match entry {
        Entry::Action(info) => (
            info.label.to_owned(),
            info.group.title(),
            state.keymap.shown(info.action),
        ),
        Entry::Open(path) => (format!("Open {}", path.display()), "", String::new()),
        Entry::Ground(phrase) => (format!("Ground “{phrase}”"), "", String::new()),
    };
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, &label));
    if chosen || response.hovered() {
        ui.painter().rect_filled(rect, RADIUS, p.chosen);
    }
    if scroll {
        response.scroll_to_me(None);
    }
    let middle = rect.center().y;
    let painter = ui.painter();
    painter.text(
        egui::pos2(rect.left() + 12.0, middle),
        egui::Align2::LEFT_CENTER,
        label,
        theme::regular(13.5),
        p.text,
    );
    painter.text(
        egui::pos2(rect.right() - 110.0, middle),
        egui::Align2::RIGHT_CENTER,
        group,
        theme::regular(12.0),
        p.text_faint,
    );
    painter.text(
        egui::pos2(rect.right() - 12.0, middle),
        egui::Align2::RIGHT_CENTER,
        key,
        theme::regular(12.0),
        p.text_weak,
    );
    if response.clicked() {
        run(entry, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(query: &str) -> Option<Action> {
        match entries(query, true).first()? {
            Entry::Action(info) => Some(info.action),
            Entry::Open(_) | Entry::Ground(_) => None,
        }
    }

    #[test]
    fn a_few_letters_are_enough() {
        assert_eq!(first("undo"), Some(Action::Undo));
        assert_eq!(first("prop fo"), Some(Action::PropagateForward));
        assert_eq!(first("worth"), Some(Action::NextLook));
        assert_eq!(first("xyzzy"), None);
        // Itself is left out, and what lasts as long as a key is held.
        let held = ACTIONS.iter().filter(|i| i.action.is_held()).count();
        assert!(held > 0);
        assert_eq!(entries("", true).len(), ACTIONS.len() - 1 - held);
    }

    #[test]
    fn a_path_opens_and_a_sentence_grounds() {
        assert!(matches!(
            entries("/a/b.mp4", false).first(),
            Some(Entry::Open(_))
        ));
        let list = entries("the red ball", true);
        assert!(matches!(list.last(), Some(Entry::Ground(_))));
    }
}
