//! Video files through FFmpeg, frame-exact. The packets are read once into a [`FrameTable`]; from then on each packet
//! carries its display index through the decoder in place of its time stamp, so a decoded picture says by itself which
//! frame it is, whatever the container thinks of time.
//!
//! `video-rs` decodes well in order, but its seek lands on the wrong key frame and its times are decoding times: only
//! the FFmpeg binding that it re-exports is used here. Caching is left to [`super::decoder`].

mod demux;
mod pixels;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Once},
};

use video_rs::ffmpeg::{Discard, Error, Packet, codec, decoder, error::EAGAIN, format, frame, log};

use self::demux::{Patience, Read};
use super::{
    Frame, FrameSource, FrameTable, OnTheWay, VideoError,
    frame::{Straight, displayed_size},
    table::FrameEntry,
};
use crate::project::{FrameIndex, Size, VideoInfo};

/// Pictures that may come out after one with a higher index before that one counts as lost; a decoder that reorders
/// wrongly at the start of a stream is off by fewer.
const REORDER_SLACK: u32 = 16;

/// Errors of a decoder that is emptied at the end of a stream before it counts as empty: it has one for each damaged packet
/// that it holds, as many as it has threads.
const MAX_FAULTS: u32 = 64;

/// Packets of no known frame that are skipped after a seek before the landing counts as failed.
const MAX_UNKNOWN_PACKETS: u32 = 256;

/// Keeps FFmpeg from printing to stderr by itself; what matters comes back as errors and warnings.
pub(super) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| log::set_level(log::Level::Quiet));
}

/// How a picture has to be turned for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Orientation {
    /// Clockwise quarter turns.
    rotation: u8,
    /// Mirrored left to right before turning.
    mirrored: bool,
}

/// How a stretch of decoding ended.
enum RunEnd {
    Found(Frame),
    /// The stream went past the frame, or ended, without showing it.
    Missed,
    GaveUp,
}

/// A video file read through FFmpeg.
pub struct FfmpegSource {
    path: PathBuf,
    info: VideoInfo,
    table: Arc<FrameTable>,
    coded_size: Size,
    orientation: Orientation,
    warnings: Vec<String>,
    stream: usize,
    codec: codec::Id,
    input: format::context::Input,
    decoder: decoder::Video,
    /// The first frame, decoded while opening.
    first: Option<Frame>,
    /// Packet read ahead to see where a seek landed.
    peeked: Option<Packet>,
    /// Packet that the decoder was too full to take, already marked with its display index.
    staged: Option<Packet>,
    draining: bool,
    /// It was told so because the file could not be read on, which may pass.
    gone: bool,
    /// The decoder gives pictures with faults as well.
    permissive: bool,
    /// Display index at which decoding started: pictures below it lack their references.
    base: u32,
    /// Lowest display index that should still come out of the decoder as it stands.
    floor: u32,
    /// Decoding order of the last packet handed to the decoder.
    fed: Option<u32>,
    /// Frames below this display index may have been left out since the last seek.
    thinned: u32,
    /// Frames that no attempt could decode.
    lost: BTreeSet<u32>,
}

impl FfmpegSource {
    /// Opens a video file, reads all its packets and decodes its first frame.
    ///
    /// # Errors
    /// [`VideoError::Open`] with one clause that says why the file is no video that can be shown.
    pub fn open(path: &Path) -> Result<Self, VideoError> {
        let mut input = demux::open_input(path)?;
        let stream = demux::pick_stream(&input, path)?;
        // Before minutes are spent on reading a long file: can it be decoded at all?
        drop(demux::open_decoder(&input, stream, path)?);
        let scan = demux::scan(&mut input, stream);
        if scan.table.is_empty() {
            return Err(VideoError::open(path, "its video stream holds no frames"));
        }
        drop(input);
        let mut source = Self::start(path, stream, Arc::new(scan.table))?;
        source.warnings = scan.warnings;
        if source.table.is_counted() {
            source.count_frames()?;
        }
        source.decode_first()?;
        Ok(source)
    }

