//! Many phrases behind one visual prefix: each clip's sequence is its prefix and then its phrases one after another, every
//! phrase seeing the prefix and itself alone, with positions that start anew behind the prefix. No phrase pays for the
//! prefix of another, and nothing is padded but the ends of shorter rows.

use candle_core::{Device, Tensor};

use crate::{nn::phi3::MASKED, train::TrainResult};

/// A phrase and the answer it is trained to get.
pub(super) struct Segment {
    /// Tokens of the phrase.
    pub(super) phrase: Vec<u32>,
    /// Rows of the target-specific tokens that follow it.
    pub(super) tsf: Vec<u32>,
    /// Tokens between phrase and answer.
    pub(super) bridge: Vec<u32>,
    /// Tokens of the answer, the end included.
    pub(super) answer: Vec<u32>,
    /// Weight in the loss of each answer token.
    pub(super) weights: Vec<f32>,
    /// Sees nothing of the clip: reading is learned sooner where a dozen words do not stand behind hundreds of visual
    /// tokens.
    pub(super) blind: bool,
    /// The token that the first answer position must predict, where it is not the answer's own.
    pub(super) opening: Option<u32>,
}

/// A clip's share of a batch.
pub(super) struct Row {
    /// Tokens before the visual block.
    pub(super) head: Vec<u32>,
    /// First row of the visual block in the table, and how many there are.
    pub(super) visual: (u32, usize),
    /// Phrases.
    pub(super) segments: Vec<Segment>,
}

/// Where a phrase's states are, as indices into `rows × length`.
pub(super) struct Places {
    /// The state that decides the answer's first token.
    pub(super) opening: u32,
    /// The states that predict `[BOX]` and `[SEG]`, if the answer has them.
    pub(super) prompts: Option<[u32; 2]>,
}

/// A packed batch.
pub(super) struct Packed {
    /// Rows of the table that make up the sequences, `rows × length`.
    pub(super) index: Tensor,
    /// A position per token.
    pub(super) positions: Vec<usize>,
    /// Additive mask `(rows, 1, length, length)`.
    pub(super) mask: Tensor,
    /// Tokens of a row, padding included.
    pub(super) length: usize,
    /// States that predict something, what, and with which weight.
    pub(super) at: Vec<u32>,
    /// Tokens predicted.
    pub(super) targets: Vec<u32>,
    /// Their weights.
    pub(super) weights: Vec<f32>,
    /// Per row and phrase.
    pub(super) places: Vec<Vec<Places>>,
    /// Where each row's visual block starts.
    pub(super) visual: Vec<u32>,
}

/// Ids of the tokens whose states become prompts: `[BOX]`, `[SEG]`.
pub(super) type PromptTokens = [u32; 2];

/// Packs `rows`; entries of the table below `vocabulary` are words.
pub(super) fn pack(rows: &[Row], prompts: PromptTokens, device: &Device) -> TrainResult<Packed> {
    let size = |s: &Segment| s.phrase.len() + s.tsf.len() + s.bridge.len() + s.answer.len();
    let prefix = |r: &Row| r.head.len() + r.visual.1;
    let length = rows
        .iter()
        .map(|r| prefix(r) + r.segments.iter().map(size).sum::<usize>())
        .max()
        .unwrap_or(0);
    let mut out = Packed {
        index: Tensor::zeros(1, candle_core::DType::U32, device)?,
        positions: vec![0; rows.len() * length],
        mask: Tensor::zeros(1, candle_core::DType::F32, device)?,
        length,
        at: vec![],
        targets: vec![],
        weights: vec![],
        places: vec![],
        visual: vec![],
    };
    let mut index = vec![0_u32; rows.len() * length];
    let mut mask = vec![MASKED; rows.len() * length * length];
    for (r, row) in rows.iter().enumerate() {
        let start = r * length;
        let head = row.head.len();
        index[start..start + head].copy_from_slice(&row.head);
        for i in 0..row.visual.1 {
            index[start + head + i] = row.visual.0 + i as u32;
        }
        out.visual.push((start + head) as u32);
        let prefix = prefix(row);
        for i in 0..prefix {
            out.positions[start + i] = i;
            mask[(start + i) * length..][..=i].fill(0.0);
        }
        let mut at = prefix;
        let mut places = Vec::with_capacity(row.segments.len());
        for segment in &row.segments {
            let n = size(segment);
            let tokens = [
                &segment.phrase,
                &segment.tsf,
                &segment.bridge,
                &segment.answer,
            ];
            for (i, &token) in tokens.into_iter().flatten().enumerate() {
                index[start + at + i] = token;
                out.positions[start + at + i] = prefix + i;
                let line = &mut mask[(start + at + i) * length..][..length];
                line[..if segment.blind { head } else { prefix }].fill(0.0);
                line[at..=at + i].fill(0.0);
            }
            places.push(out.answer(segment, start + at + n - segment.answer.len(), prompts));
            at += n;
        }
        out.places.push(places);
        for i in at..length {
            // A padded token sees itself, so that no row of the softmax is empty.
            mask[(start + i) * length + i] = 0.0;
        }
    }
    out.index = Tensor::from_vec(index, rows.len() * length, device)?;
    out.mask = Tensor::from_vec(mask, (rows.len(), 1, length, length), device)?;
    Ok(out)
}

