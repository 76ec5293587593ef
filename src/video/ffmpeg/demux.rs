//! Opening a container with FFmpeg and reading its packets once into a [`FrameTable`]. Every way in which a file can be
//! no video ends here in one sentence. Decoding is left to the parent module.

use std::{fs, io::Read as _, path::Path};

use video_rs::ffmpeg::{
    Dictionary, Error, Packet, Rational,
    codec::{self, packet::Ref as _},
    decoder,
    error::{EINVAL, ENOMEM, ENOSYS, EPERM},
    ffi, format, media,
};

use crate::video::{FrameTable, VideoError, table::FrameEntry};

/// More failing reads in a row than this, and the rest of the file is given up.
const MAX_READ_ERRORS: u32 = 4096;

/// Playlists, scripts and text renderings: FFmpeg opens them as video, but what they show is elsewhere or made up.
const NOT_VIDEO: [&str; 7] = ["tty", "hls", "dash", "concat", "lavfi", "image2", "webvtt"];

pub(super) struct Scan {
    pub(super) table: FrameTable,
    pub(super) warnings: Vec<String>,
}

/// Opens the container at `path`; nothing but this one file is ever read.
pub(super) fn open_input(path: &Path) -> Result<format::context::Input, VideoError> {
    super::alarm::quiet();
    let name = path
        .to_str()
        .filter(|name| !name.contains('\0'))
        .ok_or_else(|| VideoError::open(path, "its name is not valid Unicode; rename it"))?;
    let head = read_head(path)?;
    // `file:` and the white list keep a name or a playlist from reaching the network or other files' contents.
    let mut options = Dictionary::new();
    options.set("protocol_whitelist", "file");
    let input = format::input_with_dictionary(&format!("file:{name}"), options)
        .map_err(|e| VideoError::open(path, unreadable(&head, e)))?;
    let kind = input.format().name().to_owned();
    if kind.split(',').any(|k| NOT_VIDEO.contains(&k)) {
        return Err(VideoError::open(
            path,
            format!("it is not a video file (it reads as {kind})"),
        ));
    }
    Ok(input)
}

fn read_head(path: &Path) -> Result<Vec<u8>, VideoError> {
    let mut head = Vec::new();
    fs::File::open(path)
        .and_then(|f| f.take(512).read_to_end(&mut head))
        .map_err(|e| VideoError::open(path, io_reason(&e)))?;
    if head.is_empty() {
        return Err(VideoError::open(path, "the file is empty (0 bytes)"));
    }
    Ok(head)
}

/// One clause for a failed file operation.
fn io_reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission to read it is denied".to_owned(),
        _ => e.to_string(),
    }
}

fn unreadable(head: &[u8], error: Error) -> String {
    let text = std::str::from_utf8(head)
        .is_ok_and(|t| !t.chars().any(|c| c.is_control() && !c.is_whitespace()));
    if text {
        "it holds text, not video".to_owned()
    } else if head.get(4..8) == Some(b"ftyp") {
        "its index (moov) is missing or damaged; it was probably cut off while it was written"
            .to_owned()
    } else if error == Error::InvalidData {
        "it is not a video file, or it is damaged beyond reading".to_owned()
    } else {
        format!("FFmpeg says: {error}")
    }
}

/// Why a file that holds packets gives no picture.
pub(super) fn undecodable(path: &Path) -> &'static str {
    // The animation flag of an extended WebP: older versions of FFmpeg know only still ones.
    let is_animated = |head: &[u8]| {
        head.get(8..16) == Some(b"WEBPVP8X") && head.get(20).is_some_and(|flags| flags & 2 != 0)
    };
    if read_head(path).is_ok_and(|head| is_animated(&head)) {
        "it is an animated WebP, which this FFmpeg cannot decode; convert it to a GIF or an MP4 first"
    } else {
        "none of its frames can be decoded; the file is damaged"
    }
}

/// Index of the stream to show.
pub(super) fn pick_stream(
    input: &format::context::Input,
    path: &Path,
) -> Result<usize, VideoError> {
    let cover = format::stream::Disposition::ATTACHED_PIC;
    let is_video = |s: &format::stream::Stream<'_>| {
        s.parameters().medium() == media::Type::Video && !s.disposition().contains(cover)
    };
    if let Some(best) = input.streams().best(media::Type::Video).filter(is_video) {
        return Ok(best.index());
    }
    // FFmpeg calls no stream the best if it has no decoder for any; name the codec in that case.
    let any = input.streams().find(is_video).map(|s| s.index());
    any.ok_or_else(|| {
        let sound = input
            .streams()
            .any(|s| s.parameters().medium() == media::Type::Audio);
        let reason = if sound {
            "it holds sound but no video"
        } else {
            "it holds no video"
        };
        VideoError::open(path, reason)
    })
}

