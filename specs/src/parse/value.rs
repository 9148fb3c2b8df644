//! Single values: texts, names, whole numbers, exact decimals, sizes, durations. Each reader reports what is wrong with a
//! value and returns nothing then. No value ever passes through a float.

use super::cursor::{Cx, Value};
use crate::{Bytes, CountOrPercent, CpuMillis, Micros, Millis, Span, Spanned};
use kdl::KdlValue;
use std::ops::RangeInclusive;

const CPU_MILLIS_MAX: u64 = 100_000 * 1000;
const BYTES_MAX: u64 = 1 << 50;
const MILLIS_MAX: u64 = 24 * 3600 * 1000;
const PRICE_MICROS_MAX: u64 = 1_000_000 * 1_000_000;
/// Replicas, skews, limits, weights, named extras: nothing is counted beyond this.
pub(super) const COUNT_MAX: i128 = 1_000_000;
const NAME_CHARS_MAX: usize = 63;
const LABEL_CHARS_MAX: usize = 256;
/// What one argument or environment variable may have; Linux allows 128 KiB.
const TEXT_BYTES_MAX: usize = 128 << 10;

const SIZE_UNITS: [(&str, u64); 11] = [
    ("B", 1),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
];

const TIME_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Whether zero is a sensible amount here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    /// Nothing is meant by leaving the amount out.
    Refused,
    /// The amount must be there.
    Impossible,
}

impl Zero {
    /// What to write instead, where zero is refused.
    fn help(self, sort: &str) -> String {
        match self {
            Self::Impossible => format!("write a positive {sort}"),
            Self::Allowed | Self::Refused => format!("write a positive {sort}, or leave it out"),
        }
    }
}

/// What sort of value it is, for messages.
fn sort_of(value: &KdlValue) -> &'static str {
    match value {
        KdlValue::String(_) => "a text",
        KdlValue::Integer(_) => "a number",
        KdlValue::Float(_) => "a number with decimals",
        KdlValue::Bool(_) => "a truth value",
        KdlValue::Null => "null",
    }
}

