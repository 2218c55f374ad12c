//! Times and durations as text. Their meaning is frozen: it is that of a language level.

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// The milliseconds since 1970 of a time of RFC 3339.
pub(super) fn time(text: &str) -> Option<i64> {
    let mut reader = Reader { rest: text };
    let year = reader.number(4)?;
    reader.take("-")?;
    let month = reader.number(2).filter(|month| (1..=12).contains(month))?;
    reader.take("-")?;
    let day = reader.number(2).filter(|day| (1..=days_of(year, month)).contains(day))?;
    reader.take("T").or_else(|| reader.take("t"))?;
    let hour = reader.number(2).filter(|hour| *hour < 24)?;
    reader.take(":")?;
    let minute = reader.number(2).filter(|minute| *minute < 60)?;
    reader.take(":")?;
    let second = reader.number(2).filter(|second| *second < 60)?;
    let fraction = match reader.take(".") {
        Some(()) => reader.fraction()?,
        None => 0,
    };
    let offset = reader.offset()?;
    let local = days_since_1970(year, month, day) * DAY + hour * HOUR + minute * MINUTE;
    reader.rest.is_empty().then_some(local + second * SECOND + fraction - offset)
}

/// The time of RFC 3339, in UTC with three digits of a second; None outside the years 0 to 9999.
pub(super) fn iso(ms: i64) -> Option<String> {
    let (days, rest) = (ms.div_euclid(DAY), ms.rem_euclid(DAY));
    let (year, month, day) = date(days);
    let (hour, minute) = (rest / HOUR, rest % HOUR / MINUTE);
    let (second, fraction) = (rest % MINUTE / SECOND, rest % SECOND);
    (0..=9999).contains(&year).then(|| {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
    })
}

/// The milliseconds of a duration: `1d2h30m5s250ms`, or ISO 8601 without years and months.
pub(super) fn duration(text: &str) -> Option<i64> {
    let mut reader = Reader { rest: text };
    if reader.take("P").is_none() {
        let units = [("w", WEEK), ("d", DAY), ("h", HOUR), ("ms", 1), ("m", MINUTE), ("s", SECOND)];
        return reader.units(&units);
    }
    let (date, time) = match reader.rest.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (reader.rest, None),
    };
    let part = |text, units: &[_]| Reader { rest: text }.units(units);
    let dates = [("W", WEEK), ("D", DAY)];
    let times = [("H", HOUR), ("M", MINUTE), ("S", SECOND)];
    match (date, time) {
        (date, None) => part(date, &dates),
        ("", Some(time)) => part(time, &times),
        (date, Some(time)) => part(date, &dates)?.checked_add(part(time, &times)?),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, wanted: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(wanted)?;
        Some(())
    }

    fn digits(&mut self) -> &str {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    /// A number of so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (text, rest) = self.rest.split_at_checked(digits)?;
        self.rest = rest;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    }

    /// The milliseconds behind the dot of a second; what is finer is cut off.
    fn fraction(&mut self) -> Option<i64> {
        let digits = self.digits();
        let first: String = digits.chars().chain("00".chars()).take(3).collect();
        (!digits.is_empty()).then(|| first.parse().ok())?
    }

    fn offset(&mut self) -> Option<i64> {
        if self.take("Z").or_else(|| self.take("z")).is_some() {
            return Some(0);
        }
        let sign = match self.take("+") {
            Some(()) => 1,
            None => self.take("-").map(|()| -1)?,
        };
        let hours = self.number(2).filter(|hours| *hours < 24)?;
        self.take(":")?;
        let minutes = self.number(2).filter(|minutes| *minutes < 60)?;
        Some(sign * (hours * HOUR + minutes * MINUTE))
    }

    /// Numbers with units, the largest first and each at most once; at least one.
    fn units(&mut self, units: &[(&str, i64)]) -> Option<i64> {
        let mut sum = 0i64;
        let mut last = i64::MAX;
        while !self.rest.is_empty() {
            let number: i64 = self.digits().parse().ok()?;
            let (_, size) = units.iter().find(|(unit, _)| self.take(unit).is_some())?;
            if *size >= last {
                return None;
            }
            last = *size;
            sum = sum.checked_add(number.checked_mul(*size)?)?;
        }
        (last != i64::MAX).then_some(sum)
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date; years begin in March here, so that the leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year * 365 + year / 4 - year / 100 + (month * 153 + 2) / 5 + day - 719_469
}

/// Year, month and day of so many days since 1970.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-01-01T00:00:00Z", Some(1_767_225_600_000)),
            ("2026-01-01T01:30:00.2509+01:30", Some(1_767_225_600_250)),
            ("2000-02-29t23:59:59.5z", Some(951_868_799_500)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("0000-03-01T00:00:00Z", Some(-62_162_035_200_000)),
            ("1900-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:00:60Z", None),
            ("2026-01-01T00:00:00", None),
            ("2026-01-01T00:00:00.Z", None),
            ("2026-01-01T00:00:00Z ", None),
            ("2026-01-01 00:00:00Z", None),
            ("2026-01-01T00:00:00+24:00", None),
            ("+026-01-01T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(time(text), ms, "{text}");
        }
        assert_eq!(iso(253_402_300_799_999).unwrap(), "9999-12-31T23:59:59.999Z");
        assert_eq!(iso(253_402_300_800_000), None);
        assert_eq!(iso(i64::MIN).or(iso(i64::MAX)), None);
    }

    #[test]
    fn a_time_that_was_written_is_read_as_what_it_was() {
        let mut ms = -62_167_219_200_000;
        while let Some(text) = iso(ms) {
            assert_eq!(time(&text), Some(ms), "{text}");
            ms += 86_399_999 * 31;
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, ms) in [
            ("5m", Some(300_000)),
            ("1d2h30m5s250ms", Some(95_405_250)),
            ("2w", Some(1_209_600_000)),
            ("0s", Some(0)),
            ("PT5M", Some(300_000)),
            ("P1DT12H", Some(129_600_000)),
            ("P2W", Some(1_209_600_000)),
            ("1m1h", None),
            ("5m5m", None),
            ("1 m", None),
            ("1.5h", None),
            ("-5m", None),
            ("5", None),
            ("m", None),
            ("", None),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("P1M", None),
            ("P1Y", None),
            ("1month", None),
            ("99999999999999999999d", None),
            ("9999999999999d", None),
        ] {
            assert_eq!(duration(text), ms, "{text}");
        }
    }
}
