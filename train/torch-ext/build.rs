//! Compiles the C++ shim over libtorch, and beside it, where the CUDA packages are, a library that brings in NCCL.

use std::env;
use std::path::{Path, PathBuf};

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
        .flag("-fopenmp") // without it torch's parallel_for, which is in its headers, is a plain loop
        .flag_if_supported("-Wno-psabi") // kernels pass wide vectors to what is inlined
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .define("USE_DISTRIBUTED", None)
        .define("USE_C10D_GLOO", None)
        .include("cpp/gloo_names")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .files([
            "cpp/shim.cpp",
            "cpp/attention.cpp",
            "cpp/autocast.cpp",
            "cpp/cross_entropy.cpp",
            "cpp/distributed.cpp",
            "cpp/fused.cpp",
            "cpp/lamb.cpp",
        ])
        .compile("cloze_torch_shim");
    println!("cargo:rustc-link-search=native={}", libtorch.display());
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    // The one that libtorch has with it and is loaded already.
    println!("cargo:rustc-link-lib=dylib:+verbatim=libgomp.so.1");
    println!("cargo:rerun-if-changed=cuda");
    println!("cargo:rustc-env=CLOZE_NCCL={}", build_nccl(&libtorch, &include).unwrap_or_default());
    // For this crate's own tests; binaries elsewhere do the same in their build.rs.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libtorch.display());
}

/// Path of the library over NCCL, or `None` where its headers are not installed (a CPU-only install has none).
fn build_nccl(libtorch: &Path, include: &Path) -> Option<String> {
    let packages = libtorch.join("../../nvidia").canonicalize().ok()?;
    let cuda = packages.join("cu13/include");
    let nccl = packages.join("nccl/include");
    watch(&nccl.join("nccl.h"));
    watch(&cuda.join("crt"));
    if !nccl.join("nccl.h").is_file() || !cuda.join("crt").is_dir() {
        return None;
    }
    let library = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("libcloze_nccl.so");
    let mut compiler = cc::Build::new().cpp(true).opt_level(1).get_compiler().to_command();
    compiler.args(["-std=c++17", "-fPIC", "-shared", "-w", "-DUSE_DISTRIBUTED", "-DUSE_C10D_NCCL", "-DUSE_CUDA"]);
    for folder in [include, &include.join("torch/csrc/api/include"), &cuda, &cuda.join("cccl"), &nccl] {
        compiler.arg("-I").arg(folder);
    }
    compiler.arg("cuda/nccl.cpp").arg("-o").arg(&library).arg("-L").arg(libtorch);
    // libtorch_cuda brings libnccl with it when it is opened.
    compiler.args(["-Wl,--no-as-needed", "-ltorch_cuda", "-lc10_cuda", "-ltorch_cpu", "-lc10"]);
    compiler.arg("-Wl,--allow-shlib-undefined");
    if !compiler.status().is_ok_and(|status| status.success()) {
        println!(
            "cargo:warning=the library over NCCL does not compile; several GPUs will exchange gradients through the host"
        );
        return None;
    }
    Some(library.to_string_lossy().into_owned())
}

/// Has cargo come back when `path` changes, or appears: told of a file that is not there, it would come back, and compile all,
/// every time.
fn watch(path: &Path) {
    if let Some(found) = path.ancestors().find(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", found.display());
    }
}
