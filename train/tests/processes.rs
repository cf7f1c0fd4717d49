//! `cloze-train` in several processes on one machine, as launchers start it.

mod datasets;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use datasets::*;

/// A run that loses nothing to dropout: losses can be compared.
const RECIPE: &str = "
[run]
log_every = 1
checkpoint_every = 10
[model]
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 16
hidden_dropout_prob = 0.0
attention_probs_dropout_prob = 0.0
[data]
global_batch_size = 16
held_out_every = 25
[optimizer]
learning_rate = 0.01
[schedule]
steps = 50
";

fn place() -> Place {
    let place = Place::new(RECIPE);
    pretrain(&place.data.join("held-out"), 50, "");
    place
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The only line, of a process that failed on bad input.
fn one_line(output: &Output) -> String {
    let stderr = stderr(output);
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
    stderr.trim_end().to_owned()
}

/// (step, value) of every row about training or held-out data.
fn losses(run: &Path) -> Vec<(u64, f64)> {
    let rows = metrics(run, "step").into_iter().chain(metrics(run, "held_out"));
    rows.map(|row| (row["step"].as_u64().unwrap(), row["loss"].as_f64().unwrap())).collect()
}

fn wait_for_step(run: &Path, child: &mut Child, step: usize) {
    let started = Instant::now();
    while metrics(run, "step").len() < step {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "no step {step}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn losses_are_the_same_for_one_two_and_four_processes() {
    let place = place();
    let run = |num_processes: &str| {
        let out = place.out(num_processes);
        succeed(&place.arguments(&out, &["--spawn", num_processes, "--threads", "1"]));
        losses(&out)
    };
    let one = run("1");
    assert_eq!(one.len(), 52);
    for processes in ["2", "4"] {
        let several = run(processes);
        assert_eq!(one.len(), several.len());
        for ((step, expected), (same_step, found)) in one.iter().zip(several) {
            assert_eq!(*step, same_step);
            assert!((found / expected - 1.0).abs() < 1e-5, "{processes} processes, step {step}: {expected} {found}");
        }
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_processes_as_if_nothing_had_happened() {
    let place = place();
    let (whole, changed) = (place.out("whole"), place.out("changed"));
    succeed(&place.arguments(&whole, &[]));
    let mut child = command(&place.arguments(&changed, &["--spawn", "2"]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_step(&changed, &mut child, 5);
    signal("-TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let stopped_at = metrics(&changed, "step").len();
    assert!((5..50).contains(&stopped_at), "{stopped_at}");
    succeed(&["pretrain", "--data", text(&place.data), "--out", text(&changed), "--resume", "--spawn", "3"]);
    let (whole, changed) = (losses(&whole), losses(&changed));
    assert_eq!(whole.len(), changed.len());
    for ((step, expected), (same_step, found)) in whole.into_iter().zip(changed) {
        assert_eq!(step, same_step);
        assert!((found / expected - 1.0).abs() < 1e-5, "step {step}: {expected} {found}");
    }
}

#[test]
fn on_the_same_number_of_processes_a_run_goes_on_bit_for_bit_with_dropout_too() {
    let place = place();
    let with_dropout = RECIPE.replace("dropout_prob = 0.0", "dropout_prob = 0.1");
    fs::write(&place.recipe, with_dropout).unwrap();
    let (whole, resumed) = (place.out("whole"), place.out("resumed"));
    let two = ["--spawn", "2", "--threads", "1"];
    succeed(&place.arguments(&whole, &two));
    succeed(&place.arguments(&resumed, &two));
    // As if it had been killed after its checkpoint of step 40.
    fs::remove_dir_all(checkpoints(&resumed).last().unwrap()).unwrap();
    let data = text(&place.data);
    succeed(&[&["pretrain", "--data", data, "--out", text(&resumed), "--resume"][..], &two].concat());
    assert_eq!(losses(&whole), losses(&resumed));
    let model = |run: &Path| fs::read(checkpoints(run).last().unwrap().join("model.safetensors")).unwrap();
    assert!(model(&whole) == model(&resumed));
}

#[test]
fn a_killed_process_ends_the_others_within_seconds_and_the_run_goes_on() {
    let place = place();
    let out = place.out("run");
    let port = free_port();
    let mut ranks: Vec<Child> = (0..2)
        .map(|rank| place.rank(&out, rank, 2, port, &["--steps", "500", "--threads", "1"]).spawn().unwrap())
        .collect();
    wait_for_step(&out, &mut ranks[0], 15);
    signal("-KILL", ranks[1].id());
    let killed = Instant::now();
    ranks.pop().unwrap().wait().unwrap();
    let output = ranks.pop().unwrap().wait_with_output().unwrap();
    assert!(killed.elapsed() < Duration::from_secs(10));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("error: lost another process of this run ("), "{}", stderr(&output));
    let logged = metrics(&out, "step").len() as u64;
    let state = json(&checkpoints(&out).last().unwrap().join("state.json"));
    assert_eq!(state["position"]["step"], logged, "the first process saves what it has");
    succeed(&["pretrain", "--data", text(&place.data), "--out", text(&out), "--resume", "--spawn", "2"]);
    let steps: Vec<u64> = metrics(&out, "step").iter().map(|row| row["step"].as_u64().unwrap()).collect();
    assert!(steps.into_iter().eq(1..=500));
}

#[test]
fn a_signal_to_one_process_saves_and_stops_all() {
    let place = place();
    let out = place.out("run");
    let port = free_port();
    let mut ranks: Vec<Child> = (0..2)
        .map(|rank| place.rank(&out, rank, 2, port, &["--steps", "100000", "--threads", "1"]).spawn().unwrap())
        .collect();
    wait_for_step(&out, &mut ranks[0], 5);
    signal("-TERM", ranks[1].id());
    for rank in ranks {
        assert_eq!(rank.wait_with_output().unwrap().status.code(), Some(143));
    }
    assert!(!checkpoints(&out).is_empty());
}

#[test]
fn processes_that_do_not_meet_say_so_in_one_line() {
    let place = place();
    let out = place.out("run");
    let alone = |rank, port| place.rank(&out, rank, 2, port, &["--join-timeout", "1"]).output().unwrap();
    let port = free_port();
    assert_eq!(
        one_line(&alone(0, port)),
        format!(
            "error: 127.0.0.1:{port}: expected 2 processes within 1s, found 1; start the others, or allow more time with \
             --join-timeout"
        )
    );
    let port = free_port();
    let error = one_line(&alone(1, port));
    let expected = format!("error: 127.0.0.1:{port}: expected the process of rank 0 there within 1s, found none (");
    assert!(error.starts_with(&expected), "{error}");
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    assert_eq!(
        one_line(&alone(0, port)),
        format!(
            "error: port {port}: expected a free port to meet the other processes at, found it in use; set MASTER_PORT"
        )
    );
    assert!(!out.exists());
}

#[test]
fn processes_with_different_recipes_or_bad_input_leave_nothing_behind() {
    let place = place();
    let out = place.out("run");
    let port = free_port();
    let other = place.rank(&out, 1, 2, port, &["--steps", "9"]).spawn().unwrap();
    let first = place.rank(&out, 0, 2, port, &[]).output().unwrap();
    let other = other.wait_with_output().unwrap();
    assert_eq!(
        one_line(&other),
        "error: recipe: expected the same in all processes, found schedule.steps = 9 in rank 1 and schedule.steps = 50 in \
         rank 0"
    );
    assert_eq!(first.status.code(), Some(2));
    assert!(!stderr(&first).contains("error"), "one process tells: {}", stderr(&first));
    // Without this the processes would measure at different steps, and wait for each other.
    let port = free_port();
    let other = place.rank(&out, 1, 2, port, &["--held-out", text(&place.data)]).spawn().unwrap();
    let first = place.rank(&out, 0, 2, port, &[]).output().unwrap();
    let line = one_line(&other.wait_with_output().unwrap());
    assert!(
        line.starts_with("error: held-out or dev datasets (checksums of their manifests): expected the same"),
        "{line}"
    );
    assert_eq!(first.status.code(), Some(2));
    let missing = run(&["pretrain", "--data", "nowhere", "--out", text(&out), "--spawn", "2"]);
    assert!(one_line(&missing).starts_with("error: nowhere: expected a dataset directory"));
    assert!(!out.exists());
}

#[test]
fn a_process_that_cannot_listen_tells_all_in_seconds() {
    let place = place();
    let out = place.out("run");
    let port = free_port();
    let other = place.rank(&out, 1, 2, port, &[]).env("GLOO_SOCKET_IFNAME", "eth77").spawn().unwrap();
    let started = Instant::now();
    let first = place.rank(&out, 0, 2, port, &[]).output().unwrap();
    let other = other.wait_with_output().unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
    let line = one_line(&first);
    assert!(line.starts_with("error: rank 1 on "), "{line}");
    assert!(line.contains("GLOO_SOCKET_IFNAME: expected a network interface of this machine"), "{line}");
    assert_eq!(line, one_line(&other));
    assert!(!out.exists());
}

#[test]
fn the_time_to_come_does_not_bound_the_time_to_answer() {
    let place = place();
    let out = place.out("run");
    let port = free_port();
    let more = ["--steps", "300", "--threads", "1", "--join-timeout", "5"];
    let mut ranks: Vec<Child> = (0..2).map(|rank| place.rank(&out, rank, 2, port, &more).spawn().unwrap()).collect();
    wait_for_step(&out, &mut ranks[0], 5);
    signal("-STOP", ranks[1].id());
    std::thread::sleep(Duration::from_secs(8));
    signal("-CONT", ranks[1].id());
    for rank in ranks {
        let output = rank.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

/// Cores that this process may run on.
fn cores() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()
}

#[test]
fn a_process_has_a_thread_for_each_core_that_it_does_not_share() {
    let place = place();
    let cores = cores();
    let [one, two] = cores[..2] else { panic!("two cores are needed") };
    // Threads of the first process where the two are bound to these cores.
    let threads = |first: &str, second: &str| {
        let out = place.out(&format!("{first} {second}"));
        let port = free_port();
        let rank = |rank, cores: &str| {
            let mut bound = Command::new("taskset");
            bound.args(["--cpu-list", cores, env!("CARGO_BIN_EXE_cloze-train")]);
            bound.args(place.arguments(&out, &["--steps", "2"]));
            in_world(bound, rank, 2, port).spawn().unwrap()
        };
        for rank in [rank(0, first), rank(1, second)] {
            let output = rank.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
        }
        metrics(&out, "run")[0]["machine"]["threads"].as_u64().unwrap()
    };
    let both = format!("{one},{two}");
    assert_eq!(threads(&both, &both), 1, "they share two cores");
    assert_eq!(threads(&both, &two.to_string()), 2, "the other one is bound to a core of its own");
}

#[test]
fn a_process_killed_amid_an_evaluation_ends_the_others_within_seconds() {
    let place = place();
    let (train, dev, model, out) = (place.out("train"), place.out("dev"), place.out("model"), place.out("run"));
    glue(&train, 32, "");
    glue(&dev, 50_000, "");
    succeed(&place.arguments(&model, &["--steps", "2"]));
    let (train, dev, model, port) = (text(&train), text(&dev), text(&model), free_port());
    let arguments = ["finetune", "glue", "--data", train, "--dev", dev, "--init", model, "--out", text(&out)];
    let arguments = [&arguments[..], &["--epochs", "1", "--threads", "1"]].concat();
    let rank = |rank| in_world(command(&arguments), rank, 2, port).spawn().unwrap();
    let (first, mut other) = (rank(0), rank(1));
    let started = Instant::now();
    // It is saved before it is measured.
    while !out.join("checkpoints/step-00000001").exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    other.kill().unwrap();
    let killed = Instant::now();
    let output = first.wait_with_output().unwrap();
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    assert!(stderr(&output).contains("error: lost another process of this run ("), "{}", stderr(&output));
    assert!(metrics(&out, "evaluation").is_empty(), "the evaluation was over");
    other.wait().unwrap();
}

#[test]
fn fine_tuning_in_two_processes_learns_the_same() {
    let place = place();
    let (train, dev, model) = (place.out("train"), place.out("dev"), place.out("model"));
    glue(&train, 64, "");
    glue(&dev, 32, "");
    succeed(&place.arguments(&model, &["--steps", "2"]));
    let finetune = |name: &str, num_processes: &str| {
        let out = place.out(name);
        let data = ["--data", text(&train), "--dev", text(&dev), "--init", text(&model), "--out", text(&out)];
        let more = ["--spawn", num_processes, "--epochs", "2", "--log-every", "1", "--threads", "1"];
        succeed(&[&["finetune", "glue"][..], &data, &more].concat());
        let predictions = fs::read_to_string(out.join("predictions.tsv")).unwrap();
        let answers: Vec<String> =
            predictions.lines().map(|line| line.split('\t').take(3).collect::<Vec<_>>().join(" ")).collect();
        let evaluation = metrics(&out, "evaluation");
        let rows = metrics(&out, "step").into_iter().chain(evaluation);
        (rows.map(|row| row["loss"].as_f64().unwrap()).collect::<Vec<_>>(), answers)
    };
    let ((one, predicted), (two, predicted_by_two)) = (finetune("one", "1"), finetune("two", "2"));
    assert_eq!((one.len(), two.len(), predicted.len()), (6, 6, 33));
    assert_eq!(predicted, predicted_by_two);
    for (expected, found) in one.iter().zip(&two) {
        assert!((found / expected - 1.0).abs() < 1e-5, "{one:?} {two:?}");
    }
}

#[test]
fn questions_are_answered_by_two_processes_as_by_one() {
    let place = place();
    let (train, dev, model) = (place.out("train"), place.out("dev"), place.out("model"));
    squad(&train, 64);
    squad(&dev, 300);
    succeed(&place.arguments(&model, &["--steps", "2"]));
    let finetune = |name: &str, num_processes: &str| {
        let out = place.out(name);
        let data = ["--data", text(&train), "--dev", text(&dev), "--init", text(&model), "--out", text(&out)];
        let more = ["--spawn", num_processes, "--epochs", "1", "--threads", "1"];
        succeed(&[&["finetune", "squad"][..], &data, &more].concat());
        json(&out.join("predictions.json"))
    };
    let one = finetune("one", "1");
    assert_eq!(one.as_object().unwrap().len(), 300);
    assert_eq!(one, finetune("two", "2"));
}
