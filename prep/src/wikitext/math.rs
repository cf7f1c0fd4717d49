//! Formulas.
//!
//! A formula is part of its sentence, so it must not leave a hole. What can be read in a line is written in a line, in
//! the manner of Unicode's linear format (`x²`, `a/b`, `∑_(i=1)^n`); everything else is the word "formula".
//!
//! Source of the manner: Unicode Technical Note 28, "UnicodeMath, a nearly plain-text encoding of mathematics".

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{marker, scripts};

/// Stands for a formula that cannot be read in a line.
pub(super) const PLACEHOLDER: &str = "formula";
/// Longer formulas are not looked at, in bytes.
const MAX_SOURCE_BYTES: usize = 400;
/// Longer results are not read in a line, in characters.
const MAX_CHARACTERS: usize = 80;
/// Deepest nesting that is still read.
const MAX_DEPTH: usize = 8;

/// Commands that stand for a sign or a word.
const SIGNS: &str = "alpha α beta β gamma γ delta δ epsilon ε varepsilon ε zeta ζ eta η theta θ vartheta θ iota ι kappa κ \
    lambda λ mu μ nu ν xi ξ pi π rho ρ varrho ρ sigma σ varsigma ς tau τ upsilon υ phi φ varphi φ chi χ psi ψ omega ω \
    Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω infty ∞ partial ∂ nabla ∇ ell ℓ hbar ℏ \
    Re Re Im Im aleph ℵ emptyset ∅ varnothing ∅ cdot · times × div ÷ pm ± mp ∓ ast * star ⋆ circ ∘ bullet • oplus ⊕ otimes ⊗ \
    wedge ∧ vee ∨ land ∧ lor ∨ lnot ¬ neg ¬ cap ∩ cup ∪ setminus ∖ forall ∀ exists ∃ top ⊤ bot ⊥ perp ⊥ angle ∠ degree ° \
    prime ′ dagger † ldots … dots … cdots ⋯ vdots ⋮ langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ lbrace { rbrace } vert | \
    mid | parallel ∥ Vert ‖ sum ∑ prod ∏ int ∫ oint ∮ iint ∬ iiint ∭ bigcup ⋃ bigcap ⋂ bigoplus ⨁ triangle △ square □ Box □ \
    colon : backslash \\ R ℝ N ℕ Z ℤ Q ℚ C ℂ reals ℝ imath i jmath j \
    sin sin cos cos tan tan cot cot sec sec csc csc sinh sinh cosh cosh tanh tanh arcsin arcsin arccos arccos arctan arctan \
    log log ln ln lg lg exp exp lim lim max max min min sup sup inf inf det det dim dim ker ker deg deg gcd gcd arg arg Pr Pr hom hom";
/// Commands for signs that have a space on either side.
const RELATIONS: &str = "leq ≤ le ≤ geq ≥ ge ≥ neq ≠ ne ≠ approx ≈ equiv ≡ sim ~ simeq ≃ cong ≅ propto ∝ ll ≪ gg ≫ in ∈ notin ∉ ni ∋ \
    subset ⊂ subseteq ⊆ supset ⊃ supseteq ⊇ to → rightarrow → longrightarrow → leftarrow ← leftrightarrow ↔ Rightarrow ⇒ \
    Longrightarrow ⇒ implies ⇒ Leftarrow ⇐ Leftrightarrow ⇔ iff ⇔ mapsto ↦ uparrow ↑ downarrow ↓ rightleftharpoons ⇌ \
    vdash ⊢ models ⊨ prec ≺ succ ≻ doteq ≐ triangleq ≜ bmod mod lt < gt >";
/// Commands that only change how their argument looks.
const STYLES: &str = "mathrm mathbf mathit mathsf mathtt mathcal mathfrak mathscr boldsymbol bold pmb text textrm textbf textit \
    textsf texttt mbox hbox operatorname mathop mathbin mathrel mathord overline underline widehat widetilde bm \
    boldmath";
/// Commands without a trace.
const SILENT: &str = "displaystyle textstyle scriptstyle scriptscriptstyle limits nolimits left right big Big bigg Bigg bigl bigr \
    Bigl Bigr biggl biggr Biggl Biggr middle rm bf it cal mathstrut strut nonumber";