impl Cx<'_> {
    fn bad(&mut self, span: Span, message: impl Into<String>, label: impl Into<String>, help: impl Into<String>) {
        self.error("hyphae::bad_value", span, message, label, help);
    }

    fn wrong_sort(&mut self, value: &Value, what: &str, wanted: &str, example: &str) {
        let message = format!("{what} must be {wanted}");
        let label = format!("this is {}", sort_of(&value.kdl));
        self.bad(value.span, message, label, format!("for example: {example}"));
    }

    /// Any text without NUL.
    pub(super) fn text(&mut self, value: &Value, what: &str) -> Option<Spanned<String>> {
        let KdlValue::String(text) = &value.kdl else {
            let written = self.slice(value.span).trim_start_matches('#').to_owned();
            let label = format!("this is {}", sort_of(&value.kdl));
            self.bad(value.span, format!("{what} must be a text"), label, format!("put it in quotes: \"{written}\""));
            return None;
        };
        if text.contains('\0') {
            self.bad(
                value.span,
                format!("{what} holds a NUL character"),
                "a NUL in here",
                "remove it: no program can receive it",
            );
            return None;
        }
        if text.len() > TEXT_BYTES_MAX {
            let label = format!("{} bytes", text.len());
            self.bad(
                value.span,
                format!("{what} is too long"),
                label,
                "at most 128 KiB: Linux hands no more to a program",
            );
            return None;
        }
        Some(Spanned { value: text.clone(), span: value.span })
    }

    /// A text that says something.
    pub(super) fn full_text(&mut self, value: &Value, what: &str) -> Option<Spanned<String>> {
        let text = self.text(value, what)?;
        if text.trim().is_empty() {
            self.bad(
                value.span,
                format!("{what} is empty"),
                "nothing in here",
                "write something, or leave the whole thing out",
            );
            return None;
        }
        Some(text)
    }

    /// A kebab-case name of at most 63 characters that starts with a letter.
    pub(super) fn name(&mut self, value: &Value, what: &str) -> Option<Spanned<String>> {
        let text = self.text(value, what)?;
        match name_fault(&text, false) {
            None => Some(text),
            Some(fault) => {
                let help = format!("{}; for example \"{}\"", NAME_RULE, kebab(&text));
                self.bad(value.span, format!("{what} is not a valid name"), fault, help);
                None
            }
        }
    }

    /// A machine's name: kebab-case parts joined by dots, digits allowed in front.
    pub(super) fn host_name(&mut self, value: &Value, what: &str) -> Option<Spanned<String>> {
        let text = self.text(value, what)?;
        let fault = match text.len() > 253 {
            true => Some("longer than 253 characters"),
            false => text.split('.').find_map(|part| name_fault(part, true)),
        };
        match fault {
            None => Some(text),
            Some(fault) => {
                let help =
                    "a host name: small letters, digits and `-`, in parts joined by dots; for example \"rack1-n1\"";
                self.bad(value.span, format!("{what} is not a valid name"), fault, help);
                None
            }
        }
    }

    /// The key of a label.
    pub(super) fn label_key(&mut self, key: Spanned<String>) -> Option<Spanned<String>> {
        let fine = key.chars().all(|c| c.is_ascii_alphanumeric() || "-._/".contains(c));
        let begins = key.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !fine || !begins || key.len() > LABEL_CHARS_MAX {
            let help =
                "letters, digits, `-`, `.`, `_` and `/`, beginning with a letter or digit; for example \"gpu-model\"";
            self.bad(key.span, "this is not a valid label key", "not a label key", help);
            return None;
        }
        Some(key)
    }

    /// The value of a label.
    pub(super) fn label_value(&mut self, value: &Value) -> Option<Spanned<String>> {
        let text = self.full_text(value, "the value of a label")?;
        if text.chars().count() > LABEL_CHARS_MAX || text.chars().any(char::is_control) {
            let help = format!("at most {LABEL_CHARS_MAX} characters, on one line");
            self.bad(value.span, "this is not a valid value of a label", "too long, or with control characters", help);
            return None;
        }
        Some(text)
    }

    /// A whole number within bounds.
    pub(super) fn whole(&mut self, value: &Value, what: &str, range: RangeInclusive<i128>) -> Option<Spanned<i128>> {
        let (low, high) = (*range.start(), *range.end());
        let number = match &value.kdl {
            KdlValue::Integer(number) => *number,
            KdlValue::String(text) if text.parse::<i128>().is_ok() => {
                self.bad(
                    value.span,
                    format!("{what} must be a number"),
                    "this is a text",
                    format!("write it without quotes: {text}"),
                );
                return None;
            }
            KdlValue::Float(_) => {
                let help = format!("a number from {} to {}, without decimals", grouped(low), grouped(high));
                self.bad(value.span, format!("{what} must be a whole number"), "not a whole number", help);
                return None;
            }
            _ => {
                self.wrong_sort(value, what, "a whole number", "3");
                return None;
            }
        };
        if !range.contains(&number) {
            let label = match number {
                _ if number < 0 && low >= 0 => "negative".to_owned(),
                0 => "zero".to_owned(),
                _ if number < low => format!("less than {}", grouped(low)),
                _ => format!("more than {}", grouped(high)),
            };
            self.bad(
                value.span,
                format!("{what} is out of range"),
                label,
                format!("a whole number from {} to {}", grouped(low), grouped(high)),
            );
            return None;
        }
        Some(Spanned { value: number, span: value.span })
    }

    /// A whole number that fits 32 bits.
    pub(super) fn count(&mut self, value: &Value, what: &str, range: RangeInclusive<i128>) -> Option<Spanned<u32>> {
        let number = self.whole(value, what, range)?;
        u32::try_from(number.value).ok().map(|count| Spanned { value: count, span: number.span })
    }

    /// `4` or `"50%"`.
    pub(super) fn count_or_percent(&mut self, value: &Value, what: &str) -> Option<Spanned<CountOrPercent>> {
        let KdlValue::String(text) = &value.kdl else {
            let count = self.count(value, what, 0..=COUNT_MAX)?;
            return Some(Spanned { value: CountOrPercent::Count(count.value), span: count.span });
        };
        let percent =
            text.strip_suffix('%').and_then(|digits| digits.parse::<u8>().ok()).filter(|percent| *percent <= 100);
        if percent.is_none() {
            let help = "a number of replicas, as 4, or a share of them from \"0%\" to \"100%\", without decimals";
            self.bad(value.span, format!("{what} must be a number or a percentage"), "neither of them", help);
        }
        percent.map(|percent| Spanned { value: CountOrPercent::Percent(percent), span: value.span })
    }

    /// Cores, exact to the millicore.
    pub(super) fn cpu(&mut self, value: &Value, zero: Zero) -> Option<Spanned<CpuMillis>> {
        let bounds = Decimal {
            what: "cpu",
            places: 3,
            max: CPU_MILLIS_MAX,
            bound: "100,000 cores",
            example: "cpu=0.5 (cores)",
            zero,
        };
        let millis = self.decimal(value, &bounds)?;
        Some(Spanned { value: CpuMillis(millis), span: value.span })
    }

    /// A price, exact to the millionth.
    pub(super) fn price(&mut self, value: &Value, what: &str) -> Option<Spanned<Micros>> {
        let bounds = Decimal {
            what,
            places: 6,
            max: PRICE_MICROS_MAX,
            bound: "1,000,000",
            example: "0.0725",
            zero: Zero::Allowed,
        };
        let micros = self.decimal(value, &bounds)?;
        Some(Spanned { value: Micros(micros), span: value.span })
    }

    /// Thousandths, as of a share.
    pub(super) fn permille(&mut self, value: &Value, what: &str) -> Option<Spanned<u32>> {
        let bounds = Decimal { what, places: 3, max: 1000, bound: "1", example: "0.6", zero: Zero::Refused };
        let permille = self.decimal(value, &bounds)?;
        u32::try_from(permille).ok().map(|permille| Spanned { value: permille, span: value.span })
    }

    /// Devices in thousandths of one.
    pub(super) fn devices(&mut self, value: &Value, what: &str) -> Option<u32> {
        let (max, bound) = (1024 * 1000, "1,024 devices");
        let thousandths =
            self.decimal(value, &Decimal { what, places: 3, max, bound, example: "0.5", zero: Zero::Refused })?;
        u32::try_from(thousandths).ok()
    }

    fn decimal(&mut self, value: &Value, bounds: &Decimal<'_>) -> Option<u64> {
        let Decimal { what, places, max, bound, example, zero } = *bounds;
        let written = match &value.kdl {
            KdlValue::Integer(number) => number.to_string(),
            KdlValue::Float(float) if !float.is_finite() => {
                self.bad(
                    value.span,
                    format!("{what} must be a finite number"),
                    "not finite",
                    format!("for example: {example}"),
                );
                return None;
            }
            KdlValue::Float(_) => self.slice(value.span).replace('_', ""),
            KdlValue::String(text) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
                self.bad(
                    value.span,
                    format!("{what} must be a number"),
                    "this is a text",
                    format!("write it without quotes: {text}"),
                );
                return None;
            }
            KdlValue::String(text)
                if text.ends_with('m') && text[..text.len() - 1].parse::<u64>().is_ok() && what == "cpu" =>
            {
                let millis = text[..text.len() - 1].parse().unwrap_or_default();
                self.bad(
                    value.span,
                    "cpu must be a number",
                    "not a number of cores",
                    format!("cpu is in cores: write {}", CpuMillis(millis)),
                );
                return None;
            }
            _ => {
                self.wrong_sort(value, what, "a number", example);
                return None;
            }
        };
        let fault = match fixed_point(&written, places) {
            Ok(amount) if amount > max => ("is too large", format!("more than {bound}"), format!("at most {bound}")),
            Ok(0) if zero != Zero::Allowed => ("is zero", "zero".to_owned(), zero.help("number")),
            Ok(amount) => return Some(amount),
            Err(Unfixed::Negative) => ("is negative", "negative".to_owned(), "write a positive number".to_owned()),
            Err(Unfixed::TooFine) => (
                "is too fine",
                format!("more than {places} decimals"),
                format!("amounts are exact: at most {places} decimals"),
            ),
            Err(Unfixed::Huge) => ("is too large", format!("more than {bound}"), format!("at most {bound}")),
            Err(Unfixed::Malformed) => {
                ("is not a plain decimal number", "cannot be read".to_owned(), format!("for example: {example}"))
            }
        };
        self.bad(value.span, format!("{what} {}", fault.0), fault.1, fault.2);
        None
    }

    /// `"256MiB"`.
    pub(super) fn bytes(&mut self, value: &Value, what: &str, zero: Zero) -> Option<Spanned<Bytes>> {
        let rule =
            "sizes are written with a unit: B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024)";
        let kind = Quantity {
            what,
            units: &SIZE_UNITS,
            example: "\"256MiB\"",
            rule,
            smallest: "byte",
            likely: likely_size_unit,
        };
        let bytes = self.quantity(value, &kind)?;
        if bytes > BYTES_MAX {
            self.bad(value.span, format!("{what} is too large"), "more than 1 PiB", "at most \"1PiB\"");
            return None;
        }
        if bytes == 0 && zero != Zero::Allowed {
            self.bad(value.span, format!("{what} is zero"), "zero", zero.help("size"));
            return None;
        }
        Some(Spanned { value: Bytes(bytes), span: value.span })
    }

    /// `"5s"`.
    pub(super) fn duration(&mut self, value: &Value, what: &str, zero: Zero) -> Option<Spanned<Millis>> {
        let rule = "durations are written with a unit: ms, s, m or h";
        let kind = Quantity {
            what,
            units: &TIME_UNITS,
            example: "\"5s\"",
            rule,
            smallest: "millisecond",
            likely: likely_time_unit,
        };
        let millis = self.quantity(value, &kind)?;
        if millis > MILLIS_MAX {
            self.bad(value.span, format!("{what} is too long"), "more than a day", "at most \"24h\"");
            return None;
        }
        if millis == 0 && zero != Zero::Allowed {
            self.bad(value.span, format!("{what} is zero"), "zero", zero.help("duration"));
            return None;
        }
        Some(Spanned { value: Millis(millis), span: value.span })
    }

    fn quantity(&mut self, value: &Value, kind: &Quantity<'_>) -> Option<u64> {
        let what = kind.what;
        let text = match &value.kdl {
            KdlValue::String(text) => text.trim().to_owned(),
            KdlValue::Integer(_) | KdlValue::Float(_) => {
                let written = self.slice(value.span).to_owned();
                let unit = kind.example.trim_matches('"').trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
                let help = format!("{}; did you mean \"{written}{unit}\"?", kind.rule);
                self.bad(value.span, format!("{what} has no unit"), "the unit is missing", help);
                return None;
            }
            _ => {
                self.wrong_sort(value, what, "a number with a unit", kind.example);
                return None;
            }
        };
        let split = text.find(|c: char| !c.is_ascii_digit() && !".+-_".contains(c)).unwrap_or(text.len());
        let (number, unit) = (text[..split].replace('_', ""), text[split..].trim());
        let Some((_, factor)) = kind.units.iter().find(|(name, _)| *name == unit) else {
            let (message, label) = match unit.is_empty() {
                true => (format!("{what} has no unit"), "the unit is missing".to_owned()),
                false => (format!("`{unit}` is not a unit of {what}"), "unknown unit".to_owned()),
            };
            let help = match (kind.likely)(unit).filter(|_| number.starts_with(|c: char| c.is_ascii_digit())) {
                Some(likely) => format!("did you mean \"{number}{likely}\"? {}", kind.rule),
                None => format!("for example {}: {}", kind.example, kind.rule),
            };
            self.bad(value.span, message, label, help);
            return None;
        };
        let fault = match times(&number, *factor) {
            Ok(amount) => return Some(amount),
            Err(Unfixed::Negative) => ("is negative".to_owned(), "negative", "write a positive one".to_owned()),
            Err(Unfixed::TooFine) => {
                (format!("is not a whole number of {}s", kind.smallest), "too fine", "use a smaller unit".to_owned())
            }
            Err(Unfixed::Huge) => ("is too large".to_owned(), "too large", "write a smaller one".to_owned()),
            Err(Unfixed::Malformed) => {
                ("cannot be read".to_owned(), "no number before the unit", format!("for example {}", kind.example))
            }
        };
        self.bad(value.span, format!("{what} {}", fault.0), fault.1, fault.2);
        None
    }
}

