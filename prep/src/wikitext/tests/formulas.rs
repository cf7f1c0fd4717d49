//! Formulas in sentences and on lines of their own.

use super::{check, prose};

#[test]
fn formulas_that_fit_a_line_are_written_in_a_line() {
    check(&[
        ("Let <math>x^2 + y_1 = \\alpha</math>.", "Let x² + y₁ = α."),
        ("For <math>\\frac{a+b}{2} \\leq \\sqrt{n}</math> it holds.", "For (a+b)/2 ≤ √n it holds."),
        ("So <math>f \\colon \\mathbb{R} \\to \\mathbb R</math>.", "So f : ℝ → ℝ."),
        ("The sum <math>\\sum_{i=1}^n a_i</math> grows.", "The sum ∑_(i = 1)ⁿ a_i grows."),
        ("It is <math>\\sin x \\cdot \\log n</math> high.", "It is sin x · log n high."),
        ("Half is <math>\\tfrac{1}{2}</math>, <math>\\text{if } n > 0</math>.", "Half is 1/2, if n > 0."),
        ("Turn <math>90^\\circ</math> by <math>\\left( a, b \\right]</math>.", "Turn 90° by (a, b ]."),
        ("A bar <math>\\bar{x}</math> and <math>x'</math>.", "A bar x̄ and x'."),
        ("Choose <math>\\binom{n}{k}</math> of <math>\\{1,2\\}</math>.", "Choose (n choose k) of {1,2}."),
        ("Water, <chem>H2O</chem>, and <ce>2H2 + O2 -> 2H2O</ce>.", "Water, H2O, and 2H2 + O2 → 2H2O."),
        ("Also {{math|''x'' {{=}} 1}}, {{tmath|x^2}} and {{mvar|y}}.", "Also x = 1, x² and y."),
    ]);
}

#[test]
fn other_formulas_are_the_word_formula() {
    let long = format!("A <math>{}</math> b.", "x+".repeat(60));
    check(&[
        ("Take <math>\\begin{pmatrix} a & b \\\\ c & d \\end{pmatrix}</math> here.", "Take formula here."),
        ("Take <math>\\unknowncommand{x}</math> and <math>{x</math> here.", "Take formula and formula here."),
        (&long, "A formula b."),
        (&format!("A <math>{}x{}</math> b.", "{".repeat(40), "}".repeat(40)), "A formula b."),
    ]);
}

#[test]
fn a_formula_on_its_own_line_belongs_to_its_sentence() {
    check(&[
        ("The mean is\n:<math>m = s/n</math>\nwhere s is the sum.", "The mean is m = s/n where s is the sum."),
        ("The mean is given by:\n\n:<math>m = s/n.</math>\n\nIt is old.", "The mean is given by: m = s/n.\nIt is old."),
        ("The mean is\n:<math>m</math>,\n\nwith <math>m > 0</math>.", "The mean is m, with m > 0."),
        ("It is old.\n:<math>m = s/n</math>\nIt is new.", "It is old.\nIt is new."),
        ("It is\n<math display=block>\\begin{x}</math>\n<math display=block>\\begin{y}</math>", "It is formula"),
        ("== Head ==\n:<math>x</math>\nIt is new.", "It is new."),
        ("Old.\n== Head ==\n:<math>x</math>\nwhere new.", "Old.\nwhere new."),
        ("<math>x</math> is a letter.", "x is a letter."),
    ]);
}

#[test]
fn signs_in_formulas_are_not_read_as_markup() {
    check(&[
        ("A <math>[[x]] {{y}} |z|</math> b.", "A [[x]] y |z| b."),
        ("{{nowrap|A <math>a|b</math> c}} d.", "A a|b c d."),
        ("[[x|A <math>a|b</math>]] d.", "A a|b d."),
    ]);
    assert_eq!(prose("<math>|a|</math> is a length."), "|a| is a length.");
}