    /// Opens a file whose frame table is already known, without reading all its packets again. The table has to be of
    /// this very file (compare [`super::content_hash`]).
    ///
    /// # Errors
    /// As [`FfmpegSource::open`].
    pub fn open_with_table(path: &Path, table: FrameTable) -> Result<Self, VideoError> {
        if table.is_empty() {
            return Self::open(path);
        }
        let input = demux::open_input(path)?;
        let stream = demux::pick_stream(&input, path)?;
        drop(input);
        let mut source = Self::start(path, stream, Arc::new(table))?;
        source.decode_first()?;
        Ok(source)
    }

    fn start(path: &Path, stream: usize, table: Arc<FrameTable>) -> Result<Self, VideoError> {
        let input = demux::open_input(path)?;
        let decoder = demux::open_decoder(&input, stream, path)?;
        let codec = decoder.id();
        let (orientation, rate) = match input.stream(stream) {
            Some(s) => (orientation(&s), s.avg_frame_rate()),
            None => return Err(VideoError::open(path, "its video stream has vanished")),
        };
        let declared = f64::from(rate.numerator()) / f64::from(rate.denominator().max(1));
        let info = VideoInfo {
            path: path.display().to_string(),
            size: Size::new(0, 0),
            frames: table.len(),
            fps: mean_fps(&table, declared),
            hash: String::new(),
        };
        Ok(Self {
            path: path.to_owned(),
            info,
            table,
            coded_size: Size::new(0, 0),
            orientation,
            warnings: Vec::new(),
            stream,
            codec,
            input,
            decoder,
            first: None,
            peeked: None,
            staged: None,
            draining: false,
            gone: false,
            permissive: false,
            base: 0,
            floor: 0,
            fed: None,
            thinned: 0,
            lost: BTreeSet::new(),
        })
    }

    /// Decodes up to the first picture, which tells the size.
    fn decode_first(&mut self) -> Result<(), VideoError> {
        let mut picture = frame::Video::empty();
        let Some(index) = self.next_picture(&mut picture, &mut |_| false) else {
            return Err(VideoError::open(
                &self.path,
                "none of its frames can be decoded; the file is damaged",
            ));
        };
        self.coded_size = Size::new(picture.width(), picture.height());
        self.info.size = displayed_size(self.coded_size, self.orientation.rotation);
        let aspect = picture.aspect_ratio();
        if aspect.numerator() > 0 && aspect.numerator() != aspect.denominator() {
            self.warnings.push(format!(
                "its pixels are not square ({}:{}); they are shown as if they were",
                aspect.numerator(),
                aspect.denominator()
            ));
        }
        let first = self
            .deliver(index, &picture)
            .map_err(|e| VideoError::open(&self.path, e.to_string()))?;
        self.first = Some(first);
        Ok(())
    }

    /// Learns the number of frames by decoding all of them: without time stamps, packets and frames need not match.
    fn count_frames(&mut self) -> Result<(), VideoError> {
        let (num, den) = self.table.time_base();
        let fps = Some(self.info.fps).filter(|f| *f > 0.0).unwrap_or(25.0);
        let step = (f64::from(den) / f64::from(num.max(1)) / fps).max(1.0);
        let mut frames: Vec<FrameEntry> = Vec::new();
        let mut picture = frame::Video::empty();
        let mut last = None;
        self.floor = 0;
        while let Some(index) = self.next_picture(&mut picture, &mut |_| false) {
            let guess = (f64::from(index) * step) as i64;
            // The decoder's best guess serves as long as it moves forward.
            let pts = match (picture.timestamp(), last) {
                (Some(t), None) => t,
                (Some(t), Some(last)) if t > last => t,
                (_, Some(last)) => last + step as i64,
                (None, None) => guess,
            };
            last = Some(pts);
            frames.push(FrameEntry {
                pts,
                order: index,
                pos: -1,
                key: index == 0,
            });
        }
        if frames.is_empty() {
            return Err(VideoError::open(
                &self.path,
                "none of its frames can be decoded; the file is damaged",
            ));
        }
        let table = FrameTable::new((num, den), true, frames);
        self.info.frames = table.len();
        self.info.fps = mean_fps(&table, self.info.fps);
        self.table = Arc::new(table);
        self.reopen(FrameIndex(0))
    }

