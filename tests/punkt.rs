//! NLTK learns the same sentence model from a text as we do, and splits it alike.

use std::path::PathBuf;
use std::process::{Command, Output};

use cloze_tests::{cloze_prep, finish, root, sample};

/// Python with NLTK, in an environment of its own below target/, made when it is not there.
fn python_with_nltk() -> PathBuf {
    let environment = root().join("target/interop-nltk");
    let python = environment.join("bin/python");
    let has_nltk = || {
        let import = Command::new(&python).args(["-c", "import nltk; assert nltk.__version__ == '3.8.1'"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    if !has_nltk() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).status().unwrap();
        assert!(made.success(), "python3 makes a virtual environment");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "nltk==3.8.1"];
        let installed = Command::new(&python).args(pip).status().unwrap();
        assert!(installed.success() && has_nltk(), "pip installs nltk");
    }
    python
}

fn compare(program: &str, texts: &[PathBuf]) -> Output {
    let mut script = Command::new(python_with_nltk());
    script.arg(root().join("tests/interop/check_punkt.py")).arg(program).args(texts);
    finish(script)
}

#[test]
fn nltk_learns_the_same_parameters_and_splits_alike() {
    let dir = tempfile::tempdir().unwrap();
    let books = ["the_ferry_at_thorne", "the_late_train", "the_surveyors_chain", "letters_from_the_hill_road"];
    let books: Vec<PathBuf> = books.iter().map(|name| sample(&format!("books/{name}.txt"))).collect();
    // Abbreviations, initials, ordinals, ellipses and quotation marks, often enough to be learned.
    let lines = (0..400).map(|i| {
        let (n, next) = (i % 31, ["Weber", "er", "Die", "„So“", "so", "Mai"][i % 6]);
        format!("Am {n}. {next} kam Dr. Bauer bzw. J. Weber zur Str. {n}, d. h. z. B. heute... {next} ging. »Oh!« Die Uhr, usw., schlug . . . acht. Ende")
    });
    let german = dir.path().join("german.txt");
    std::fs::write(&german, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let texts = [books, vec![german.clone()]].concat();
    // The call compiles the program, too.
    let program = cloze_prep().get_program().to_str().unwrap().to_owned();
    let output = compare(&program, &texts);
    let streams = [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned()).concat();
    assert!(output.status.success(), "{streams}");
    assert!(streams.contains("german.txt: abbreviations: cloze"));

    // A check that cannot fail proves nothing: a program that learns less must be noticed.
    let deaf = dir.path().join("deaf");
    let script = format!(
        "#!/bin/sh\n'{program}' \"$@\" || exit\n[ \"$1\" = punkt ] && sed -i '/^usw$/d;/^dr$/d' \"$5\"\ntrue\n"
    );
    std::fs::write(&deaf, script).unwrap();
    let executable = Command::new("chmod").arg("+x").arg(&deaf).status().unwrap();
    assert!(executable.success());
    let output = compare(deaf.to_str().unwrap(), &[german]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains("only NLTK: ('usw',)"), "{message}");
}
