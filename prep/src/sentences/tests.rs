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
        "One. ⏎ two. ⏎ Three",
        "Is it 3.50? ⏎ See example.com for more.",
    ]);
}

#[test]
fn an_abbreviation_ends_a_sentence_only_before_a_word_that_begins_one() {
    check(&[
        "Mr. Smith met Dr. Jones, Prof. Lee and St. Paul. ⏎ They spoke.",
        "He lived in the U.S. ⏎ The winter came.",
        "The U.S. Senate met at 5 p.m. ⏎ It was late.",
        "Lt.-Col. Ross led. ⏎ Gen. Lee followed.",
        "Foo Corp. earned more.",
    ]);
}

#[test]
fn initials_belong_to_names() {
    check(&[
        "J. K. Rowling and J.R. Tolkien wrote. ⏎ So did E. T. A. Hoffmann.",
        "George W. Bush did not.",
        "He took vitamin C. The cold went away.",
        "By J. Walter Thompson.",
    ]);
}

#[test]
fn ordinals_hold_together_before_a_lower_case_word() {
    check(&["Am 3. ⏎ Oktober.", "Its 20. birthday came.", "It grew by 5. ⏎ Then by 6."]);
}

#[test]
fn an_ellipsis_ends_a_sentence_only_before_a_word_that_begins_one() {
    check(&["Well ... perhaps.", "Wait... ⏎ There it is.", "Wait... Walter came."]);
}

#[test]
fn closing_quotes_and_brackets_stay_with_the_sentence() {
    check(&[
        "\"Go!\" ⏎ He went.",
        "He said, \"Go.\" ⏎ \"Why?\" ⏎ She stayed.",
        "(He left.) ⏎ She stayed [there.] ⏎ It was over.",
        "\"Never again.\"⏎--Emma smiled.",
        "`` It is . '' ⏎ He left .",
    ]);
}

#[test]
fn typographic_quotes_are_read_as_ascii_ones() {
    check(&["“I know.” ⏎ ‘Do you?’ ⏎ She did.", "»Ja.« ⏎ „Nein.“ ⏎ Gut.", "It’s Mr. O’Hara’s. ⏎ He left."]);
    let text = "‘Tis so.’ ’Tis not. “Well,” said Mr. ‘X.’ “No.”--“Yes?” etc.” The end.”";
    let ascii = text.replace(['‘', '’'], "'").replace(['“', '”'], "\"");
    let lengths = |sentences: &[&str]| sentences.iter().map(|s| s.chars().count()).collect::<Vec<_>>();
    assert_eq!(lengths(&sentences(text)), lengths(&sentences(&ascii)));
}

#[test]
fn chinese_and_japanese_marks_need_no_space() {
    check(&["これは本です。⏎それはペンですか？⏎「はい。」⏎終わり", "你好！⏎再见。", "He wrote 。⏎ Then?! ⏎ Done."]);
}

/// NLTK's regular expressions have these consequences; to keep its spans is to keep them.
#[test]
fn the_spans_of_nltk_are_kept_where_they_surprise() {
    check(&[". ⏎ . ⏎ . ⏎ Foo", "Hello.\"X?\" ⏎ y", "Bad acting!!! ⏎ I promise.", "a.\u{a0}B. ⏎ c", "Stop.⏎[1] Next."]);
}

#[test]
fn white_space_is_trimmed_and_an_empty_paragraph_has_no_sentence() {
    assert_eq!(sentences("  \n\u{3000} "), Vec::<&str>::new());
    assert_eq!(sentences(""), Vec::<&str>::new());
    assert_eq!(sentences(" A b.\n\u{2003}C d.\n"), ["A b.", "C d."]);
    assert_eq!(sentences("..."), ["..."]);
    assert_eq!(sentences("\u{1f}A b. C d.\u{1c}"), ["A b.", "C d."]);
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
        prop_assert!(text[end..range.start].trim_matches(is_space).is_empty(), "{:?} {:?}", text, ranges);
        let sentence = &text[range.clone()];
        prop_assert_eq!(sentence.trim_matches(is_space), sentence);
        end = range.end;
    }
    prop_assert!(text[end..].trim_matches(is_space).is_empty(), "{:?} {:?}", text, ranges);
    Ok(())
}
