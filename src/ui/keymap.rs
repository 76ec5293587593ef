//! Which keys mean which action: the defaults of [`super::actions`], with a person's changes on top. Reads key presses;
//! leaves doing to `logic`.

use std::collections::BTreeMap;

use egui::{Key, KeyboardShortcut, Modifiers};
use serde::{Deserialize, Serialize};

use super::actions::{ACTIONS, Action};

/// A person's changes, as they are kept: action id to keys as text ("Ctrl+Shift+Z").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct KeyChanges(pub(crate) BTreeMap<String, Vec<String>>);

/// The keys in force.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Keymap {
    keys: BTreeMap<Action, Vec<KeyboardShortcut>>,
}

impl Default for Keymap {
    fn default() -> Self {
        let keys = ACTIONS
            .iter()
            .map(|info| (info.action, info.keys.to_vec()))
            .collect();
        Self { keys }
    }
}

impl Keymap {
    /// The defaults with a person's changes. Changes that name no action or no key are left out.
    pub(crate) fn with_changes(changes: &KeyChanges) -> Self {
        let mut map = Self::default();
        for info in ACTIONS {
            if let Some(texts) = changes.0.get(info.id) {
                let keys: Vec<_> = texts.iter().filter_map(|t| parse(t)).collect();
                // An action that came with a later version may bring a key that a person had given away before.
                for (action, held) in &mut map.keys {
                    if !changes.0.contains_key(action.info().id) {
                        held.retain(|k| !keys.contains(k));
                    }
                }
                map.keys.insert(info.action, keys);
            }
        }
        map
    }

    /// Where the map differs from the defaults.
    pub(crate) fn changes(&self) -> KeyChanges {
        let changed = ACTIONS.iter().filter_map(|info| {
            let keys = self.keys.get(&info.action)?;
            (keys.as_slice() != info.keys)
                .then(|| (info.id.to_owned(), keys.iter().map(text).collect()))
        });
        KeyChanges(changed.collect())
    }

    /// The keys of an action.
    pub(crate) fn keys(&self, action: Action) -> &[KeyboardShortcut] {
        self.keys.get(&action).map_or(&[], Vec::as_slice)
    }

    /// The first key of an action, to be shown ("Ctrl+K"); empty if it has none.
    pub(crate) fn shown(&self, action: Action) -> String {
        self.keys(action).first().map(text).unwrap_or_default()
    }

    /// All keys of an action, to be shown ("→, D"); empty if it has none.
    pub(crate) fn shown_all(&self, action: Action) -> String {
        let keys: Vec<String> = self.keys(action).iter().map(text).collect();
        keys.join(", ")
    }

    /// The first key of an action in brackets, to stand behind a word (" (K)"); empty if it has none.
    pub(crate) fn in_brackets(&self, action: Action) -> String {
        match self.shown(action) {
            key if key.is_empty() => key,
            key => format!(" ({key})"),
        }
    }

    /// The action that a shortcut belongs to.
    pub(crate) fn action(&self, shortcut: KeyboardShortcut) -> Option<Action> {
        self.keys
            .iter()
            .find(|(_, keys)| keys.contains(&shortcut))
            .map(|(&action, _)| action)
    }

    /// Gives a key to an action, and takes it from whoever had it; returns that one.
    pub(crate) fn rebind(&mut self, action: Action, shortcut: KeyboardShortcut) -> Option<Action> {
        let before = self.action(shortcut).filter(|&other| other != action);
        for keys in self.keys.values_mut() {
            keys.retain(|k| *k != shortcut);
        }
        self.keys.entry(action).or_default().insert(0, shortcut);
        self.keys.entry(action).or_default().truncate(2);
        before
    }

    /// Gives an action these keys and no others, and takes them from whoever had them.
    pub(crate) fn assign(&mut self, action: Action, keys: Vec<KeyboardShortcut>) {
        for held in self.keys.values_mut() {
            held.retain(|k| !keys.contains(k));
        }
        self.keys.insert(action, keys);
    }

