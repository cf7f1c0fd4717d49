//! Cutting a context into overlapping windows.

use cloze_formats::SpecialIds;

use super::SquadConfig;
use crate::wordpiece::Token;

/// One row to be: `[CLS] question [SEP] context tokens [SEP]`.
pub(super) struct Window {
    /// `[S]`
    pub(super) input_ids: Vec<u32>,
    pub(super) segment_a_length: u16,
    /// 0 where the answer is not wholly inside.
    pub(super) start_position: u16,
    pub(super) end_position: u16,
    /// First character of each context token.
    pub(super) context_starts: Vec<u32>,
    /// One past its last character.
    pub(super) context_ends: Vec<u32>,
    /// 1 where no other window shows more around the token.
    pub(super) max_context: Vec<u8>,
}

/// The windows of one question, in order; `answer` is in characters of the context, its end exclusive, absent where the question
/// is impossible.
pub(super) fn windows(
    config: &SquadConfig,
    special: SpecialIds,
    question: &[u32],
    context: &[Token],
    answer: Option<(u32, u32)>,
) -> Vec<Window> {
    let room = usize::from(config.max_seq_length) - question.len() - 3;
    let spans = spans(context.len(), room, usize::from(config.doc_stride));
    let answer = answer.and_then(|answer| answer_tokens(context, answer));
    let window = |span: &Span| {
        let tokens = &context[span.start..span.start + span.len];
        let mut input_ids = Vec::with_capacity(question.len() + tokens.len() + 3);
        input_ids.push(special.cls);
        input_ids.extend_from_slice(question);
        input_ids.push(special.sep);
        let offset = input_ids.len();
        input_ids.extend(tokens.iter().map(|token| token.id));
        input_ids.push(special.sep);
        let inside = answer.filter(|&(first, last)| first >= span.start && last < span.start + span.len);
        let position = |token: usize| (token - span.start + offset) as u16;
        let best = (span.start..span.start + span.len).map(|token| best_span(&spans, token) == Some(span));
        Window {
            input_ids,
            segment_a_length: offset as u16,
            start_position: inside.map_or(0, |(first, _)| position(first)),
            end_position: inside.map_or(0, |(_, last)| position(last)),
            context_starts: tokens.iter().map(|token| token.start_char).collect(),
            context_ends: tokens.iter().map(|token| token.end_char).collect(),
            max_context: best.map(u8::from).collect(),
        }
    };
    spans.iter().map(window).collect()
}

/// A run of context tokens.
#[derive(Debug, PartialEq)]
struct Span {
    start: usize,
    len: usize,
}

/// Spans of at most `room` tokens, each `stride` after the last, until the end is covered.
fn spans(num_tokens: usize, room: usize, stride: usize) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut start = 0;
    while start < num_tokens {
        let len = room.min(num_tokens - start);
        spans.push(Span { start, len });
        if start + len == num_tokens {
            break;
        }
        start += len.min(stride);
    }
    spans
}

/// The span that shows `token` with the most context on its poorer side; longer spans and earlier ones win ties.
///
/// Source: `_check_is_max_context`, whose score is `min(left, right) + 0.01 * length`. In hundredths it is exact.
fn best_span(spans: &[Span], token: usize) -> Option<&Span> {
    let holds = |span: &&Span| (span.start..span.start + span.len).contains(&token);
    let score = |span: &Span| 100 * (token - span.start).min(span.start + span.len - 1 - token) + span.len;
    spans.iter().filter(holds).reduce(|best, span| if score(span) > score(best) { span } else { best })
}

/// First and last token that touch the characters of the answer.
fn answer_tokens(context: &[Token], (start, end): (u32, u32)) -> Option<(usize, usize)> {
    let touches = |token: &Token| token.start_char < end && token.end_char > start;
    let first = context.iter().position(touches)?;
    let last = context.iter().rposition(touches)?;
    Some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens of one character each, with a character between them.
    fn context(num_tokens: u32) -> Vec<Token> {
        (0..num_tokens).map(|i| Token { id: 100 + i, start_char: 2 * i, end_char: 2 * i + 1 }).collect()
    }

    const SPECIAL: SpecialIds = SpecialIds { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 };

    #[test]
    fn windows_overlap_by_the_stride_and_cover_everything() {
        let spans = |n, room, stride| spans(n, room, stride).iter().map(|s| (s.start, s.len)).collect::<Vec<_>>();
        assert_eq!(spans(10, 10, 4), [(0, 10)]);
        assert_eq!(spans(11, 6, 2), [(0, 6), (2, 6), (4, 6), (5 + 1, 5)]);
        assert_eq!(spans(12, 6, 100), [(0, 6), (6, 6)]);
        assert_eq!(spans(0, 6, 2), []);
    }

    #[test]
    fn each_token_has_its_maximum_context_in_exactly_one_window() {
        let config = SquadConfig { max_seq_length: 11, doc_stride: 3, max_query_length: 4, cased: false };
        let windows = windows(&config, SPECIAL, &[50, 51], &context(20), Some((0, 1)));
        let mut owners = vec![0; 20];
        for window in &windows {
            for (&start, &best) in window.context_starts.iter().zip(&window.max_context) {
                owners[start as usize / 2] += best;
            }
        }
        assert_eq!(owners, [1; 20]);
    }

    #[test]
    fn the_answer_is_labelled_only_where_it_is_whole() {
        let config = SquadConfig { max_seq_length: 11, doc_stride: 3, max_query_length: 4, cased: false };
        // Characters 8..11 are tokens 4 and 5; windows of 6 tokens start at 0, 3, 6.
        let windows = windows(&config, SPECIAL, &[50, 51], &context(12), Some((8, 11)));
        let labels: Vec<_> = windows.iter().map(|w| (w.start_position, w.end_position)).collect();
        assert_eq!(labels, [(4 + 4, 4 + 5), (4 + 1, 4 + 2), (0, 0)]);
        assert_eq!(windows[0].input_ids, [2, 50, 51, 3, 100, 101, 102, 103, 104, 105, 3]);
        assert_eq!(windows[0].segment_a_length, 4);
    }

    #[test]
    fn an_impossible_question_is_labelled_nowhere() {
        let config = SquadConfig { max_seq_length: 11, doc_stride: 3, max_query_length: 4, cased: false };
        let windows = windows(&config, SPECIAL, &[50, 51], &context(12), None);
        assert_eq!(windows.len(), 3);
        assert!(windows.iter().all(|w| (w.start_position, w.end_position) == (0, 0)));
    }

    #[test]
    fn an_answer_inside_a_token_is_that_token() {
        let tokens = [Token { id: 9, start_char: 0, end_char: 8 }, Token { id: 10, start_char: 9, end_char: 12 }];
        assert_eq!(answer_tokens(&tokens, (0, 5)), Some((0, 0)));
        assert_eq!(answer_tokens(&tokens, (5, 10)), Some((0, 1)));
        assert_eq!(answer_tokens(&tokens, (8, 9)), None);
    }
}