/// A decoder with threads for stream `index`.
pub(super) fn open_decoder(
    input: &format::context::Input,
    index: usize,
    path: &Path,
) -> Result<decoder::Video, VideoError> {
    let stream = input
        .stream(index)
        .ok_or_else(|| VideoError::open(path, "its video stream has vanished"))?;
    let parameters = stream.parameters();
    let id = parameters.id();
    if id == codec::Id::None {
        return Err(VideoError::open(path, "its video codec is unknown"));
    }
    if decoder::find(id).is_none() {
        let reason = format!("this FFmpeg has no decoder for its codec ({})", id.name());
        return Err(VideoError::open(path, reason));
    }
    let failed = |e: Error| {
        VideoError::open(
            path,
            format!("its {} decoder does not start: {e}", id.name()),
        )
    };
    let mut context = codec::Context::from_parameters(parameters).map_err(failed)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    context.set_threading(codec::threading::Config {
        kind: codec::threading::Type::Frame,
        count: threads.min(8),
        ..Default::default()
    });
    let mut opening = context.decoder();
    opening.set_packet_time_base(stream.time_base());
    opening.video().map_err(failed)
}

/// Outside the edit list: decoded for the sake of others, never shown.
#[expect(
    unsafe_code,
    reason = "the binding's packet flags drop AV_PKT_FLAG_DISCARD, the only mark of such a packet"
)]
pub(super) fn is_discarded(packet: &Packet) -> bool {
    // SAFETY: the pointer is to the packet's own field, alive and initialised as long as the borrow.
    let flags = unsafe { (*packet.as_ptr()).flags };
    flags & ffi::AV_PKT_FLAG_DISCARD != 0
}

/// Whether a packet is ever shown by itself: VP8 has reference pictures that are not.
pub(super) fn is_shown(packet: &Packet, codec: codec::Id) -> bool {
    let hidden_vp8 = codec == codec::Id::VP8
        && packet
            .data()
            .and_then(<[u8]>::first)
            .is_some_and(|b| b & 0x10 == 0);
    !hidden_vp8 && packet.size() > 0 && !is_discarded(packet)
}

/// What a read gave.
pub(super) enum Read {
    Packet(Packet),
    /// Unreadable here, perhaps not further on.
    Damaged,
    End,
    /// The system does not give the file any more: a network drive that is gone. FFmpeg would say so for ever.
    Gone,
}

/// The next packet of any stream.
pub(super) fn read(input: &mut format::context::Input) -> Read {
    let mut packet = Packet::empty();
    match packet.read(input) {
        Ok(()) => Read::Packet(packet),
        Err(e) => failure(e),
    }
}

/// What a failing read means. Only what the system itself says of reading lasts; everything else is said of the bytes at
/// hand: a demuxer's bare −1, too, which reads as `EPERM`, and a packet too large for any memory.
fn failure(error: Error) -> Read {
    match error {
        Error::Eof => Read::End,
        Error::Exit => Read::Gone,
        Error::Other { errno } if ![EPERM, EINVAL, ENOMEM, ENOSYS].contains(&errno) => Read::Gone,
        _ => Read::Damaged,
    }
}

/// Counts failing reads in a row, so that no file can keep a reader busy for ever.
#[derive(Default)]
pub(super) struct Patience(u32);

impl Patience {
    pub(super) fn exhausted(&mut self) -> bool {
        self.0 += 1;
        self.0 > MAX_READ_ERRORS
    }

    pub(super) fn renew(&mut self) {
        self.0 = 0;
    }
}

