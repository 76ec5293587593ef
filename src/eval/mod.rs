//! Metrics, runners and reports. Leaves the models to [`crate::infer`].
