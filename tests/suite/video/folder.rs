//! Image folders, which work in every build.

use std::path::Path;

use image::{Rgb, RgbImage};
use sparrow::{
    project::{FrameIndex, Size},
    task::Progress,
    video::{FolderSource, content_hash, open, to_rgb},
};

fn image(path: &Path, size: (u32, u32), shade: u8) {
    let picture = RgbImage::from_fn(size.0, size.1, |x, y| Rgb([shade, x as u8, y as u8]));
    picture.save(path).unwrap();
}

#[test]
fn a_folder_is_a_clip_in_natural_order() {
    let dir = tempfile::tempdir().unwrap();
    for (name, shade) in [("f10.png", 10), ("f2.png", 2), ("f1.png", 1)] {
        image(&dir.path().join(name), (12, 7), shade);
    }
    std::fs::write(dir.path().join("notes.txt"), "no image").unwrap();
    std::fs::write(dir.path().join(".f0.png"), "hidden").unwrap();
    let mut source = open(dir.path()).unwrap();
    assert_eq!(source.info().frames, 3);
    assert_eq!(source.info().size, Size::new(12, 7));
    for (i, shade) in [(2, 10), (0, 1), (1, 2)] {
        let rgb = to_rgb(&source.frame(FrameIndex(i)).unwrap());
        assert_eq!(rgb.size, Size::new(12, 7));
        assert_eq!(&rgb.data[..3], [shade, 0, 0]);
        assert_eq!(&rgb.data[rgb.data.len() - 3..], [shade, 11, 6]);
    }
    assert!(source.frame(FrameIndex(3)).is_err());
    let names: Vec<String> = FolderSource::open(dir.path())
        .unwrap()
        .file_names()
        .collect();
    assert_eq!(names, ["f1.png", "f2.png", "f10.png"]);
}

#[test]
fn images_of_other_sizes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    image(&dir.path().join("1.png"), (12, 7), 1);
    image(&dir.path().join("2.png"), (12, 7), 1);
    image(&dir.path().join("3.png"), (12, 8), 1);
    let said = open(dir.path()).err().unwrap().to_string();
    assert!(
        said.contains("3.png is 12×8 but the first image is 12×7"),
        "{said}"
    );
}

#[test]
fn a_single_image_is_a_clip_of_one_frame() {
    let dir = tempfile::tempdir().unwrap();
    // The name lies; the bytes do not.
    let png = dir.path().join("photo.png");
    image(&png, (5, 4), 9);
    let path = dir.path().join("photo.mp4");
    std::fs::rename(png, &path).unwrap();
    let mut source = open(&path).unwrap();
    assert_eq!(source.info().frames, 1);
    assert_eq!(to_rgb(&source.frame(FrameIndex(0)).unwrap()).data[0], 9);
}

#[test]
fn a_damaged_image_is_named() {
    let dir = tempfile::tempdir().unwrap();
    image(&dir.path().join("1.png"), (64, 64), 1);
    image(&dir.path().join("2.png"), (64, 64), 2);
    let bytes = std::fs::read(dir.path().join("2.png")).unwrap();
    std::fs::write(dir.path().join("2.png"), &bytes[..bytes.len() / 2]).unwrap();
    let mut source = open(dir.path()).unwrap();
    assert!(source.frame(FrameIndex(0)).is_ok());
    let said = source.frame(FrameIndex(1)).unwrap_err().to_string();
    assert!(said.contains("2.png"), "{said}");
}

#[test]
fn a_folder_hash_knows_names_and_sizes() {
    let dir = tempfile::tempdir().unwrap();
    image(&dir.path().join("1.png"), (8, 8), 1);
    let before = content_hash(dir.path(), &mut Progress::silent()).unwrap();
    assert_eq!(
        before,
        content_hash(dir.path(), &mut Progress::silent()).unwrap()
    );
    image(&dir.path().join("2.png"), (8, 8), 1);
    assert_ne!(
        before,
        content_hash(dir.path(), &mut Progress::silent()).unwrap()
    );
}

/// A PNG's chunk, with its checksum.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind[..], data].concat();
    let crc = body.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| {
            if c & 1 == 1 {
                c >> 1 ^ 0xedb8_8320
            } else {
                c >> 1
            }
        })
    });
    let length = u32::try_from(data.len()).unwrap();
    [&length.to_be_bytes()[..], &body, &(!crc).to_be_bytes()].concat()
}

#[test]
fn an_image_that_announces_more_than_any_memory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let side = 100_000_u32.to_be_bytes();
    // 8 bits of red, green and blue, not interlaced.
    let header = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(chunk(b"IHDR", &header));
    bytes.extend(chunk(b"IDAT", &[]));
    bytes.extend(chunk(b"IEND", &[]));
    std::fs::write(dir.path().join("1.png"), bytes).unwrap();
    let Err(refused) = open(dir.path()) else {
        panic!("30 GB were believed");
    };
    assert!(refused.to_string().contains("1.png"), "{refused}");
}
