//! Masks frame by frame, the released default: the first frame's boxes condition every frame, and there is no memory.

use candle_core::{DType, Result, Tensor};

use super::Sparrow;
use crate::nn::{
    filtration::Pyramid,
    ops,
    sam2::{DecodeOptions, Prompts},
};

impl Sparrow {
    /// Mask logits `(s, g, g)` of one frame from prompt embeddings `(s, d)` and the boxes of each. With boxes for every
    /// token each box is decoded with its token's embedding and the largest logit wins; otherwise the embeddings prompt
    /// alone.
    ///
    /// # Errors
    /// If there are boxes for another number of tokens, or widths do not fit.
    pub fn decode_frame(
        &self,
        pyramid: &Pyramid,
        prompts: &Tensor,
        boxes: Option<&[Vec<[f32; 4]>]>,
    ) -> Result<Tensor> {
        let tokens = prompts.dim(0)?;
        if tokens == 0 {
            candle_core::bail!("there is no prompt to decode");
        }
        if let Some(boxes) = boxes
            && boxes.len() == tokens
            && boxes.iter().all(|set| !set.is_empty())
        {
            let mut masks = Vec::with_capacity(tokens);
            for (i, set) in boxes.iter().enumerate() {
                masks.push(self.guided(pyramid, &prompts.narrow(0, i, 1)?, set)?);
            }
            return Tensor::cat(&masks, 0);
        }
        let prompts = Prompts {
            text: Some(prompts.unsqueeze(1)?),
            ..Prompts::default()
        };
        self.decode_prompts(pyramid, &prompts)
    }

    /// The largest logit over a token's boxes, `(1, g, g)`.
    fn guided(&self, pyramid: &Pyramid, prompt: &Tensor, set: &[[f32; 4]]) -> Result<Tensor> {
        let k = set.len();
        let side = self.config.sam2.image_size as f32;
        let px: Vec<f32> = set.iter().flatten().map(|v| v * side).collect();
        let width = prompt.dim(1)?;
        let prompts = Prompts {
            boxes: Some(Tensor::from_vec(px, (k, 4), prompt.device())?),
            text: Some(
                prompt
                    .broadcast_as((k, width))?
                    .contiguous()?
                    .unsqueeze(1)?,
            ),
            ..Prompts::default()
        };
        self.decode_prompts(pyramid, &prompts)?.max_keepdim(0)
    }

    fn decode_prompts(&self, pyramid: &Pyramid, prompts: &Prompts) -> Result<Tensor> {
        let [high0, high1, embed] = pyramid;
        let options = DecodeOptions {
            multimask: false,
            train: false,
            image_size: self.config.sam2.image_size,
        };
        self.sam2
            .decode(embed, &[high0.clone(), high1.clone()], prompts, options)?
            .low_res
            .squeeze(1)
    }

    /// Mask logits `(s, g, g)` → masks `(s, h, w)` of 0 and 1 at the frame's size.
    ///
    /// # Errors
    /// If the rank differs.
    pub fn masks(&self, logits: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        ops::resize_bilinear(&logits.unsqueeze(1)?, size)?
            .squeeze(1)?
            .gt(0.0)?
            .to_dtype(DType::U8)
    }
}