    /// The default keys again.
    pub(crate) fn reset(&mut self, action: Action) {
        self.assign(action, action.info().keys.to_vec());
    }

    /// Whether a key of the action is down.
    pub(crate) fn is_down(&self, input: &egui::InputState, action: Action) -> bool {
        self.keys(action)
            .iter()
            .any(|k| input.key_down(k.logical_key) && plain(input.modifiers, k.logical_key) == *k)
    }

    /// Takes the presses of known keys out of this frame's input; `typing` leaves everything to the text field but what
    /// has Ctrl in it, and function keys. Repeats of a held key are taken as well, and count only for actions that
    /// [repeat](Action::repeats).
    pub(crate) fn pressed(&self, input: &mut egui::InputState, typing: bool) -> Vec<Action> {
        let mut found = Vec::new();
        input.events.retain(|event| {
            let Some((action, repeat)) = self.meant(event, typing) else {
                return true;
            };
            // A key that is held acts while it is down, and means nothing else meanwhile.
            if !action.is_held() && (!repeat || action.repeats()) {
                found.push(action);
            }
            false
        });
        found
    }

    /// The action whose key an event presses, and whether that is held, unless a text field keeps the key while `typing`.
    pub(crate) fn meant(&self, event: &egui::Event, typing: bool) -> Option<(Action, bool)> {
        let egui::Event::Key {
            key,
            pressed: true,
            repeat,
            modifiers,
            ..
        } = event
        else {
            return None;
        };
        let shortcut = plain(*modifiers, *key);
        let action = self.action(shortcut)?;
        // Ctrl with letters that text fields use themselves stays theirs.
        let of_text = matches!(
            key,
            Key::A
                | Key::C
                | Key::V
                | Key::X
                | Key::Z
                | Key::Y
                | Key::ArrowLeft
                | Key::ArrowRight
                | Key::Enter
                | Key::Backspace
                | Key::Delete
        );
        let function = matches!(key, Key::F1 | Key::F12);
        let mine = !typing || function || (shortcut.modifiers.command && !of_text);
        mine.then_some((action, *repeat))
    }
}

/// Whether a key only changes what others mean: pressed by itself it is no shortcut yet.
pub(crate) fn is_modifier(key: Key) -> bool {
    [
        "Shift", "Control", "Alt", "Super", "Meta", "CapsLock", "NumLock",
    ]
    .iter()
    .any(|name| key.name().starts_with(name))
}

/// A shortcut as it is compared: Ctrl or Cmd, Shift, Alt.
pub(crate) fn plain(modifiers: Modifiers, key: Key) -> KeyboardShortcut {
    let mut m = Modifiers::NONE;
    m.shift = modifiers.shift;
    m.alt = modifiers.alt;
    if modifiers.command || modifiers.ctrl {
        m = Modifiers {
            shift: m.shift,
            alt: m.alt,
            ..Modifiers::COMMAND
        };
    }
    // The plus key needs Shift on most keyboards, which is no part of what is meant.
    if key == Key::Plus {
        m.shift = false;
    }
    KeyboardShortcut::new(m, key)
}

/// A shortcut in words: "Ctrl+Shift+Z".
pub(crate) fn text(shortcut: &KeyboardShortcut) -> String {
    let m = shortcut.modifiers;
    let mut out = String::new();
    for (held, name) in [(m.command, "Ctrl+"), (m.shift, "Shift+"), (m.alt, "Alt+")] {
        if held {
            out.push_str(name);
        }
    }
    out.push_str(match shortcut.logical_key {
        Key::ArrowRight => "→",
        Key::ArrowLeft => "←",
        Key::ArrowUp => "↑",
        Key::ArrowDown => "↓",
        Key::Escape => "Esc",
        Key::OpenBracket => "[",
        Key::CloseBracket => "]",
        Key::Slash => "/",
        Key::Period => ".",
        Key::Comma => ",",
        Key::Plus => "+",
        Key::Minus => "-",
        Key::Equals => "=",
        other => other.name(),
    });
    out
}

