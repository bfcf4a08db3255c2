//! Figures as people read them: three digits that matter, and a unit.

/// Microseconds: `850 µs`, `1.20 ms`, `2.30 s`.
pub(crate) fn micros(value: f64) -> String {
    match value {
        value if !value.is_finite() => "–".to_owned(),
        value if value < 0.5 => "0 µs".to_owned(),
        value if value < 100.0 => format!("{} µs", three(value)),
        value if value < 999.5 => format!("{value:.0} µs"),
        value if value < 999_500.0 => format!("{} ms", three(value / 1e3)),
        value => format!("{} s", three(value / 1e6)),
    }
}

/// Microseconds that were counted.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn whole_micros(value: u64) -> String {
    micros(value as f64)
}

/// Seconds: `0.85 s`, `2.30 s`, `12.0 min`, `3.20 h`.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        value if !value.is_finite() => "–".to_owned(),
        0.0 => "0 s".to_owned(),
        value if value < 0.1 => micros(value * 1e6),
        value if value < 120.0 => format!("{} s", three(value)),
        value if value < 7200.0 => format!("{} min", three(value / 60.0)),
        value if value < 172_800.0 => format!("{} h", three(value / 3600.0)),
        value => format!("{} d", three(value / 86_400.0)),
    }
}

/// A count or a rate: `940`, `94.6 k`, `3.10 M`.
pub(crate) fn count(value: f64) -> String {
    match value {
        value if !value.is_finite() => "–".to_owned(),
        value if value < 999.5 => three(value),
        value if value < 9_999.5 => format!("{value:.0}"),
        value if value < 999_500.0 => format!("{} k", three(value / 1e3)),
        value if value < 999_500_000.0 => format!("{} M", three(value / 1e6)),
        value => format!("{} G", three(value / 1e9)),
    }
}

/// A number inside a formula: as [`count`], but small ones are never without a digit that matters.
pub(crate) fn short(value: f64) -> String {
    match value {
        value if value == 0.0 || value.abs() >= 0.0995 || !value.is_finite() => count(value),
        value => format!("{value:.1e}"),
    }
}

/// A number that was counted.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn whole(value: u64) -> String {
    count(value as f64)
}

/// Bytes: `96.0 B`, `4.00 KiB`, `1.20 GiB`.
pub(crate) fn bytes(value: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value < 1024.0 {
        return format!("{} B", three(value));
    }
    let mut scaled = value;
    let mut name = "B";
    for unit in UNITS {
        if scaled < 1000.0 {
            break;
        }
        scaled /= 1024.0;
        name = unit;
    }
    format!("{} {name}", three(scaled))
}

/// Bytes that were counted.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn whole_bytes(value: u64) -> String {
    bytes(value as f64)
}

/// A ratio: `1.08 ×`.
pub(crate) fn ratio(value: f64) -> String {
    if value.is_finite() { format!("{} ×", three(value)) } else { "–".to_owned() }
}

/// A share: `70 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", trimmed(share * 100.0, if share.abs() < 0.001 { 2 } else { 1 }))
}

/// A few cores by number: `0, 1`.
pub(crate) fn cores(cores: &[u32]) -> String {
    if cores.is_empty() {
        return "not pinned".to_owned();
    }
    let numbers: Vec<String> = cores.iter().map(u32::to_string).collect();
    numbers.join(", ")
}

/// So many digits behind the point, at least one, without zeros at the end.
pub(crate) fn trimmed(value: f64, digits: usize) -> String {
    let written = format!("{value:.digits$}");
    written.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Three digits that matter, more before the point; of a whole number none behind it.
pub(crate) fn three(value: f64) -> String {
    match value.abs() {
        size if size.fract() == 0.0 => format!("{value:.0}"),
        size if size < 0.0995 => format!("{value:.4}"),
        size if size < 0.9995 => format!("{value:.3}"),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_the_unit_that_fits() {
        let check = |found: String, expected: &str| assert_eq!(found, expected);
        check(micros(0.0), "0 µs");
        check(micros(8.512), "8.51 µs");
        check(micros(850.4), "850 µs");
        check(micros(999.9), "1.00 ms");
        check(micros(1_204_000.0), "1.20 s");
        check(seconds(0.0), "0 s");
        check(seconds(2.3), "2.30 s");
        check(seconds(5400.0), "90 min");
        check(count(7.0), "7");
        check(count(940.4), "940");
        check(count(94_600.0), "94.6 k");
        check(count(3_100_000.0), "3.10 M");
        check(bytes(69.2), "69.2 B");
        check(bytes(999.0 * 1024.0), "999 KiB");
        check(bytes(1023.0 * 1024.0), "0.999 MiB");
        check(bytes(16.0 * 1024.0 * 1024.0 * 1024.0), "16 GiB");
        check(count(10_000.0), "10 k");
        check(ratio(1.082), "1.08 ×");
        check(percent(0.7), "70 %");
        check(percent(0.0), "0 %");
        check(percent(0.0001), "0.01 %");
        check(percent(0.995), "99.5 %");
        check(ratio(f64::NAN), "–");
    }
}
