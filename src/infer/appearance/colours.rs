//! What an object looks like, learnt from frames where its mask is known. What is made of it on another frame is left to
//! [`super::boxed`] and [`super::carried`].

use std::sync::Arc;

use super::{
    AppearanceConfig,
    canvas::Canvas,
    mixture::{Mixture, Rgb},
};

/// An object that is known from several frames may look different on each; so many of them get groups of colours of their own.
const SIDES: usize = 2;

/// A frame and which cells of its grid are the object.
pub(in crate::infer) type Known = (Arc<Canvas>, Vec<bool>);

/// Colours of an object, and of all else.
#[derive(Clone)]
pub(in crate::infer) struct Colours {
    pub(super) object: Arc<Mixture>,
    /// All that was not the object there.
    pub(super) elsewhere: Arc<Mixture>,
}

impl Colours {
    /// `None` if there is too little of the object, or of anything else.
    pub(in crate::infer) fn learn(known: &[Known], config: &AppearanceConfig) -> Option<Self> {
        let colours = |object: bool| -> Vec<Rgb> {
            let of = |(canvas, mask): &Known| canvas.of(|i| mask[i] == object);
            known.iter().flat_map(of).collect()
        };
        let sides = known.len().clamp(1, SIDES);
        Some(Self {
            object: Arc::new(Mixture::fit(&colours(true), sides * config.colours)?),
            elsewhere: Arc::new(Mixture::fit(&colours(false), sides * config.around())?),
        })
    }
}
