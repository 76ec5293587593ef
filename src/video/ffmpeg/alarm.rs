//! What FFmpeg says of damage while it decodes. A picture that it mends carries a mark, but with several threads and B-frames
//! the mark is set on a copy that nobody sees (before version 7.1), and a packet that it refuses is not named at all: the
//! error comes some packets later. What it always does is to say so in its log. So the log is listened to: each packet's
//! frame is noted on the decoder, the copies that its threads work with have the note as well, and a message comes with the
//! one it is about.

use std::{
    collections::BTreeSet,
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use video_rs::ffmpeg::{decoder, ffi, log};

/// How the messages begin that tell of damage. Many others do not: a decoder that begins in the middle of a stream has much
/// to complain of.
const DAMAGE: [&[u8]; 6] = [
    // "concealing 12 DC, 12 AC, 12 MV errors in P frame": all codecs from MPEG-1 to H.264.
    b"concealing ",
    // Nothing in the packet is a picture: H.264.
    b"no frame!",
    b"missing picture in access unit",
    b"Error splitting the input into NAL units",
    // HEVC, MPEG-4.
    b"Error parsing NAL unit #",
    b"header damaged",
];

/// Readers and frames of which it was said.
static HEARD: Mutex<BTreeSet<(u32, u32)>> = Mutex::new(BTreeSet::new());

/// Keeps FFmpeg from printing to stderr by itself, and begins to listen. What else matters comes back as errors. Both are for
/// the whole process and for good: FFmpeg has one callback, and no word for which one it is.
#[expect(unsafe_code, reason = "the binding has no word for the log's callback")]
pub(in crate::video) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_level(log::Level::Quiet);
        // SAFETY: the function is there as long as the program, and may be called from any thread.
        unsafe { ffi::av_log_set_callback(Some(hear)) };
    });
}

/// Takes a message of the log. What it is filled with is not looked at: its type differs between platforms.
#[expect(unsafe_code, reason = "FFmpeg calls it with pointers")]
unsafe extern "C" fn hear<T>(context: *mut c_void, level: c_int, message: *const c_char, _: T) {
    if level > ffi::AV_LOG_INFO || context.is_null() || message.is_null() {
        return;
    }
    // SAFETY: whatever FFmpeg logs for begins with a pointer to its class.
    let class = unsafe { *context.cast::<*const ffi::AVClass>() };
    // SAFETY: it gives the address of a constant.
    if !ptr::eq(class, unsafe { ffi::avcodec_get_class() }) {
        return;
    }
    // SAFETY: a format string of C.
    let message = unsafe { CStr::from_ptr(message) }.to_bytes();
    // SAFETY: its class says that it is a codec's context, and it lives while it logs.
    let note = unsafe { (*context.cast::<ffi::AVCodecContext>()).opaque };
    if DAMAGE.iter().any(|begin| message.starts_with(begin))
        && let Some(about) = u64::try_from(note.addr()).ok().and_then(read)
    {
        heard().insert(about);
    }
}

fn heard() -> MutexGuard<'static, BTreeSet<(u32, u32)>> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A note about a frame: 0 is none, since readers count from 1.
fn write((reader, frame): (u32, u32)) -> u64 {
    u64::from(reader) << 32 | u64::from(frame)
}

fn read(note: u64) -> Option<(u32, u32)> {
    let reader = u32::try_from(note >> 32).ok().filter(|&r| r > 0)?;
    Some((reader, u32::try_from(note & u64::from(u32::MAX)).ok()?))
}

/// One reader's ear.
pub(super) struct Alarm {
    reader: u32,
}

impl Alarm {
    pub(super) fn new() -> Self {
        static READERS: AtomicU32 = AtomicU32::new(1);
        Self {
            reader: READERS.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Notes on `decoder` which frame the next packet holds.
    #[expect(
        unsafe_code,
        reason = "the binding has no word for the field that FFmpeg leaves to its callers"
    )]
    pub(super) fn note(&self, decoder: &mut decoder::Video, frame: Option<u32>) {
        let note = frame.map_or(0, |frame| write((self.reader, frame)));
        // On a machine of 32 bits there is no room for it, and nothing is heard.
        let note = usize::try_from(note).unwrap_or(0);
        // SAFETY: the context is alive as long as the borrow; FFmpeg passes the value on and never looks at it.
        unsafe { (*decoder.as_mut_ptr()).opaque = ptr::without_provenance_mut(note) };
    }

    /// Damaged frames of which it was not told yet.
    pub(super) fn heard(&self) -> BTreeSet<u32> {
        let mut all = heard();
        let (from, to) = ((self.reader, 0), (self.reader, u32::MAX));
        // Nearly always there is none.
        if all.range(from..=to).next().is_none() {
            return BTreeSet::new();
        }
        let mine = all
            .extract_if(from..=to, |_| true)
            .map(|(_, f)| f)
            .collect();
        drop(all);
        mine
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.heard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_can_be_read_again() {
        for about in [(1, 0), (1, 7), (3, u32::MAX), (u32::MAX, 12)] {
            assert_eq!(read(write(about)), Some(about));
        }
        assert_eq!(read(0), None, "a context that is not ours");
        assert_eq!(read(44), None);
    }

    #[test]
    fn each_reader_hears_of_its_own_frames_once() {
        let (one, other) = (Alarm::new(), Alarm::new());
        heard().extend([(one.reader, 5), (one.reader, 9), (other.reader, 5)]);
        assert_eq!(one.heard(), BTreeSet::from([5, 9]));
        assert_eq!(one.heard(), BTreeSet::new());
        let reader = other.reader;
        drop(other);
        assert!(!heard().contains(&(reader, 5)), "nothing stays behind");
    }
}
