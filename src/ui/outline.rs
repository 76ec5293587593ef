//! The polygon tool: corners by clicks, closed into a mask that joins the selected object's or is cut out of it. Part of
//! `logic`; which pixels a polygon covers is [`crate::formats::fill_polygon`]'s, the rule of the COCO tools.

use super::{
    app::App,
    state::{Tool, Weight},
};
use crate::{
    formats::fill_polygon,
    project::{FrameIndex, FrameMask, PointPx, Rle, Size},
};

/// Fewest corners that enclose anything.
pub(crate) const FEWEST: usize = 3;
/// Points on the screen around the first corner where a click closes the polygon; it is drawn a little smaller.
pub(crate) const CLOSES_WITHIN: f32 = 9.0;

/// A polygon that is being drawn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outline {
    pub(crate) frame: FrameIndex,
    pub(crate) corners: Vec<PointPx>,
}

/// The mask `before` with the polygon in it, or without; `None` if that changes nothing.
fn merged(size: Size, before: Option<&Rle>, corners: &[PointPx], cuts: bool) -> Option<Rle> {
    let flat: Vec<f64> = corners
        .iter()
        .flat_map(|p| [f64::from(p.x), f64::from(p.y)])
        .collect();
    let filled = fill_polygon(size, &flat);
    let empty = Rle::empty(size);
    let before = before.filter(|r| r.size == size).unwrap_or(&empty);
    let after = if cuts {
        before.difference(&filled)
    } else {
        before.union(&filled)
    };
    after.ok().filter(|after| after != before)
}

impl App {
    /// One more corner; the first begins a polygon on the frame in view.
    pub(super) fn outline_corner(&mut self, corner: PointPx) {
        self.state.playing = None;
        let frame = self.state.here();
        let goes_on = self
            .state
            .outline
            .as_ref()
            .is_some_and(|o| o.frame == frame);
        if !goes_on {
            // Says so at once if the selected object is locked.
            if self.target().is_none() {
                return;
            }
            self.finish_prompt();
            self.stay();
            self.about_to_edit_masks();
            self.state.outline = Some(Outline {
                frame,
                corners: Vec::new(),
            });
        }
        if let Some(outline) = &mut self.state.outline {
            outline.corners.push(corner);
        }
    }

    /// Closes a polygon that is being drawn, or ends the clicks.
    pub(super) fn finish_what_is_drawn(&mut self) {
        if !self.close_outline() {
            self.finish_object();
        }
    }

    /// Takes a corner of a polygon that is being drawn back, or removes the mask on this frame.
    pub(super) fn delete_what_is_drawn(&mut self) {
        if !self.outline_back() {
            self.delete_mask();
        }
    }

    /// Takes the last corner back, with the last one the polygon; says whether there was one.
    pub(super) fn outline_back(&mut self) -> bool {
        if self.state.tool != Tool::Polygon {
            return false;
        }
        let frame = self.state.here();
        let Some(outline) = self.state.outline.as_mut().filter(|o| o.frame == frame) else {
            return false;
        };
        outline.corners.pop();
        if outline.corners.is_empty() {
            self.state.outline = None;
        }
        true
    }

    /// Makes the polygon part of the mask, or cuts it out; says whether there was one to close.
    pub(super) fn close_outline(&mut self) -> bool {
        if self.state.tool != Tool::Polygon {
            return false;
        }
        let frame = self.state.here();
        let Some(outline) = self.state.outline.take_if(|o| o.frame == frame) else {
            return false;
        };
        if outline.corners.len() < FEWEST {
            self.say(Weight::Info, "A polygon needs at least three corners.");
            self.state.outline = Some(outline);
            return true;
        }
        let object = self.target();
        let Some(object) = object.filter(|id| !self.has_to_wait(*id, frame)) else {
            self.state.outline = Some(outline);
            return true;
        };
        self.stay();
        self.about_to_edit_masks();
        let Some(session) = &self.state.session else {
            return true;
        };
        let size = session.doc.video.size;
        let before = session.doc.mask(object, frame).map(|m| &m.rle);
        let cuts = self.state.outline_cuts;
        let Some(rle) = merged(size, before, &outline.corners, cuts) else {
            self.say(Weight::Info, "The polygon changes no pixel of the mask.");
            return true;
        };
        let mask = FrameMask::by_hand(rle);
        let label = if cuts { "polygon cut" } else { "polygon" };
        if let Some(edit) = self.put_mask(object, frame, mask)
            && self.edit(edit, label)
        {
            self.state.selected = Some(object);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polygon_joins_or_cuts_and_nothing_is_no_change() {
        let size = Size::new(10, 10);
        let at = |x, y| PointPx { x, y };
        let square = [at(2.0, 2.0), at(6.0, 2.0), at(6.0, 6.0), at(2.0, 6.0)];
        let joined = merged(size, None, &square, false).unwrap();
        assert_eq!(joined.area(), 16);
        assert_eq!(merged(size, Some(&joined), &square, false), None);
        let half = [at(2.0, 2.0), at(4.0, 2.0), at(4.0, 6.0), at(2.0, 6.0)];
        let cut = merged(size, Some(&joined), &half, true).unwrap();
        assert_eq!(cut.area(), 8);
        assert_eq!(merged(size, None, &half, true), None);
        // A mask of another size is none.
        let other = Rle::empty(Size::new(3, 3));
        assert_eq!(merged(size, Some(&other), &square, false), Some(joined));
    }
}
