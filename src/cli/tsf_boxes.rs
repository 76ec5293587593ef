//! `--tsf-boxes`: the boxes of a target found by another program, one line per frame, for target-specific tokens.
//!
//! The released code guesses by vote whether numbers are corners or sizes. Here it is stated, because a wrong guess looks
//! like a wrong model. Which frames are looked at is the model's business; a frame past the last line takes the last box.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::project::{BoxPx, FrameIndex, Size};

/// What the four numbers of a line are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TsfFormat {
    /// x1 y1 x2 y2: two corners.
    Xyxy,
    /// x y w h: a corner and the size.
    Xywh,
}

impl TsfFormat {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Xyxy => "xyxy",
            Self::Xywh => "xywh",
        }
    }
}

/// A file of boxes, one per line, separated by commas or blanks; further numbers of a line (a score, an id) are let be.
#[derive(Clone, Debug)]
pub(super) struct TsfBoxes {
    boxes: Vec<BoxPx>,
}

impl TsfBoxes {
    /// Reads the file, checked against the frame's size.
    pub(super) fn read(path: &Path, format: TsfFormat, size: Size) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the boxes in {}", path.display()))?;
        Self::parse(&text, format, size).with_context(|| format!("{}", path.display()))
    }

    fn parse(text: &str, format: TsfFormat, size: Size) -> Result<Self> {
        let mut boxes = Vec::new();
        for (i, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                bail!("line {} is empty: each frame needs its box", i + 1);
            }
            boxes.push(box_of(line, format, size).with_context(|| format!("line {}", i + 1))?);
        }
        if boxes.is_empty() {
            bail!("the file holds no box: write one per line, like 10,20,110,220");
        }
        Ok(Self { boxes })
    }

    /// The box of each frame that the model looks at.
    pub(super) fn of(&self, frames: &[FrameIndex]) -> Vec<(FrameIndex, BoxPx)> {
        let last = self.boxes.len() - 1;
        frames
            .iter()
            .map(|&f| (f, self.boxes[last.min(f.0 as usize)]))
            .collect()
    }
}

fn box_of(line: &str, format: TsfFormat, size: Size) -> Result<BoxPx> {
    let numbers: Vec<f32> = line
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|part| !part.is_empty())
        .map_while(|part| part.parse::<f32>().ok())
        .collect();
    let &[a, b, c, d, ..] = numbers.as_slice() else {
        bail!("{line:?} does not begin with four numbers");
    };
    if [a, b, c, d].iter().any(|v| !v.is_finite()) {
        bail!("{line:?} holds a value that is not a number");
    }
    let corners = match format {
        TsfFormat::Xyxy => [a, b, c, d],
        TsfFormat::Xywh => [a, b, a + c, b + d],
    };
    let found = BoxPx::from_array(corners);
    if corners[2] <= corners[0] || corners[3] <= corners[1] {
        let other = match format {
            TsfFormat::Xyxy => "xywh",
            TsfFormat::Xywh => "xyxy",
        };
        bail!("{line:?} is an empty box; perhaps the file is in the format {other}");
    }
    let inside = found.clamped(size);
    if inside.area() <= 0.0 {
        bail!(
            "{line:?} lies outside the frame, which is {}×{} pixels",
            size.width,
            size.height
        );
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        width: 100,
        height: 80,
    };

    #[test]
    fn corners_and_sizes_are_told_apart_by_what_is_stated() {
        let read = |format| TsfBoxes::parse("10 20 40,50\n1,2,3,4 0.9\n", format, SIZE).unwrap();
        let corners = |b: &TsfBoxes| b.boxes.iter().map(|b| b.to_array()).collect::<Vec<_>>();
        assert_eq!(
            corners(&read(TsfFormat::Xyxy)),
            [[10.0, 20.0, 40.0, 50.0], [1.0, 2.0, 3.0, 4.0]]
        );
        let sized = read(TsfFormat::Xywh);
        assert_eq!(
            corners(&sized),
            [[10.0, 20.0, 50.0, 70.0], [1.0, 2.0, 4.0, 6.0]]
        );
        // Frame 5 has no line of its own.
        let of: Vec<_> = sized.of(&[FrameIndex(0), FrameIndex(5)]);
        assert_eq!(of[0].1, sized.boxes[0]);
        assert_eq!(of[1], (FrameIndex(5), sized.boxes[1]));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, words) in [
            ("", "no box"),
            ("1,2,3,4\n\n1,2,3,4", "line 2 is empty"),
            (
                "1,2,3,4\n1,2,x,4",
                "line 2: \"1,2,x,4\" does not begin with four numbers",
            ),
            ("1,2,inf,4", "not a number"),
            ("50,50,10,10", "perhaps the file is in the format xywh"),
            ("200,10,300,20", "outside the frame, which is 100×80"),
        ] {
            let error = TsfBoxes::parse(text, TsfFormat::Xyxy, SIZE).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(words) && !error.contains('\n'), "{error}");
        }
        let error = TsfBoxes::parse("5,5,0,3", TsfFormat::Xywh, SIZE).unwrap_err();
        assert!(format!("{error:#}").contains("format xyxy"));
    }
}
