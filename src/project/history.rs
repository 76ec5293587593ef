//! Undo and redo without limit. Holds inverses of edits; leaves what an edit means to [`super::edit`].

use super::{
    document::Document,
    edit::{Edit, EditError, apply},
};

/// One step: what it is called, and the edit that takes it back (or makes it again).
#[derive(Clone, Debug)]
struct Step {
    label: String,
    edit: Edit,
}

/// What can be undone and redone.
#[derive(Clone, Debug, Default)]
pub struct History {
    undo: Vec<Step>,
    redo: Vec<Step>,
    /// Inverses of an open group, oldest first.
    open: Option<(String, Vec<Edit>)>,
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
            Some((_, inverses)) => inverses.push(inverse),
            None => self.undo.push(Step {
                label: label.to_owned(),
                edit: inverse,
            }),
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
        let edit = apply(doc, edit)?;
        self.redo.clear();
        self.undo.push(Step {
            label: label.to_owned(),
            edit,
        });
        Ok(())
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
        let open = self.open.as_ref().map(|(label, _)| label.clone());
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
        self.open = Some((label.to_owned(), Vec::new()));
    }

    /// Ends an open group; one without changes leaves no step.
    pub fn close_group(&mut self) {
        if let Some((label, mut inverses)) = self.open.take()
            && !inverses.is_empty()
        {
            inverses.reverse();
            let edit = if inverses.len() == 1 {
                inverses.remove(0)
            } else {
                Edit::Group(inverses)
            };
            self.undo.push(Step { label, edit });
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
        let label = from.pop().map(|s| s.label).unwrap_or_default();
        to.push(Step {
            label,
            edit: inverse,
        });
        Ok(Some(edit))
    }

    /// What the next undo takes back.
    pub fn undo_label(&self) -> Option<&str> {
        match &self.open {
            Some((label, inverses)) if !inverses.is_empty() => Some(label),
            _ => self.undo.last().map(|s| s.label.as_str()),
        }
    }

    /// What the next redo makes again.
    pub fn redo_label(&self) -> Option<&str> {
        self.redo.last().map(|s| s.label.as_str())
    }

    /// Number of steps that can be undone.
    pub fn depth(&self) -> usize {
        self.undo.len() + usize::from(self.open.as_ref().is_some_and(|(_, i)| !i.is_empty()))
    }
}
