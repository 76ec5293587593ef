//! The inference thread: sole owner of device and models. Leaves the work itself to [`crate::infer`].
