//! Tokenizers of others, run from Python on the same text.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::measure::Measured;

/// Prints one JSON object a peer; a package that is not there is left out with a word on standard error.
const SCRIPT: &str = r#"
import json, os, sys, time

text_path, vocab_path = sys.argv[1:]
text = open(text_path, encoding="utf-8").read()
lines = [line for line in text.split("\n") if line]
num_bytes = sum(len(line.encode()) for line in lines)

def measure(name, what, work):
    started, cpu = time.perf_counter(), time.process_time()
    work()
    print(json.dumps({"name": name, "what": what, "bytes": num_bytes, "instances": 0,
                      "seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu,
                      "peak_bytes": 0, "peak_mapped_bytes": 0}))

try:
    import nanotoken
    from importlib.metadata import version
    tokenizer = nanotoken.Tokenizer.from_vocab(vocab_path)
    measure("nanotoken", "peer: nanotoken " + version("nanotoken"), lambda: tokenizer.encode_batch(lines, parallel=False))
except ImportError as error:
    print("nanotoken:", error, file=sys.stderr)
"#;

/// Measures what `python` has.
pub fn python(python: &Path, inputs: &Path) -> anyhow::Result<Vec<Measured>> {
    let output = Command::new(python)
        .env("RAYON_NUM_THREADS", "1")
        .args(["-c", SCRIPT])
        .args([inputs.join("text.txt"), inputs.join("vocab.txt")])
        .output()?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("{}: the peers could not be measured", python.display());
    }
    output.stdout.split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(|l| Ok(serde_json::from_slice(l)?)).collect()
}
