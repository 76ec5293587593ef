//! Key presses between two drawings, keys that are held, and changing what keys mean. Part of `logic`; which key means what
//! is [`super::keymap`]'s.

use egui::{Key, Modifiers};

use super::{
    actions::Action,
    ahead,
    app::App,
    keymap::plain,
    presets::Preset,
    state::{Dialog, Weight},
};

impl App {
    /// Key presses that mean actions, and keys that are held.
    pub(super) fn keys(&mut self, ctx: &egui::Context) {
        if let Some(Dialog::Keys {
            waiting: Some(_), ..
        }) = &self.state.dialog
        {
            return;
        }
        if self.hold_keys(ctx) {
            self.state.masks_hidden = false;
            self.state.comparing = false;
            return;
        }
        let typing = ctx.text_edit_focused();
        let focused = ctx.memory(|m| m.focused().is_some());
        let keymap = self.state.keymap.clone();
        let dialog = self.state.dialog.is_some() || egui::Popup::is_any_open(ctx);
        let mut pressed = Vec::new();
        let mut space_released = false;
        let mut number = None;
        let mut events = ctx.input_mut(|input| std::mem::take(&mut input.events));
        let ahead = if dialog {
            Vec::new()
        } else {
            let opens = |action| self.field_of(ctx, action).is_some();
            ahead::split_off(&mut events, &keymap, typing, opens)
        };
        ctx.input_mut(|input| {
            input.events = events;
            // Held, Enter and Space press a button once, not also the one of the dialog that this brings.
            input.events.retain(|e| {
                typing
                    || !matches!(
                        e,
                        egui::Event::Key {
                            key: Key::Space | Key::Enter,
                            pressed: true,
                            repeat: true,
                            ..
                        }
                    )
            });
            // A focused button keeps Space and Enter; a focused slider keeps the arrows.
            let kept: Vec<egui::Event> = if focused && !typing {
                let keep = |e: &egui::Event| {
                    matches!(
                        e,
                        egui::Event::Key {
                            key: Key::Space
                                | Key::Enter
                                | Key::ArrowLeft
                                | Key::ArrowRight
                                | Key::ArrowUp
                                | Key::ArrowDown,
                            modifiers: Modifiers::NONE,
                            ..
                        }
                    )
                };
                let (kept, rest) = std::mem::take(&mut input.events)
                    .into_iter()
                    .partition(keep);
                input.events = rest;
                kept
            } else {
                Vec::new()
            };
            if !dialog {
                pressed = keymap.pressed(input, typing);
            }
            if !typing && !dialog {
                for event in &input.events {
                    if let egui::Event::Key {
                        key,
                        pressed,
                        repeat: false,
                        modifiers: Modifiers::NONE,
                        ..
                    } = event
                    {
                        if *key == Key::Space && !pressed {
                            space_released = true;
                        }
                        if *pressed {
                            number = number.or(digit(*key));
                        }
                    }
                }
            }
            input.events.extend(kept);
        });
        let held = |action| !typing && !dialog && ctx.input(|i| keymap.is_down(i, action));
        self.state.masks_hidden = held(Action::HideMasks);
        let compare = held(Action::Compare);
        let reviewed = self.state.session.as_ref().and_then(|s| s.review());
        self.state.comparing = reviewed.is_some() && (compare || self.state.compare_held);
        let space = plain(Modifiers::NONE, Key::Space);
        for action in pressed {
            let by_space = action == Action::PlayPause && keymap.keys(action).contains(&space);
            if by_space && ctx.input(|i| i.key_down(Key::Space)) {
                // Acts on release, unless the key was held to pan meanwhile.
                self.services.space_pending = true;
            } else {
                self.act(ctx, action);
            }
        }
        if let Some(field) = &mut self.services.ahead {
            field.hold(ahead);
        }
        if space_released && std::mem::take(&mut self.services.space_pending) {
            self.act(ctx, Action::PlayPause);
        }
        if let (Some(n), Some(session)) = (number, &self.state.session)
            && let Some(object) = session.doc.objects.get(n)
        {
            let id = object.id;
            self.choose_object(Some(id));
        }
    }

    pub(super) fn rebind(&mut self, action: Action, shortcut: egui::KeyboardShortcut) {
        if let Some(loser) = self.state.keymap.rebind(action, shortcut) {
            let text = format!(
                "{} now means “{}”; “{}” no longer has this key.",
                super::keymap::text(&shortcut),
                action.label(),
                loser.label()
            );
            self.say(Weight::Look, text);
        }
        self.keep_keys();
    }

    pub(super) fn use_preset(&mut self, preset: Preset) {
        self.state.keymap = preset.keymap();
        self.keep_keys();
    }

    pub(super) fn keep_keys(&mut self) {
        self.state.settings.keys = self.state.keymap.changes();
        self.services.settings.save(&self.state.settings);
    }
}

/// Place of a digit key's object in the list, from 0.
fn digit(key: Key) -> Option<usize> {
    const DIGITS: [Key; 9] = [
        Key::Num1,
        Key::Num2,
        Key::Num3,
        Key::Num4,
        Key::Num5,
        Key::Num6,
        Key::Num7,
        Key::Num8,
        Key::Num9,
    ];
    DIGITS.iter().position(|k| *k == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{task::Request, ui::state::JobKind};

    /// What was asked next would be answered from the clip before.
    #[test]
    fn handing_over_a_clip_cannot_be_stopped() {
        let ctx = egui::Context::default();
        let mut app = App::without_model(&ctx);
        app.state.jobs.clear();
        let path = "clip.mp4".to_owned();
        let clip = app.submit(Request::OpenClip { path }, JobKind::OpenClip);
        app.act(&ctx, Action::Stop);
        app.stop_job(clip.unwrap());
        assert!(!app.state.jobs[0].stopping);
        let (model, device) = ("nano".to_owned(), "cpu".to_owned());
        let load = Request::LoadModel { model, device };
        app.submit(load, JobKind::LoadModel);
        app.act(&ctx, Action::Stop);
        assert!(!app.state.jobs[1].stopping, "a model has its own button");
        let load = app.state.jobs[1].id;
        app.stop_job(load);
        assert!(app.state.jobs[1].stopping);
    }
}
