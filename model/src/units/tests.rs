use proptest::prelude::*;

use super::*;

fn hint(error: UnitError) -> Option<String> {
    error.hint
}

#[test]
fn durations_are_read_exactly() {
    for (text, micros) in [
        ("250ms", 250_000),
        ("1m30s", 90_000_000),
        ("1.5s", 1_500_000),
        ("100us", 100),
        ("2h", 7_200_000_000),
        ("1d", 86_400_000_000),
        ("0s", 0),
        ("1h0.5s", 3_600_500_000),
        ("1.50s", 1_500_000),
        ("0.000001s", 1),
        ("7d", 604_800_000_000),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_micros(micros)), "{text}");
    }
}

#[test]
fn bad_durations_name_the_nearest_good_one() {
    for (text, want) in [
        ("30", Some("30s")),
        ("10sec", Some("10s")),
        ("10 s", Some("10s")),
        ("5 minutes", Some("5m")),
        ("1 min 30 sec", Some("1m30s")),
        ("1,5s", Some("1.5s")),
        ("1_000ms", Some("1000ms")),
        ("5µs", Some("5us")),
        (".5s", Some("0.5s")),
        ("10S", Some("10s")),
        ("30s1m", None),
        ("1s1s", None),
        ("1.5m30s", None),
        ("", None),
        ("s", None),
        ("-1s", None),
        ("1.s", None),
        ("8d", None),
        ("0.0000001s", None),
        ("99999999999999999999999d", None),
        ("9999999999999999999999999999999999999999999s", None),
        ("é", None),
        ("1s\n", Some("1s")),
    ] {
        let error = parse_duration(text).expect_err(text);
        assert_eq!(hint(error).as_deref(), want, "{text}");
    }
}

#[test]
fn rates_are_rounded_down_to_a_micro_arrival() {
    for (text, micro) in [
        ("500/s", 500_000_000),
        ("30k/m", 500_000_000),
        ("0.5/s", 500_000),
        ("1M/h", 277_777_777),
        ("1/m", 16_666),
        ("1/ms", 1_000_000_000),
        ("1/d", 11),
        ("0/s", 0),
        ("100M/s", 100_000_000_000_000),
        ("1.5k/s", 1_500_000_000),
    ] {
        assert_eq!(parse_rate(text).map(Rate::micro), Ok(micro), "{text}");
    }
}

#[test]
fn bad_rates_name_the_nearest_good_one() {
    for (text, want) in [
        ("500 / s", Some("500/s")),
        ("500", Some("500/s")),
        ("30k", Some("30k/s")),
        ("500rps", Some("500/s")),
        ("500 req/sec", Some("500/s")),
        ("500 requests per second", Some("500/s")),
        ("1,000/s", Some("1000/s")),
        ("5K/s", Some("5k/s")),
        ("500/1s", Some("500/s")),
        ("500/min", Some("500/m")),
        ("101M/s", None),
        ("0.0000001/s", None),
        ("-5/s", None),
        ("5/us", None),
        ("/s", None),
        ("5//s", Some("5/s")),
        ("5/", None),
    ] {
        let error = parse_rate(text).expect_err(text);
        assert_eq!(hint(error).as_deref(), want, "{text}");
    }
}

#[test]
fn sizes_know_both_kinds_of_units() {
    for (text, bytes) in [
        ("512B", 512),
        ("10MiB", 10 << 20),
        ("1KiB", 1_024),
        ("1.5GiB", 3 << 29),
        ("10MB", 10_000_000),
        ("2kB", 2_000),
        ("1.1KiB", 1_126),
        ("0B", 0),
    ] {
        assert_eq!(parse_bytes(text), Ok(Bytes(bytes)), "{text}");
    }
    for (text, want) in [
        ("10", Some("10B")),
        ("10mb", Some("10MB")),
        ("10 MiB", Some("10MiB")),
        ("10KB", Some("10kB")),
        ("10M", Some("10MiB")),
        ("10 bytes", Some("10B")),
        ("0.5B", None),
        ("99999999TiB", None),
        ("MiB", None),
    ] {
        assert_eq!(parse_bytes(text).expect_err(text).hint.as_deref(), want, "{text}");
    }
}

