//! The frame table: which frames a stream holds, in display order, and where decoding has to start for each. Built by
//! demuxing once and kept in the project, so that display index 1234 means the same picture for ever. Reading packets
//! is left to [`super::ffmpeg`].

use serde::{Deserialize, Serialize};

/// One frame of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i64, u32, i64, bool)", into = "(i64, u32, i64, bool)")]
pub struct FrameEntry {
    /// Presentation time stamp in units of the table's time base.
    pub pts: i64,
    /// Place in decoding order, from 0.
    pub order: u32,
    /// Byte position of its packet in the file, −1 if the container does not say.
    pub pos: i64,
    /// Decoding can start here, where the frame can be found (see [`FrameTable::is_counted`]).
    pub key: bool,
}

impl From<(i64, u32, i64, bool)> for FrameEntry {
    fn from((pts, order, pos, key): (i64, u32, i64, bool)) -> Self {
        Self {
            pts,
            order,
            pos,
            key,
        }
    }
}

impl From<FrameEntry> for (i64, u32, i64, bool) {
    fn from(e: FrameEntry) -> Self {
        (e.pts, e.order, e.pos, e.key)
    }
}

/// Every frame of a stream in display order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredTable", into = "StoredTable")]
pub struct FrameTable {
    time_base: (i32, i32),
    counted: bool,
    frames: Vec<FrameEntry>,
    /// Display indices of the key frames, ascending: derived, so not stored.
    keys: Vec<u32>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename = "FrameTable")]
struct StoredTable {
    time_base: (i32, i32),
    counted: bool,
    frames: Vec<FrameEntry>,
}

impl From<StoredTable> for FrameTable {
    fn from(s: StoredTable) -> Self {
        Self::new(s.time_base, s.counted, s.frames)
    }
}

impl From<FrameTable> for StoredTable {
    fn from(t: FrameTable) -> Self {
        Self {
            time_base: t.time_base,
            counted: t.counted,
            frames: t.frames,
        }
    }
}

impl FrameTable {
    /// A table of `frames` in any order; `time_base` is `(numerator, denominator)` seconds per PTS unit. `counted` says
    /// that the frames carry no time stamps of their own and are known only by their place in the decoder's output, so
    /// that no seek can find them.
    pub fn new(time_base: (i32, i32), counted: bool, mut frames: Vec<FrameEntry>) -> Self {
        // Equal time stamps happen in broken files: decoding order breaks the tie, the same way every time.
        frames.sort_by_key(|f| (f.pts, f.order));
        let keys = (0..).zip(&frames).filter(|(_, f)| f.key);
        Self {
            keys: keys.map(|(i, _)| i).collect(),
            time_base,
            counted,
            frames,
        }
    }

