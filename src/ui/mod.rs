//! The window: logic, drawing, state, actions, panels. Never decodes, never infers, never waits for the disk.
