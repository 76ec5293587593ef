//! Video from the outside. Clips are made here with the `ffmpeg` command-line tool; where it is missing, the tests that
//! need it say so and prove nothing. What FFmpeg's own checksums say about each frame is the measure.

#[cfg(feature = "ffmpeg")]
mod apart;
#[cfg(feature = "ffmpeg")]
mod clips;
#[cfg(feature = "ffmpeg")]
mod damaged;
mod decoder;
#[cfg(feature = "ffmpeg")]
mod encode;
#[cfg(feature = "ffmpeg")]
mod exact;
mod folder;
#[cfg(feature = "ffmpeg")]
mod odd;
mod rig;
mod scrub;
