//! What the tests of the decoder thread stand on: a source that decodes in groups of pictures and counts, and waiting for the
//! thread. What is asserted is left to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use sparrow::{
    project::{FrameIndex, Size, VideoInfo},
    video::{
        Frame, FrameEntry, FrameSource, FrameTable, OnTheWay, SyntheticSource, VideoError, Wake,
    },
};

pub(super) const SIZE: Size = Size {
    width: 96,
    height: 64,
};
pub(super) const FRAME_BYTES: usize = 96 * 64 * 3;

pub(super) fn waker() -> (Wake, Receiver<()>) {
    let (tell, woken) = bounded(1);
    let wake = Box::new(move || {
        tell.try_send(()).ok();
    });
    (wake, woken)
}

/// Waits until `done`, with a limit that only a hang can reach.
pub(super) fn until(woken: &Receiver<()>, done: impl Fn() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        woken.recv_timeout(Duration::from_millis(20)).ok();
    }
    panic!("waited in vain");
}

/// A table with a key frame every `group` frames.
pub(super) fn table(frames: u32, group: u32) -> FrameTable {
    let entry = |i: u32| FrameEntry {
        pts: i64::from(i),
        order: i,
        pos: -1,
        key: i.is_multiple_of(group),
    };
    FrameTable::new((1, 25), false, (0..frames).map(entry).collect())
}

/// Decodes like a video: from a key frame on, one frame after the other. Each frame may have to wait for permission.
pub(super) struct Grouped {
    inner: SyntheticSource,
    table: FrameTable,
    at: u32,
    decoded: Arc<AtomicU32>,
    pub(super) gate: Option<(Sender<u32>, Receiver<()>)>,
    /// Whether it says where its key frames are.
    pub(super) tells_table: bool,
}

impl Grouped {
    pub(super) fn new(frames: u32, group: u32) -> (Self, Arc<AtomicU32>) {
        let decoded = Arc::new(AtomicU32::new(0));
        let source = Self {
            inner: SyntheticSource::new(SIZE, frames, 25.0),
            table: table(frames, group),
            at: 0,
            decoded: Arc::clone(&decoded),
            gate: None,
            tells_table: true,
        };
        (source, decoded)
    }
}

impl FrameSource for Grouped {
    fn info(&self) -> &VideoInfo {
        self.inner.info()
    }

    fn pts_secs(&self, index: FrameIndex) -> Option<f64> {
        self.inner.pts_secs(index)
    }

    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
        self.inner.frame(index)
    }

    fn walk_to(
        &mut self,
        index: FrameIndex,
        on_the_way: &mut dyn OnTheWay,
    ) -> Result<Option<Frame>, VideoError> {
        let start = self.table.start_for(index.0).unwrap_or(0);
        if index.0 < self.at || self.at < start {
            self.at = start;
        }
        loop {
            if on_the_way.give_up() {
                return Ok(None);
            }
            let i = FrameIndex(self.at);
            if let Some((asked, permits)) = &self.gate {
                // Nobody may be there to hear it any more.
                asked.send(i.0).ok();
                permits.recv().ok();
            }
            self.at += 1;
            self.decoded.fetch_add(1, Ordering::SeqCst);
            if i == index {
                return self.frame(i).map(Some);
            }
            if on_the_way.wants(i) {
                on_the_way.keep(self.inner.frame(i)?);
            }
        }
    }

    fn table(&self) -> Option<&FrameTable> {
        self.tells_table.then_some(&self.table)
    }
}
