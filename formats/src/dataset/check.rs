//! Invariants of rows: the writer refuses what breaks them, `verify` finds it.

use crate::manifest::VocabularyInfo;
use crate::row::{CorpusRow, GlueRow, Label, PretrainRow, Row, SquadRow, Tokens};
use crate::schema::{LabelType, Layout};
use crate::vocabulary::SpecialIds;

/// Checks what every reader relies on of `row`: the structure of its kind and ids below the size of the vocabulary. The error says
/// what was expected and found.
pub fn check_row(row: &Row<'_>, layout: Layout, vocabulary: &VocabularyInfo) -> Result<(), String> {
    let tokens = row.tokens();
    if let Some(id) = tokens.max().filter(|&id| id >= vocabulary.num_tokens) {
        return Err(format!("expected token ids below {}, found {id}", vocabulary.num_tokens));
    }
    let special = vocabulary.special;
    match row {
        Row::Corpus(r) => check_corpus(r),
        Row::Pretrain(r) => {
            expect(layout.has_static_masks() == r.masked.is_some(), || "static masks do not fit the columns".into())?;
            check_pretrain(r, vocabulary)
        }
        Row::Squad(r) => check_squad(r, special),
        Row::Glue(r) => {
            check_label(r.label, layout.label_type())?;
            check_glue(r, special)
        }
    }?;
    check_special(row, special)
}

/// `[CLS]` and `[SEP]` only where the structure has them, `[PAD]` and `[MASK]` nowhere: text is only text.
fn check_special(row: &Row<'_>, special: SpecialIds) -> Result<(), String> {
    let ids = [special.pad, special.cls, special.sep, special.mask];
    let tokens = row.tokens();
    let a_end = match row {
        Row::Corpus(_) => None,
        Row::Pretrain(r) => Some(r.segment_a_length),
        Row::Squad(r) => Some(r.segment_a_length),
        Row::Glue(r) => Some(r.segment_a_length),
    };
    // A single sentence ends where A does.
    let expected = a_end.map_or(0, |end| if usize::from(end) == tokens.len() { 2 } else { 3 });
    if tokens.count_of(ids) == expected {
        return Ok(());
    }
    let structure = a_end.map(|end| [0, usize::from(end) - 1, tokens.len() - 1]);
    let in_text = |at: &usize| structure.is_none_or(|structure| !structure.contains(at));
    let which = |id| ids.iter().position(|&special| special == id);
    let mut stray = tokens.iter().zip(0..).filter(|(_, at)| in_text(at)).filter_map(|(id, at)| Some((which(id)?, at)));
    let (name, at) =
        stray.next().map_or(("a special token", 0), |(i, at)| (["[PAD]", "[CLS]", "[SEP]", "[MASK]"][i], at));
    Err(format!("expected no special token inside the text, found {name} at position {at}"))
}

fn expect(condition: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(problem()) }
}

fn check_corpus(row: &CorpusRow<'_>) -> Result<(), String> {
    let sum: u64 = row.sentence_lengths.iter().map(|&l| u64::from(l)).sum();
    expect(sum == row.token_ids.len() as u64, || {
        format!("expected sentence_lengths that add up to {} tokens, found {sum}", row.token_ids.len())
    })?;
    expect(!row.sentence_lengths.is_empty(), || "expected at least one sentence".into())?;
    expect(!row.sentence_lengths.contains(&0), || "expected no empty sentence".into())
}

/// `[CLS] A [SEP] B [SEP]` with `segment_a_length` at the end of A.
fn check_pair(tokens: Tokens<'_>, segment_a_length: u16, special: SpecialIds) -> Result<(), String> {
    check_ends(tokens, special)?;
    let a = usize::from(segment_a_length);
    expect(a >= 2 && a < tokens.len() && tokens.get(a - 1) == Some(special.sep), || {
        format!("expected segment_a_length to end at a [SEP] within {} tokens, found {a}", tokens.len())
    })
}

fn check_ends(tokens: Tokens<'_>, special: SpecialIds) -> Result<(), String> {
    let n = tokens.len();
    expect(n >= 2 && n <= usize::from(u16::MAX), || format!("expected 2 to 65535 tokens, found {n}"))?;
    expect(tokens.get(0) == Some(special.cls) && tokens.get(n - 1) == Some(special.sep), || {
        "expected [CLS] first and [SEP] last".into()
    })
}

fn check_pretrain(row: &PretrainRow<'_>, vocabulary: &VocabularyInfo) -> Result<(), String> {
    check_pair(row.input_ids, row.segment_a_length, vocabulary.special)?;
    let Some(masked) = row.masked else { return Ok(()) };
    let (p, a, n) = (masked.positions, row.segment_a_length, row.input_ids.len());
    expect(p.len() == masked.inputs.len() && !p.is_empty(), || {
        format!("expected as many masked_lm_inputs as positions ({}), found {}", p.len(), masked.inputs.len())
    })?;
    // Folds that look at all of them are vectorised, and nearly always all would be looked at anyway.
    let ascends = p.windows(2).fold(true, |so_far, pair| so_far & (pair[0] < pair[1]));
    expect(ascends, || "expected ascending masked_lm_positions".into())?;
    let at_first_sep = p.iter().fold(false, |so_far, &position| so_far | (position == a - 1));
    let (first, last) = (p[0], usize::from(p[p.len() - 1]));
    expect(first > 0 && last < n - 1 && !at_first_sep, || {
        "expected masked_lm_positions inside the segments, found one at a special token or outside".into()
    })?;
    let largest = masked.inputs.max().unwrap_or(0);
    expect(largest < vocabulary.num_tokens, || {
        format!("expected masked_lm_inputs below {}, found {largest}", vocabulary.num_tokens)
    })
}

fn check_squad(row: &SquadRow<'_>, special: SpecialIds) -> Result<(), String> {
    check_pair(row.input_ids, row.segment_a_length, special)?;
    let window = row.input_ids.len() - usize::from(row.segment_a_length) - 1;
    let lengths = [row.context_starts.len(), row.context_ends.len(), row.max_context.len()];
    expect(lengths == [window; 3], || format!("expected offsets for {window} context tokens, found {lengths:?}"))?;
    let (start, end) = (row.start_position, row.end_position);
    let inside = start >= row.segment_a_length && start <= end && usize::from(end) < row.input_ids.len() - 1;
    expect(inside || (start, end) == (0, 0), || {
        format!("expected the answer within segment B or at (0, 0), found ({start}, {end})")
    })?;
    expect(!(row.is_impossible && inside), || {
        format!("expected no answer to an impossible question, found one at ({start}, {end})")
    })
}

fn check_label(label: Option<Label>, expected: Option<LabelType>) -> Result<(), String> {
    match (label, expected) {
        (None, None) => Ok(()),
        (Some(Label::Class(class)), Some(LabelType::Class)) => {
            expect(class >= 0, || format!("expected a class of at least 0, found {class}"))
        }
        (Some(Label::Score(score)), Some(LabelType::Score)) => {
            expect(score.is_finite(), || format!("expected a finite score, found {score}"))
        }
        _ => Err("the label does not fit the columns".into()),
    }
}

fn check_glue(row: &GlueRow<'_>, special: SpecialIds) -> Result<(), String> {
    if usize::from(row.segment_a_length) == row.input_ids.len() {
        return check_ends(row.input_ids, special);
    }
    check_pair(row.input_ids, row.segment_a_length, special)
}
