//! Undo and redo without limit. Holds inverses of edits; leaves what an edit means to [`super::edit`].

use super::{
    document::Document,
    edit::{Edit, EditError, apply},
};

/// Identity of a step; it keeps it when it is undone and made again, and none is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepId(u64);

/// One step: what it is called, and the edit that takes it back (or makes it again).
#[derive(Clone, Debug)]
struct Step {
    id: StepId,
    label: String,
    edit: Edit,
}

/// What can be undone and redone.
#[derive(Clone, Debug, Default)]
pub struct History {
    undo: Vec<Step>,
    redo: Vec<Step>,
    open: Option<Group>,
    /// Number of the newest step.
    last_id: u64,
}

/// A step that goes on.
#[derive(Clone, Debug)]
struct Group {
    id: StepId,
    label: String,
    /// Oldest first.
    inverses: Vec<Edit>,
}

impl History {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a change that can be undone; `label` says what it is in two or three words ("brush stroke"). What could
    /// be redone is forgotten. Inside an open group it becomes part of that group's step.
    ///
    /// # Errors
    /// [`EditError`] if the change is refused; document and history are as they were.
    pub fn apply(&mut self, doc: &mut Document, edit: Edit, label: &str) -> Result<(), EditError> {
        let inverse = apply(doc, edit)?;
        self.redo.clear();
        match &mut self.open {
            Some(group) => group.inverses.push(inverse),
            None => self.push(label, inverse),
        }
        Ok(())
    }

    /// Makes a change as a step of its own that comes before an open group: the group goes on and is undone first.
    ///
    /// # Errors
    /// As [`History::apply`].
    pub fn apply_beside(
        &mut self,
        doc: &mut Document,
        edit: Edit,
        label: &str,
    ) -> Result<(), EditError> {
        let inverse = apply(doc, edit)?;
        self.redo.clear();
        self.push(label, inverse);
        Ok(())
    }

    fn push(&mut self, label: &str, edit: Edit) {
        let id = self.fresh_id();
        let label = label.to_owned();
        self.undo.push(Step { id, label, edit });
    }

    fn fresh_id(&mut self) -> StepId {
        self.last_id += 1;
        StepId(self.last_id)
    }

    /// Makes a change as a step of its own in the midst of an open group, which becomes two steps, one before and one after.
    ///
    /// # Errors
    /// As [`History::apply`].
    pub fn apply_between(
        &mut self,
        doc: &mut Document,
        edit: Edit,
        label: &str,
    ) -> Result<(), EditError> {
        let open = self.open.as_ref().map(|group| group.label.clone());
        self.close_group();
        let done = self.apply(doc, edit, label);
        if let Some(open) = open {
            self.open_group(&open);
        }
        done
    }

    /// Until [`History::close_group`], all changes are one step: a slider that is dragged, a brush that is held. An open
    /// group is closed first.
    pub fn open_group(&mut self, label: &str) {
        self.close_group();
        self.open = Some(Group {
            id: self.fresh_id(),
            label: label.to_owned(),
            inverses: Vec::new(),
        });
    }

    /// Ends an open group; one without changes leaves no step.
    pub fn close_group(&mut self) {
        if let Some(group) = self.open.take()
            && !group.inverses.is_empty()
        {
            let (id, label) = (group.id, group.label);
            let mut inverses = group.inverses;
            inverses.reverse();
            let edit = if inverses.len() == 1 {
                inverses.remove(0)
            } else {
                Edit::Group(inverses)
            };
            self.undo.push(Step { id, label, edit });
        }
    }

    /// Takes the last step back and returns the edit that did so (for the store); `None` if there is nothing to undo.
    ///
    /// # Errors
    /// [`EditError`] if the document was changed behind the history's back; both are as they were.
    pub fn undo(&mut self, doc: &mut Document) -> Result<Option<Edit>, EditError> {
        self.close_group();
        Self::step(doc, &mut self.undo, &mut self.redo)
    }

    /// Makes the last undone step again and returns the edit that did so; `None` if there is nothing to redo.
    ///
    /// # Errors
    /// [`EditError`] if the document was changed behind the history's back; both are as they were.
    pub fn redo(&mut self, doc: &mut Document) -> Result<Option<Edit>, EditError> {
        self.close_group();
        Self::step(doc, &mut self.redo, &mut self.undo)
    }

    fn step(
        doc: &mut Document,
        from: &mut Vec<Step>,
        to: &mut Vec<Step>,
    ) -> Result<Option<Edit>, EditError> {
        let Some(step) = from.last() else {
            return Ok(None);
        };
        let edit = step.edit.clone();
        let inverse = apply(doc, edit.clone())?;
        if let Some(step) = from.pop() {
            to.push(Step {
                edit: inverse,
                ..step
            });
        }
        Ok(Some(edit))
    }

    /// An open group in which something has changed.
    fn open_step(&self) -> Option<&Group> {
        self.open.as_ref().filter(|g| !g.inverses.is_empty())
    }

    /// What the next undo takes back.
    pub fn undo_label(&self) -> Option<&str> {
        match self.open_step() {
            Some(group) => Some(&group.label),
            None => self.undo.last().map(|s| s.label.as_str()),
        }
    }

    /// The step that the next undo takes back.
    pub fn undo_id(&self) -> Option<StepId> {
        match self.open_step() {
            Some(group) => Some(group.id),
            None => self.undo.last().map(|s| s.id),
        }
    }

    /// The step that the next redo makes again.
    pub fn redo_id(&self) -> Option<StepId> {
        self.redo.last().map(|s| s.id)
    }

    /// The change that the next undo makes; an open group is none yet.
    pub fn undo_edit(&self) -> Option<&Edit> {
        self.undo.last().map(|s| &s.edit)
    }

    /// The change that the next redo makes.
    pub fn redo_edit(&self) -> Option<&Edit> {
        self.redo.last().map(|s| &s.edit)
    }

    /// Forgets what could be redone: something new has begun.
    pub fn forget_redo(&mut self) {
        self.redo.clear();
    }

    /// What the next redo makes again.
    pub fn redo_label(&self) -> Option<&str> {
        self.redo.last().map(|s| s.label.as_str())
    }

    /// Number of steps that can be undone.
    pub fn depth(&self) -> usize {
        self.undo.len() + usize::from(self.open_step().is_some())
    }
}