    /// Begins again at the start of the file.
    fn reopen(&mut self, wanted: FrameIndex) -> Result<(), VideoError> {
        let failed = |e: VideoError| VideoError::decode(wanted, e.to_string());
        self.input = demux::open_input(&self.path).map_err(failed)?;
        self.decoder = demux::open_decoder(&self.input, self.stream, &self.path).map_err(failed)?;
        self.peeked = None;
        self.staged = None;
        self.draining = false;
        self.gone = false;
        self.permissive = false;
        self.base = 0;
        self.floor = 0;
        self.fed = None;
        self.thinned = 0;
        Ok(())
    }

    /// Which frame a packet holds.
    fn identify(&self, packet: &Packet) -> Option<u32> {
        if self.table.is_counted() || !demux::is_shown(packet, self.codec) {
            return None;
        }
        let pos = i64::try_from(packet.position()).unwrap_or(-1);
        self.table.find(packet.pts()?, pos)
    }

    /// Goes to the key frame with display index `key`, or fails without harm.
    fn seek(&mut self, key: u32) -> bool {
        let Some(&target) = self.table.frames().get(key as usize) else {
            return false;
        };
        let (num, den) = self.table.time_base();
        let micros = i128::from(target.pts) * i128::from(num) * 1_000_000;
        // Rounded up: a time just before the key frame would land on the one before it.
        let micros = i64::try_from(micros.div_euclid(i128::from(den.max(1))) + 1).unwrap_or(0);
        if self.input.seek(micros, ..micros).is_err() {
            return false;
        }
        if self.permissive {
            match demux::open_decoder(&self.input, self.stream, &self.path) {
                Ok(decoder) => self.decoder = decoder,
                Err(_) => return false,
            }
            self.permissive = false;
        }
        self.decoder.flush();
        self.draining = false;
        self.gone = false;
        self.peeked = None;
        self.staged = None;
        self.fed = None;
        self.thinned = 0;
        // Containers may index other times than the ones they show, so look where it really landed.
        let mut unknown = 0;
        let mut patience = Patience::default();
        while unknown < MAX_UNKNOWN_PACKETS {
            match demux::read(&mut self.input) {
                Read::Packet(packet) if packet.stream() == self.stream => {
                    let Some(index) = self.identify(&packet) else {
                        unknown += 1;
                        continue;
                    };
                    let order = self.table.frames()[index as usize].order;
                    self.peeked = Some(packet);
                    self.base = key;
                    self.floor = key;
                    return order <= target.order;
                }
                Read::Packet(_) => patience.renew(),
                Read::Damaged if patience.exhausted() => return false,
                Read::Damaged => {}
                Read::End | Read::Gone => return false,
            }
        }
        false
    }

    /// Whether decoding on from here reaches `index` at least as soon as a seek would.
    fn is_ahead(&self, index: u32, start: Option<u32>) -> bool {
        if index < self.floor.max(self.thinned) {
            return false;
        }
        if self.table.is_counted() {
            return true;
        }
        let start_order = start.map_or(0, |k| self.table.frames()[k as usize].order);
        // Before the first packet is fed, `floor` tells it all.
        self.fed.is_none_or(|fed| start_order <= fed + 4)
    }

