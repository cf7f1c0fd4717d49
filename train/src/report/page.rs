//! The page: what was learnt, how fast, from what, and where.

use super::charts;
use super::plot::{color, significant};
use super::read::Run;
use super::tables;
use crate::progress::{duration, thousands};

/// Happenings listed, the newest ones; all are marked in the plots.
const MAX_LISTED: usize = 40;

/// The report about `runs`.
pub(super) fn page(runs: &[Run]) -> String {
    let title = match runs {
        [run] => escape(&run.name),
        _ => format!("{} runs", runs.len()),
    };
    let head = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}: training report</title>\n\
         <style>\n{}</style>\n</head>\n",
        include_str!("style.css")
    );
    let figures = if let [run] = runs { figures(run) } else { legend(runs) };
    let (curves, scale) = charts::curves(runs);
    let recipe = comparison("Recipe", "everything that decided the weights", &tables::recipe(runs), runs);
    let model = comparison("Model", "config.json", &tables::model(runs), runs);
    let machine = comparison("Machine", "of the newest attempt", &tables::machine(runs), runs);
    let mut cards = curves;
    cards.extend(happenings(runs));
    if runs.len() > 1 {
        cards.insert(0, summary(runs));
        cards.extend(charts::datasets(runs).into_iter().chain(recipe).chain(model).chain(machine));
    } else {
        // The figures above say the most important of one run; cards of like heights stand side by side.
        cards.extend(charts::datasets(runs).into_iter().chain(machine));
        cards.extend([summary(runs)].into_iter().chain(recipe).chain(model));
    }
    format!(
        "{head}<body>\n<main>\n<header><h1>{title}</h1>\n<p>{}</p></header>\n{figures}{}<div class=\"cards\">\n{}</div>\n{}</main>\n\
         </body>\n</html>\n",
        escape(&subtitle(runs)),
        if scale { charts::SCALE } else { "" },
        cards.concat(),
        footer(),
    )
}

/// Text for HTML, in attributes too.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in HTML, even escaped.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A section; `class` is empty or `wide`.
pub(super) fn card(title: &str, note: &str, class: &str, body: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!("<p class=\"note\">{}</p>\n", escape(note)) };
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<section{class}>\n<h2>{}</h2>\n{note}{body}</section>\n", escape(title))
}

fn subtitle(runs: &[Run]) -> String {
    let [run] = runs else { return "training report of several runs".to_owned() };
    let fact = |pointer: &str| run.fact(pointer).and_then(|value| value.as_str());
    let (task, version) = (fact("/task").unwrap_or("training"), fact("/versions/cloze"));
    version.map_or_else(|| format!("{task} report"), |version| format!("{task} report, by cloze-train {version}"))
}

/// The figures that are wanted first.
fn figures(run: &Run) -> String {
    let last = |key: &str| tables::settled(run, key);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let step = thousands(run.last_step());
    let of = run.fact("/total_steps").and_then(|n| n.as_u64()).map(|n| format!("of {} steps", thousands(n)));
    let mut figures = vec![(step, of.unwrap_or_else(|| "steps".to_owned()))];
    let mut add = |value: Option<String>, what: &str| figures.extend(value.map(|value| (value, what.to_owned())));
    add(last("masked_lm_loss").map(significant), "masked-LM loss");
    add(last("masked_lm_accuracy").map(percent), "of masked tokens right");
    if last("masked_lm_loss").is_none() {
        add(last("loss").map(significant), "loss");
        add(last("accuracy").map(percent), "of examples right");
    }
    add(tables::median(run, "tokens_per_s").map(|rate| thousands(rate as u64)), "tokens per second");
    add(tables::median(run, "mfu").map(percent), "model FLOPs utilisation");
    add(run.steps.last().and_then(|row| row["seconds"].as_f64()).map(duration), "trained");
    let figure = |(value, what): &(String, String)| {
        format!("<div class=\"figure\"><b>{}</b><span>{}</span></div>\n", escape(value), escape(what))
    };
    format!("<div class=\"figures\">\n{}</div>\n", figures.iter().map(figure).collect::<String>())
}

/// Which colour is which run.
pub(super) fn legend(runs: &[Run]) -> String {
    let key = |(index, run): (usize, &Run)| {
        format!("<span class=\"item\"><span class=\"key {}\"></span>{}</span>", color(index), escape(&run.name))
    };
    format!("<p class=\"legend\">{}</p>\n", runs.iter().enumerate().map(key).collect::<String>())
}

fn summary(runs: &[Run]) -> String {
    let note = "rates are medians, losses and accuracies those of the newest rows";
    card(
        "Summary",
        note,
        if runs.len() == 1 { "" } else { "wide" },
        &tables::compare(&tables::summary(runs), runs, false),
    )
}

/// A table of facts, if there are any; of several runs, those that differ are marked.
fn comparison(title: &str, note: &str, rows: &tables::Rows, runs: &[Run]) -> Option<String> {
    if rows.is_empty() {
        return None;
    }
    let is_one = runs.len() == 1;
    let note = if is_one { note.to_owned() } else { format!("{note}; what differs is marked") };
    Some(card(title, &note, if is_one { "" } else { "wide" }, &tables::compare(rows, runs, true)))
}