/// A number with its thousands set apart: 1,000,000.
fn grouped(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bounds of a decimal number.
#[derive(Clone, Copy)]
struct Decimal<'a> {
    what: &'a str,
    places: u32,
    max: u64,
    bound: &'a str,
    example: &'a str,
    zero: Zero,
}

/// A family of units.
struct Quantity<'a> {
    what: &'a str,
    units: &'a [(&'static str, u64)],
    example: &'a str,
    rule: &'a str,
    smallest: &'a str,
    likely: fn(&str) -> Option<&'static str>,
}

/// Why a decimal text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfixed {
    Negative,
    TooFine,
    Huge,
    Malformed,
}

/// Digits before and after the point, without sign; trailing zeros after the point are dropped.
fn digits(text: &str) -> Result<(&str, &str), Unfixed> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let (negative, unsigned) = match unsigned.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, unsigned),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || unsigned.ends_with('.') {
        return Err(Unfixed::Malformed);
    }
    let fraction = fraction.trim_end_matches('0');
    match negative && (whole.trim_start_matches('0'), fraction) != ("", "") {
        true => Err(Unfixed::Negative),
        false => Ok((whole, fraction)),
    }
}

/// A decimal text times 10^places, exactly.
fn fixed_point(text: &str, places: u32) -> Result<u64, Unfixed> {
    times(text, 10u64.pow(places))
}

