//! Durations in Go's syntax, which the API server uses: `500ms`, `4s`, `1m30s`. There are days, too: `7d`.

use std::time::Duration;

/// Parses a duration.
///
/// # Errors
/// When the text is not one or more numbers, each with a unit of `d`, `h`, `m`, `s`, `ms`, `us` or `ns`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = first_part(rest).ok_or_else(|| malformed(text))?;
        total = total.checked_add(part).ok_or_else(|| malformed(text))?;
        rest = after;
    }
    if text.is_empty() {
        return Err(malformed(text));
    }
    Ok(total)
}

fn first_part(text: &str) -> Option<(Duration, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at_checked(unit_at)?;
    let unit_end = rest
        .find(|c: char| c.is_ascii_digit() || c == '.')
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(unit_end)?;
    let seconds = match unit {
        "d" => 86_400.0,
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    let duration = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
    Some((duration, rest))
}

fn malformed(text: &str) -> String {
    format!(
        "`{text}` is not a valid duration: write a number and a unit, such as 500ms, 4s, 1m30s or 7d"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("4s", 4_000),
            ("0s", 0),
            ("1m30s", 90_000),
            ("2.5s", 2_500),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "4", "s", "4 s", "-4s", "4x", "1e99999s", ".s", "4sé"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
