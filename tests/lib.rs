//! Runs the programs as a user would.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the project").to_owned()
}

/// A file of samples/.
pub fn sample(path: &str) -> PathBuf {
    root().join("samples").join(path)
}

/// The program `name` of this workspace in the profile of the tests, compiled where it is older than its source.
///
/// `cargo test --workspace` has compiled it already; calling cargo again would compile dependencies anew, since their
/// features differ between the two calls.
fn program(name: &'static str, cell: &'static OnceLock<PathBuf>) -> &'static Path {
    cell.get_or_init(|| {
        // Tests run from target/PROFILE/deps.
        let test = std::env::current_exe().expect("a test has a path");
        let program = test.parent().and_then(Path::parent).expect("target/PROFILE/deps").join(name);
        let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
        let sources = ["formats/src", "prep/src", "train/src", "train/torch-ext"].map(|dir| root().join(dir));
        let newest = sources.iter().flat_map(|dir| paths(dir)).filter_map(|path| modified(&path)).max();
        if modified(&program) < newest {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.current_dir(root()).args(["build", "--quiet", "--package", name]);
            if !cfg!(debug_assertions) {
                cargo.arg("--release");
            }
            assert!(cargo.status().expect("cargo runs").success(), "{name} compiles");
        }
        program
    })
}

/// A call of `cloze-prep`.
pub fn cloze_prep() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(program("cloze-prep", &PROGRAM));
    command.current_dir(root());
    command
}

/// A call of `cloze-train`.
pub fn cloze_train() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(program("cloze-train", &PROGRAM));
    command.current_dir(root());
    command
}

/// Runs `command` with `args`; it must succeed. Returns its standard output.
///
/// # Panics
/// It does not succeed.
pub fn succeed<S: AsRef<OsStr>>(mut command: Command, args: &[S]) -> String {
    let output = command.args(args).output().expect("the program starts");
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Runs `command` with `args`; it must end with exit code 2 and one line that tells why, the last one, which is returned.
///
/// # Panics
/// It does not.
pub fn refuse<S: AsRef<OsStr>>(mut command: Command, args: &[S]) -> String {
    let output = command.args(args).output().expect("the program starts");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{command:?}\n{}{message}", text(&output.stdout));
    let errors: Vec<&str> = message.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert!(errors.len() == 1 && message.trim_end().ends_with(errors[0]), "{command:?} said:\n{message}");
    errors[0].to_owned()
}

/// Exit code and both streams of a finished call.
pub fn finish(mut command: Command) -> Output {
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file below `dir` with its bytes, by relative path.
pub fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("a readable file");
        (path.strip_prefix(dir).expect("below dir").to_owned(), bytes)
    };
    let mut found: Vec<_> = paths(dir).into_iter().map(read).collect();
    found.sort();
    found
}

/// The path of every file below `dir`.
fn paths(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("a directory").map(|e| e.expect("an entry").path()) {
            (if entry.is_dir() { &mut open } else { &mut found }).push(entry);
        }
    }
    found
}

/// A vocabulary trained on samples/, and the corpus and datasets made with it, in `dir`.
pub fn prepare_samples(dir: &Path) {
    let path = |name: &str| dir.join(name).into_os_string();
    let wiki = sample("wiki/miniwiki.xml").into_os_string();
    let books = sample("books").into_os_string();
    let text = ["--wikipedia".into(), wiki, "--books".into(), books];
    let call = |words: &[&str], rest: &[std::ffi::OsString]| {
        let mut command = cloze_prep();
        command.args(words);
        succeed(command, rest);
    };
    let with = |more: &[std::ffi::OsString]| [&text[..], more].concat();
    call(&["vocab", "--vocab-size", "2000"], &with(&["--out".into(), path("vocab.txt")]));
    call(&["tokenize"], &with(&["--vocab".into(), path("vocab.txt"), "--out".into(), path("corpus")]));
}