/// Marks over a letter, as combining characters.
const ACCENTS: &str =
    "hat \u{302} bar \u{304} vec \u{20d7} tilde \u{303} dot \u{307} ddot \u{308} check \u{30c} breve \u{306}";

/// What a command is.
#[derive(Clone, Copy)]
enum Command {
    Sign(&'static str),
    Relation(&'static str),
    Style,
    Silent,
    Accent(&'static str),
}

fn command(name: &str) -> Option<Command> {
    static COMMANDS: LazyLock<HashMap<&'static str, Command>> = LazyLock::new(|| {
        let mut all = HashMap::new();
        let mut pairs = |list: &'static str, command: fn(&'static str) -> Command| {
            let words: Vec<&str> = list.split_ascii_whitespace().collect();
            all.extend(words.chunks_exact(2).map(|pair| (pair[0], command(pair[1]))));
        };
        pairs(SIGNS, Command::Sign);
        pairs(RELATIONS, Command::Relation);
        pairs(ACCENTS, Command::Accent);
        all.extend(STYLES.split_ascii_whitespace().map(|name| (name, Command::Style)));
        all.extend(SILENT.split_ascii_whitespace().map(|name| (name, Command::Silent)));
        all
    });
    COMMANDS.get(name).copied()
}

/// The formula between its marks, protected from being read as markup.
pub(super) fn inline(latex: &str) -> String {
    if latex.trim().is_empty() {
        return String::new();
    }
    marked(&readable(latex).unwrap_or_else(|| PLACEHOLDER.to_owned()))
}

/// A formula of `<chem>` or `<ce>`, which are nearly readable as they stand.
pub(super) fn chemical(source: &str) -> String {
    let plain: String =
        source.replace("<=>", "⇌").replace("->", "→").chars().filter(|c| !"^_{}$".contains(*c)).collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    let fits = !plain.contains('\\') && plain.chars().count() <= MAX_CHARACTERS;
    marked(if fits { &plain } else { PLACEHOLDER })
}

fn marked(text: &str) -> String {
    let mut out = String::from(marker::FORMULA);
    marker::protect(text, &mut out);
    out.push(marker::FORMULA);
    out
}

/// The formula in a line; `None` if it has no such form.
fn readable(latex: &str) -> Option<String> {
    let latex = latex.trim();
    if latex.len() > MAX_SOURCE_BYTES {
        return None;
    }
    let plain = latex.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("&nbsp;", " ");
    let mut reader = Reader { rest: &plain };
    let text = reader.group(None, 0)?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty() && text.chars().count() <= MAX_CHARACTERS).then_some(text)
}

