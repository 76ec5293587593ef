//! Which frames the timeline shows, and from frames to the screen and back.

/// Frames that are shown at least, however close one looks.
const FEWEST: f32 = 12.0;

/// The part of the clip that the timeline shows; out of the box all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct TimeView {
    /// First frame and number of frames, both in frames and not always whole; `None` = all.
    part: Option<(f32, f32)>,
}

impl TimeView {
    /// Whether all frames are shown.
    pub(crate) fn is_whole(self) -> bool {
        self.part.is_none()
    }

    /// The first frame and the number of frames shown, of a clip of so many.
    fn shown(self, frames: u32) -> (f32, f32) {
        self.part.unwrap_or((0.0, frames.max(1) as f32))
    }

    fn new(frames: u32, first: f32, count: f32) -> Self {
        let all = frames.max(1) as f32;
        let count = count.max(FEWEST);
        Self {
            part: (count < all).then(|| (first.clamp(0.0, all - count), count)),
        }
    }

    /// Closer by `factor`, with what lies `at` so many frames from the clip's start staying where it is.
    pub(crate) fn zoomed(self, frames: u32, at: f32, factor: f32) -> Self {
        let (first, count) = self.shown(frames);
        let next = (count / factor.max(1e-3)).max(FEWEST);
        Self::new(frames, at - (at - first) * next / count, next)
    }

    /// So many frames further on.
    pub(crate) fn panned(self, frames: u32, by: f32) -> Self {
        let (first, count) = self.shown(frames);
        Self::new(frames, first + by, count)
    }

    /// The same number of frames with this one in the middle.
    pub(crate) fn centred(self, frames: u32, frame: f32) -> Self {
        let (_, count) = self.shown(frames);
        Self::new(frames, frame - count / 2.0, count)
    }

    /// With this frame in view: as it is, or with the frame in the middle.
    pub(crate) fn around(self, frames: u32, frame: u32) -> Self {
        let (first, count) = self.shown(frames);
        let at = frame as f32;
        if at >= first && at + 1.0 <= first + count {
            self
        } else {
            self.centred(frames, at + 0.5)
        }
    }
}

/// From frames to the screen and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Where the first frame shown begins, in points.
    pub(crate) left: f32,
    /// Points that the frames shown take.
    pub(crate) width: f32,
    first: f32,
    count: f32,
    frames: u32,
}

impl Scale {
    pub(crate) fn new(left: f32, width: f32, frames: u32, view: TimeView) -> Self {
        let (first, count) = view.shown(frames);
        Self {
            left,
            width,
            first,
            count,
            frames,
        }
    }

    /// Points per frame.
    pub(crate) fn step(self) -> f32 {
        self.width / self.count
    }

    /// Left edge of a frame.
    pub(crate) fn start(self, frame: u32) -> f32 {
        self.left + (frame as f32 - self.first) * self.step()
    }

    /// Middle of a frame.
    pub(crate) fn x(self, frame: u32) -> f32 {
        self.start(frame) + self.step() / 2.0
    }

    /// How many frames lie between the clip's start and a place.
    pub(crate) fn position(self, x: f32) -> f32 {
        self.first + (x - self.left) / self.step().max(1e-6)
    }

    /// The frame at a place; beyond the clip's ends, the first or the last one.
    pub(crate) fn frame(self, x: f32) -> u32 {
        let last = self.frames.saturating_sub(1) as f32;
        self.position(x).floor().clamp(0.0, last) as u32
    }

    /// The first and the last frame that are shown, if only in part.
    pub(crate) fn visible(self) -> (u32, u32) {
        let last = self.frames.saturating_sub(1);
        let end = (self.first + self.count).ceil() as u32;
        (self.first as u32, end.saturating_sub(1).min(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: u32 = 6000;

    fn scale(view: TimeView) -> Scale {
        Scale::new(100.0, 600.0, FRAMES, view)
    }

    #[test]
    fn frames_and_places_agree() {
        let whole = Scale::new(100.0, 500.0, 50, TimeView::default());
        for frame in [0, 1, 25, 49] {
            assert_eq!(whole.frame(whole.x(frame)), frame);
        }
        assert_eq!((whole.frame(-1e9), whole.frame(1e9)), (0, 49));
        assert_eq!(whole.visible(), (0, 49));
        let part = scale(TimeView::default().zoomed(FRAMES, 3000.0, 50.0));
        for frame in [2940, 3000, 3059] {
            assert_eq!(part.frame(part.x(frame)), frame);
        }
        assert_eq!(part.visible(), (2940, 3059));
    }

    #[test]
    fn zooming_the_timeline_keeps_the_frame_under_the_pointer() {
        let mut view = TimeView::default();
        let x = 250.0;
        let before = scale(view).position(x);
        for factor in [1.5, 2.0, 3.0, 0.5, 4.0] {
            view = view.zoomed(FRAMES, scale(view).position(x), factor);
            assert!((scale(view).position(x) - before).abs() < 0.05, "{factor}");
        }
        assert!(!view.is_whole());
        assert!(view.zoomed(FRAMES, before, 1e-3).is_whole());
    }

    #[test]
    fn the_timeline_never_shows_what_is_no_frame() {
        let near = TimeView::default().zoomed(FRAMES, 10.0, 1e9);
        assert!(scale(near).step() * FEWEST <= 600.1);
        for view in [near.panned(FRAMES, -1e6), near.panned(FRAMES, 1e6)] {
            let (from, to) = scale(view).visible();
            assert!(to < FRAMES && to - from + 1 >= FEWEST as u32, "{from} {to}");
        }
        assert!(TimeView::default().panned(FRAMES, 100.0).is_whole());
        // A clip that is shorter than what is shown at least.
        assert!(TimeView::default().zoomed(5, 2.0, 10.0).is_whole());
    }

    #[test]
    fn the_frame_in_view_stays_on_the_timeline() {
        let near = TimeView::default().zoomed(FRAMES, 3000.0, 50.0);
        assert_eq!(near.around(FRAMES, 2950), near);
        for frame in [0, 2939, 3060, FRAMES - 1] {
            let (from, to) = scale(near.around(FRAMES, frame)).visible();
            assert!(from <= frame && frame <= to, "{frame}: {from} {to}");
        }
        let whole = TimeView::default();
        assert_eq!(whole.around(FRAMES, 17), whole);
    }
}