fn parse(text: &str) -> Option<KeyboardShortcut> {
    let mut m = Modifiers::NONE;
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix("Ctrl+") {
            m = Modifiers {
                shift: m.shift,
                alt: m.alt,
                ..Modifiers::COMMAND
            };
            rest = after;
        } else if let Some(after) = rest.strip_prefix("Shift+") {
            m.shift = true;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("Alt+") {
            m.alt = true;
            rest = after;
        } else {
            break;
        }
    }
    let key = match rest {
        "→" => Key::ArrowRight,
        "←" => Key::ArrowLeft,
        "↑" => Key::ArrowUp,
        "↓" => Key::ArrowDown,
        "Esc" => Key::Escape,
        "[" => Key::OpenBracket,
        "]" => Key::CloseBracket,
        "/" => Key::Slash,
        "." => Key::Period,
        "," => Key::Comma,
        "+" => Key::Plus,
        "-" => Key::Minus,
        "=" => Key::Equals,
        other => Key::from_name(other)?,
    };
    Some(KeyboardShortcut::new(m, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_given_away_before_an_action_came_with_it_stays_given_away() {
        let saved = KeyChanges(BTreeMap::from([("jump-back".into(), vec!["C".into()])]));
        let map = Keymap::with_changes(&saved);
        assert_eq!(map.action(parse("C").unwrap()), Some(Action::JumpBack));
        assert!(map.keys(Action::Compare).is_empty());
    }

    #[test]
    fn modifiers_alone_are_no_shortcut() {
        for key in Key::ALL.iter().filter(|k| k.name().contains("Shift")) {
            assert!(is_modifier(*key), "{key:?}");
        }
        assert!(!is_modifier(Key::S) && !is_modifier(Key::Space) && !is_modifier(Key::A));
    }

    #[test]
    fn a_held_key_means_nothing_else_and_is_done_by_no_press() {
        let mut map = Keymap::default();
        map.assign(Action::HideMasks, vec![parse("1").unwrap()]);
        let mut input = egui::InputState::default();
        input.events.push(egui::Event::Key {
            key: Key::Num1,
            physical_key: None,
            pressed: true,
            repeat: false,
            modifiers: Modifiers::NONE,
        });
        assert!(map.pressed(&mut input, false).is_empty());
        assert!(input.events.is_empty());
    }

    #[test]
    fn a_key_that_is_held_steps_on_but_does_everything_else_once() {
        let map = Keymap::default();
        let held = |key| {
            let mut input = egui::InputState::default();
            for repeat in [false, true, true] {
                input.events.push(egui::Event::Key {
                    key,
                    physical_key: None,
                    pressed: true,
                    repeat,
                    modifiers: Modifiers::NONE,
                });
            }
            let found = map.pressed(&mut input, false);
            assert!(input.events.is_empty(), "repeats are taken as well");
            found
        };
        assert_eq!(held(Key::ArrowRight), [Action::NextFrame; 3]);
        assert_eq!(held(Key::CloseBracket), [Action::BrushLarger; 3]);
        assert_eq!(held(Key::K), [Action::AcceptFrame]);
        assert_eq!(held(Key::Escape), [Action::Stop]);
        assert_eq!(held(Key::Space), [Action::PlayPause]);
    }

    #[test]
    fn every_default_key_survives_being_written_and_read() {
        for info in ACTIONS {
            for shortcut in info.keys {
                assert_eq!(parse(&text(shortcut)), Some(*shortcut), "{shortcut:?}");
            }
        }
        assert_eq!(parse("Ctrl+Nonsense"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_key_given_to_another_action_is_taken_from_the_first() {
        let mut map = Keymap::default();
        let n = plain(Modifiers::NONE, Key::N);
        assert_eq!(map.rebind(Action::Fit, n), Some(Action::NextLook));
        assert_eq!(map.action(n), Some(Action::Fit));
        assert!(map.keys(Action::NextLook).is_empty());
        let again = Keymap::with_changes(&map.changes());
        assert_eq!(again, map);
        map.reset(Action::NextLook);
        assert_eq!(map.action(n), Some(Action::NextLook));
    }
}
