//! Finds the known name that a mistyped one was probably meant to be.

/// Names longer than this are not compared: nobody mistypes them, and the cost is quadratic.
const CHARACTERS_MAX: usize = 64;
/// How many known names are looked at; bounds what a hostile definition can make an error cost.
const NAMES_MAX: usize = 1000;

/// The known name nearest to `name`, when one is near enough; the first of equally near ones.
///
/// Upper and lower case count as the same letter, so `pay` finds `PAY`.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = letters(name)?;
    let allowed = (wanted.len() / 3).clamp(1, 3);
    let mut best: Option<(usize, &str)> = None;
    for candidate in known.into_iter().take(NAMES_MAX) {
        if candidate == name {
            continue;
        }
        let Some(letters) = letters(candidate) else { continue };
        if letters.len().abs_diff(wanted.len()) > allowed {
            continue;
        }
        let distance = distance(&wanted, &letters);
        // A name of one or two letters would otherwise be "near" to every other short one.
        let all_different = distance >= wanted.len().max(letters.len());
        if distance <= allowed
            && (distance == 0 || !all_different)
            && best.is_none_or(|(least, _)| distance < least)
        {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, name)| name)
}

/// The lower-case letters of a name that is short enough to compare.
fn letters(name: &str) -> Option<Vec<char>> {
    // A character has at most 4 bytes: refuse long names before counting them.
    if name.len() > CHARACTERS_MAX * 4 {
        return None;
    }
    let letters: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    (letters.len() <= CHARACTERS_MAX).then_some(letters)
}

/// Edit distance where swapping two neighbours counts as one step (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut least =
                (at(&last, j + 1) + 1).min(at(&row, j) + 1).min(at(&last, j) + usize::from(x != y));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(&y) && b.get(j - 1) == Some(&x);
            if swapped {
                least = least.min(at(&before_last, j - 1) + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_the_nearest_name_or_none() {
        for (name, known, expected) in [
            ("gaurd", &["from", "guard"][..], Some("guard")),
            ("pay", &["SHIP", "PAY"], Some("PAY")),
            ("state", &["states"], Some("states")),
            ("shiped", &["paid", "shipped"], Some("shipped")),
            ("a", &["b", "c"], None),
            ("A", &["a"], Some("a")),
            ("cancelled", &["created"], None),
            ("", &["x"], None),
        ] {
            assert_eq!(nearest(name, known.iter().copied()), expected, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), ["x"]), None);
    }
}
