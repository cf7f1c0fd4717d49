//! JSON as a flat list of its values: `masked.kept` -> 12, `length_histogram[3]` -> 4.

use std::collections::BTreeMap;

use serde_json::Value;

/// The values inside `value` by path; empty objects and lists are values too.
pub(super) fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect(String::new(), value, &mut found);
    found
}

fn collect(path: String, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let dot = if path.is_empty() { "" } else { "." };
            fields.iter().for_each(|(key, value)| collect(format!("{path}{dot}{key}"), value, found));
        }
        Value::Array(entries) if !entries.is_empty() => {
            entries.iter().enumerate().for_each(|(i, value)| collect(format!("{path}[{i}]"), value, found));
        }
        other => {
            found.insert(path, other.clone());
        }
    }
}

/// Paths whose values differ, with both values; `None` where one side has no such value. Entries of lists come last.
pub(super) fn differences(a: &Value, b: &Value) -> Vec<(String, Option<Value>, Option<Value>)> {
    let (mut a, mut b) = (leaves(a), leaves(b));
    let mut paths: Vec<String> = a.keys().chain(b.keys()).cloned().collect();
    paths.sort_by_key(|path| (path.contains('['), path.clone()));
    paths.dedup();
    let pair = |path: String| (a.remove(&path), b.remove(&path), path);
    paths.into_iter().map(pair).filter(|(a, b, _)| a != b).map(|(a, b, path)| (path, a, b)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_named_by_path_with_lists_last() {
        let a = json!({"hist": [1, 2], "masked": {"kept": 1}, "same": {}, "seed": 1});
        let b = json!({"hist": [1, 3, 4], "masked": {"kept": 2}, "same": {}});
        let found = differences(&a, &b);
        let expected = [
            ("masked.kept", Some(json!(1)), Some(json!(2))),
            ("seed", Some(json!(1)), None),
            ("hist[1]", Some(json!(2)), Some(json!(3))),
            ("hist[2]", None, Some(json!(4))),
        ];
        assert_eq!(found, expected.map(|(path, a, b)| (path.to_owned(), a, b)));
    }
}
