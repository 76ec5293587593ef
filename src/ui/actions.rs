//! What a person can ask of the window without saying more: each action has a label, an explanation and keys. The same
//! table feeds buttons, tooltips, the palette and the shortcuts, so that they cannot tell different stories.
//!
//! Requests that carry data (a place, a text) are [`super::command::Command`]s.

use egui::{Key, KeyboardShortcut, Modifiers};

/// A request without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Action {
    OpenVideo,
    OpenProject,
    OpenFolder,
    ImportDataset,
    LocateVideo,
    CloseVideo,
    Export,
    SaveNow,
    SaveElsewhere,
    Undo,
    Redo,
    Palette,
    Help,
    Keys,
    Words,
    ToggleTheme,
    FocusPhrase,
    GroundHere,
    GroundClip,
    EmitAgain,
    PropagateForward,
    PropagateBackward,
    PropagateBoth,
    Stop,
    NextFrame,
    PreviousFrame,
    JumpForward,
    JumpBack,
    FirstFrame,
    LastFrame,
    PlayPause,
    NextAnchor,
    PreviousAnchor,
    NextLook,
    PreviousLook,
    WorstLook,
    GoToFrame,
    ToolSelect,
    ToolBox,
    ToolPoints,
    ToolPolygon,
    ToolBrush,
    ToolEraser,
    ToolPan,
    BrushSmaller,
    BrushLarger,
    FinishPrompt,
    AcceptFrame,
    NotHere,
    NotInRange,
    KeepNew,
    TakeBack,
    DeleteMask,
    DeleteInRange,
    DeleteObject,
    RenameObject,
    NewObject,
    MergeObject,
    SplitObject,
    ObjectUp,
    ObjectDown,
    LockObject,
    ShowObject,
    ToggleProposals,
    ToggleHeat,
    Fit,
    ZoomIn,
    ZoomOut,
    RangeStart,
    RangeEnd,
    ClearRange,
    WholeClip,
    HideMasks,
    Compare,
    DebugOverlay,
}

/// Where an action belongs in the palette and the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Group {
    File,
    Ground,
    Frames,
    Tools,
    Objects,
    View,
}

impl Group {
    pub(crate) const ALL: [Self; 6] = [
        Self::Ground,
        Self::Frames,
        Self::Tools,
        Self::Objects,
        Self::View,
        Self::File,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Ground => "Ground and propagate",
            Self::Frames => "Frames",
            Self::Tools => "Tools",
            Self::Objects => "Objects and masks",
            Self::View => "View",
        }
    }
}

/// What is known about an action.
pub(crate) struct Info {
    pub(crate) action: Action,
    /// Name for files of settings; never changes.
    pub(crate) id: &'static str,
    pub(crate) group: Group,
    /// On buttons and in the palette.
    pub(crate) label: &'static str,
    /// One sentence.
    pub(crate) about: &'static str,
    /// Keys out of the box, the first one is shown.
    pub(crate) keys: &'static [KeyboardShortcut],
}

const NONE: Modifiers = Modifiers::NONE;
const SHIFT: Modifiers = Modifiers::SHIFT;
const ALT: Modifiers = Modifiers::ALT;
const CTRL: Modifiers = Modifiers::COMMAND;
const CTRL_SHIFT: Modifiers = Modifiers {
    shift: true,
    ..Modifiers::COMMAND
};

const fn key(modifiers: Modifiers, logical_key: Key) -> KeyboardShortcut {
    KeyboardShortcut {
        modifiers,
        logical_key,
    }
}

macro_rules! actions {
    ($($action:ident, $id:literal, $group:ident, $label:literal, $about:literal, [$($key:expr),*];)*) => {
        /// Every action, in the order of the palette.
        pub(crate) const ACTIONS: &[Info] = &[$(Info {
            action: Action::$action,
            id: $id,
            group: Group::$group,
            label: $label,
            about: $about,
            keys: &[$($key),*],
        }),*];
    };
}