impl Packed {
    /// Notes what the states before and inside an answer that starts at `first` predict.
    fn answer(&mut self, segment: &Segment, first: usize, prompts: PromptTokens) -> Places {
        for (i, &token) in segment.answer.iter().enumerate() {
            let token = match segment.opening {
                Some(opening) if i == 0 => opening,
                _ => token,
            };
            if segment.weights[i] > 0.0 {
                self.at.push((first + i - 1) as u32);
                self.targets.push(token);
                self.weights.push(segment.weights[i]);
            }
        }
        let before = |token: u32| {
            let i = segment.answer.iter().position(|&t| t == token)?;
            Some((first + i - 1) as u32)
        };
        Places {
            opening: (first - 1) as u32,
            prompts: match prompts.map(before) {
                [Some(boxes), Some(seg)] => Some([boxes, seg]),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(phrase: &[u32], answer: &[u32]) -> Segment {
        Segment {
            phrase: phrase.to_vec(),
            tsf: vec![],
            bridge: vec![5],
            answer: answer.to_vec(),
            weights: vec![1.0; answer.len()],
            blind: false,
            opening: None,
        }
    }

    #[test]
    fn phrases_see_the_prefix_and_themselves() {
        let row = Row {
            head: vec![2],
            visual: (100, 2),
            segments: vec![segment(&[40], &[9, 8]), segment(&[41, 42], &[15])],
        };
        let short = Row {
            head: vec![2],
            visual: (102, 2),
            segments: vec![segment(&[43], &[9, 8])],
        };
        let packed = pack(&[row, short], [9, 8], &Device::Cpu).unwrap();
        assert_eq!(packed.length, 11);
        let index: Vec<u32> = packed.index.to_vec1().unwrap();
        assert_eq!(index[..11], [2, 100, 101, 40, 5, 9, 8, 41, 42, 5, 15]);
        assert_eq!(packed.positions[..11], [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6]);
        let mask: Vec<f32> = packed.mask.flatten_all().unwrap().to_vec1().unwrap();
        let seen =
            |i: usize| -> Vec<usize> { (0..11).filter(|j| mask[i * 11 + j] == 0.0).collect() };
        assert_eq!(seen(1), [0, 1]);
        assert_eq!(seen(5), [0, 1, 2, 3, 4, 5]);
        assert_eq!(seen(8), [0, 1, 2, 7, 8]);
        // The state of the bridge predicts [BOX], that of [BOX] predicts [SEG].
        assert_eq!(packed.places[0][0].prompts, Some([4, 5]));
        assert_eq!(packed.places[0][1].opening, 9);
        assert!(packed.places[0][1].prompts.is_none());
        assert_eq!(packed.at, [4, 5, 9, 15, 16]);
        assert_eq!(packed.targets, [9, 8, 15, 9, 8]);
        assert_eq!(packed.visual, [1, 12]);
    }
}