    /// Number of frames.
    pub fn len(&self) -> u32 {
        u32::try_from(self.frames.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames in display order.
    pub fn frames(&self) -> &[FrameEntry] {
        &self.frames
    }

    /// Display indices of the key frames, ascending.
    pub fn keys(&self) -> &[u32] {
        &self.keys
    }

    /// Whether frames are known only by counting (see [`FrameTable::new`]).
    pub fn is_counted(&self) -> bool {
        self.counted
    }

    /// Seconds per PTS unit as a fraction.
    pub fn time_base(&self) -> (i32, i32) {
        self.time_base
    }

    /// Presentation time in seconds after the first frame.
    pub fn pts_secs(&self, index: u32) -> Option<f64> {
        let first = self.frames.first()?.pts;
        let pts = self.frames.get(index as usize)?.pts;
        let (num, den) = self.time_base;
        Some((pts as f64 - first as f64) * f64::from(num) / f64::from(den.max(1)))
    }

    /// Display index of the key frame from which frame `index` can be decoded; `None` means the start of the file.
    ///
    /// The key frame has to come no later in decoding order, and no later in display order either: pictures shown
    /// before an open group's key frame refer to the group before it.
    pub fn start_for(&self, index: u32) -> Option<u32> {
        let frame = self.frames.get(index as usize)?;
        self.key_at(index, frame.order)
    }

    /// Display index of the last key frame that is shown no later than frame `index` and decoded no later than place
    /// `order`.
    pub(super) fn key_at(&self, index: u32, order: u32) -> Option<u32> {
        let before = self.keys.partition_point(|&k| k <= index);
        self.keys[..before]
            .iter()
            .rev()
            .copied()
            .find(|&k| self.frames[k as usize].order <= order)
    }

    /// Display index of the packet with these marks.
    #[cfg(feature = "ffmpeg")]
    pub(super) fn find(&self, pts: i64, pos: i64) -> Option<u32> {
        let from = self.frames.partition_point(|f| f.pts < pts);
        let same = self.frames[from..].iter().take_while(|f| f.pts == pts);
        let mut first = None;
        for (i, f) in (from..).zip(same) {
            let index = u32::try_from(i).ok()?;
            if f.pos == pos {
                return Some(index);
            }
            first = first.or(Some(index));
        }
        first
    }

    /// Mean frames per second, if there is more than one frame.
    #[cfg(feature = "ffmpeg")]
    pub(super) fn mean_fps(&self) -> Option<f64> {
        let span = self.pts_secs(self.len().checked_sub(1)?)?;
        (span > 0.0).then(|| f64::from(self.len() - 1) / span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pts: i64, order: u32, key: bool) -> FrameEntry {
        FrameEntry {
            pts,
            order,
            pos: i64::from(order) * 100,
            key,
        }
    }

    /// Two groups, the second an open one: its key frame (order 4) is shown after a picture (order 5) that needs the
    /// first group.
    fn open_group() -> FrameTable {
        let frames = vec![
            entry(0, 0, true),
            entry(3, 1, false),
            entry(1, 2, false),
            entry(2, 3, false),
            entry(5, 4, true),
            entry(4, 5, false),
            entry(6, 6, false),
        ];
        FrameTable::new((1, 10), false, frames)
    }

    #[test]
    fn display_order_is_by_time() {
        let t = open_group();
        let pts: Vec<i64> = t.frames().iter().map(|f| f.pts).collect();
        assert_eq!(pts, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(t.keys(), [0, 5]);
        assert_eq!(t.pts_secs(6), Some(0.6));
        assert_eq!(t.pts_secs(7), None);
        #[cfg(feature = "ffmpeg")]
        assert_eq!(t.mean_fps(), Some(10.0));
    }

    #[test]
    fn leading_pictures_start_in_the_group_before() {
        let t = open_group();
        assert_eq!(t.start_for(3), Some(0));
        assert_eq!(t.start_for(4), Some(0));
        assert_eq!(t.start_for(5), Some(5));
        assert_eq!(t.start_for(6), Some(5));
    }

    #[test]
    fn no_key_frame_means_the_start_of_the_file() {
        let t = FrameTable::new((1, 10), false, vec![entry(0, 0, false), entry(1, 1, true)]);
        assert_eq!(t.start_for(0), None);
        assert_eq!(t.start_for(1), Some(1));
    }

    #[cfg(feature = "ffmpeg")]
    #[test]
    fn equal_time_stamps_are_told_apart_by_position() {
        let frames = vec![entry(0, 0, true), entry(5, 1, false), entry(5, 2, false)];
        let t = FrameTable::new((1, 10), false, frames);
        assert_eq!(t.find(5, 200), Some(2));
        assert_eq!(t.find(5, 100), Some(1));
        assert_eq!(t.find(5, -1), Some(1));
        assert_eq!(t.find(4, 100), None);
    }

    #[test]
    fn survives_being_stored() {
        let t = open_group();
        let json = serde_json::to_string(&t).expect("plain data");
        assert!(json.contains("[3,1,100,false]"), "{json}");
        let back: FrameTable = serde_json::from_str(&json).expect("what was written");
        assert_eq!(back, t);
    }
}