/// A decimal text times a factor, exactly.
fn times(text: &str, factor: u64) -> Result<u64, Unfixed> {
    let (whole, fraction) = digits(text)?;
    let whole: u64 = match whole.trim_start_matches('0') {
        "" => 0,
        digits => digits.parse().map_err(|_| Unfixed::Huge)?,
    };
    let whole = whole.checked_mul(factor).ok_or(Unfixed::Huge)?;
    if fraction.len() > 18 {
        return Err(Unfixed::TooFine);
    }
    let scale = 10u128.pow(fraction.len() as u32);
    let part = fraction.parse::<u128>().unwrap_or(0) * u128::from(factor);
    if part % scale != 0 {
        return Err(Unfixed::TooFine);
    }
    whole.checked_add(u64::try_from(part / scale).map_err(|_| Unfixed::Huge)?).ok_or(Unfixed::Huge)
}

fn likely_size_unit(unit: &str) -> Option<&'static str> {
    let first = unit.chars().next()?.to_ascii_lowercase();
    match first {
        'b' => Some("B"),
        'k' => Some("KiB"),
        'm' => Some("MiB"),
        'g' => Some("GiB"),
        't' => Some("TiB"),
        'p' => Some("PiB"),
        _ => None,
    }
}

fn likely_time_unit(unit: &str) -> Option<&'static str> {
    match unit.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "millis" | "milliseconds" => Some("ms"),
        "s" | "sec" | "secs" | "second" | "seconds" => Some("s"),
        "m" | "min" | "mins" | "minute" | "minutes" => Some("m"),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some("h"),
        _ => None,
    }
}

pub(super) const NAME_RULE: &str = "names have small letters, digits and `-`, begin with a letter, end with a letter or digit, and have at most 63 characters";

/// What is wrong with a kebab-case name.
pub(super) fn name_fault(name: &str, digit_first: bool) -> Option<&'static str> {
    let first = name.chars().next();
    match first {
        None => Some("empty"),
        _ if name.chars().count() > NAME_CHARS_MAX => Some("longer than 63 characters"),
        _ if name.contains(|c: char| c.is_whitespace()) => Some("has a space"),
        _ if name.contains(|c: char| c.is_ascii_uppercase()) => Some("has a capital letter"),
        _ if name.contains(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')) => {
            Some("has a character other than small letters, digits and `-`")
        }
        Some(c) if c.is_ascii_digit() && !digit_first => Some("begins with a digit"),
        Some('-') => Some("begins with `-`"),
        _ if name.ends_with('-') => Some("ends with `-`"),
        _ => None,
    }
}

/// A valid name that looks like this text.
fn kebab(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().take(NAME_CHARS_MAX) {
        match c {
            _ if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    let name = name.trim_matches('-').trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    if name.is_empty() { "web".to_owned() } else { name.to_owned() }
}
