use proptest::prelude::*;

use super::*;

fn sentences(text: &str) -> Vec<&str> {
    let mut ranges = Vec::new();
    Splitter::english().split(text, &mut ranges);
    ranges.into_iter().map(|range| &text[range]).collect()
}

/// `⏎` marks the boundaries.
fn check(cases: &[&str]) {
    for case in cases {
        let expected: Vec<&str> = case.split('⏎').map(str::trim).collect();
        let text = case.replace('⏎', "");
        assert_eq!(sentences(&text), expected);
    }
}

#[test]
fn full_stops_question_and_exclamation_marks_end_sentences() {
    check(&[
        "It rained. ⏎ We left.",
        "Why? ⏎ Because! ⏎ So.",
        "Really?! ⏎ Yes.",
        "No stop at the end",
        "One. ⏎ Two. ⏎ Three",
    ]);
}

#[test]
fn titles_and_other_leading_abbreviations_do_not_end_sentences() {
    check(&[
        "Mr. Smith met Dr. J. Jones, Prof. Lee and St. Paul. ⏎ They spoke.",
        "Fruit, e.g. Apples, i.e. Malus, cf. Pears vs. Quinces.",
        "Lt.-Col. Ross led. ⏎ Gen. Lee followed.",
        "Symphony No. 9 and pp. 5, but no. ⏎ No one came.",
    ]);
}

#[test]
fn abbreviations_that_may_end_a_sentence_do_so_before_a_starter() {
    check(&[
        "He lived in the U.S. ⏎ The winter came.",
        "The U.S. Senate met at 5 p.m. ⏎ It was late.",
        "Apple Inc. Chairman Cook of Foo Corp. ⏎ He spoke.",
        "Dogs, cats, etc. ⏎ They play.",
        "Martin Luther King Jr. Day is in Jan. ⏎ We rest.",
    ]);
}

#[test]
fn initials_belong_to_names() {
    check(&[
        "J. K. Rowling and J.R.R. Tolkien wrote. ⏎ So did E. T. A. Hoffmann.",
        "C.\u{a0}S. Lewis wrote. ⏎ George W. Bush did not.",
        "He took vitamin C. ⏎ The cold went away.",
        "Plan A. B. Smith made it.",
    ]);
}

#[test]
fn numbers_and_lists_hold_together() {
    check(&[
        "It cost 3.50 dollars in 1990. ⏎ Later it rose to 4.2 million.",
        "1. Open the box. ⏎ 2. Close it.",
        "iv. Shake well.",
        "It grew by 5.⏎ Then by 6.",
    ]);
}

#[test]
fn closing_quotes_and_brackets_stay_with_the_sentence() {
    check(&[
        "\"Go!\" ⏎ He went.",
        "He said, \"Go.\" ⏎ \"Why?\" ⏎ She stayed.",
        "(He left.) ⏎ She stayed [there.] ⏎ It was over.",
        "“I know.” ⏎ ‘Do you?’ ⏎ She did.",
        "`` It is . '' ⏎ He left . ⏎ `` Why ? '' ⏎ Nobody knew Ivan Allen Jr. . ⏎ Then rest .",
        "\"Never again.\"⏎--Emma smiled.",
    ]);
}

#[test]
fn a_lower_case_word_goes_on_with_the_sentence() {
    check(&[
        "\"Why?\" he asked. ⏎ \"Oh! ⏎ no,\" she said.",
        "It has spp. not listed.",
        "Well ... perhaps. ⏎ Wait... ⏎ Now.",
    ]);
}

#[test]
fn chinese_and_japanese_marks_need_no_space() {
    check(&["これは本です。⏎それはペンですか？⏎「はい。」⏎終わり", "你好！⏎再见。"]);
}

#[test]
fn white_space_is_trimmed_and_an_empty_paragraph_has_no_sentence() {
    assert_eq!(sentences("  \n\u{3000} "), Vec::<&str>::new());
    assert_eq!(sentences(""), Vec::<&str>::new());
    assert_eq!(sentences(" A b.\n\u{2003}C d.\n"), ["A b.", "C d."]);
    assert_eq!(sentences("..."), ["..."]);
}

#[test]
fn ranges_are_appended() {
    let mut ranges = Vec::new();
    Splitter::english().split("First.", &mut ranges);
    Splitter::english().split("A b. C d.", &mut ranges);
    assert_eq!(ranges, [0..6, 0..4, 5..9]);
}

#[test]
fn long_runs_take_linear_time() {
    for unit in
        [".", "a.", "Mr.", "1.\"--", "A. ", "Mr. ", ".(", ". (", ".)", "\"", " ", ". '", "。", "é.", "..? ", "a.a. "]
    {
        let text = unit.repeat((1 << 20) / unit.len());
        let start = std::time::Instant::now();
        sentences(&text);
        assert!(start.elapsed().as_secs() < 5, "{unit:?} took {:?}", start.elapsed());
    }
}

proptest! {
    #[test]
    fn sentences_hold_every_visible_character_once_and_in_order(tokens in prop::collection::vec(prop::sample::select(vec![
        ".", "..", "...", "…", "?", "!", "。", "？", "」", " ", "  ", "\n", "\u{a0}", "\u{3000}", "\"", "'", "''", "``", "(", ")", "“", "”", "--", "—",
        "a", "A", "The", "the", "Mr", "U.S", "e.g", "No", "5", "3.14", "é", "中", "Word", ",", ";", "I",
    ]), 0..50)) {
        check_ranges(&tokens.concat())?;
    }

    #[test]
    fn any_text_can_be_split(text in any::<String>()) {
        check_ranges(&text)?;
    }
}

fn check_ranges(text: &str) -> std::result::Result<(), TestCaseError> {
    let mut ranges = Vec::new();
    Splitter::english().split(text, &mut ranges);
    let mut end = 0;
    for range in &ranges {
        prop_assert!(end <= range.start && range.start < range.end, "{:?} {:?}", text, ranges);
        prop_assert!(text[end..range.start].trim().is_empty(), "{:?} {:?}", text, ranges);
        let sentence = &text[range.clone()];
        prop_assert_eq!(sentence.trim(), sentence);
        end = range.end;
    }
    prop_assert!(text[end..].trim().is_empty(), "{:?} {:?}", text, ranges);
    Ok(())
}
