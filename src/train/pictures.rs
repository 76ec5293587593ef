//! Pictures of a run, to look at: frames with masks and boxes on a contact sheet, and curves. Nothing reads them back.

use std::path::Path;

use super::{TrainError, TrainResult, checkpoint};

/// Distinct colours for instances; index 0 is the first object.
pub const PALETTE: [[u8; 3]; 8] = [
    [255, 64, 64],
    [64, 220, 64],
    [80, 130, 255],
    [255, 210, 40],
    [230, 70, 230],
    [50, 220, 220],
    [255, 140, 30],
    [240, 240, 240],
];

/// An RGB picture, row-major.
#[derive(Clone)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height × width × 3` bytes.
    pub data: Vec<u8>,
}

impl Picture {
    /// A picture of one colour.
    pub fn new(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self {
            width,
            height,
            data: colour.repeat(width * height),
        }
    }

    /// From interleaved RGB bytes; missing bytes are black, superfluous ones dropped.
    pub fn from_rgb(width: usize, height: usize, rgb: &[u8]) -> Self {
        let mut data = rgb.to_vec();
        data.resize(width * height * 3, 0);
        Self {
            width,
            height,
            data,
        }
    }

    /// Sets a pixel; outside is ignored.
    pub fn put(&mut self, x: i64, y: i64, colour: [u8; 3]) {
        if x >= 0 && y >= 0 && (x as usize) < self.width && (y as usize) < self.height {
            let at = (y as usize * self.width + x as usize) * 3;
            self.data[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Mixes `colour` half into the pixels where `inside` holds, with a full-strength outline.
    pub fn overlay(&mut self, inside: impl Fn(usize, usize) -> bool, colour: [u8; 3]) {
        for y in 0..self.height {
            for x in 0..self.width {
                if !inside(x, y) {
                    continue;
                }
                let edge = x == 0
                    || y == 0
                    || x + 1 == self.width
                    || y + 1 == self.height
                    || !inside(x - 1, y)
                    || !inside(x + 1, y)
                    || !inside(x, y - 1)
                    || !inside(x, y + 1);
                let at = (y * self.width + x) * 3;
                for (p, &c) in self.data[at..at + 3].iter_mut().zip(&colour) {
                    *p = if edge {
                        c
                    } else {
                        ((u16::from(*p) + u16::from(c)) / 2) as u8
                    };
                }
            }
        }
    }

    /// Outlines the box `[x1, y1, x2, y2]` in pixels.
    pub fn outline(&mut self, [x1, y1, x2, y2]: [f32; 4], colour: [u8; 3]) {
        let [x1, y1, x2, y2] = [x1 as i64, y1 as i64, x2 as i64 - 1, y2 as i64 - 1];
        for x in x1..=x2 {
            self.put(x, y1, colour);
            self.put(x, y2, colour);
        }
        for y in y1..=y2 {
            self.put(x1, y, colour);
            self.put(x2, y, colour);
        }
    }

    /// A line between two points.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: [u8; 3]) {
        let steps = (to.0 - from.0)
            .abs()
            .max((to.1 - from.1).abs())
            .ceil()
            .max(1.0);
        for i in 0..=steps as usize {
            let t = i as f64 / steps;
            let x = from.0 + (to.0 - from.0) * t;
            let y = from.1 + (to.1 - from.1) * t;
            self.put(x.round() as i64, y.round() as i64, colour);
        }
    }

    /// Copies `other` with its corner at `(x, y)`.
    pub fn paste(&mut self, other: &Self, x: usize, y: usize) {
        for (row, line) in other.data.chunks_exact(other.width * 3).enumerate() {
            for (col, px) in line.chunks_exact(3).enumerate() {
                self.put((x + col) as i64, (y + row) as i64, [px[0], px[1], px[2]]);
            }
        }
    }

    /// Writes a PNG, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> TrainResult<()> {
        let fail = |e: image::ImageError| TrainError::file("cannot pack picture", path, e);
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        image::ImageEncoder::write_image(
            encoder,
            &self.data,
            self.width as u32,
            self.height as u32,
            image::ExtendedColorType::Rgb8,
        )
        .map_err(fail)?;
        checkpoint::write_whole(path, &bytes)
    }
}

/// Pictures in rows of equal cells, two pixels apart.
pub fn sheet(rows: &[Vec<Picture>]) -> Picture {
    let cells = || rows.iter().flatten();
    let w = cells().map(|p| p.width).max().unwrap_or(1) + 2;
    let h = cells().map(|p| p.height).max().unwrap_or(1) + 2;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let mut out = Picture::new(columns * w, rows.len().max(1) * h, [24, 24, 24]);
    for (r, row) in rows.iter().enumerate() {
        for (c, cell) in row.iter().enumerate() {
            out.paste(cell, c * w, r * h);
        }
    }
    out
}

/// One polyline per series over a common range; the picture says shape, the log says numbers.
pub fn curves(series: &[Vec<(f64, f64)>], width: usize, height: usize) -> Picture {
    let mut out = Picture::new(width, height, [16, 16, 20]);
    let points = || {
        series
            .iter()
            .flatten()
            .filter(|p| p.0.is_finite() && p.1.is_finite())
    };
    let range = |pick: fn(&(f64, f64)) -> f64| {
        points()
            .map(pick)
            .fold((f64::MAX, f64::MIN), |(lo, hi), v| (lo.min(v), hi.max(v)))
    };
    let (x_lo, x_hi) = range(|p| p.0);
    let (y_lo, y_hi) = range(|p| p.1);
    let place = |p: &(f64, f64)| {
        (
            (p.0 - x_lo) / (x_hi - x_lo).max(1e-12) * (width as f64 - 1.0),
            (1.0 - (p.1 - y_lo) / (y_hi - y_lo).max(1e-12)) * (height as f64 - 1.0),
        )
    };
    for (i, line) in series.iter().enumerate() {
        let drawn: Vec<_> = line
            .iter()
            .filter(|p| p.0.is_finite() && p.1.is_finite())
            .collect();
        for pair in drawn.windows(2) {
            out.line(place(pair[0]), place(pair[1]), PALETTE[i % PALETTE.len()]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_marks_inside_and_leaves_outside() {
        let mut p = Picture::new(6, 6, [0, 0, 0]);
        p.overlay(
            |x, y| (1..5).contains(&x) && (1..5).contains(&y),
            [200, 0, 0],
        );
        let at = |x: usize, y: usize| p.data[(y * 6 + x) * 3];
        assert_eq!((at(0, 0), at(1, 1), at(2, 2)), (0, 200, 100));
    }

    #[test]
    fn sheet_and_curve_write_readable_pngs() {
        let dir = tempfile::tempdir().unwrap();
        let cell = Picture::new(3, 2, [9, 8, 7]);
        let path = dir.path().join("sheet.png");
        sheet(&[vec![cell.clone(), cell.clone()], vec![cell]])
            .save(&path)
            .unwrap();
        let back = image::open(&path).unwrap().to_rgb8();
        assert_eq!(back.dimensions(), (10, 8));
        assert_eq!(back.get_pixel(5, 0).0, [9, 8, 7]);
        let drawn = curves(&[vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 0.0)]], 20, 10);
        assert_ne!(drawn.data, Picture::new(20, 10, [16, 16, 20]).data);
    }
}
