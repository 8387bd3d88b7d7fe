//! Kubernetes resource quantities, as far as comparing them needs.
//!
//! Grammar: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.

use std::{cmp::Ordering, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::pod::Scalar;

/// A quantity such as `100m`, `512Mi` or `2e3`: its text as written, and its value for comparing.
///
/// Invariant: the text is a valid, non-negative quantity whose value fits in nano-units of `i128`.
#[derive(Debug, Clone)]
pub struct Quantity {
    text: String,
    nano: i128,
}

/// The error for a text that is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a valid quantity: expected a non-negative number with an optional unit, such as `500m`, `2`, `512Mi` or `10G`"
)]
pub struct QuantityError {
    text: String,
}

impl Quantity {
    /// Returns a quantity of `count` gibibytes.
    #[must_use]
    pub fn gibibytes(count: u32) -> Self {
        Self {
            text: format!("{count}Gi"),
            nano: (i128::from(count) << 30) * 1_000_000_000,
        }
    }

    /// Returns the sum of two quantities of bytes, in mebibytes where it is a whole number of them.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        const NANO: i128 = 1_000_000_000;
        let nano = self.nano.saturating_add(other.nano);
        let bytes = nano / NANO;
        let text = if bytes % (1 << 20) == 0 {
            format!("{}Mi", bytes >> 20)
        } else {
            bytes.to_string()
        };
        Self { text, nano }
    }

    /// Returns the text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the value in billionths of the resource's unit (nano-cores, nano-bytes).
    #[must_use]
    pub fn nano(&self) -> i128 {
        self.nano
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError {
            text: text.chars().take(40).collect(),
        };
        let nano = parse_nano(text).ok_or_else(error)?;
        Ok(Self {
            text: text.to_owned(),
            nano,
        })
    }
}

/// Parses `text` into nano-units. Returns `None` if it is malformed, negative or too large.
fn parse_nano(text: &str) -> Option<i128> {
    const NANO: i128 = 1_000_000_000;
    let digits_end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits_end)?;
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty()
        || !all_digits(whole)
        || !all_digits(fraction)
        || whole.len() > 18
    {
        return None;
    }
    // Kubernetes keeps nine decimals and rounds finer ones up.
    let kept = fraction.get(..9).unwrap_or(fraction);
    let round_up = fraction.len() > kept.len();
    let units: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let decimals: i128 = format!("{kept:0<9}").parse().ok()?;
    let nano = units
        .checked_mul(NANO)?
        .checked_add(decimals + i128::from(round_up))?;
    scale(nano, suffix)
}

/// Multiplies `nano` by the unit that `suffix` names.
fn scale(nano: i128, suffix: &str) -> Option<i128> {
    let binary = |power: u32| nano.checked_mul(1_i128.checked_shl(10 * power)?);
    let decimal = |exponent: i32| {
        let factor = 10_i128.checked_pow(exponent.unsigned_abs())?;
        if exponent >= 0 {
            nano.checked_mul(factor)
        } else {
            // Rounded up, as in Kubernetes: a tiny request never becomes zero.
            nano.checked_add(factor - 1)?.checked_div(factor)
        }
    };
    match suffix {
        "" => Some(nano),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-18..=18).contains(&exponent).then(|| decimal(exponent))?
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Scalar::deserialize(deserializer)?;
        text.as_str().parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A Kubernetes quantity, such as 500m, 2 or 512Mi",
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"}
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn equal_quantities_may_be_written_differently() {
        for (a, b) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            ("1Gi", "1024Mi"),
            ("1k", "1e3"),
            ("2G", "2e9"),
            (".5", "0.5"),
            ("+1", "1"),
            ("1.", "1"),
        ] {
            assert_eq!(quantity(a), quantity(b), "{a} and {b}");
        }
    }

    #[test]
    fn quantities_compare_by_value() {
        assert!(quantity("500m") < quantity("1"));
        assert!(quantity("1Gi") > quantity("1G"));
        assert_eq!(quantity("2").min(quantity("1500m")).as_str(), "1500m");
    }

    #[test]
    fn malformed_quantities_are_rejected() {
        for bad in [
            "",
            "m",
            "-1",
            "1 Gi",
            "1gi",
            "1e99",
            "abc",
            "1.2.3",
            ".",
            "12345678901234567890123",
        ] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_quantity_below_a_billionth_rounds_up() {
        assert_eq!(quantity("0.5n").nano(), 1);
    }
}
