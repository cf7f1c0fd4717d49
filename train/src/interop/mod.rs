//! Other programs' file formats.

pub mod architecture;
pub mod export;
pub mod huggingface;
pub mod import;
pub mod moments;
mod publish;
pub mod pytorch;
pub mod safetensors;
pub mod source;
pub mod tensorflow;
pub mod vocabulary;
