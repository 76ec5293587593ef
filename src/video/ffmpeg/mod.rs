//! Video files through FFmpeg, frame-exact. The packets are read once into a [`FrameTable`]; from then on each packet
//! carries its display index through the decoder in place of its time stamp, so a decoded picture says by itself which
//! frame it is, whatever the container thinks of time.
//!
//! `video-rs` decodes well in order, but its seek lands on the wrong key frame and its times are decoding times: only
//! the FFmpeg binding that it re-exports is used here. Caching is left to [`super::decoder`].
//!
//! Damage is found as frames are decoded, and told: a picture that the decoder had to mend (it says so itself, see
//! [`alarm`]), one that did not come although those around it did, one that nothing brings out. What a decoder makes of
//! damaged bytes without noticing is beyond knowing: HEVC and VP9 have no way to tell.

mod alarm;
mod demux;
mod orientation;
mod passage;
mod pixels;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use video_rs::ffmpeg::{
    Discard, Error, Packet, codec, color, decoder, error::EAGAIN, format, frame,
};

pub(super) use self::alarm::quiet;
use self::{
    alarm::Alarm,
    demux::{Patience, Read},
    orientation::{Orientation, orientation},
    passage::Passage,
};
use super::{
    Damage, Frame, FrameSource, FrameTable, OnTheWay, VideoError,
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

/// A frame that does not come out of its own group and not out of the one before is looked for once more from so many frames
/// further back: for streams whose key frames are none. An hour of video is not read for the sake of one frame.
const LAST_RESORT: u32 = 1000;

/// Whole frames near a lost one that are tried in its place.
const STAND_INS: usize = 4;

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
    /// What there is to tell of the file as a whole.
    notes: Vec<String>,
    /// The notes, and what is known of the damage.
    warnings: Vec<String>,
    /// What of the damage the warnings tell, by its count of changes.
    told: u64,
    damage: Damage,
    /// Frames that the decoder says are damaged, and that are still to come out of it, if they do.
    alarmed: BTreeSet<u32>,
    /// The last picture that came is marked as one that should not be shown.
    corrupt: bool,
    passage: Passage,
    stream: usize,
    codec: codec::Id,
    input: format::context::Input,
    decoder: decoder::Video,
    /// Below the decoder, and so dropped after it: its threads may speak until they have ended.
    alarm: Alarm,
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
    /// Packets that can be read before the file is gone.
    #[cfg(test)]
    readable: Option<u32>,
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
        source.notes = scan.warnings;
        if source.table.is_counted() {
            source.count_frames()?;
        }
        source.decode_first()?;
        source.tell();
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
        source.tell();
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
            damage: Damage::new(Arc::clone(&table)),
            table,
            coded_size: Size::new(0, 0),
            orientation,
            notes: Vec::new(),
            warnings: Vec::new(),
            told: 0,
            alarm: Alarm::new(),
            alarmed: BTreeSet::new(),
            corrupt: false,
            passage: Passage::default(),
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
            #[cfg(test)]
            readable: None,
        })
    }

    /// Decodes up to the first picture, which tells the size.
    fn decode_first(&mut self) -> Result<(), VideoError> {
        let mut picture = frame::Video::empty();
        let found = self.next_picture(&mut picture, &mut |_| false);
        self.coded_size = Size::new(picture.width(), picture.height());
        let Some(index) = found.filter(|_| self.coded_size.area() > 0) else {
            return Err(VideoError::open(&self.path, demux::undecodable(&self.path)));
        };
        self.info.size = displayed_size(self.coded_size, self.orientation.rotation);
        let aspect = picture.aspect_ratio();
        if aspect.numerator() > 0 && aspect.numerator() != aspect.denominator() {
            self.notes.push(format!(
                "its pixels are not square ({}:{}); they are shown as if they were",
                aspect.numerator(),
                aspect.denominator()
            ));
        }
        let transfer = picture.color_transfer_characteristic();
        if matches!(
            transfer,
            color::TransferCharacteristic::SMPTE2084 | color::TransferCharacteristic::ARIB_STD_B67
        ) {
            let note = "its colours are of high dynamic range; they are shown as if they were not, which makes them pale";
            self.notes.push(note.to_owned());
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
                (_, Some(last)) => last.saturating_add(step as i64),
                (None, None) => guess,
            };
            last = Some(pts);
            frames.push(FrameEntry {
                pts,
                order: index,
                pos: -1,
                key: index == 0 || picture.is_key(),
            });
        }
        if frames.is_empty() {
            return Err(VideoError::open(&self.path, demux::undecodable(&self.path)));
        }
        let table = FrameTable::new((num, den), true, frames);
        self.info.frames = table.len();
        self.info.fps = mean_fps(&table, self.info.fps);
        self.table = Arc::new(table);
        self.damage = self.damage.on(Arc::clone(&self.table));
        self.reopen(FrameIndex(0))
    }

    /// Begins again at the start of the file.
    fn reopen(&mut self, wanted: FrameIndex) -> Result<(), VideoError> {
        let failed = |e: VideoError| VideoError::decode(wanted, e.to_string());
        self.input = demux::open_input(&self.path).map_err(failed)?;
        self.fresh_decoder(false).map_err(failed)?;
        self.arrive(0);
        Ok(())
    }

    /// A decoder that has seen nothing yet; a permissive one gives pictures with faults as well.
    fn fresh_decoder(&mut self, permissive: bool) -> Result<(), VideoError> {
        self.decoder = demux::open_decoder(&self.input, self.stream, &self.path)?;
        if permissive {
            self.decoder.set_flags(codec::Flags::OUTPUT_CORRUPT);
        }
        self.permissive = permissive;
        Ok(())
    }

    /// Decoding begins anew with frame `base`.
    fn arrive(&mut self, base: u32) {
        self.peeked = None;
        self.staged = None;
        self.draining = false;
        self.gone = false;
        self.base = base;
        self.floor = base;
        self.fed = None;
        self.thinned = 0;
        self.passage = Passage::default();
        self.alarmed.clear();
        // What was said of the pictures that were thrown away.
        drop(self.alarm.heard());
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
    fn seek(&mut self, key: u32, permissive: bool) -> bool {
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
        if self.permissive == permissive {
            self.decoder.flush();
        } else if self.fresh_decoder(permissive).is_err() {
            return false;
        }
        self.arrive(key);
        let has_landed = self.has_landed(target.order);
        if !has_landed {
            // Nothing that is looked for lies ahead.
            self.floor = u32::MAX;
        }
        has_landed
    }

    /// Whether the next packet of a frame comes no later in decoding order than place `order`. Containers may index other
    /// times than the ones they show.
    fn has_landed(&mut self, order: u32) -> bool {
        let mut unknown = 0;
        let mut patience = Patience::default();
        while unknown < MAX_UNKNOWN_PACKETS {
            match self.read() {
                Read::Packet(packet) if packet.stream() == self.stream => {
                    let Some(index) = self.identify(&packet) else {
                        unknown += 1;
                        continue;
                    };
                    self.peeked = Some(packet);
                    return self.table.frames()[index as usize].order <= order;
                }
                Read::Packet(_) => patience.renew(),
                Read::Damaged if patience.exhausted() => return false,
                Read::Damaged => {}
                Read::End | Read::Gone => return false,
            }
        }
        false
    }

    /// The next packet of any stream.
    fn read(&mut self) -> Read {
        #[cfg(test)]
        if let Some(left) = &mut self.readable {
            if *left == 0 {
                return Read::Gone;
            }
            *left -= 1;
        }
        demux::read(&mut self.input)
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
                None => match self.read() {
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
                        self.passage.spare(index);
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
        let frame = packet.pts().filter(|_| !self.table.is_counted());
        let frame = frame.and_then(|pts| u32::try_from(pts).ok());
        self.alarm.note(&mut self.decoder, frame);
        match self.decoder.send_packet(&packet) {
            Err(Error::Other { errno: EAGAIN }) => {
                self.staged = Some(packet);
                false
            }
            Ok(()) => true,
            // What the decoder cannot digest shows as a missing frame later on.
            Err(_) => {
                self.passage.refuse();
                true
            }
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
                    self.passage.refuse();
                    continue;
                }
                Err(_) if self.draining => return None,
                Err(e) => {
                    if e != (Error::Other { errno: EAGAIN }) {
                        self.passage.refuse();
                    }
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
            self.inspect(index, picture);
            self.floor = self.floor.max(index + 1);
            return Some(index);
        }
    }

    /// Learns what the decoder has said of damage.
    fn listen(&mut self) {
        for damaged in self.alarm.heard() {
            // Pictures before the key frame lack what they refer to by right, and are thrown away.
            if damaged >= self.base {
                self.damage.mark(damaged);
                self.alarmed.insert(damaged);
            }
        }
    }

    /// Learns what a picture says of damage, in itself and before it.
    fn inspect(&mut self, index: u32, picture: &frame::Video) {
        self.listen();
        // Where a stream has no true key frames, all pictures of a permissive decoder have this mark at first.
        self.corrupt = picture.is_corrupt();
        let is_corrupt = self.corrupt && !(self.permissive && self.base > 0);
        if self.alarmed.remove(&index) || is_corrupt || picture.has_decode_errors() {
            self.damage.mark(index);
        } else {
            self.damage.clear(index);
        }
        if !self.table.is_counted() {
            for missing in self.passage.came(index, self.floor) {
                self.damage.mark(missing);
            }
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

    /// Decodes on from here until frame `wanted` comes out. `came` gathers the frames that did.
    fn run(
        &mut self,
        wanted: u32,
        way: &mut dyn OnTheWay,
        came: &mut BTreeSet<u32>,
    ) -> Result<RunEnd, VideoError> {
        let mut picture = frame::Video::empty();
        let mut beyond = 0;
        loop {
            if way.give_up() {
                return Ok(RunEnd::GaveUp);
            }
            let mut spare = |i| i < wanted && !way.wants(FrameIndex(i));
            let Some(index) = self.next_picture(&mut picture, &mut spare) else {
                self.listen();
                if !self.gone && !self.table.is_counted() {
                    for missing in self.passage.ended(self.floor, self.table.len()) {
                        self.damage.mark(missing);
                    }
                }
                // Nothing comes any more.
                self.floor = u32::MAX;
                return Ok(RunEnd::Missed);
            };
            came.insert(index);
            if index == wanted {
                return self.deliver(index, &picture).map(RunEnd::Found);
            }
            if index > wanted {
                beyond += 1;
                if beyond > REORDER_SLACK {
                    return Ok(RunEnd::Missed);
                }
            }
            let index = FrameIndex(index);
            // Another picture is shown for a lost frame, and goes on to be.
            if !self.damage.is_lost(index)
                && way.wants(index)
                // What cannot be shown is told when it is asked for.
                && let Ok(frame) = self.deliver(index.0, &picture)
            {
                way.keep(frame);
            }
        }
    }

    /// The frame itself by every means there is: reading on, its key frame, the key frame before, one far before.
    fn decode(&mut self, index: u32, way: &mut dyn OnTheWay) -> Result<RunEnd, VideoError> {
        let start = self.table.start_for(index);
        let mut came = BTreeSet::new();
        if self.is_ahead(index, start) {
            // Begun far before, with pictures with faults: what does not come now never will.
            let last_resort = self.permissive && !self.gone;
            let from = self.floor;
            match self.run(index, way, &mut came)? {
                RunEnd::Missed if last_resort => {
                    self.lose(index, from, &came);
                    return Ok(RunEnd::Missed);
                }
                RunEnd::Missed => {}
                end => return Ok(end),
            }
        }
        let before = |key: u32| key.checked_sub(1).and_then(|k| self.table.start_for(k));
        let earlier = start.and_then(before);
        if !self.table.is_counted() {
            for key in [start, earlier].into_iter().flatten() {
                if !self.seek(key, false) {
                    continue;
                }
                match self.run(index, way, &mut came)? {
                    RunEnd::Missed => {}
                    end => return Ok(end),
                }
            }
        }
        let from = self.go_far_before(index, earlier)?;
        let end = self.run(index, way, &mut came)?;
        match end {
            RunEnd::Missed if self.gone => {
                // Another picture in its place would stand there for good.
                let reason = "the file cannot be read any further";
                return Err(VideoError::decode(FrameIndex(index), reason));
            }
            RunEnd::Missed => self.lose(index, from, &came),
            // It came in no better way.
            RunEnd::Found(_) if self.corrupt => self.damage.mark(index),
            RunEnd::Found(_) | RunEnd::GaveUp => {}
        }
        Ok(end)
    }

    /// Goes to where nothing better can come from, [`LAST_RESORT`] frames before the key frame `earlier` or the start of the
    /// file, and takes pictures with faults from there on. Gives the frame that it went to.
    fn go_far_before(&mut self, index: u32, earlier: Option<u32>) -> Result<u32, VideoError> {
        let wanted = FrameIndex(index);
        self.reopen(wanted)?;
        // A counted stream was counted without them, and each would shift the number of every frame after it.
        if self.table.is_counted() {
            return Ok(0);
        }
        let far = earlier.and_then(|key| {
            let order = self.table.frames().get(key as usize)?.order;
            self.table.key_at(key, order.checked_sub(LAST_RESORT)?)
        });
        if let Some(key) = far {
            if self.seek(key, true) {
                return Ok(key);
            }
            self.reopen(wanted)?;
        }
        self.fresh_decoder(true)
            .map_err(|e| VideoError::decode(wanted, e.to_string()))?;
        Ok(0)
    }

    /// Remembers that frame `index` cannot be decoded, and which others cannot, now that `came` is all that came in every
    /// attempt, the last of them from frame `from` on. Each would cost as many attempts again.
    fn lose(&mut self, index: u32, from: u32, came: &BTreeSet<u32>) {
        self.damage.lose(index);
        let group = self.table.start_for(index);
        let ended = self.floor == u32::MAX;
        let last = self.passage.last();
        for i in (from..self.table.len()).filter(|i| !came.contains(i)) {
            let gone = if ended {
                // A decoder that came to its end early says nothing of the groups after this one.
                i < last || self.table.start_for(i) == group
            } else {
                // The latest may still come, out of order.
                i < index || i.saturating_add(REORDER_SLACK) < self.floor
            };
            if gone {
                self.damage.lose(i);
            } else if !ended && i > self.floor {
                break;
            }
        }
    }

    /// Brings the warnings up to what is known.
    fn tell(&mut self) {
        self.told = self.damage.changes();
        self.warnings.clone_from(&self.notes);
        self.warnings.extend(self.damage.warnings());
    }

    fn walk(&mut self, index: u32, way: &mut dyn OnTheWay) -> Result<Option<Frame>, VideoError> {
        let wanted = FrameIndex(index);
        if !self.damage.is_lost(wanted) {
            match self.decode(index, way)? {
                RunEnd::Found(frame) => return Ok(Some(frame)),
                RunEnd::GaveUp => return Ok(None),
                RunEnd::Missed => {}
            }
        }
        // A gap in the numbering would shift every later mask, so the gap is filled and said. A few tries only.
        let near: Vec<u32> = self.damage.stand_ins(index).take(STAND_INS).collect();
        for other in near {
            match self.decode(other, way)? {
                RunEnd::Found(mut frame) => {
                    frame.index = wanted;
                    frame.pts_secs = self.table.pts_secs(index).unwrap_or(0.0);
                    return Ok(Some(frame));
                }
                RunEnd::GaveUp => return Ok(None),
                RunEnd::Missed => {}
            }
        }
        let reason = "the file is damaged there, and no whole frame is near";
        Err(VideoError::decode(wanted, reason))
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
        let end = self.walk(index.0, on_the_way);
        if self.told != self.damage.changes() {
            self.tell();
        }
        end
    }

    fn second_reader(&self) -> Option<Box<dyn FrameSource>> {
        let mut other = Self::start(&self.path, self.stream, Arc::clone(&self.table)).ok()?;
        other.info = self.info.clone();
        other.coded_size = self.coded_size;
        other.damage = self.damage.clone();
        Some(Box::new(other))
    }

    fn damage(&self) -> Option<&Damage> {
        Some(&self.damage)
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
        // Before they are counted, frames without time stamps have none to go by.
        _ => 25.0,
    }
}
