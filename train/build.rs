//! Tells the linker where libtorch is found at run time.

fn main() {
    // torch-sys (`links = "tch"`) hands its library folder to crates that depend on it directly.
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys is a direct dependency");
    // $ORIGIN first, so that a binary moved together with its .libtorch keeps working.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../.libtorch/lib:{libtorch}");
}