#[test]
fn ratios_are_exact() {
    for (text, ppb) in [
        ("1%", 10_000_000),
        ("0.1%", 1_000_000),
        ("0.999", 999_000_000),
        ("120%", 1_200_000_000),
        ("1", 1_000_000_000),
        ("0", 0),
        ("99.9999999%", 999_999_999),
    ] {
        assert_eq!(parse_ratio(text), Ok(Ratio::from_ppb(ppb)), "{text}");
    }
    for (text, want) in [
        ("1 %", Some("1%")),
        ("5 percent", Some("5%")),
        ("5pct", Some("5%")),
        ("0,5%", Some("0.5%")),
        (".5", Some("0.5")),
        ("0.0000000001", None),
        ("-1%", None),
        ("%", None),
        ("1000001", None),
    ] {
        assert_eq!(parse_ratio(text).expect_err(text).hint.as_deref(), want, "{text}");
    }
}

#[test]
fn the_message_says_what_was_found_and_what_would_do() {
    let error = parse_duration("10sec").expect_err("a misspelling");
    assert_eq!(
        error.to_string(),
        "expected a duration such as 250ms or 1m30s, found \"10sec\"; did you mean 10s?"
    );
    let error = parse_rate("\u{1b}[2J").expect_err("a control sequence");
    assert_eq!(
        error.to_string(),
        "expected a rate such as 500/s or 30k/m, found \"\\u{1b}[2J\""
    );
    assert_eq!(parse_bytes(&"9".repeat(10_000)).expect_err("long").found.len(), 64);
}

#[test]
fn values_have_one_spelling() {
    for (micros, want) in [
        (0, "0s"),
        (90_000_000, "1m30s"),
        (1_500_000, "1.5s"),
        (1_500, "1.5ms"),
        (7, "7us"),
        (90_500_000, "1m30.5s"),
    ] {
        assert_eq!(format_duration(Duration::from_micros(micros)), want);
    }
    assert_eq!(Rate::per_second(500).to_string(), "500/s");
    assert_eq!(Rate::per_second(u32::MAX), Rate::MAX);
    assert_eq!(Bytes(10 << 20).to_string(), "10MiB");
    assert_eq!(Bytes(10_000_000).to_string(), "10MB");
    assert_eq!(Ratio::from_ppb(999_000_000).to_string(), "99.9%");
    assert_eq!(
        Rate::per_second(100).scale(Ratio::from_ppb(1_200_000_000)),
        Some(Rate::per_second(120))
    );
    assert_eq!(Rate::MAX.scale(Ratio::from_ppb(1_000_000_001)), None);
}

proptest! {
    #[test]
    fn what_is_shown_reads_back(micros in 0u64..=604_800_000_000, micro in 0u64..=100_000_000_000_000, bytes: u64,
                                ppb in 0u64..=1_000_000_000_000_000, shift in 0u32..40) {
        let duration = Duration::from_micros(micros >> shift);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        let rate = Rate::from_micro(micro >> shift).expect("in range");
        prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        let size = Bytes(bytes >> shift);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
        let ratio = Ratio::from_ppb(ppb >> shift);
        prop_assert_eq!(ratio.to_string().parse(), Ok(ratio));
    }

    #[test]
    fn no_text_is_too_odd(text in "\\PC*", plain in "[0-9]{0,3}[., ]?[0-9]{0,3} ?[a-zA-Z/%]{0,6}") {
        for text in [&text, &plain] {
            for hint in [
                parse_duration(text).err().and_then(hint).map(|hint| parse_duration(&hint).is_ok()),
                parse_rate(text).err().and_then(hint).map(|hint| parse_rate(&hint).is_ok()),
                parse_bytes(text).err().and_then(hint).map(|hint| parse_bytes(&hint).is_ok()),
                parse_ratio(text).err().and_then(hint).map(|hint| parse_ratio(&hint).is_ok()),
            ] {
                prop_assert_ne!(hint, Some(false));
            }
        }
    }
}