actions! {
    FocusPhrase, "focus-phrase", Ground, "Type a phrase", "Say what to find.", [key(NONE, Key::Slash), key(CTRL, Key::L)];
    GroundHere, "ground-here", Ground, "Ground on this frame", "Find the phrase on the frame in view.", [];
    GroundClip, "ground-clip", Ground, "Ground and track through the clip", "Find the phrase here, then carry the masks to every other frame.", [key(CTRL, Key::Enter)];
    EmitAgain, "emit-again", Ground, "Emit again here", "Run the language model once more on this frame, with the drawn boxes and, if switched on, the anchors as TSF tokens.", [key(NONE, Key::G)];
    PropagateForward, "propagate-forward", Ground, "Propagate forward", "Carry masks from here to later frames. Anchors stay as they are.", [key(CTRL, Key::ArrowRight)];
    PropagateBackward, "propagate-backward", Ground, "Propagate backward", "Carry masks from here to earlier frames. Anchors stay as they are.", [key(CTRL, Key::ArrowLeft)];
    PropagateBoth, "propagate-both", Ground, "Propagate both ways", "Carry masks to all frames, each from its nearest anchors.", [key(CTRL, Key::P)];
    Stop, "stop", Ground, "Stop", "Stop the running job and keep what it has finished. Otherwise: drop the prompt, then the selection.", [key(NONE, Key::Escape)];
    PlayPause, "play-pause", Frames, "Play or pause", "Play the clip, with a range round and round in it. Held and dragged, the key pans the canvas.", [key(NONE, Key::Space)];
    NextFrame, "next-frame", Frames, "Next frame", "One frame forward.", [key(NONE, Key::ArrowRight), key(NONE, Key::D)];
    PreviousFrame, "previous-frame", Frames, "Previous frame", "One frame back.", [key(NONE, Key::ArrowLeft), key(NONE, Key::A)];
    JumpForward, "jump-forward", Frames, "Ten frames forward", "Ten frames forward.", [key(SHIFT, Key::ArrowRight), key(SHIFT, Key::D)];
    JumpBack, "jump-back", Frames, "Ten frames back", "Ten frames back.", [key(SHIFT, Key::ArrowLeft), key(SHIFT, Key::A)];
    FirstFrame, "first-frame", Frames, "First frame", "To the start of the clip.", [key(NONE, Key::Home)];
    LastFrame, "last-frame", Frames, "Last frame", "To the end of the clip.", [key(NONE, Key::End)];
    NextAnchor, "next-anchor", Frames, "Next anchor", "To the next frame that a person made or accepted.", [key(NONE, Key::Period)];
    PreviousAnchor, "previous-anchor", Frames, "Previous anchor", "To the previous frame that a person made or accepted.", [key(NONE, Key::Comma)];
    NextLook, "next-look", Frames, "Next stretch worth a look", "To the start of the next stretch of frames where a mask may have drifted.", [key(NONE, Key::N)];
    PreviousLook, "previous-look", Frames, "Previous stretch worth a look", "To the start of the previous stretch of frames where a mask may have drifted.", [key(SHIFT, Key::N)];
    WorstLook, "worst-look", Frames, "Worst frame", "To the mask that shows the strongest signs of drift.", [key(CTRL_SHIFT, Key::N)];
    GoToFrame, "go-to-frame", Frames, "Go to frame…", "Type a frame number.", [key(CTRL, Key::G)];
    WholeClip, "whole-clip", Frames, "Whole clip", "Show all frames on the timeline again.", [key(SHIFT, Key::F)];
    RangeStart, "range-start", Frames, "Range starts here", "Propagation begins at this frame.", [key(NONE, Key::I)];
    RangeEnd, "range-end", Frames, "Range ends here", "Propagation ends at this frame.", [key(NONE, Key::O)];
    ClearRange, "range-clear", Frames, "Clear the range", "Propagation covers the whole clip again.", [key(SHIFT, Key::I)];
    ToolSelect, "tool-select", Tools, "Select", "Choose objects and proposals on the canvas.", [key(NONE, Key::V)];
    ToolBox, "tool-box", Tools, "Box", "Draw a box: one more proposal scored by the same head, or the outline of an object.", [key(NONE, Key::R)];
    ToolPoints, "tool-points", Tools, "Points", "Click what belongs to the object; right-click or Alt+click what does not.", [key(NONE, Key::Q)];
    ToolPolygon, "tool-polygon", Tools, "Polygon", "Click the corners; a double click or the first corner closes it. Right-click takes a corner back.", [key(NONE, Key::P)];
    ToolBrush, "tool-brush", Tools, "Brush", "Paint the mask. Each stroke makes this frame an anchor.", [key(NONE, Key::B)];
    ToolEraser, "tool-eraser", Tools, "Eraser", "Take pixels out of the mask. Each stroke makes this frame an anchor.", [key(NONE, Key::X)];
    ToolPan, "tool-pan", Tools, "Pan", "Drag the picture. The middle button or Space does it in every tool.", [key(SHIFT, Key::V)];
    BrushSmaller, "brush-smaller", Tools, "Smaller brush", "Brush and eraser get smaller.", [key(NONE, Key::OpenBracket)];
    BrushLarger, "brush-larger", Tools, "Larger brush", "Brush and eraser get larger.", [key(NONE, Key::CloseBracket)];
    FinishPrompt, "finish-prompt", Tools, "Finish the object", "Keep the mask that the clicks made; the next click or box here begins another object. Or close the polygon.", [key(NONE, Key::Enter)];
    AcceptFrame, "accept-frame", Objects, "Accept as anchor", "Vouch for the selected object's mask on this frame: no model changes it any more. Again takes it back: then a propagation may go over it.", [key(NONE, Key::K)];
    NotHere, "not-here", Objects, "Not on this frame", "Say that the selected object is not to be seen on this frame: no propagation fills it. Again takes it back.", [key(NONE, Key::E)];
    NotInRange, "not-in-range", Objects, "Not in this range", "Say that the selected object is not to be seen in the range. Masks that you made or accepted stay; again takes it back.", [key(SHIFT, Key::E)];
    KeepNew, "keep-new", Objects, "Keep the new masks", "Let go of the masks that the model's last step replaced. Undo still brings them back.", [key(SHIFT, Key::K)];
    TakeBack, "take-back", Objects, "Take the step back", "Put the masks back that the model's last step replaced.", [];
    Compare, "compare", Objects, "Compare with before", "While the key is held: the masks that the model's last step replaced.", [key(NONE, Key::C)];
    DeleteMask, "delete-mask", Objects, "Delete this frame's mask", "Remove the selected object's mask on this frame only.", [key(NONE, Key::Delete), key(NONE, Key::Backspace)];
    DeleteInRange, "delete-in-range", Objects, "Delete masks in the range", "Remove the selected object's masks in the range, but for those that you made or accepted.", [key(CTRL, Key::Delete)];
    DeleteObject, "delete-object", Objects, "Delete object…", "Remove the selected object with all its masks. Asks first.", [key(SHIFT, Key::Delete)];
    RenameObject, "rename-object", Objects, "Rename object", "Change the selected object's name.", [key(NONE, Key::F2)];
    NewObject, "new-object", Objects, "New object", "Start an object without a phrase; click, box or paint it.", [key(CTRL, Key::N)];
    MergeObject, "merge-object", Objects, "Merge into another object…", "The next click on another object, in the list or on the canvas, joins the selected one's masks into it.", [key(NONE, Key::M)];
    SplitObject, "split-object", Objects, "Split here", "Give the selected object's masks from this frame on to a new object.", [key(ALT, Key::M)];
    ObjectUp, "object-up", Objects, "Move object up", "One place up in the list, as dragging does. Where masks overlap, a DAVIS export gives the pixels to the later object.", [key(ALT, Key::ArrowUp)];
    ObjectDown, "object-down", Objects, "Move object down", "One place down in the list, as dragging does. Where masks overlap, a DAVIS export gives the pixels to the later object.", [key(ALT, Key::ArrowDown)];
    LockObject, "lock-object", Objects, "Lock or unlock", "Locked objects are untouched by propagation.", [key(NONE, Key::L)];
    ShowObject, "show-object", Objects, "Show or hide object", "Show or hide the selected object.", [key(SHIFT, Key::H)];
    ToggleProposals, "toggle-proposals", View, "Proposals on the frame", "Show or hide the boxes that the proposer offered.", [key(NONE, Key::T)];
    HideMasks, "hide-masks", View, "Hide the masks", "While the key is held: the picture alone.", [key(NONE, Key::H)];
    ToggleHeat, "toggle-heat", View, "Objectness heat map", "Show where the proposer saw objects, whatever the phrase.", [key(SHIFT, Key::T)];
    Fit, "fit", View, "Fit to window", "Show the whole frame.", [key(CTRL, Key::F), key(NONE, Key::F)];
    ZoomIn, "zoom-in", View, "Zoom in", "Closer, around the middle of the canvas.", [key(NONE, Key::Plus), key(NONE, Key::Equals)];
    ZoomOut, "zoom-out", View, "Zoom out", "Farther, around the middle of the canvas.", [key(NONE, Key::Minus)];
    ToggleTheme, "toggle-theme", View, "Dark or light", "Switch between the dark and the light theme.", [key(CTRL_SHIFT, Key::L)];
    DebugOverlay, "debug-overlay", View, "Frame times", "Show how long the window takes per frame.", [key(NONE, Key::F12)];
    OpenVideo, "open-video", File, "Open video…", "Open a video file.", [key(CTRL, Key::O)];
    OpenFolder, "open-folder", File, "Open image folder…", "Open a folder of numbered images as a clip.", [key(CTRL_SHIFT, Key::O)];
    OpenProject, "open-project", File, "Open project…", "Open a Sparrow project with its masks.", [];
    ImportDataset, "import-dataset", File, "Import a dataset…", "Make a project of a dataset: COCO, DAVIS, mattes, MeViS or YouTube-VIS.", [];
    LocateVideo, "locate-video", File, "Locate the video…", "Say where the video of the open project is, or show the project on another one.", [];
    CloseVideo, "close-video", File, "Back to the start page", "Close the clip; everything is saved already.", [key(CTRL, Key::W)];
    Export, "export", File, "Export…", "Write the masks as a dataset.", [key(CTRL, Key::E)];
    SaveNow, "save", File, "Save", "Everything is saved as you work; this says where.", [key(CTRL, Key::S)];
    SaveElsewhere, "save-elsewhere", File, "Save elsewhere…", "Go on in a project file at another place, with everything up to here.", [key(CTRL_SHIFT, Key::S)];
    Undo, "undo", File, "Undo", "Take the last step back.", [key(CTRL, Key::Z)];
    Redo, "redo", File, "Redo", "Make the step again.", [key(CTRL_SHIFT, Key::Z), key(CTRL, Key::Y)];
    Palette, "palette", File, "All commands…", "Search everything Sparrow can do.", [key(CTRL, Key::K)];
    Words, "words", File, "Known words…", "List the words that the model knows.", [];
    Keys, "keys", File, "Keyboard shortcuts…", "See and change the keys.", [];
    Help, "help", File, "Help", "The first steps, and all keys.", [key(NONE, Key::F1)];
}

