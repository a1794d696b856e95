//! In place of the engine, in a program that was built without it.

use super::OnnxLook;

/// There is none.
pub(super) enum Engine {}

impl Engine {
    pub fn new(_file: &[u8], _look: &OnnxLook, _channels: usize) -> Result<Self, String> {
        Err(
            "is an ONNX network, and this program was built without the engine for them: build it with `--features onnx`"
                .to_owned(),
        )
    }

    pub fn input(&self) -> [usize; 4] {
        match *self {}
    }

    pub fn outputs(&self) -> &[(String, Vec<usize>)] {
        match *self {}
    }

    pub fn run(&self, _images: &[f32]) -> Result<Vec<Vec<f32>>, String> {
        match *self {}
    }
}
