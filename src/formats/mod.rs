//! Dataset import and export, one file per format. Leaves pixels on screen and models to others.
