//! What lies over the picture: the masks of the frame in view and the objectness of its emission, brought up to date only
//! when they themselves change. Part of `logic`.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use super::{
    app::App,
    state::{HeatLayer, Overlay, OverlayKey},
};
use crate::{
    project::{ObjectId, Rle},
    render::{HeatGrid, MaskLayers},
};

/// Where a mask's pixels come from.
enum Source<'a> {
    Runs(&'a Rle),
    /// Column by column, and the version of the stroke.
    Painted(&'a [u8], u64),
}

impl App {
    /// The picture of all masks.
    pub(super) fn refresh_overlay(&mut self) {
        let Some(session) = &self.state.session else {
            return;
        };
        let painting = self.state.painting.as_ref();
        let frame = self.state.here();
        let made_of = OverlayKey {
            frame,
            revision: session.revision,
            painting: painting.map_or(0, |p| p.version),
            comparing: self.state.comparing,
        };
        let overlay = self.state.overlay.as_mut();
        if overlay.as_ref().is_some_and(|o| o.made_of == made_of) {
            return;
        }
        let review = session.review().filter(|_| self.state.comparing);
        let being_painted = painting.filter(|p| p.frame == frame);
        let is_new = being_painted.filter(|p| session.doc.object(p.object).is_none());
        let mut sources: Vec<(ObjectId, Source<'_>)> = Vec::new();
        for object in &session.doc.objects {
            let source = match being_painted.filter(|p| p.object == object.id) {
                Some(painting) => Source::Painted(&painting.columns, painting.version),
                None => match review
                    .and_then(|r| r.before(object.id, frame))
                    .unwrap_or_else(|| object.frames.get(&frame))
                {
                    Some(mask) if object.visible => Source::Runs(&mask.rle),
                    _ => continue,
                },
            };
            sources.push((object.id, source));
        }
        if let Some(new) = is_new {
            sources.push((new.object, Source::Painted(&new.columns, new.version)));
        }
        let content = hash(&sources);
        // Most changes of the document, above all those of a propagation, are made on other frames.
        if let Some(overlay) = overlay.filter(|o| o.content == content) {
            overlay.made_of = made_of;
            return;
        }
        let mut masks = MaskLayers::new(session.doc.video.size);
        let mut ids = Vec::new();
        for (id, source) in &sources {
            let added = match source {
                Source::Runs(rle) => masks.push(rle),
                Source::Painted(columns, _) => masks.push_columns(columns),
            };
            if added.is_some() {
                ids.push(*id);
            }
        }
        let left_out = sources.len() - ids.len();
        let key = self.state.fresh_key();
        self.state.overlay = Some(Overlay {
            masks: Arc::new(masks),
            key,
            ids,
            left_out,
            made_of,
            content,
        });
    }

    /// Objectness of the emission in view.
    pub(super) fn refresh_heat(&mut self) {
        let Some(session) = &self.state.session else {
            return;
        };
        let Some((_, emission)) = self.state.emission_here() else {
            self.state.heat = None;
            return;
        };
        if !self.state.show_heat {
            return;
        }
        let boxes: Vec<_> = emission
            .proposals
            .iter()
            .filter(|p| !p.drawn)
            .map(|p| (p.box_px, p.objectness))
            .collect();
        let heat = self.state.heat.as_ref();
        if heat.is_some_and(|h| h.boxes == boxes) {
            return;
        }
        let grid = HeatGrid::new(session.doc.video.size, &boxes);
        let key = self.state.fresh_key();
        self.state.heat = Some(HeatLayer {
            grid: Arc::new(grid),
            key,
            boxes,
        });
    }
}

/// One number for everything that the picture of the masks depends on.
fn hash(sources: &[(ObjectId, Source<'_>)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (id, source) in sources {
        id.hash(&mut hasher);
        match source {
            Source::Runs(rle) => (0_u8, rle).hash(&mut hasher),
            Source::Painted(_, version) => (1_u8, version).hash(&mut hasher),
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{DriftSignal, FrameIndex, FrameMask, Provenance, Size},
        render::MOST_OBJECTS,
        ui::session::Session,
    };

    fn mask(first: u32) -> FrameMask {
        FrameMask {
            rle: Rle {
                size: Size::new(4, 4),
                counts: vec![first, 16 - first],
            },
            score: 1.0,
            iou: 1.0,
            provenance: Provenance::Propagated,
            anchor: false,
            drift: DriftSignal::default(),
        }
    }

    /// A window on a document with so many objects, each with a mask on frame 0.
    fn window(objects: usize) -> App {
        let mut app = App::without_model(&egui::Context::default());
        let mut doc = crate::ui::fixture::document(Size::new(4, 4), 3);
        for _ in 0..objects {
            let mut object = doc.new_object("a horse");
            object.frames.insert(FrameIndex(0), mask(3));
            doc.objects.push(object);
        }
        app.state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        app
    }

    /// Changes a mask behind the document's back, as one more revision.
    fn put(app: &mut App, frame: u32, first: u32) -> u64 {
        let session = app.state.session.as_mut().unwrap();
        let frames = &mut session.doc.objects[0].frames;
        frames.insert(FrameIndex(frame), mask(first));
        session.revision += 1;
        app.refresh_overlay();
        app.state.overlay.as_ref().unwrap().key
    }

    #[test]
    fn masks_on_other_frames_leave_the_picture_as_it_is() {
        let mut app = window(1);
        let shown = put(&mut app, 0, 3);
        assert_eq!(put(&mut app, 1, 5), shown);
        assert_ne!(put(&mut app, 0, 5), shown);
    }

    #[test]
    fn masks_past_what_is_drawn_at_once_are_counted() {
        let mut app = window(MOST_OBJECTS + 2);
        app.refresh_overlay();
        let overlay = app.state.overlay.as_ref().unwrap();
        assert_eq!((overlay.ids.len(), overlay.left_out), (MOST_OBJECTS, 2));
    }
}