    /// The next packet of the stream, its time stamp replaced by its display index. If `spare` says that nobody wants
    /// to see the frame, the decoder may leave it out if no other refers to it: about half the work in a group of
    /// pictures with B-frames.
    fn next_packet(&mut self, spare: &mut dyn FnMut(u32) -> bool) -> Option<Packet> {
        if let Some(staged) = self.staged.take() {
            return Some(staged);
        }
        let mut patience = Patience::default();
        loop {
            let mut packet = match self.peeked.take() {
                Some(packet) => packet,
                None => match demux::read(&mut self.input) {
                    Read::Packet(packet) => packet,
                    Read::Damaged if !patience.exhausted() => continue,
                    Read::Damaged | Read::End => return None,
                    Read::Gone => {
                        self.gone = true;
                        return None;
                    }
                },
            };
            patience.renew();
            if packet.stream() != self.stream {
                continue;
            }
            if !self.table.is_counted() {
                let index = self.identify(&packet);
                packet.set_pts(index.map(i64::from));
                let mut discard = Discard::Default;
                if let Some(index) = index {
                    self.fed = Some(self.table.frames()[index as usize].order);
                    // Only H.264 marks such frames reliably in every decoder version.
                    if self.codec == codec::Id::H264 && !self.permissive && spare(index) {
                        discard = Discard::NonReference;
                        self.thinned = self.thinned.max(index + 1);
                    }
                }
                self.decoder.skip_frame(discard);
            }
            return Some(packet);
        }
    }

    /// Hands the next packet to the decoder; at the end, tells it so. False if the decoder is too full.
    fn feed(&mut self, spare: &mut dyn FnMut(u32) -> bool) -> bool {
        let Some(packet) = self.next_packet(spare) else {
            self.draining = true;
            // An error here means that it was told before.
            self.decoder.send_eof().ok();
            return true;
        };
        match self.decoder.send_packet(&packet) {
            Err(Error::Other { errno: EAGAIN }) => {
                self.staged = Some(packet);
                false
            }
            // What the decoder cannot digest shows as a missing frame later on.
            Ok(()) | Err(_) => true,
        }
    }

    /// The next picture out of the decoder and its display index; `None` at the end.
    fn next_picture(
        &mut self,
        picture: &mut frame::Video,
        spare: &mut dyn FnMut(u32) -> bool,
    ) -> Option<u32> {
        let (mut refused, mut faults) = (0, 0);
        loop {
            match self.decoder.receive_frame(picture) {
                Ok(()) => {}
                Err(Error::Eof) => return None,
                // One of the last packets is damaged, which says nothing of those behind it.
                Err(_) if self.draining && faults < MAX_FAULTS => {
                    faults += 1;
                    continue;
                }
                Err(_) if self.draining => return None,
                Err(_) => {
                    // A decoder that neither gives nor takes is stuck on this packet.
                    refused = if self.feed(spare) { 0 } else { refused + 1 };
                    if refused > 8 {
                        self.staged = None;
                    }
                    continue;
                }
            }
            let index = if self.table.is_counted() {
                self.floor
            } else {
                match picture.pts().and_then(|p| u32::try_from(p).ok()) {
                    Some(index) if (self.base..self.table.len()).contains(&index) => index,
                    _ => continue,
                }
            };
            self.floor = self.floor.max(index + 1);
            return Some(index);
        }
    }

    fn deliver(&self, index: u32, picture: &frame::Video) -> Result<Frame, VideoError> {
        let pixels = pixels::convert(picture, self.coded_size, self.orientation.mirrored)
            .map_err(|reason| VideoError::decode(FrameIndex(index), reason))?;
        Ok(Frame {
            index: FrameIndex(index),
            pts_secs: self.table.pts_secs(index).unwrap_or(0.0),
            coded_size: self.coded_size,
            rotation: self.orientation.rotation,
            pixels,
        })
    }

    /// Decodes on from here until frame `wanted` comes out. `skipped` gathers frames that did not come in their turn.
    fn run(
        &mut self,
        wanted: u32,
        way: &mut dyn OnTheWay,
        skipped: &mut BTreeSet<u32>,
    ) -> Result<RunEnd, VideoError> {
        let mut picture = frame::Video::empty();
        let mut beyond = 0;
        loop {
            if way.give_up() {
                return Ok(RunEnd::GaveUp);
            }
            let expected = self.floor;
            let mut spare = |i| i < wanted && !way.wants(FrameIndex(i));
            let Some(index) = self.next_picture(&mut picture, &mut spare) else {
                skipped.extend(expected..self.table.len());
                // Nothing comes any more.
                self.floor = u32::MAX;
                return Ok(RunEnd::Missed);
            };
            skipped.extend(expected..index);
            skipped.remove(&index);
            if index == wanted {
                return self.deliver(index, &picture).map(RunEnd::Found);
            }
            if index > wanted {
                beyond += 1;
                if beyond > REORDER_SLACK {
                    return Ok(RunEnd::Missed);
                }
            }
            if way.wants(FrameIndex(index))
                // What cannot be shown is told when it is asked for.
                && let Ok(frame) = self.deliver(index, &picture)
            {
                way.keep(frame);
            }
        }
    }