struct Reader<'l> {
    rest: &'l str,
}

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Everything up to `end`, or to the end.
    fn group(&mut self, end: Option<char>, depth: usize) -> Option<String> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut out = String::new();
        loop {
            match self.take() {
                None => return end.is_none().then_some(out),
                Some(c) if Some(c) == end => return Some(out),
                Some(c) => self.unit(c, &mut out, depth)?,
            }
        }
    }

    /// The next character, command or group, whole.
    fn argument(&mut self, depth: usize) -> Option<String> {
        self.rest = self.rest.trim_start();
        let mut out = String::new();
        let c = self.take()?;
        self.unit(c, &mut out, depth + 1)?;
        Some(out.trim().to_owned())
    }

    fn unit(&mut self, c: char, out: &mut String, depth: usize) -> Option<()> {
        match c {
            '\\' => return self.command(out, depth),
            '{' => out.push_str(&self.group(Some('}'), depth + 1)?),
            '^' => {
                let text = self.argument(depth)?;
                match text.as_str() {
                    "∘" => out.push('°'),
                    "′" => out.push('′'),
                    text => push_script(out, '^', text, scripts::raised(text)),
                }
            }
            '_' => {
                let text = self.argument(depth)?;
                push_script(out, '_', &text, scripts::lowered(&text));
            }
            // The end of a group that did not begin, columns, comments.
            '}' | '&' | '%' => return None,
            '~' => out.push(' '),
            '=' | '<' | '>' => spaced(out, c.encode_utf8(&mut [0; 4])),
            c => out.push(c),
        }
        Some(())
    }

    fn command(&mut self, out: &mut String, depth: usize) -> Option<()> {
        let length = self.rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        if length == 0 {
            match self.take()? {
                ',' | ';' | ':' | ' ' | '>' | '\n' => out.push(' '),
                '!' | '/' => {}
                c @ ('{' | '}' | '%' | '$' | '#' | '_') => out.push(c),
                '|' => out.push('‖'),
                _ => return None,
            }
            return Some(());
        }
        let (name, rest) = self.rest.split_at(length);
        let name = name.to_owned();
        self.rest = rest;
        match command(&name) {
            Some(Command::Sign(sign)) => {
                // `sin x`, `log n`: a word needs a space before the next letter.
                let word = sign.len() > 1 && sign.is_ascii();
                if word && out.ends_with(|c: char| c.is_alphanumeric()) {
                    out.push(' ');
                }
                out.push_str(sign);
                if word && self.rest.trim_start().starts_with(|c: char| c.is_alphanumeric() || c == '\\') {
                    out.push(' ');
                }
            }
            Some(Command::Relation(sign)) => spaced(out, sign),
            Some(Command::Style) => {
                self.rest = self.rest.trim_start_matches(['*', ' ']);
                out.push_str(&self.argument(depth)?);
            }
            Some(Command::Silent) => self.rest = self.rest.strip_prefix('.').unwrap_or(self.rest),
            Some(Command::Accent(mark)) => {
                let text = self.argument(depth)?;
                let single = text.chars().count() == 1;
                out.push_str(&text);
                out.push_str(if single { mark } else { "" });
            }
            None => return self.construct(&name, out, depth),
        }
        Some(())
    }

    /// Commands with a shape of their own.
    fn construct(&mut self, name: &str, out: &mut String, depth: usize) -> Option<()> {
        match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" => {
                let (above, below) = (self.argument(depth)?, self.argument(depth)?);
                out.push_str(&format!("{}/{}", bracketed(&above), bracketed(&below)));
            }
            "sqrt" => {
                let mut root = "√";
                for (index, sign) in [("[3]", "∛"), ("[4]", "∜")] {
                    if let Some(rest) = self.rest.strip_prefix(index) {
                        (root, self.rest) = (sign, rest);
                    }
                }
                if self.rest.starts_with('[') {
                    return None;
                }
                out.push_str(&format!("{root}{}", bracketed(&self.argument(depth)?)));
            }
            "binom" | "tbinom" | "dbinom" => {
                let (above, below) = (self.argument(depth)?, self.argument(depth)?);
                out.push_str(&format!("({above} choose {below})"));
            }
            "mathbb" | "Bbb" => {
                let letter = self.argument(depth)?;
                let at = ["R", "N", "Z", "Q", "C", "P"].iter().position(|known| *known == letter);
                out.push_str(at.map_or(letter.as_str(), |at| ["ℝ", "ℕ", "ℤ", "ℚ", "ℂ", "ℙ"][at]));
            }
            "quad" | "qquad" => out.push(' '),
            "pmod" => {
                let modulus = self.argument(depth)?;
                out.push_str(&format!(" (mod {modulus})"));
            }
            "not" => match self.argument(depth)?.as_str() {
                "=" => spaced(out, "≠"),
                "∈" => spaced(out, "∉"),
                "⊂" => spaced(out, "⊄"),
                _ => return None,
            },
            "color" | "label" | "tag" => {
                self.argument(depth)?;
            }
            // Matrices, cases, alignments, arrows with text, unknown commands.
            _ => return None,
        }
        Some(())
    }
}

fn spaced(out: &mut String, sign: &str) {
    out.push(' ');
    out.push_str(sign);
    out.push(' ');
}

/// `x²`, else `x^y`, else `x^(y+1)`.
fn push_script(out: &mut String, mark: char, text: &str, unicode: Option<String>) {
    match unicode {
        _ if text.is_empty() => {}
        Some(text) => out.push_str(&text),
        None => {
            out.push(mark);
            out.push_str(&bracketed(text));
        }
    }
}

/// Brackets around everything but a plain number or word, or what has them.
fn bracketed(text: &str) -> String {
    let inside = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    let has_brackets = inside.is_some_and(|inside| !inside.contains(['(', ')']));
    match has_brackets || text.chars().all(char::is_alphanumeric) || text.chars().count() == 1 {
        true => text.to_owned(),
        false => format!("({text})"),
    }
}
