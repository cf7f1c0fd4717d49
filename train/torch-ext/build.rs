//! Compiles the C++ shim over libtorch.

use std::env;
use std::path::PathBuf;

fn main() {
    // torch-sys (`links = "tch"`) hands its library folder to crates that depend on it directly.
    let libtorch = PathBuf::from(env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys is a direct dependency"));
    let include = libtorch.parent().expect("libtorch's lib has a parent").join("include");
    println!("cargo:rerun-if-changed=cpp");
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .warnings(false) // libtorch's headers are not ours to mend
        .flag("-std=c++17")
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("cpp/autocast.cpp")
        .file("cpp/shim.cpp")
        .compile("cloze_torch_shim");
    println!("cargo:rustc-link-search=native={}", libtorch.display());
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    // For this crate's own tests; binaries elsewhere do the same in their build.rs.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libtorch.display());
}
