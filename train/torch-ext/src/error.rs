//! Errors that come from C++.

/// What libtorch said, or what it could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A C++ exception of libtorch; the first line of its message (the rest is a C++ backtrace).
    #[error("libtorch: {0}")]
    Torch(String),
    /// A device that has no generator of random numbers here.
    #[error("expected a CPU or CUDA device, found {0:?}")]
    Device(tch::Device),
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
