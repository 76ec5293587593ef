//! Networks applied to video: blocking functions that are handed a progress sink and a cancel token.