    /// The frame itself by every means there is: reading on, its key frame, the key frame before, the whole file.
    fn decode(&mut self, index: u32, way: &mut dyn OnTheWay) -> Result<RunEnd, VideoError> {
        let start = self.table.start_for(index);
        let mut skipped = BTreeSet::new();
        if self.is_ahead(index, start) {
            // Begun at the start of the file, with pictures with faults: what does not come now never will.
            let last_resort = self.permissive && !self.gone;
            match self.run(index, way, &mut skipped)? {
                RunEnd::Missed if last_resort => {
                    self.lose(index, &skipped);
                    return Ok(RunEnd::Missed);
                }
                RunEnd::Missed => {}
                end => return Ok(end),
            }
        }
        if !self.table.is_counted() {
            let earlier = start
                .and_then(|k| k.checked_sub(1))
                .and_then(|k| self.table.start_for(k));
            for key in [start, earlier].into_iter().flatten() {
                if !self.seek(key) {
                    continue;
                }
                match self.run(index, way, &mut skipped)? {
                    RunEnd::Missed => {}
                    end => return Ok(end),
                }
            }
        }
        skipped.clear();
        self.reopen(FrameIndex(index))?;
        // From the very start nothing better will come: take pictures with faults as well. Not of a counted stream: it was
        // counted without them, and each would shift the number of every frame after it.
        if !self.table.is_counted() {
            self.decoder.set_flags(codec::Flags::OUTPUT_CORRUPT);
            self.permissive = true;
        }
        let end = self.run(index, way, &mut skipped)?;
        if matches!(end, RunEnd::Missed) {
            if self.gone {
                // Another picture in its place would stand there for good.
                let reason = "the file cannot be read any further";
                return Err(VideoError::decode(FrameIndex(index), reason));
            }
            self.lose(index, &skipped);
        }
        Ok(end)
    }

    /// Remembers frames that cannot be decoded, and says so.
    fn lose(&mut self, index: u32, skipped: &BTreeSet<u32>) {
        self.lost.insert(index);
        // Each would cost a reading from the start again. The latest may still come, out of order.
        let floor = self.floor;
        let sure = |i: &&u32| **i < index || i.saturating_add(REORDER_SLACK) < floor;
        self.lost.extend(skipped.iter().filter(sure));
        let said = "damaged frames, shown as the nearest whole frame before them: ";
        self.warnings.retain(|w| !w.starts_with(said));
        let mut list: Vec<String> = self.lost.iter().take(8).map(u32::to_string).collect();
        if self.lost.len() > list.len() {
            list.push(format!("{} in all", self.lost.len()));
        }
        self.warnings.push(format!("{said}{}", list.join(", ")));
    }

    /// Whole frames that could stand in for a lost one, nearest first: those before it, then those after.
    fn stand_ins(&self, index: u32) -> impl Iterator<Item = u32> + use<> {
        let lost = self.lost.clone();
        let len = self.table.len();
        (0..index)
            .rev()
            .chain(index + 1..len)
            .filter(move |i| !lost.contains(i))
    }
}

impl FrameSource for FfmpegSource {
    fn info(&self) -> &VideoInfo {
        &self.info
    }

