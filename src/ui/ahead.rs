//! Keys that are typed ahead of a text field: between the key that asks for the field and the moment it has the keyboard,
//! in the same frame or some later, what is typed is meant for the field. It is held back and handed on in order, and is
//! no shortcut meanwhile. Part of `logic`.

use egui::{Event, Id, Key};

use super::{
    actions::Action,
    app::App,
    keymap::Keymap,
    panels::{rename_id, top_bar::phrase_id},
    state::Dialog,
};

/// A field that does not come within so many frames is not there.
const PATIENCE: u32 = 10;

/// A text field that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Phrase,
    Rename,
    /// Of the dialog that opens; who had the keyboard before.
    Dialog {
        before: Option<Id>,
    },
}

/// What is typed for a field on its way.
#[derive(Debug)]
pub(super) struct Ahead {
    field: Field,
    events: Vec<Event>,
    frames: u32,
}

impl Ahead {
    pub(super) fn of(field: Field) -> Self {
        Self {
            field,
            events: Vec::new(),
            frames: 0,
        }
    }

    pub(super) fn hold(&mut self, events: Vec<Event>) {
        self.events.extend(events);
    }

    fn has_come(&self, ctx: &egui::Context) -> bool {
        let focused = ctx.memory(|m| m.focused());
        match self.field {
            Field::Phrase => focused == Some(phrase_id()),
            Field::Rename => focused == Some(rename_id()),
            Field::Dialog { before } => focused != before && ctx.text_edit_focused(),
        }
    }
}

/// Whether an event is one of the keyboard's that a text field takes. Keys that are let go are everybody's.
fn is_typed(event: &Event) -> bool {
    match event {
        Event::Key { pressed, .. } => *pressed,
        Event::Text(_) | Event::Paste(_) | Event::Copy | Event::Cut => true,
        _ => false,
    }
}

fn take_typed(events: &mut Vec<Event>, from: usize) -> Vec<Event> {
    let later = events.split_off(from.min(events.len()));
    let (typed, others) = later.into_iter().partition(is_typed);
    events.extend(others);
    typed
}

/// Takes what is typed behind the first key of an action that `opens` a text field out of a frame's events.
pub(super) fn split_off(
    events: &mut Vec<Event>,
    keymap: &Keymap,
    typing: bool,
    opens: impl Fn(Action) -> bool,
) -> Vec<Event> {
    let asks = |event: &Event| {
        let meant = keymap.meant(event, typing);
        meant.is_some_and(|(action, repeat)| !repeat && opens(action))
    };
    let Some(at) = events.iter().position(asks) else {
        return Vec::new();
    };
    // The letter that the key itself would write comes right behind it.
    let writes =
        matches!(&events[at], Event::Key { modifiers, .. } if !modifiers.command && !modifiers.alt);
    if writes && matches!(events.get(at + 1), Some(Event::Text(_))) {
        events.remove(at + 1);
    }
    take_typed(events, at + 1)
}

impl App {
    /// The text field that an action will bring, as things are.
    pub(super) fn field_of(&self, ctx: &egui::Context, action: Action) -> Option<Field> {
        let has_clip = self.state.clip.is_some() && self.state.session.is_some();
        let of_dialog = || Field::Dialog {
            before: ctx.memory(|m| m.focused()),
        };
        match action {
            Action::FocusPhrase => has_clip.then_some(Field::Phrase),
            Action::RenameObject => self.state.selected_object().map(|_| Field::Rename),
            Action::GoToFrame => self.state.clip.as_ref().map(|_| of_dialog()),
            Action::SaveElsewhere => self.state.session.as_ref().map(|_| of_dialog()),
            Action::LocateVideo => {
                let session = self.state.session.as_ref();
                session.and_then(|s| s.path()).map(|_| of_dialog())
            }
            Action::Palette | Action::Keys | Action::Words => Some(of_dialog()),
            _ => None,
        }
    }

