//! Writes RGB pictures to an H.264 MP4: overlays, the bundled sample clip, test clips. The file appears whole under its
//! name or not at all. Decoding is left to [`super::ffmpeg`].

use std::path::{Path, PathBuf};

use tempfile::TempPath;
use video_rs::ffmpeg::{
    Codec, Dictionary, Error, Packet, Rational, codec, color, encoder, error::EAGAIN, format,
    frame, picture,
};

use super::{Pixels, RgbFrame, convert::to_yuv420, ffmpeg::quiet};
use crate::project::Size;

/// Encoders to try, best first; what FFmpeg was built with differs between systems.
const ENCODERS: [&str; 4] = ["libx264", "libopenh264", "h264_videotoolbox", "h264_mf"];

/// Why a video could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The file cannot be made.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// Path as given.
        path: String,
        /// One clause: why.
        reason: String,
    },
    /// A picture of another size than the first.
    #[error("a picture of {got_width}×{got_height} does not fit a video of {width}×{height}")]
    Size {
        /// The video's width.
        width: u32,
        /// The video's height.
        height: u32,
        /// The picture's width.
        got_width: u32,
        /// The picture's height.
        got_height: u32,
    },
}

/// How to encode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncodeOptions {
    /// Frames per second.
    pub fps: f64,
    /// x264's constant rate factor: 0 is lossless, 18 looks so, 51 is worst. Other encoders use their default.
    pub crf: u8,
    /// Most frames between key frames.
    pub key_interval: u32,
}

impl Default for EncodeOptions {
    /// 25 frames per second, visually lossless, a key frame every second: scrubs well.
    fn default() -> Self {
        Self {
            fps: 25.0,
            crf: 18,
            key_interval: 25,
        }
    }
}

/// Writes one video, frame by frame.
pub struct VideoWriter {
    path: PathBuf,
    size: Size,
    encoder: encoder::video::Encoder,
    output: format::context::Output,
    /// After `output`: an open file cannot be removed everywhere.
    temporary: TempPath,
    encoder_base: Rational,
    stream_base: Rational,
    written: i64,
}

impl VideoWriter {
    /// Starts a video of `size` pixels. 4:2:0 needs even sides: an odd one is encoded with its last row or column
    /// twice, so the file's picture is one pixel larger there.
    ///
    /// # Errors
    /// [`EncodeError::Write`] if the folder cannot be written to, the size is empty, the rate is no positive number, or
    /// FFmpeg has no H.264 encoder.
    pub fn create(path: &Path, size: Size, options: EncodeOptions) -> Result<Self, EncodeError> {
        let failed = |reason: String| EncodeError::Write {
            path: path.display().to_string(),
            reason,
        };
        if size.area() == 0 || !(options.fps.is_finite() && options.fps > 0.0) {
            return Err(failed(format!(
                "{}×{} at {} frames per second is no video",
                size.width, size.height, options.fps
            )));
        }
        let folder = match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => return Err(failed("it is not a file name".to_owned())),
        };
        let temporary = tempfile::Builder::new()
            .prefix(".sparrow-")
            .suffix(".mp4")
            .tempfile_in(folder)
            .map_err(|e| failed(e.to_string()))?
            .into_temp_path();
        quiet();
        let name = temporary
            .to_str()
            .ok_or_else(|| failed("its folder's name is not valid Unicode".to_owned()))?;
        let codec = ENCODERS
            .iter()
            .find_map(|name| encoder::find_by_name(name))
            .ok_or_else(|| failed("this FFmpeg has no H.264 encoder".to_owned()))?;
        let (output, encoder, encoder_base, stream_base) =
            start(&format!("file:{name}"), codec, size, options)
                .map_err(|e| failed(format!("FFmpeg says: {e}")))?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            size,
            output,
            encoder,
            encoder_base,
            stream_base,
            written: 0,
        })
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// [`EncodeError::Size`] if it is of another size than the video, [`EncodeError::Write`] if encoding or writing
    /// fails.
    pub fn write(&mut self, picture: &RgbFrame) -> Result<(), EncodeError> {
        if picture.size != self.size || picture.data.len() as u64 != self.size.area() * 3 {
            return Err(EncodeError::Size {
                width: self.size.width,
                height: self.size.height,
                got_width: picture.size.width,
                got_height: picture.size.height,
            });
        }
        let (width, height) = (even(self.size.width), even(self.size.height));
        let mut frame = frame::Video::new(format::Pixel::YUV420P, width, height);
        if let Pixels::Yuv420 { y, u, v, .. } = to_yuv420(picture) {
            let (w, h) = (self.size.width as usize, self.size.height as usize);
            fill(&mut frame, 0, &y, w, h);
            fill(&mut frame, 1, &u, w.div_ceil(2), h.div_ceil(2));
            fill(&mut frame, 2, &v, w.div_ceil(2), h.div_ceil(2));
        }
        frame.set_color_range(color::Range::MPEG);
        frame.set_color_space(color::Space::BT709);
        frame.set_kind(picture::Type::None);
        frame.set_pts(Some(self.written));
        self.written += 1;
        self.encoder
            .send_frame(&frame)
            .and_then(|()| self.drain())
            .map_err(|e| self.failed(e.to_string()))
    }

    /// Completes the file and gives it its name, replacing what was there.
    ///
    /// # Errors
    /// [`EncodeError::Write`] if there was no picture, or if encoding or writing fails; no file is left then.
    pub fn finish(mut self) -> Result<(), EncodeError> {
        if self.written == 0 {
            return Err(self.failed("it would hold no frames".to_owned()));
        }
        self.encoder
            .send_eof()
            .and_then(|()| self.drain())
            .and_then(|()| self.output.write_trailer())
            .map_err(|e| self.failed(e.to_string()))?;
        let Self {
            path,
            temporary,
            output,
            ..
        } = self;
        // Closes the file before it gets its name.
        drop(output);
        temporary.persist(&path).map_err(|e| EncodeError::Write {
            path: path.display().to_string(),
            reason: e.error.to_string(),
        })
    }

    fn drain(&mut self) -> Result<(), Error> {
        let mut packet = Packet::empty();
        loop {
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => return Ok(()),
                Err(e) => return Err(e),
            }
            packet.set_stream(0);
            packet.set_duration(1);
            packet.rescale_ts(self.encoder_base, self.stream_base);
            packet.write_interleaved(&mut self.output)?;
        }
    }

    fn failed(&self, reason: String) -> EncodeError {
        EncodeError::Write {
            path: self.path.display().to_string(),
            reason,
        }
    }
}

