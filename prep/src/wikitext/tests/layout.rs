//! Tables, lists, indentation, tags that lay out text.

use super::check;

const SENTENCE: &str = "This cell tells a whole story in one sentence of more than twelve words.";

#[test]
fn cells_of_prose_stay_and_data_goes() {
    check(&[
        (
            &format!(
                "A.\n{{| class=x\n! Name !! Story\n|-\n| Tom || 1950\n|-\n| Ann\n| style=\"x\" | {SENTENCE}\n|}}\nB."
            ),
            &format!("A.\n{SENTENCE}\nB."),
        ),
        (&format!("{{|\n| Tom || {SENTENCE} || 12\n|}}"), SENTENCE),
        (
            &format!("{{|\n|\nFirst line of it\n{SENTENCE}\n\n* {SENTENCE}\n|}}"),
            &format!("First line of it {SENTENCE}\n{SENTENCE}"),
        ),
        (&format!("<table><tr><td>x</td><td>{SENTENCE}</td></tr></table>"), SENTENCE),
        (&format!("== References ==\n{{|\n| {SENTENCE}\n|}}"), ""),
        ("{|\n|+ A caption that is long enough to be taken for a sentence of this page.\n|}", ""),
    ]);
}

#[test]
fn indented_lines_are_read_together() {
    check(&[
        (
            ":O ships that sail,\n:O winds that blow,\n:Come home to me!\n\nSo it ends.",
            "O ships that sail, O winds that blow, Come home to me!\nSo it ends.",
        ),
        ("<poem>\nO ships that sail,\nCome home!\n</poem>", "O ships that sail, Come home!"),
        (":a + b = c\n:x + y = z.", ""),
        (
            ";Tea: It is a drink of leaves.\n;Cup\n:It is what holds the tea.",
            "Tea: It is a drink of leaves.\nIt is what holds the tea.",
        ),
        (": See [[Tea]]\n\n: Short.", ""),
    ]);
}

#[test]
fn source_code_goes_unless_it_stands_in_a_line() {
    check(&[
        ("Use <syntaxhighlight lang=\"c\" inline>int x[3];</syntaxhighlight> here.", "Use int x[3]; here."),
        ("Use <source lang=c>\nint x;\n</source> this.", "Use this."),
        ("Use <code>''f''([[x]])</code> and <code><nowiki>[[y]]</nowiki></code>.", "Use f(x) and [[y]]."),
        (
            "A.<timeline>\nImageSize = x\n</timeline><score>c d e</score><imagemap>\nFile:x.png|y\n</imagemap> B.",
            "A. B.",
        ),
        ("A.<gallery mode=packed>\nFile:x.jpg|A long caption that is a sentence.\n</gallery>", "A."),
    ]);
}

#[test]
fn comments_over_lines_leave_no_gap() {
    check(&[
        ("Tea <!-- hidden\n\n== Head ==\n -->is old.", "Tea is old."),
        ("Tea\n<!-- hidden -->\nis old.", "Tea is old."),
        ("<!-- a --><!-- b -->Tea is old.<!---->", "Tea is old."),
    ]);
}

#[test]
fn a_table_inside_a_template_goes_with_it() {
    check(&[
        ("{{box|\n{|\n| a || b\n|}\n}}\nTea is old.", "Tea is old."),
        ("{|\n| {{flag|X}} || [[File:a.png|b]]\n|}\nTea is old.", "Tea is old."),
        ("{| class=a\n|-\n|{{convert|5|km}}\n|{{{1|}}}\n|}Tea is old.", "Tea is old."),
    ]);
}

#[test]
fn entities_escaped_twice_are_resolved() {
    check(&[
        ("Tea&amp;nbsp;is &amp;lt;old&amp;gt; &amp;#8211; yes.", "Tea is <old> – yes."),
        ("R&amp;D and AT&T; &NotAnEntity; stay.", "R&D and AT&T; &NotAnEntity; stay."),
        ("Caf&eacute; &#x2014; &#8212; x&shy;y&lrm;z&ZeroWidthSpace;.", "Café — — xyz."),
    ]);
}
