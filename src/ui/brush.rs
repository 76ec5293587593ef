//! A mask under the brush: column-major bytes, so that a dab is a few straight stretches and the result turns into run
//! lengths in one pass. `Bitmap::stroke` does the same for callers who are not in a hurry.
//! Strokes themselves are part of `logic`.

use super::{
    app::App,
    state::{Tool, Weight},
};
use crate::project::{FrameIndex, FrameMask, ObjectId, PointPx, Rle, Size};

/// A stroke that is being made.
#[derive(Clone, Debug)]
pub(crate) struct Painting {
    pub(crate) object: ObjectId,
    pub(crate) frame: FrameIndex,
    /// Takes pixels away.
    pub(crate) erases: bool,
    size: Size,
    /// `width × height`, column by column, 0 or 1.
    pub(crate) columns: Vec<u8>,
    last: Option<PointPx>,
    /// The pointer is still down but draws nothing any more.
    pub(crate) given_up: bool,
    /// Grows with each dab.
    pub(crate) version: u64,
}

impl Painting {
    /// Starts from the mask that is there.
    pub(crate) fn new(
        object: ObjectId,
        frame: FrameIndex,
        size: Size,
        erases: bool,
        before: Option<&Rle>,
    ) -> Self {
        let mut columns = vec![0; size.area() as usize];
        if let Some(rle) = before.filter(|r| r.size == size) {
            let mut at = 0_usize;
            for (i, &count) in rle.counts.iter().enumerate() {
                let end = at.saturating_add(count as usize).min(columns.len());
                if i % 2 == 1 {
                    columns[at..end].fill(1);
                }
                at = end;
            }
        }
        Self {
            object,
            frame,
            erases,
            size,
            columns,
            last: None,
            given_up: false,
            version: 1,
        }
    }

    /// Whether the stroke has come to this point already.
    pub(crate) fn is_at(&self, point: PointPx) -> bool {
        self.given_up || self.last == Some(point)
    }

    /// Ends the stroke on the mask that was there before it.
    pub(crate) fn give_up(&mut self, before: Option<&Rle>) {
        let (object, frame, size) = (self.object, self.frame, self.size);
        *self = Self {
            given_up: true,
            version: self.version + 1,
            ..Self::new(object, frame, size, self.erases, before)
        };
    }

    /// Draws on to `point` with a disc of `radius` pixels.
    pub(crate) fn draw_to(&mut self, point: PointPx, radius: f32) {
        if self.given_up || !(point.x.is_finite() && point.y.is_finite()) {
            return;
        }
        let radius = radius.clamp(0.5, 2000.0);
        let from = self.last.unwrap_or(point);
        let (dx, dy) = (point.x - from.x, point.y - from.y);
        // Dabs a third of the radius apart leave no scallops that one could see.
        let dabs = ((dx.hypot(dy) / (radius / 3.0).max(0.5)).ceil() as u32).clamp(1, 4096);
        for i in 1..=dabs {
            let t = i as f32 / dabs as f32;
            self.dab(from.x + dx * t, from.y + dy * t, radius);
        }
        self.last = Some(point);
        self.version += 1;
    }

    fn dab(&mut self, cx: f32, cy: f32, radius: f32) {
        let (width, height) = (self.size.width as i64, self.size.height as i64);
        let value = u8::from(!self.erases);
        let first = ((cx - radius).floor() as i64).max(0);
        let last = ((cx + radius).ceil() as i64).min(width - 1);
        for x in first..=last {
            let dx = x as f32 + 0.5 - cx;
            // The column under the centre is always touched, however thin the brush.
            if dx.abs() > radius && x as f32 != cx.floor() {
                continue;
            }
            let half = (radius * radius - dx * dx).max(0.0).sqrt();
            let top = ((cy - half - 0.5).ceil() as i64).clamp(0, height);
            let low = ((cy + half - 0.5).floor() as i64 + 1).clamp(top, height);
            let column = (x * height) as usize;
            self.columns[column + top as usize..column + low as usize].fill(value);
        }
    }

    /// The mask as run lengths.
    pub(crate) fn rle(&self) -> Rle {
        let mut counts = Vec::new();
        let mut value = 0_u8;
        let mut run = 0_u32;
        for &bit in &self.columns {
            if bit != value {
                counts.push(run);
                run = 0;
                value = bit;
            }
            run += 1;
        }
        counts.push(run);
        Rle {
            size: self.size,
            counts,
        }
    }
}