type Started = (
    format::context::Output,
    encoder::video::Encoder,
    Rational,
    Rational,
);

/// Opens the encoder and writes the header; gives both time bases.
fn start(url: &str, codec: Codec, size: Size, options: EncodeOptions) -> Result<Started, Error> {
    let rate = rate(options.fps);
    let base = Rational::new(rate.denominator(), rate.numerator());
    let mut output = format::output_as(url, "mp4")?;
    let mut video = codec::Context::new_with_codec(codec).encoder().video()?;
    video.set_width(even(size.width));
    video.set_height(even(size.height));
    video.set_format(format::Pixel::YUV420P);
    video.set_time_base(base);
    video.set_frame_rate(Some(rate));
    video.set_gop(options.key_interval.max(1));
    video.set_colorspace(color::Space::BT709);
    video.set_color_range(color::Range::MPEG);
    video.set_color_primaries(color::Primaries::BT709);
    video.set_color_transfer_characteristic(color::TransferCharacteristic::BT709);
    let mut flags = codec::Flags::CLOSED_GOP;
    if output
        .format()
        .flags()
        .contains(format::Flags::GLOBAL_HEADER)
    {
        flags |= codec::Flags::GLOBAL_HEADER;
    }
    video.set_flags(flags);
    let mut settings = Dictionary::new();
    if codec.name() == "libx264" {
        settings.set("preset", "medium");
        settings.set("crf", &options.crf.min(51).to_string());
    }
    let encoder = video.open_with(settings)?;
    {
        let mut stream = output.add_stream(codec)?;
        stream.set_parameters(&encoder);
        stream.set_time_base(base);
        stream.set_avg_frame_rate(rate);
    }
    let mut layout = Dictionary::new();
    // Index first: what is left of a cut-off copy can still be read.
    layout.set("movflags", "faststart");
    output.write_header_with(layout)?;
    let stream_base = output.stream(0).map_or(base, |s| s.time_base());
    Ok((output, encoder, base, stream_base))
}

fn even(side: u32) -> u32 {
    side.next_multiple_of(2)
}

/// The rate as a fraction: whole, NTSC's (n·1000/1001), or to a thousandth.
fn rate(fps: f64) -> Rational {
    let whole = fps.round();
    let ntsc = (fps * 1.001).round();
    if (fps - whole).abs() < 1e-6 && whole >= 1.0 {
        Rational::new(whole as i32, 1)
    } else if (fps * 1.001 - ntsc).abs() < 2e-4 && ntsc >= 1.0 {
        Rational::new((ntsc * 1000.0) as i32, 1001)
    } else {
        Rational::new(((fps * 1000.0).round() as i32).max(1), 1000)
    }
}

/// Copies a tight plane into a frame, repeating the last row and column where the frame is larger.
fn fill(frame: &mut frame::Video, plane: usize, rows: &[u8], width: usize, height: usize) {
    let stride = frame.stride(plane);
    let target_height = frame.plane_height(plane) as usize;
    let target_width = frame.plane_width(plane) as usize;
    let data = frame.data_mut(plane);
    for (y, out) in data.chunks_mut(stride).take(target_height).enumerate() {
        let at = y.min(height - 1) * width;
        let row = &rows[at..at + width];
        out[..width].copy_from_slice(row);
        out[width..target_width].fill(row[width - 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_become_the_usual_fractions() {
        let is = |fps, num, den| {
            let r = rate(fps);
            assert_eq!((r.numerator(), r.denominator()), (num, den), "{fps}");
        };
        is(25.0, 25, 1);
        is(29.97, 30000, 1001);
        is(30000.0 / 1001.0, 30000, 1001);
        is(23.976, 24000, 1001);
        is(59.94, 60000, 1001);
        is(12.5, 12500, 1000);
        is(0.5, 500, 1000);
    }
}