/// Reads every packet of stream `index` from where `input` stands (its start).
pub(super) fn scan(input: &mut format::context::Input, index: usize) -> Scan {
    let (codec, time_base) = match input.stream(index) {
        Some(s) => (s.parameters().id(), s.time_base()),
        None => (codec::Id::None, Rational::new(1, 1)),
    };
    let time_bases: Vec<Rational> = input.streams().map(|s| s.time_base()).collect();
    let mut span = Span::default();
    let mut frames: Vec<FrameEntry> = Vec::new();
    let mut missing_pts = false;
    let (mut damaged_reads, mut gone) = (0_u32, false);
    let mut last_is_partial = false;
    let mut patience = Patience::default();
    loop {
        let packet = match read(input) {
            Read::Packet(packet) => packet,
            Read::Damaged if patience.exhausted() => break,
            Read::Damaged => {
                damaged_reads += 1;
                continue;
            }
            Read::Gone => {
                gone = true;
                break;
            }
            Read::End => break,
        };
        patience.renew();
        if let Some(&base) = time_bases.get(packet.stream()) {
            span.include(&packet, base);
        }
        if packet.stream() != index || !is_shown(&packet, codec) {
            continue;
        }
        missing_pts |= packet.pts().is_none();
        last_is_partial = packet.is_corrupt();
        frames.push(FrameEntry {
            pts: packet.pts().unwrap_or(i64::MIN),
            order: u32::try_from(frames.len()).unwrap_or(u32::MAX),
            pos: i64::try_from(packet.position()).unwrap_or(-1),
            key: packet.is_key(),
        });
    }
    let mut warnings = Vec::new();
    // A packet that the end of the file cuts in two decodes to a picture that is partly made up.
    if last_is_partial && frames.len() > 1 {
        frames.pop();
        damaged_reads += 1;
    }
    if gone {
        warnings.push(format!(
            "the system gives no more of the file than {} frames; see whether the drive is there, and open it again",
            frames.len()
        ));
    } else if damaged_reads > 0 || span.ends_early(input) {
        warnings.push(format!(
            "the file is cut off or damaged: {} frames of it can be read",
            frames.len()
        ));
    }
    let time_base = (time_base.numerator(), time_base.denominator());
    Scan {
        table: FrameTable::new(time_base, missing_pts, frames),
        warnings,
    }
}

/// From the first to the last moment of which any packet of the file speaks, in seconds.
struct Span {
    first: f64,
    last: f64,
}

impl Default for Span {
    fn default() -> Self {
        Self {
            first: f64::INFINITY,
            last: f64::NEG_INFINITY,
        }
    }
}

impl Span {
    fn include(&mut self, packet: &Packet, time_base: Rational) {
        let Some(pts) = packet.pts().or(packet.dts()) else {
            return;
        };
        let unit = f64::from(time_base.numerator()) / f64::from(time_base.denominator().max(1));
        self.first = self.first.min(pts as f64 * unit);
        let end = pts.saturating_add(packet.duration().max(0));
        self.last = self.last.max(end as f64 * unit);
    }

    /// More than a second, and more than a twentieth, of what the container announces is missing at the end. MOV and MP4
    /// are left out: their edit lists hide packets by right, and their cut-off packets fail to read anyway.
    fn ends_early(&self, input: &format::context::Input) -> bool {
        let declared = input.duration() as f64 / 1e6;
        let missing = declared - (self.last - self.first);
        declared > 0.0
            && missing.is_finite()
            && missing > 1.0
            && missing > 0.05 * declared
            && !input.format().name().contains("mov")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use video_rs::ffmpeg::error::{EIO, ENODEV, ETIMEDOUT};

    #[test]
    fn only_what_the_system_says_of_reading_is_the_end_of_it() {
        for errno in [EIO, ENODEV, ETIMEDOUT] {
            assert!(matches!(failure(Error::Other { errno }), Read::Gone));
        }
        assert!(matches!(failure(Error::Exit), Read::Gone));
        assert!(matches!(failure(Error::Eof), Read::End));
        // What demuxers say of bytes that they do not understand.
        for error in [Error::InvalidData, Error::PatchWelcome, Error::Unknown] {
            assert!(matches!(failure(error), Read::Damaged), "{error}");
        }
        for errno in [EPERM, ENOMEM] {
            assert!(matches!(failure(Error::Other { errno }), Read::Damaged));
        }
    }

    #[test]
    fn damage_without_end_is_given_up() {
        let mut patience = Patience::default();
        let given_up = |patience: &mut Patience| {
            (0..=MAX_READ_ERRORS)
                .take_while(|_| !patience.exhausted())
                .count()
        };
        assert_eq!(given_up(&mut patience), MAX_READ_ERRORS as usize);
        // One good packet, and there is as much again.
        patience.renew();
        assert_eq!(given_up(&mut patience), MAX_READ_ERRORS as usize);
    }
}
