//! The nearest known word.

/// Words longer than this are not compared: nobody mistypes that much.
const WORD_MAX: usize = 64;

/// The candidate that `word` most probably stands for, if one is close enough: at most a third of the letters wrong
/// (swapped neighbours count once), or equal but for case, hyphens and underscores. The first of equals wins.
///
/// Takes time proportional to the number of candidates; a word over 64 characters has no nearest.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = folded(word)?;
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let Some(letters) = folded(candidate) else { continue };
        let allowed = (word.len().max(letters.len()) / 3).clamp(usize::from(word.len() > 1), 4);
        if word.len().abs_diff(letters.len()) > allowed {
            continue;
        }
        let distance = distance(&word, &letters);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The letters that count, or `None` if there are none or too many.
fn folded(word: &str) -> Option<Vec<char>> {
    let letters: Vec<char> = word
        .chars()
        .take(WORD_MAX + 1)
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    (!letters.is_empty() && letters.len() <= WORD_MAX).then_some(letters)
}

/// Damerau–Levenshtein distance in its restricted form: insert, delete, replace, or swap two neighbours once.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let mut cost = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let words = [
            "throughput",
            "goodput",
            "error_rate",
            "drop_rate",
            "p95",
            "max",
            "min",
            "sent",
            "ok",
        ];
        for (word, want) in [
            ("troughput", Some("throughput")),
            ("throughptu", Some("throughput")),
            ("errorRate", Some("error_rate")),
            ("error-rate", Some("error_rate")),
            ("eror_rate", Some("error_rate")),
            ("mx", Some("max")),
            ("p59", Some("p95")),
            ("mim", Some("min")),
            ("x", None),
            ("", None),
            ("banana", None),
            ("___", None),
        ] {
            assert_eq!(nearest(word, words), want, "{word}");
        }
        assert_eq!(nearest(&"p95".repeat(10_000), words), None);
    }
}
