//! Numbers as people read them.

/// `1234567` as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in decimal units.
pub fn bytes(n: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|&(unit, _)| n >= unit) {
        Some((unit, name)) => format!("{:.1} {name}", n as f64 / unit as f64),
        None => format!("{n} B"),
    }
}

/// A share as a percentage; small ones keep two digits.
pub fn percent(share: f64) -> String {
    if share != 0.0 && share < 0.01 { format!("{:.2} %", share * 100.0) } else { format!("{:.1} %", share * 100.0) }
}

/// With one decimal as long as it matters: `28.8`, `7,675`.
pub fn decimal(value: f64) -> String {
    if value < 1_000.0 { format!("{value:.1}") } else { thousands(value.round() as u64) }
}

/// `1 document`, `1,200 documents`.
pub fn counted(n: u64, one: &str) -> String {
    format!("{} {}", thousands(n), plural(n, one))
}

/// `one` for 1, else its plural.
pub fn plural(n: u64, one: &str) -> String {
    match one {
        _ if n == 1 => one.to_owned(),
        _ if one.ends_with("ch") => format!("{one}es"),
        _ => format!("{one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12, 1_500, 2_000_000].map(bytes), ["12 B", "1.5 kB", "2.0 MB"]);
        assert_eq!([28.84, 7_674.7].map(decimal), ["28.8", "7,675"]);
        assert_eq!([0.5, 0.001234, 0.0].map(percent), ["50.0 %", "0.12 %", "0.0 %"]);
    }

    #[test]
    fn one_thing_is_singular() {
        assert_eq!([0, 1, 2_000].map(|n| counted(n, "document")), ["0 documents", "1 document", "2,000 documents"]);
        assert_eq!(counted(2, "record batch"), "2 record batches");
    }
}