impl Action {
    /// What is known about the action.
    pub(crate) fn info(self) -> &'static Info {
        ACTIONS
            .iter()
            .find(|info| info.action == self)
            .expect("a test makes sure that every action has its line")
    }

    /// Whether it lasts as long as its key is held, rather than being done once.
    pub(crate) fn is_held(self) -> bool {
        matches!(self, Self::HideMasks | Self::Compare)
    }

    /// Whether a key that is held does it again and again; everything else is done once per press.
    pub(crate) fn repeats(self) -> bool {
        matches!(
            self,
            Self::NextFrame
                | Self::PreviousFrame
                | Self::JumpForward
                | Self::JumpBack
                | Self::BrushSmaller
                | Self::BrushLarger
                | Self::ZoomIn
                | Self::ZoomOut
                | Self::Undo
                | Self::Redo
        )
    }

    /// Its label.
    pub(crate) fn label(self) -> &'static str {
        self.info().label
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_action_has_one_line_and_a_name_of_its_own() {
        let all: BTreeSet<_> = ACTIONS.iter().map(|i| i.action).collect();
        let ids: BTreeSet<_> = ACTIONS.iter().map(|i| i.id).collect();
        let labels: BTreeSet<_> = ACTIONS.iter().map(|i| i.label).collect();
        // `DebugOverlay` is the last variant: as many lines as variants.
        assert_eq!(all.len(), Action::DebugOverlay as usize + 1);
        assert_eq!(all.len(), ACTIONS.len());
        assert_eq!(ids.len(), ACTIONS.len());
        assert_eq!(labels.len(), ACTIONS.len());
    }

    #[test]
    fn no_key_means_two_things() {
        let mut seen = Vec::new();
        for info in ACTIONS {
            for shortcut in info.keys {
                assert!(
                    !seen.contains(shortcut),
                    "{:?} is given twice, also to {:?}",
                    shortcut,
                    info.action
                );
                seen.push(*shortcut);
            }
        }
    }
}