    /// Holds what is typed for a field on its way, or hands it on once the field has the keyboard; whether the keys are the
    /// field's still.
    pub(super) fn hold_keys(&mut self, ctx: &egui::Context) -> bool {
        let Some(mut ahead) = self.services.ahead.take() else {
            return false;
        };
        let mut typed = ctx.input_mut(|i| take_typed(&mut i.events, 0));
        let is_escape = |e: &Event| {
            matches!(
                e,
                Event::Key {
                    key: Key::Escape,
                    ..
                }
            )
        };
        if ahead.events.iter().chain(&typed).any(is_escape) {
            self.call_off(ctx, ahead.field);
            return true;
        }
        if ahead.has_come(ctx) {
            ahead.events.append(&mut typed);
            // The pointer's events stay as they are: between the two there is no order to keep.
            ctx.input_mut(|i| i.events.extend(ahead.events));
            return false;
        }
        ahead.hold(typed);
        ahead.frames += 1;
        if ahead.frames < PATIENCE {
            self.services.ahead = Some(ahead);
        }
        ctx.request_repaint();
        true
    }

    /// Whoever presses Esc does not want the field any more, nor what was typed for it.
    fn call_off(&mut self, ctx: &egui::Context, field: Field) {
        match field {
            Field::Phrase => self.state.focus_phrase = false,
            Field::Rename => self.state.renaming = None,
            Field::Dialog { .. } => {
                self.state
                    .dialog
                    .take_if(|d| !matches!(d, Dialog::Unsaved(_)));
            }
        }
        ctx.memory_mut(|m| {
            if let Some(id) = m.focused() {
                m.surrender_focus(id);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use egui::Modifiers;

    use super::*;
    use crate::{
        project::{Edit, FrameIndex, FrameMask, ObjectId, Rle, Size},
        ui::{session::Session, state::Clip},
    };

    fn key(modifiers: Modifiers, key: Key) -> Event {
        Event::Key {
            key,
            physical_key: None,
            pressed: true,
            repeat: false,
            modifiers,
        }
    }

    fn letters(text: &str) -> Vec<Event> {
        let press = |c: char| {
            let name = c.to_ascii_uppercase().to_string();
            let pressed = Key::from_name(&name).map(|k| key(Modifiers::NONE, k));
            // Not let go of, it would be a key that is held the next time.
            let mut released = pressed.clone();
            if let Some(Event::Key { pressed, .. }) = &mut released {
                *pressed = false;
            }
            let text = Event::Text(c.to_string());
            pressed.into_iter().chain([text]).chain(released)
        };
        text.chars().flat_map(press).collect()
    }

    /// A window on a clip with an object that is selected and has a mask on the frame in view.
    fn with_object() -> (egui::Context, App) {
        let ctx = egui::Context::default();
        let mut app = App::without_model(&ctx);
        let size = Size::new(4, 4);
        let doc = crate::ui::fixture::document(size, 3);
        let mut object = doc.new_object("a horse");
        let rle = Rle::new(size, vec![4, 4, 8]).unwrap();
        object.frames.insert(FrameIndex(0), FrameMask::by_hand(rle));
        let wake = app.services.wake.clone();
        let mut session = Session::unsaved(doc, Vec::new(), wake);
        session.edit(Edit::add_object(object), "add").unwrap();
        app.state.selected = session.doc.objects.first().map(|o| o.id);
        app.state.session = Some(session);
        app.state.clip = Some(Clip {
            title: String::new(),
            path: "clip.mp4".into(),
            shown: None,
            shown_key: 0,
            pts_secs: 0.0,
            thumbnails: std::collections::BTreeMap::new(),
            thumbnails_wanted: Vec::new(),
            trouble: None,
            failed: std::collections::BTreeSet::new(),
        });
        (ctx, app)
    }

    /// One frame of the window.
    fn frame(ctx: &egui::Context, app: &mut App, events: Vec<Event>) {
        let input = egui::RawInput {
            screen_rect: Some(egui::Rect::from_min_size(
                egui::Pos2::ZERO,
                egui::vec2(1280.0, 720.0),
            )),
            events,
            ..egui::RawInput::default()
        };
        let mut output = ctx.run_ui(input, |ui| {
            let ctx = ui.ctx().clone();
            app.run_logic(&ctx);
            app.draw(ui);
        });
        // Nothing is drawn.
        output.textures_delta.clear();
    }

    fn mask(app: &App) -> Option<&FrameMask> {
        app.document().unwrap().mask(ObjectId(1), FrameIndex(0))
    }

    /// Backspace deleted the mask, and letters took up tools.
    #[test]
    fn what_is_typed_right_behind_the_key_for_the_phrase_is_the_phrases() {
        for asks in [
            vec![key(Modifiers::COMMAND, Key::L)],
            vec![key(Modifiers::NONE, Key::Slash), Event::Text("/".into())],
        ] {
            let (ctx, mut app) = with_object();
            frame(&ctx, &mut app, Vec::new());
            assert!(mask(&app).is_some());
            let tool = app.state.tool;
            let mut events = asks;
            events.push(key(Modifiers::NONE, Key::Backspace));
            events.extend(letters("the b"));
            frame(&ctx, &mut app, events);
            // Before the field has the keyboard.
            let mut events = letters("all");
            events.push(key(Modifiers::NONE, Key::Backspace));
            frame(&ctx, &mut app, events);
            frame(&ctx, &mut app, letters("x"));
            frame(&ctx, &mut app, Vec::new());
            assert!(mask(&app).is_some(), "a shortcut deleted it");
            assert_eq!(app.state.tool, tool);
            assert_eq!(app.state.phrase, "the balx");
        }
    }

    #[test]
    fn what_is_typed_right_behind_the_key_for_another_field_is_that_fields() {
        let (ctx, mut app) = with_object();
        frame(&ctx, &mut app, Vec::new());
        let mut events = vec![key(Modifiers::NONE, Key::F2)];
        events.extend(letters("bx"));
        frame(&ctx, &mut app, events);
        frame(&ctx, &mut app, letters("k"));
        frame(&ctx, &mut app, Vec::new());
        assert_eq!(
            app.state.renaming.as_ref().map(|(_, text)| text.as_str()),
            Some("bxk")
        );
        app.state.renaming = None;
        frame(&ctx, &mut app, Vec::new());
        for (asks, typed) in [(Key::K, "prop"), (Key::G, "12")] {
            let mut events = vec![key(Modifiers::COMMAND, asks)];
            events.push(key(Modifiers::NONE, Key::Backspace));
            events.extend(letters(typed));
            frame(&ctx, &mut app, events);
            for _ in 0..4 {
                frame(&ctx, &mut app, Vec::new());
            }
            let text = match app.state.dialog.take() {
                Some(Dialog::Palette { query, .. }) => query,
                Some(Dialog::GoToFrame { text }) => text,
                other => panic!("{asks:?}: {other:?}, {:?}", app.services.ahead),
            };
            assert_eq!(text, typed);
            frame(&ctx, &mut app, Vec::new());
        }
        assert!(mask(&app).is_some(), "a shortcut deleted it");
    }

    #[test]
    fn a_field_that_never_comes_gives_the_keys_back() {
        let (ctx, mut app) = with_object();
        app.services.ahead = Some(Ahead::of(Field::Rename));
        let mut frames = 0;
        while app.services.ahead.is_some() {
            assert!(frames < PATIENCE, "the keys are lost");
            frame(&ctx, &mut app, Vec::new());
            frames += 1;
        }
        frame(&ctx, &mut app, vec![key(Modifiers::NONE, Key::Backspace)]);
        assert!(mask(&app).is_none());
    }

    #[test]
    fn escape_calls_off_what_is_typed_ahead() {
        let (ctx, mut app) = with_object();
        frame(&ctx, &mut app, Vec::new());
        let mut events = vec![key(Modifiers::COMMAND, Key::K)];
        events.extend(letters("undo"));
        events.push(key(Modifiers::NONE, Key::Escape));
        frame(&ctx, &mut app, events);
        frame(&ctx, &mut app, Vec::new());
        frame(&ctx, &mut app, Vec::new());
        assert_eq!(app.state.dialog, None);
        assert!(mask(&app).is_some() && app.services.ahead.is_none());
    }
}
