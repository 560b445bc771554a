//! Figures as a person writes them: three digits that count, a unit, no noise.

use std::time::Duration;

/// Writes a time given in nanoseconds: `850 ns`, `13.2 µs`, `1.24 ms`, `2.5 s`.
pub fn time(nanoseconds: f64) -> String {
    const UNITS: [&str; 4] = ["ns", "µs", "ms", "s"];
    let mut value = nanoseconds;
    let mut unit = 0;
    // 999.5 would be written as 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// Writes a number of bytes: `850 B`, `12.4 kB`, `1.86 MB`; a kB is 1,000 bytes.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes;
    let mut unit = 0;
    while value.abs() >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// Writes a rate, rounded to three digits, with separators: `214,000`.
pub fn rate(per_second: f64) -> String {
    if per_second < 1000.0 {
        return three_digits(per_second);
    }
    let scale = 10f64.powi(per_second.log10().floor() as i32 - 2);
    count(((per_second / scale).round() * scale).round() as u64)
}

/// Writes a whole number with separators: `20,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes what each of several has: `32, 31, 33`, and of more than eight how far they are apart:
/// `3 to 9 each`.
pub fn each(counts: &[u64]) -> String {
    if let (9.., Some(&least), Some(&most)) =
        (counts.len(), counts.iter().min(), counts.iter().max())
    {
        return format!("{} to {} each", count(least), count(most));
    }
    counts.iter().map(|&number| count(number)).collect::<Vec<_>>().join(", ")
}

/// Writes how often something happened for each request: `2.07`, `0.035`, `0`.
pub fn per_request(number: f64) -> String {
    if number == 0.0 {
        "0".to_owned()
    } else if number < 0.0005 {
        "<0.001".to_owned()
    } else if number < 0.1 {
        format!("{number:.3}")
    } else {
        three_digits(number)
    }
}

/// Writes a share of one as a percentage: `97 %`.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Writes a share of one as a percentage in whole numbers that it reaches: `96 %` of 0.969.
pub fn percent_reached(share: f64) -> String {
    format!("{:.0} %", (share * 100.0).floor())
}

/// Writes a share of one as the percentage that somebody gave: `3 %`, `0.5 %`.
pub fn percent_given(share: f64) -> String {
    // A hundred times 0.07 is a little more than seven.
    format!("{} %", (share * 1e8).round() / 1e6)
}

/// Writes three digits that count, and no zero behind the point of a whole number above 99.
fn three_digits(value: f64) -> String {
    let size = value.abs();
    if size >= 99.95 || value == 0.0 {
        format!("{value:.0}")
    } else if size >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Reads a time as people write it: `500ms`, `2s`, `1.5s`, `1m`; a bare number is seconds.
///
/// # Errors
///
/// Says what a time looks like.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit.trim() {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        _ => return Err("write a time such as 500ms, 2s or 1m".to_owned()),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * scale).ok())
        .filter(|&time| time <= Duration::from_secs(24 * 3600))
        .ok_or_else(|| "write a time such as 500ms, 2s or 1m, of a day at most".to_owned())
}

/// Writes a time so that [`parse_time`] reads it back, to the microsecond.
pub fn microseconds(time: Duration) -> String {
    format!("{}us", time.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_the_unit_that_fits() {
        let written = [
            (0.0, "0 ns"),
            (850.0, "850 ns"),
            (999.6, "1.00 µs"),
            (13_240.0, "13.2 µs"),
            (99_960.0, "100 µs"),
            (1_236_000.0, "1.24 ms"),
            (2_500_000_000.0, "2.50 s"),
            (7_200e9, "7200 s"),
        ];
        for (nanoseconds, text) in written {
            assert_eq!(time(nanoseconds), text);
        }
    }

    #[test]
    fn bytes_rates_and_counts() {
        assert_eq!(bytes(76.4), "76.4 B");
        assert_eq!(bytes(12_430.0), "12.4 kB");
        assert_eq!(bytes(-4_096.0), "-4.10 kB");
        assert_eq!(rate(213_937.0), "214,000");
        assert_eq!(rate(999_700.0), "1,000,000");
        assert_eq!(rate(512.4), "512");
        assert_eq!(rate(8_314.0), "8,310");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
        assert_eq!(per_request(2.0666), "2.07");
        assert_eq!(per_request(0.0349), "0.035");
        assert_eq!(per_request(0.0001), "<0.001");
        assert_eq!(percent(0.973), "97 %");
        assert_eq!(percent(0.969), "97 %");
        assert_eq!(percent_reached(0.969), "96 %");
        assert_eq!(percent_reached(0.75), "75 %");
        let given =
            [0.5, 1.5, 2.5, 3.0, 7.0, 12.0, 0.001].map(|given| percent_given(given / 100.0));
        assert_eq!(given, ["0.5 %", "1.5 %", "2.5 %", "3 %", "7 %", "12 %", "0.001 %"]);
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_time("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_time("1m"), Ok(Duration::from_secs(60)));
        for wrong in ["", "s", "-1s", "1h", "..", "1e9", "999999999999s"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