/// What happened beside training.
fn happenings(runs: &[Run]) -> Option<String> {
    let mut listed: Vec<_> =
        runs.iter().flat_map(|run| run.happenings().into_iter().map(move |happening| (run, happening))).collect();
    if listed.is_empty() {
        return None;
    }
    let num_all = listed.len();
    listed.sort_by(|(_, a), (_, b)| a.time.unwrap_or(0.0).total_cmp(&b.time.unwrap_or(0.0)));
    listed.drain(..num_all.saturating_sub(MAX_LISTED));
    let row = |(run, happening): &(&Run, super::read::Happening)| {
        let name = if runs.len() > 1 { format!("<td>{}</td>", escape(&run.name)) } else { String::new() };
        format!(
            "<tr>{name}<td class=\"n\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            thousands(happening.step),
            happening.time.map_or_else(String::new, tables::utc),
            escape(&happening.kind),
            escape(&happening.message)
        )
    };
    let name = if runs.len() > 1 { "<th>run</th>" } else { "" };
    let table = format!(
        "<div class=\"scroll\"><table><tr>{name}<th class=\"n\">after step</th><th>when</th><th>what</th><th></th></tr>\n{}</table></div>\n",
        listed.iter().map(row).collect::<String>()
    );
    let note = if num_all > listed.len() { format!("the last {} of {num_all}", listed.len()) } else { String::new() };
    Some(card("Events", &note, "wide", &table))
}

fn footer() -> String {
    "<footer>Bold lines are moving averages, faint ones what was logged; dashed lines with dots are measured on held-out data. \
     Triangles mark events: a run resumed, a signal, a step skipped because its gradient was not finite. Rest the pointer on \
     a plot to read its values.</footer>\n"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn example(name: &str, loss: f64) -> Run {
        let rows = |kind: &str, steps: std::ops::Range<u64>| -> Vec<Value> {
            let row = |step| {
                json!({"kind": kind, "step": step, "masked_lm_loss": loss / step as f64, "learning_rate": 1e-3,
                       "tokens_per_s": 100.0, "seconds": step})
            };
            steps.map(row).collect()
        };
        let attempt = |step: u64| {
            json!({"kind": "run", "step": step, "task": "pretrain", "total_steps": 50,
                   "recipe": {"optimizer": {"learning_rate": loss}, "run": {"seed": 1}},
                   "machine": {"host": "<b>", "device": "cpu"},
                   "data": {"manifest": "x", "num_instances": 3, "mean_len": 1.5, "length_histogram": [0, 2, 1]}})
        };
        Run {
            name: name.to_owned(),
            dir: name.into(),
            attempts: vec![attempt(0), attempt(20)],
            steps: rows("step", 1..41),
            measurements: rows("held_out", 20..22),
            events: vec![json!({"kind": "event", "step": 7, "event": "skipped", "message": "not <finite>", "time": 0})],
        }
    }

    /// Every opened element is closed, in order.
    fn assert_balanced(html: &str) {
        let mut open = Vec::new();
        for tag in html.split('<').skip(1).map(|rest| &rest[..rest.find('>').unwrap()]) {
            let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "{tag}");
            } else if !tag.ends_with('/') && !["!doctype", "meta", "input"].contains(&name) {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_report_of_one_run_shows_curves_events_data_and_recipe() {
        let html = page(&[example("p<1>", 8.0)]);
        assert_balanced(&html);
        for part in [
            "p&lt;1&gt;",
            "Masked-LM loss",
            "Learning rate",
            "not &lt;finite&gt;",
            "Lengths",
            "optimizer.learning_rate",
        ] {
            assert!(html.contains(part), "{part}");
        }
        for absent in ["<b>\"", "NaN", "Loss scale", "http://", "https://", "<script"] {
            assert!(!html.contains(absent), "{absent}");
        }
        assert!(html.contains("class=\"mark resumed\"") && html.contains("class=\"mark skipped\""));
    }

    #[test]
    fn several_runs_are_overlaid_and_their_differences_marked() {
        let html = page(&[example("a", 8.0), example("b", 6.0)]);
        assert_balanced(&html);
        assert!(html.contains("curve c1") && html.contains("curve c2"));
        assert!(html.contains("<tr class=\"differs\"><td>optimizer.learning_rate</td>"));
        assert!(!html.contains("<tr class=\"differs\"><td>run.seed</td>"));
        assert_eq!(html.matches("<h2>Lengths").count(), 1, "one dataset, one histogram");
    }

    #[test]
    fn a_run_without_a_row_about_itself_is_shown_as_far_as_it_goes() {
        let mut run = example("old", 8.0);
        run.attempts.clear();
        let html = page(&[run]);
        assert_balanced(&html);
        assert!(html.contains("Masked-LM loss") && !html.contains("<h2>Recipe"));
    }
}
