//! What the NVIDIA driver knows of a device, asked directly: the names in torch's CUDA library are C++ and may change.

use std::ffi::CStr;

use libc::{c_char, c_int, c_void};

/// A CUDA device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// As the driver names it, such as `NVIDIA H200`.
    pub name: String,
    /// Bytes of its memory.
    pub memory_bytes: u64,
}

/// The device of this number among those that are visible to this process; `None` where there is no driver or no such device.
pub fn gpu(index: usize) -> Option<Gpu> {
    type Init = unsafe extern "C" fn(u32) -> c_int;
    type DeviceGet = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
    type GetName = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
    type TotalMem = unsafe extern "C" fn(*mut usize, c_int) -> c_int;
    let index = c_int::try_from(index).ok()?;
    // SAFETY: the name is a C string; the driver is meant to be loaded, and is never closed.
    let driver = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
    if driver.is_null() {
        return None;
    }
    let symbol = |name: &CStr| -> Option<*mut c_void> {
        // SAFETY: `driver` is an open library and `name` a C string.
        let address = unsafe { libc::dlsym(driver, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    };
    let (init, get) = (symbol(c"cuInit")?, symbol(c"cuDeviceGet")?);
    let (name, memory) = (symbol(c"cuDeviceGetName")?, symbol(c"cuDeviceTotalMem_v2")?);
    let (mut device, mut bytes, mut text) = (0, 0usize, [0; 256]);
    // SAFETY: these are the signatures that cuda.h has for these names since CUDA 3.2; every pointer is to a live local, and
    // the name is written within the length passed, with its zero.
    let found = unsafe {
        std::mem::transmute::<*mut c_void, Init>(init)(0) == 0
            && std::mem::transmute::<*mut c_void, DeviceGet>(get)(&mut device, index) == 0
            && std::mem::transmute::<*mut c_void, GetName>(name)(text.as_mut_ptr(), text.len() as c_int - 1, device)
                == 0
            && std::mem::transmute::<*mut c_void, TotalMem>(memory)(&mut bytes, device) == 0
    };
    if !found {
        return None;
    }
    // SAFETY: the last byte of `text` is never written and 0, so that a zero ends it.
    let name = unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned();
    Some(Gpu { name, memory_bytes: bytes as u64 })
}