    fn pts_secs(&self, index: FrameIndex) -> Option<f64> {
        self.table.pts_secs(index.0)
    }

    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
        self.walk_to(index, &mut Straight)?
            .ok_or_else(|| VideoError::broken_off(index))
    }

    fn walk_to(
        &mut self,
        index: FrameIndex,
        on_the_way: &mut dyn OnTheWay,
    ) -> Result<Option<Frame>, VideoError> {
        if index.0 >= self.table.len() {
            return Err(VideoError::OutOfRange {
                index: index.0,
                frames: self.table.len(),
            });
        }
        if let Some(first) = self.first.take_if(|f| f.index == index) {
            return Ok(Some(first));
        }
        if !self.lost.contains(&index.0) {
            match self.decode(index.0, on_the_way)? {
                RunEnd::Found(frame) => return Ok(Some(frame)),
                RunEnd::GaveUp => return Ok(None),
                RunEnd::Missed => {}
            }
        }
        // A gap in the numbering would shift every later mask, so the gap is filled and said. A few tries only: each may
        // read the whole file.
        for other in self.stand_ins(index.0).take(4) {
            match self.decode(other, on_the_way)? {
                RunEnd::Found(mut frame) => {
                    frame.index = index;
                    frame.pts_secs = self.table.pts_secs(index.0).unwrap_or(0.0);
                    return Ok(Some(frame));
                }
                RunEnd::GaveUp => return Ok(None),
                RunEnd::Missed => {}
            }
        }
        Err(VideoError::decode(
            index,
            "the file is damaged there, and no whole frame is near",
        ))
    }

    fn second_reader(&self) -> Option<Box<dyn FrameSource>> {
        let mut other = Self::start(&self.path, self.stream, Arc::clone(&self.table)).ok()?;
        other.info = self.info.clone();
        other.coded_size = self.coded_size;
        Some(Box::new(other))
    }

    fn table(&self) -> Option<&FrameTable> {
        Some(&self.table)
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Frames per second: what the file declares if the table agrees within a percent (its own times may be rounded to
/// milliseconds), else what the table says.
fn mean_fps(table: &FrameTable, declared: f64) -> f64 {
    let usable = declared.is_finite() && declared > 0.0;
    match table.mean_fps() {
        Some(mean) if usable && (mean / declared - 1.0).abs() < 0.01 => declared,
        Some(mean) if !table.is_counted() => mean,
        _ if usable => declared,
        Some(mean) => mean,
        None => 25.0,
    }
}

/// From the display matrix: 16.16 fixed point, row vectors, so `x' = m0·x + m3·y`.
fn orientation(stream: &format::stream::Stream<'_>) -> Orientation {
    let matrix = stream
        .side_data()
        .find(|s| s.kind() == codec::packet::side_data::Type::DisplayMatrix);
    let Some(matrix) = matrix else {
        return Orientation {
            rotation: 0,
            mirrored: false,
        };
    };
    let values: Vec<f64> = matrix
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&b| f64::from(i32::from_ne_bytes(b)))
        .collect();
    orientation_of(&values)
}

fn orientation_of(m: &[f64]) -> Orientation {
    let &[a, b, _, c, d, ..] = m else {
        return Orientation {
            rotation: 0,
            mirrored: false,
        };
    };
    let mirrored = a * d - b * c < 0.0;
    let (a, b) = if mirrored { (-a, -b) } else { (a, b) };
    let quarters = (b.atan2(a).to_degrees() / 90.0).round() as i32;
    Orientation {
        rotation: u8::try_from(quarters.rem_euclid(4)).unwrap_or(0),
        mirrored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(m: [f64; 5]) -> (u8, bool) {
        let o = orientation_of(&m);
        (o.rotation, o.mirrored)
    }

    #[test]
    fn orientation_comes_from_the_matrix() {
        const ONE: f64 = 65536.0;
        assert_eq!(turned([ONE, 0.0, 0.0, 0.0, ONE]), (0, false));
        assert_eq!(turned([0.0, ONE, 0.0, -ONE, 0.0]), (1, false));
        assert_eq!(turned([-ONE, 0.0, 0.0, 0.0, -ONE]), (2, false));
        assert_eq!(turned([0.0, -ONE, 0.0, ONE, 0.0]), (3, false));
        assert_eq!(turned([-ONE, 0.0, 0.0, 0.0, ONE]), (0, true));
        // Top to bottom is left to right and half a turn.
        assert_eq!(turned([ONE, 0.0, 0.0, 0.0, -ONE]), (2, true));
        assert_eq!(turned([0.0; 5]), (0, false));
    }
}
