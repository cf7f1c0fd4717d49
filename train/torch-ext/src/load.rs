//! One binary for CPU and GPU: `libtorch_cuda.so` is never linked, but opened at start where a driver is.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::ffi;

/// What became of CUDA; `Display` is one line for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cuda {
    /// The driver and `libtorch_cuda.so` are loaded; whether a device answers is for torch to say.
    Loaded,
    /// There is no NVIDIA driver (`libcuda.so.1`).
    NoDriver,
    /// A driver, but a CPU-only install of libtorch.
    CpuOnlyTorch(PathBuf),
    /// `libtorch_cuda.so` is there and does not load.
    Failed(String),
}

impl std::fmt::Display for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loaded => write!(f, "CUDA loaded"),
            Self::NoDriver => write!(f, "no NVIDIA driver, running on the CPU"),
            Self::CpuOnlyTorch(dir) => {
                write!(f, "{}: a CPU-only libtorch beside an NVIDIA driver; run train/setup.sh gpu", dir.display())
            }
            Self::Failed(why) => write!(f, "libtorch_cuda.so does not load: {why}"),
        }
    }
}

/// Libraries that others open by bare name although they have no search path of their own (cuDNN opens NVRTC, NVRTC its
/// builtins, cuSPARSE nvJitLink). Python's `import torch` preloads the same ones.
const PRELOADED: [&str; 5] =
    ["libcublasLt.so.13", "libcublas.so.13", "libnvrtc-builtins.so.13.0", "libnvrtc.so.13", "libnvJitLink.so.13"];

/// Loads CUDA where there is a driver; costs a fraction of a millisecond where there is none.
///
/// Call it first in `main`: at the first question about CUDA, torch decides for good whether there is any.
pub fn cuda() -> Cuda {
    if open(OsStr::new("libcuda.so.1"), libc::RTLD_NOW | libc::RTLD_GLOBAL).is_err() {
        return Cuda::NoDriver;
    }
    let Some(dir) = libtorch_dir() else {
        return Cuda::Failed("cannot tell where libtorch_cpu.so lies".to_owned());
    };
    let library = dir.join("libtorch_cuda.so");
    let nvidia = dir.join("../../nvidia/cu13/lib");
    // A CPU-only install has the wheel's libtorch_cuda.so too, but not what that needs.
    if !library.exists() || (is_wheel(&dir) && !nvidia.join("libcublas.so.13").exists()) {
        return Cuda::CpuOnlyTorch(dir);
    }
    for name in PRELOADED {
        // Absent ones matter only if libtorch_cuda.so misses them, and then it says so below.
        let _ = open(nvidia.join(name).as_os_str(), libc::RTLD_LAZY | libc::RTLD_GLOBAL);
    }
    match open(library.as_os_str(), libc::RTLD_NOW | libc::RTLD_GLOBAL) {
        Ok(_) => Cuda::Loaded,
        Err(why) => Cuda::Failed(why),
    }
}

/// Folder of the `libtorch_cpu.so` that this process runs with.
pub fn libtorch_dir() -> Option<PathBuf> {
    // SAFETY: Dl_info is plain data for which all zeros is a value; dladdr only fills it in.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the shim's function takes nothing and returns an address; dladdr accepts any address.
    let found = unsafe { libc::dladdr(ffi::cloze_symbol_of_libtorch_cpu(), &mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: dladdr succeeded, so dli_fname is a C string that lives as long as the library stays loaded (always).
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Path::new(OsStr::from_bytes(name.to_bytes())).parent().map(Path::to_path_buf)
}

/// Opens the library over NCCL (`libcloze_nccl.so`, beside the program or where it was built) and gives the function in it.
/// [`cuda`] must have loaded CUDA.
pub(crate) fn nccl() -> Result<ffi::MakeNccl, String> {
    const NAME: &str = "libcloze_nccl.so";
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(NAME)));
    let built = Some(env!("CLOZE_NCCL")).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = [beside, built].into_iter().flatten().find(|path| path.is_file()).ok_or_else(|| {
        format!("expected {NAME} beside the program, found none; build on a machine where train/setup.sh gpu was run")
    })?;
    let handle = open(path.as_os_str(), libc::RTLD_NOW | libc::RTLD_LOCAL)?;
    // SAFETY: `handle` is an open library; the name is a C string.
    let symbol = unsafe { libc::dlsym(handle, c"cloze_backend_nccl".as_ptr()) };
    if symbol.is_null() {
        return Err(format!("{}: expected cloze_backend_nccl in it, found another library", path.display()));
    }
    // SAFETY: cuda/nccl.cpp declares the function with this type; the library is never closed.
    Ok(unsafe { std::mem::transmute::<*mut libc::c_void, ffi::MakeNccl>(symbol) })
}

/// Version of the libtorch that this process runs with, such as `2.11.0+cpu`, as its folder tells.
pub fn libtorch_version() -> Option<String> {
    let root = libtorch_dir()?.parent()?.to_path_buf();
    // A wheel has Python's module, a zip of libtorch a file of its own.
    if let Ok(version) = std::fs::read_to_string(root.join("build-version")) {
        return Some(version.trim().to_owned());
    }
    let module = std::fs::read_to_string(root.join("version.py")).ok()?;
    let version = module.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(version.trim_matches(['\'', '"']).to_owned())
}

/// Whether `dir` lies in a wheel made with CUDA 13 of its own packages (`nvidia/cu13` beside `torch`).
fn is_wheel(dir: &Path) -> bool {
    dir.join("../../nvidia/cu13").is_dir()
}

/// Opens a shared library for the life of the process; the error is the loader's own line.
fn open(path: &OsStr, flags: libc::c_int) -> Result<*mut libc::c_void, String> {
    let path = CString::new(path.as_bytes()).map_err(|_| "a path with a NUL byte".to_owned())?;
    // SAFETY: `path` is a C string. The libraries opened here are the driver's and torch's own, whose initialisers are
    // meant to run on load; they are never closed, so nothing they hand out can dangle.
    let handle = unsafe { libc::dlopen(path.as_ptr(), flags) };
    if !handle.is_null() {
        return Ok(handle);
    }
    // SAFETY: dlerror returns null or a C string valid until this thread's next dl* call.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return Err("no reason given".to_owned());
    }
    // SAFETY: not null, see above; copied at once.
    Err(unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned())
}
