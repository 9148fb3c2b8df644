//! Numbers for people: prices, cores, sizes, spans of time.

/// Millionths as a decimal without needless zeroes: 72500 is "0.0725".
pub(crate) fn price(micros: u64) -> String {
    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
    match rest {
        0 => whole.to_string(),
        _ => format!("{whole}.{}", format!("{rest:06}").trim_end_matches('0')),
    }
}

/// Millicores in cores: 1500 is "1.5".
pub(crate) fn cores(millis: u64) -> String {
    price(millis.saturating_mul(1000))
}

/// Bytes in the largest unit that leaves a number of at least 1, with one decimal where it says something: "1.5GiB".
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((size, unit)) = UNITS.iter().find(|(size, _)| count >= *size) else {
        return format!("{count}B");
    };
    let tenths = (u128::from(count) * 10 / u128::from(*size)) as u64;
    match tenths % 10 {
        0 => format!("{}{unit}", tenths / 10),
        rest => format!("{}.{rest}{unit}", tenths / 10),
    }
}

/// Time that has passed, in its largest unit: "8s", "3m", "2h", "4d".
pub(crate) fn age(now_unix_millis: u64, then_unix_millis: u64) -> String {
    if then_unix_millis == 0 {
        return "-".to_string();
    }
    let seconds = now_unix_millis.saturating_sub(then_unix_millis) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Milliseconds of computing: "41 ms", "2.3 s".
pub(crate) fn millis(count: u64) -> String {
    if count < 1000 { format!("{count} ms") } else { format!("{}.{} s", count / 1000, count % 1000 / 100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_keep_what_they_say_and_no_more() {
        assert_eq!(price(72_500), "0.0725");
        assert_eq!(price(3_000_000), "3");
        assert_eq!(price(1), "0.000001");
    }

    #[test]
    fn amounts_read_as_they_are_written_in_specs() {
        assert_eq!(cores(500), "0.5");
        assert_eq!(bytes(256 << 20), "256MiB");
        assert_eq!(bytes(3 << 29), "1.5GiB");
        assert_eq!(bytes(17), "17B");
        assert_eq!(bytes(u64::MAX), "16777215.9TiB");
    }

    #[test]
    fn a_clock_that_went_back_is_no_age() {
        assert_eq!(age(1000, 5000), "0s");
        assert_eq!(age(7_200_000, 1), "1h");
        assert_eq!(age(5, 0), "-");
    }
}
