//! Everything Sparrow can do, by typing a few letters of it.

use std::path::PathBuf;

use egui::{Key, Margin, Modifiers, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, vec2};

use super::{
    super::{
        actions::{ACTIONS, Action, Info},
        command::{Command, Out},
        dialogs::typed_path,
        state::{Dialog, State},
        theme::{self, RADIUS, space},
    },
    dialog_ui,
};

const ROW: f32 = 30.0;
const NOTHING: &str = "Nothing is called that.";

/// One line of the palette.
enum Entry {
    Action(&'static Info),
    /// The typed text is a path.
    Open(PathBuf),
    /// No action is meant. It stands first, so that Enter alone never runs the model.
    Nothing,
    /// The typed text as a phrase.
    Ground(String),
}

/// Other words that people look for.
const ALSO: &[(Action, &str)] = &[
    (
        Action::Keys,
        "change keys keybindings hotkeys rebind customize",
    ),
    (Action::Help, "manual how tutorial documentation"),
    (
        Action::ImportDataset,
        "load open masks coco davis mattes mevis youtube vis annotations",
    ),
    (
        Action::Export,
        "save write dataset masks coco davis mattes mevis youtube vis",
    ),
    (Action::SaveElsewhere, "save as copy move project"),
    (Action::OpenVideo, "load file clip movie"),
    (Action::OpenFolder, "load images frames directory"),
    (Action::OpenProject, "load sparrow file"),
    (
        Action::LocateVideo,
        "relink rebind replace find missing other footage",
    ),
    (Action::CloseVideo, "close quit leave home"),
    (Action::ToggleTheme, "theme colours colors appearance mode"),
    (Action::Words, "vocabulary phrases"),
    (Action::PropagateBoth, "track tracking carry"),
    (Action::GroundHere, "find search detect"),
    (Action::GroundClip, "find search detect track"),
    (Action::NextLook, "drift errors review"),
    (Action::AcceptFrame, "verify confirm approve key keyframe"),
    (Action::NotHere, "outside absent invisible hidden gone"),
    (Action::NotInRange, "outside absent invisible hidden gone"),
    (Action::DeleteMask, "remove clear erase"),
    (Action::DeleteInRange, "remove clear erase"),
    (Action::MergeObject, "join combine unite"),
    (Action::SplitObject, "cut divide part"),
    (Action::ObjectUp, "order reorder sort front"),
    (Action::ObjectDown, "order reorder sort back"),
    (Action::DeleteObject, "remove"),
    (Action::DebugOverlay, "fps performance debug"),
];

/// Higher is better; `None` does not match. Where the text stands in the label counts most, then that each of its words
/// begins one of the label or of [`ALSO`]; of a single word, all letters may come in order.
fn score(query: &str, info: &Info) -> Option<i32> {
    let label = info.label.to_lowercase();
    if let Some(at) = label.find(query) {
        let at_word = at == 0 || label.as_bytes().get(at - 1) == Some(&b' ');
        return Some(1000 - at as i32 + if at_word { 500 } else { 0 });
    }
    let also = ALSO.iter().filter(|(action, _)| *action == info.action);
    let known: Vec<&str> = label
        .split_whitespace()
        .chain(also.flat_map(|(_, words)| words.split_whitespace()))
        .collect();
    let mut wanted = query.split_whitespace();
    if wanted.all(|word| known.iter().any(|k| k.starts_with(word))) {
        return Some(500);
    }
    if query.contains(char::is_whitespace) {
        return None;
    }
    let mut letters = label.chars().enumerate();
    let mut total = 0;
    let mut last = None;
    for wanted in query.chars() {
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

fn is_path(typed: &str) -> bool {
    let bare = typed.trim_start_matches(['"', '\'']);
    bare.starts_with(['/', '~']) || bare.contains(":\\")
}

fn entries(query: &str, has_clip: bool) -> Vec<Entry> {
    let plain = query.trim().to_lowercase();
    let mut found: Vec<(i32, &Info)> = ACTIONS
        .iter()
        .filter(|i| i.action != Action::Palette && !i.action.is_held())
        .filter_map(|info| score(&plain, info).map(|s| (s, info)))
        .collect();
    // Stable: equal scores stay in the table's order.
    found.sort_by_key(|(s, _)| -s);
    let mut all: Vec<Entry> = found.into_iter().map(|(_, i)| Entry::Action(i)).collect();
    let typed = query.trim();
    if is_path(typed) {
        all.insert(0, Entry::Open(typed_path(typed)));
    } else if has_clip && typed.contains(' ') {
        if all.is_empty() {
            all.push(Entry::Nothing);
        }
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
            let meant = list.get(next).filter(|e| !matches!(e, Entry::Nothing));
            if let Some(entry) = meant {
                run(entry, out);
                return;
            }
        }
        ui.add_space(space::S);
        if list.is_empty() {
            ui.label(RichText::new(NOTHING).color(p.text_weak));
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
    if matches!(entry, Entry::Nothing) {
        return;
    }
    // First, so that an action may open a dialog of its own.
    out.send(Command::ShowDialog(None));
    match entry {
        Entry::Action(info) => out.act(info.action),
        Entry::Open(path) => out.send(Command::Open(path.clone())),
        Entry::Nothing => {}
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
        Entry::Nothing => (NOTHING.to_owned(), "", String::new()),
        Entry::Ground(phrase) => (format!("Find “{phrase}” in this frame"), "", String::new()),
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
            Entry::Open(_) | Entry::Ground(_) | Entry::Nothing => None,
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
        assert!(matches!(
            entries("\"/a/b c.mp4\"", true).first(),
            Some(Entry::Open(path)) if path.as_path() == std::path::Path::new("/a/b c.mp4")
        ));
        let list = entries("the red ball", true);
        assert!(matches!(list.last(), Some(Entry::Ground(_))));
    }

    /// "change keys" and Enter ran the model and made an object.
    #[test]
    fn enter_alone_never_runs_the_model() {
        for phrase in ["change keys", "the red ball", "a dog", "no such thing"] {
            let list = entries(phrase, true);
            assert!(!matches!(list.first(), Some(Entry::Ground(_))), "{phrase}");
            assert!(matches!(list.last(), Some(Entry::Ground(p)) if p == phrase));
        }
        // What scattered letters spell is no action that was meant.
        assert!(matches!(
            entries("a dog", true)[..],
            [Entry::Nothing, Entry::Ground(_)]
        ));
    }

    #[test]
    fn other_words_for_an_action_find_it() {
        assert_eq!(first("change keys"), Some(Action::Keys));
        assert_eq!(first("import"), Some(Action::ImportDataset));
        assert_eq!(first("import davis"), Some(Action::ImportDataset));
        assert_eq!(first("save as"), Some(Action::SaveElsewhere));
    }
}
