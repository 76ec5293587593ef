//! Synthetic clips, loaders, losses, optimiser, schedule, checkpoints. Leaves the networks to [`crate::nn`].
