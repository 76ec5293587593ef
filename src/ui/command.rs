//! What panels ask of `logic`, with the data it takes. Panels read the state and send these; they change nothing.

use std::path::PathBuf;

use super::{
    actions::Action,
    opener::Target,
    presets::Preset,
    state::{BoxUse, CanvasView, Dialog, Sort},
    time_view::TimeView,
};
use crate::project::{BoxPx, ObjectId, PointPx, Thresholds};

/// A request.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// One that needs no data.
    Do(Action),
    /// Opens a video, an image folder or a project.
    Open(PathBuf),
    /// Opens what a person has decided about.
    OpenTarget(Target),
    /// Opens the bundled clip.
    OpenSample,
    /// Makes a project of one sequence of a dataset and opens it.
    OpenSequence(PathBuf, String),
    /// Loads a model by id.
    LoadModel(String),
    /// Shows a frame.
    Seek(u32),
    /// The film strip wants these frames, at this height in pixels.
    WantThumbnails(Vec<u32>, u32),
    SetPhrase(String),
    /// The phrase box has the keyboard now.
    PhraseFocused,
    /// New thresholds; `done` ends the step for undo.
    SetThresholds {
        thresholds: Thresholds,
        done: bool,
    },
    /// Keeps or drops a proposal of the emission in view.
    ToggleProposal(usize),
    /// Makes the mask of one proposal.
    UseProposal(usize),
    HoverProposal(Option<usize>),
    /// Looks at the emission of this phrase on the frame in view.
    ChooseEmission(String),
    SortProposals(Sort),
    /// A click on an object, or beside all of them.
    SelectObject(Option<ObjectId>),
    /// Selects an object and does this to it.
    OnObject(ObjectId, Action),
    /// Puts an object at a place of the list, from 0.
    MoveObject(ObjectId, usize),
    ShowObject(ObjectId, bool),
    LockObject(ObjectId, bool),
    /// Gives an object another colour of the palette.
    SetColour(ObjectId, u32),
    AskDelete(ObjectId),
    DeleteObject(ObjectId),
    StartRename(ObjectId),
    EditName(String),
    /// Ends the renaming; `keep` or throw away.
    EndRename {
        keep: bool,
    },
    SetView(CanvasView),
    /// Where the canvas lies.
    CanvasAt(egui::Rect),
    SetBoxUse(BoxUse),
    /// A finished box.
    DrawBox(BoxPx),
    /// A click with the point tool; on the object, or not.
    Click(PointPx, bool),
    /// The brush moves along these places.
    Paint(Vec<PointPx>),
    EndPaint,
    /// One more corner of the polygon.
    OutlineCorner(PointPx),
    /// Takes the polygon's last corner back.
    OutlineBack,
    CloseOutline,
    /// The polygon is cut out of the mask, or joins it.
    SetOutlineCuts(bool),
    /// The pointer is held on the button that shows the masks of before.
    HoldCompare(bool),
    SetBrush(f32),
    SetOpacity(f32),
    SetOnlySelected(bool),
    SetUseTsf(bool),
    SetFramewise(bool),
    SetRange(Option<u32>, Option<u32>),
    /// The part of the clip that the timeline shows.
    SetTimeView(TimeView),
    /// How fast the clip plays.
    SetSpeed(f32),
    /// Stops a job by its number.
    Cancel(crate::task::JobId),
    ShowDialog(Option<Dialog>),
    /// Changes what stands in the open dialog.
    UpdateDialog(Dialog),
    /// Leaves the document although something is not saved.
    LeaveUnsaved(super::leaving::Leaving),
    /// Does not close the window after all.
    Stay,
    RunExport,
    StopExport,
    /// Shows a folder in the system's file manager.
    ShowFolder(PathBuf),
    PickExportFolder,
    /// Goes on with the path that was typed.
    UsePath,
    /// The system's chooser for it, which offers files or folders, not both.
    BrowsePath {
        folder: bool,
    },
    DismissToast(u64),
    RetrySave,
    Rebind(Action, egui::KeyboardShortcut),
    ResetKey(Action),
    /// Takes over the keys of another tool, all at once.
    UsePreset(Preset),
}

/// Where panels put their requests.
#[derive(Default)]
pub(crate) struct Out(pub(crate) Vec<Command>);

impl Out {
    pub(crate) fn send(&mut self, command: Command) {
        self.0.push(command);
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.0.push(Command::Do(action));
    }
}