impl App {
    pub(super) fn paint(&mut self, point: PointPx) {
        self.state.playing = None;
        let erases = self.state.tool == Tool::Eraser;
        if self.state.painting.is_none() {
            let Some(object) = self.target() else {
                return;
            };
            self.finish_prompt();
            let frame = self.state.here();
            if self.has_to_wait(object, frame) {
                return;
            }
            self.stay();
            self.about_to_edit_masks();
            let Some(session) = &self.state.session else {
                return;
            };
            let before = session.doc.mask(object, frame).map(|m| &m.rle);
            if erases && before.is_none() {
                self.say(
                    Weight::Info,
                    "There is no mask of the selected object here to erase from.",
                );
                return;
            }
            let size = session.doc.video.size;
            self.state.painting = Some(Painting::new(object, frame, size, erases, before));
        }
        let radius = self.state.brush_radius;
        if let Some(painting) = &mut self.state.painting {
            painting.draw_to(point, radius);
        }
    }

    /// Paints through all these places; one that cannot be begun is said to be once.
    pub(super) fn paint_along(&mut self, points: &[PointPx]) {
        for &point in points {
            self.paint(point);
            if self.state.painting.is_none() {
                return;
            }
        }
    }

    pub(super) fn end_paint(&mut self) {
        let Some(painting) = self.state.painting.take().filter(|p| !p.given_up) else {
            return;
        };
        let rle = painting.rle();
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let before = doc.and_then(|d| d.mask(painting.object, painting.frame));
        if before.map_or(rle.counts.len() < 2, |m| m.rle == rle) {
            return;
        }
        let mask = FrameMask::by_hand(rle);
        let label = if painting.erases {
            "eraser"
        } else {
            "brush stroke"
        };
        if let Some(edit) = self.put_mask(painting.object, painting.frame, mask)
            && self.edit(edit, label)
        {
            self.state.selected = Some(painting.object);
        }
    }

    /// Ends a stroke that is being made and takes it back; says whether there was one.
    pub(super) fn drop_paint(&mut self) -> bool {
        let Some(painting) = &mut self.state.painting else {
            return false;
        };
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let before = doc.and_then(|d| d.mask(painting.object, painting.frame));
        painting.give_up(before.map(|m| &m.rle));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Bitmap;

    fn point(x: f32, y: f32) -> PointPx {
        PointPx { x, y }
    }

    #[test]
    fn a_dab_is_a_disc() {
        let size = Size::new(21, 15);
        let mut painting = Painting::new(ObjectId(1), FrameIndex(0), size, false, None);
        painting.draw_to(point(10.5, 7.5), 4.0);
        let bitmap = painting.rle().to_bitmap();
        for y in 0..15_u32 {
            for x in 0..21_u32 {
                let d = (x as f32 - 10.0).hypot(y as f32 - 7.0);
                let on = bitmap.data[(y * 21 + x) as usize] == 1;
                assert_eq!(on, d <= 4.0, "{x},{y}");
            }
        }
    }

    #[test]
    fn the_eraser_takes_away_only_what_it_touches_and_edges_do_no_harm() {
        let size = Size::new(9, 7);
        let full = Bitmap {
            size,
            data: vec![1; 63],
        };
        let before = Rle::from_bitmap(&full);
        let mut painting = Painting::new(ObjectId(1), FrameIndex(0), size, true, Some(&before));
        assert_eq!(painting.rle(), before);
        painting.draw_to(point(-3.0, -3.0), 2.0);
        painting.draw_to(point(f32::NAN, 1.0), 2.0);
        assert_eq!(painting.rle().area(), 63);
        painting.draw_to(point(30.0, 12.0), 1.0);
        assert!(painting.rle().area() < 63);
    }

    #[test]
    fn a_fast_stroke_leaves_no_gaps() {
        let size = Size::new(100, 10);
        let mut painting = Painting::new(ObjectId(1), FrameIndex(0), size, false, None);
        painting.draw_to(point(2.0, 5.0), 2.0);
        painting.draw_to(point(97.0, 5.0), 2.0);
        let bitmap = painting.rle().to_bitmap();
        assert!((2..97).all(|x| bitmap.data[5 * 100 + x] == 1));
    }
}
