//! Keys as people know them from other tools: for each tool, which of our actions get its keys. What stands nowhere here
//! keeps Sparrow's own key unless another action has taken it. Leaves reading presses to [`super::keymap`].

use egui::{Key, KeyboardShortcut, Modifiers};

use super::{actions::Action, keymap::Keymap};

/// Whose keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preset {
    Sparrow,
    Cvat,
    AnyLabeling,
    Cutie,
}

const NONE: Modifiers = Modifiers::NONE;
const SHIFT: Modifiers = Modifiers::SHIFT;
const ALT: Modifiers = Modifiers::ALT;
const CTRL: Modifiers = Modifiers::COMMAND;
const CTRL_SHIFT: Modifiers = Modifiers {
    shift: true,
    ..Modifiers::COMMAND
};

const CVAT: &[(Action, &[(Modifiers, Key)])] = &[
    (
        Action::NextFrame,
        &[(NONE, Key::F), (NONE, Key::ArrowRight)],
    ),
    (
        Action::PreviousFrame,
        &[(NONE, Key::D), (NONE, Key::ArrowLeft)],
    ),
    (Action::JumpForward, &[(NONE, Key::V)]),
    (Action::JumpBack, &[(NONE, Key::C)]),
    (Action::Compare, &[(SHIFT, Key::C)]),
    (Action::NextAnchor, &[(NONE, Key::R)]),
    (Action::PreviousAnchor, &[(NONE, Key::E)]),
    (Action::NotHere, &[(NONE, Key::O)]),
    (Action::RangeEnd, &[(SHIFT, Key::O)]),
    (Action::GoToFrame, &[(NONE, Key::Backtick)]),
    (Action::FinishPrompt, &[(NONE, Key::N), (NONE, Key::Enter)]),
    (Action::AcceptFrame, &[(NONE, Key::K)]),
    (Action::ToolBox, &[(SHIFT, Key::R)]),
    (Action::ToolSelect, &[(SHIFT, Key::S)]),
    (Action::NextLook, &[(SHIFT, Key::N)]),
    (Action::PreviousLook, &[(ALT, Key::N)]),
];

const ANY_LABELING: &[(Action, &[(Modifiers, Key)])] = &[
    (
        Action::NextFrame,
        &[(NONE, Key::D), (NONE, Key::ArrowRight)],
    ),
    (
        Action::PreviousFrame,
        &[(NONE, Key::A), (NONE, Key::ArrowLeft)],
    ),
    (Action::NextLook, &[(CTRL_SHIFT, Key::D)]),
    (Action::PreviousLook, &[(CTRL_SHIFT, Key::A)]),
    (Action::ToolBox, &[(NONE, Key::R)]),
    (Action::ToolPolygon, &[(NONE, Key::P)]),
    (Action::ToolPoints, &[(NONE, Key::Q)]),
    (Action::ToolSelect, &[(CTRL, Key::J)]),
    (Action::FinishPrompt, &[(NONE, Key::F), (NONE, Key::Enter)]),
    (Action::Stop, &[(NONE, Key::Escape), (NONE, Key::B)]),
    (Action::ToolBrush, &[(SHIFT, Key::B)]),
    (Action::PropagateForward, &[(CTRL, Key::B)]),
    (Action::Fit, &[(CTRL, Key::F)]),
];

const CUTIE: &[(Action, &[(Modifiers, Key)])] = &[
    (Action::PropagateForward, &[(NONE, Key::F)]),
    (Action::PropagateBackward, &[(NONE, Key::B)]),
    (Action::AcceptFrame, &[(NONE, Key::C)]),
    (Action::Compare, &[(SHIFT, Key::C)]),
    (
        Action::FirstFrame,
        &[(ALT, Key::ArrowLeft), (NONE, Key::Home)],
    ),
    (
        Action::LastFrame,
        &[(ALT, Key::ArrowRight), (NONE, Key::End)],
    ),
    (Action::ToolBrush, &[(SHIFT, Key::B)]),
    (Action::Fit, &[(CTRL, Key::F)]),
];

impl Preset {
    pub(crate) const ALL: [Self; 4] = [Self::Sparrow, Self::Cvat, Self::AnyLabeling, Self::Cutie];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Sparrow => "Sparrow",
            Self::Cvat => "CVAT",
            Self::AnyLabeling => "X-AnyLabeling",
            Self::Cutie => "Cutie",
        }
    }

    /// The keys.
    pub(crate) fn keymap(self) -> Keymap {
        let table = match self {
            Self::Sparrow => &[],
            Self::Cvat => CVAT,
            Self::AnyLabeling => ANY_LABELING,
            Self::Cutie => CUTIE,
        };
        let mut map = Keymap::default();
        for (action, keys) in table {
            let keys = keys
                .iter()
                .map(|&(modifiers, logical_key)| KeyboardShortcut {
                    modifiers,
                    logical_key,
                });
            map.assign(*action, keys.collect());
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ui::actions::ACTIONS;

    #[test]
    fn in_no_preset_does_a_key_mean_two_things_and_all_survive_settings() {
        for preset in Preset::ALL {
            let map = preset.keymap();
            let mut seen = BTreeMap::new();
            for info in ACTIONS {
                for key in map.keys(info.action) {
                    let name = super::super::keymap::text(key);
                    let before = seen.insert(name.clone(), info.id);
                    assert_eq!(before, None, "{name} in {}", preset.title());
                }
            }
            assert_eq!(Keymap::with_changes(&map.changes()), map, "{preset:?}");
        }
    }

    #[test]
    fn every_key_of_a_preset_is_in_force() {
        for (preset, table) in [
            (Preset::Cvat, CVAT),
            (Preset::AnyLabeling, ANY_LABELING),
            (Preset::Cutie, CUTIE),
        ] {
            let map = preset.keymap();
            for (action, keys) in table {
                assert_eq!(map.keys(*action).len(), keys.len(), "{action:?} {preset:?}");
            }
        }
    }

    #[test]
    fn no_preset_leaves_an_action_without_its_key() {
        for preset in Preset::ALL {
            let map = preset.keymap();
            for info in ACTIONS.iter().filter(|i| !i.keys.is_empty()) {
                assert!(
                    !map.keys(info.action).is_empty(),
                    "{} in {preset:?}",
                    info.id
                );
            }
        }
    }
}
