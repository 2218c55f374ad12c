//! Sizes and times as people write them: what two people would read differently.
//!
//! `512m` is minutes to one program and megabytes to another, `64M` is 64 million bytes or 64 times 1,048,576. Nobody
//! notices the wrong one, so such a text is refused with its readings, each written in a way that has no other.

/// The number and the unit of a text such as `512M`.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')?;
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let is_one = !number.is_empty() && unit.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_one.then_some((number, unit))
}

fn readings(text: &str, readings: &[String]) -> String {
    let (last, others) = readings.split_last().map_or(("", readings), |(l, o)| (l.as_str(), o));
    format!("has two readings: {text:?} can mean {} or {last}; write which", others.join(", "))
}

fn sizes(number: &str, unit: &str) -> Vec<String> {
    let prefix = unit.chars().next().map(|c| c.to_ascii_uppercase());
    let Some(prefix) = prefix.filter(|prefix| "KMGTPE".contains(*prefix)) else {
        return Vec::new();
    };
    let (decimal, binary) = (format!("{number}{prefix}B"), format!("{number}{prefix}iB"));
    match unit.get(1..) {
        Some("") => vec![decimal, binary],
        // A small b is a bit, to those who know.
        Some("b") if unit.starts_with(prefix) => {
            vec![decimal, format!("{number} {prefix}bit, which no size here is")]
        }
        _ => Vec::new(),
    }
}

/// What is wrong with a size that has two readings, such as `64m`.
pub fn two_sizes(text: &str) -> Option<String> {
    let (number, unit) = split(text)?;
    let sizes = sizes(number, unit);
    (!sizes.is_empty()).then(|| readings(text, &sizes))
}

/// What is wrong with a time that has two readings: `M` is a month, and a minute to who holds the shift key.
pub fn two_times(text: &str) -> Option<String> {
    let mut parts = text.split(|c: char| !c.is_ascii_alphabetic());
    if !parts.any(|unit| unit == "M") {
        return None;
    }
    let written = |unit: &str| {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic()) {
            let (number, word) = rest.split_at(at);
            let end = word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len());
            let (word, behind) = word.split_at(end);
            out.push_str(number);
            out.push_str(if word == "M" { unit } else { word });
            rest = behind;
        }
        out + rest
    };
    Some(readings(text, &[written("min"), written("months")]))
}

/// What is wrong with a text that is a size or a time and has two readings, such as `512m`.
pub fn size_or_time(text: &str) -> Option<String> {
    let Some((number, unit)) = split(text) else { return two_times(text) };
    let mut found = sizes(number, unit);
    if unit.eq_ignore_ascii_case("m") {
        found.extend([format!("{number}min"), format!("{number}months")]);
    }
    (!found.is_empty()).then(|| readings(text, &found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_two_readings_is_told_with_both() {
        let told = "has two readings: \"64m\" can mean 64MB or 64MiB; write which";
        assert_eq!(two_sizes("64m").as_deref(), Some(told));
        for (text, reading) in
            [("64 k", "64KiB"), ("1.5G", "1.5GB"), ("2t", "2TiB"), ("8Mb", "8 Mbit")]
        {
            assert!(two_sizes(text).is_some_and(|told| told.contains(reading)), "{text}");
        }
        for text in ["64MiB", "64MB", "64mb", "64Mi", "64", "64B", "1_000", "", "x", "m", "5s"] {
            assert_eq!(two_sizes(text), None, "{text}");
        }
        let told = "has two readings: \"1h 5M\" can mean 1h 5min or 1h 5months; write which";
        assert_eq!(two_times("1h 5M").as_deref(), Some(told));
        for text in ["5m", "5min", "5months", "5ms", "30s", "5", "MB"] {
            assert_eq!(two_times(text), None, "{text}");
        }
        let told =
            "has two readings: \"512m\" can mean 512MB, 512MiB, 512min or 512months; write which";
        assert_eq!(size_or_time("512m").as_deref(), Some(told));
        assert!(size_or_time("512M").is_some() && size_or_time("1G").is_some());
        for text in ["30d", "36h", "1h 30m", "512MiB", "512min", "forever", "5000"] {
            assert_eq!(size_or_time(text), None, "{text}");
        }
    }
}
