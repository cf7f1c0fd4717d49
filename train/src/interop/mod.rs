//! Other programs' file formats.

pub mod huggingface;
pub mod safetensors;
