//! Stopping in the middle of a network, or of a model's files. Between frames, tokens and steps the functions of this room look
//! at their cancel token themselves.

use crate::{
    nn::stop,
    task::{CancelToken, Cancelled},
};

/// Does `work`, which ends between two layers or two tensors as soon as `cancel` asks it to.
///
/// # Errors
/// Those of the work, or [`Cancelled`] where it was asked to stop and has not come to its end: what a network that was stopped
/// says of itself is of no interest.
pub fn heeding<T, E: From<Cancelled>>(
    cancel: &CancelToken,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    match stop::until(cancel.flag(), work) {
        Err(_) if cancel.is_cancelled() => Err(Cancelled.into()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::{
        infer::{Engine, InferError, LoadedModel, model::ModelInfo},
        nn::phi3::KvCache,
    };

    type Work<'a> = &'a dyn Fn() -> candle_core::Result<()>;

    /// Each of them takes long in a model of full size: the towers, the language model over the clip's tokens, the image encoder.
    #[test]
    fn a_network_stops_between_its_layers() {
        let info = ModelInfo::by_id("nano").unwrap();
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let nets = &engine.model().networks;
        let (clip, video) = (&info.config.clip, &info.config.internvideo2);
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let side = clip.image_size;
        let picture = zeros(&[1, 3, side, side]);
        let side = video.img_size;
        let chunk = zeros(&[1, video.num_frames, 3, side, side]);
        let words = zeros(&[1, 3, info.config.phi3.hidden_size]);
        let side = info.config.sam2.image_size;
        let image = zeros(&[1, 3, side, side]);
        let works: [(&str, Work<'_>); 4] = [
            ("spatial", &|| nets.spatial.forward(&picture).map(drop)),
            ("temporal", &|| nets.temporal.forward(&chunk).map(drop)),
            ("language", &|| {
                let mut cache = KvCache::new();
                let end = nets.language.forward(&words, &mut cache).map(drop);
                assert_eq!(cache.is_empty(), end.is_err(), "all is seen or nothing");
                end
            }),
            ("image", &|| nets.sam2.encode_image(&image).map(drop)),
        ];
        let stopped = CancelToken::default();
        stopped.cancel();
        for (name, work) in works {
            let run = |cancel: &CancelToken| heeding(cancel, || work().map_err(InferError::from));
            assert!(run(&CancelToken::default()).is_ok(), "{name}");
            let end = run(&stopped);
            assert!(matches!(end, Err(InferError::Cancelled(_))), "{name}");
        }
    }

    #[test]
    fn work_that_came_to_its_end_is_not_lost_and_other_errors_stay() {
        let token = CancelToken::default();
        let failed = || Err::<(), _>(InferError::Prompt("nothing".into()));
        assert!(matches!(
            heeding(&token, failed),
            Err(InferError::Prompt(_))
        ));
        let done = heeding(&token, || {
            token.cancel();
            Ok::<_, InferError>(7)
        });
        assert_eq!(done.unwrap(), 7);
    }
}
