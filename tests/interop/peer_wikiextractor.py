#!/usr/bin/env python3
"""Holds Cloze's prose of Wikipedia dumps beside that of wikiextractor.

    python tests/interop/peer_wikiextractor.py DUMP.xml.bz2.. [--lost 20]

Builds the example `extract`, installs wikiextractor from PyPI into target/peer/wikiextractor, gives both the same pages
and compares their words page by page:

    recall      share of wikiextractor's words that Cloze has too (as multisets)
    precision   share of Cloze's words that wikiextractor has too; the rest is what wikiextractor loses

and counts markup left in either. Left out of the comparison are the section headings that wikiextractor keeps as
sentences (Cloze leaves them out: they are no sentences) and its numbered stand-ins for formulas. `--lost N` prints the N lines of wikiextractor of which Cloze has least, `--words`
the words it has and we lack, by page. Exits 1 if the recall over all pages is below --least-recall.

Nothing here shares code with Cloze.
"""

import argparse
import bz2
import collections
import html
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import venv
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER = "wikiextractor==3.1.0"
RESIDUES = ["{{", "}}", "[[", "]]", "|", "<", "==", "''", "&nbsp;", "&lt;", "__", "http", "()", "(,", "(;", " ,", " .", "  "]


def install_peer():
    """The Python of a virtual environment that has the peer."""
    home = ROOT / "target/peer/wikiextractor"
    python = home / "bin/python"
    if not python.exists():
        venv.create(home, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PEER], check=True)
    return python


def pages(dump):
    """Title and wikitext of the articles of a dump, redirects left out."""
    opener = bz2.open if dump.endswith(".bz2") else open
    with opener(dump, "rb") as file:
        for _, page in ElementTree.iterparse(file):
            if page.tag.rpartition("}")[2] != "page":
                continue
            field = {child.tag.rpartition("}")[2]: child for child in page.iter()}
            if field["ns"].text == "0" and "redirect" not in field:
                yield field["title"].text, field["text"].text or ""
            page.clear()


def write_dump(path, titled):
    """The pages in the exact layout that wikiextractor's line-based reader expects."""
    with open(path, "w", encoding="utf-8") as file:
        file.write('<mediawiki xml:lang="en">\n  <siteinfo>\n    <base>https://en.wikipedia.org/wiki/Main_Page</base>\n')
        file.write('    <namespaces>\n      <namespace key="0" case="first-letter" />\n')
        file.write('      <namespace key="6" case="first-letter">File</namespace>\n')
        file.write('      <namespace key="10" case="first-letter">Template</namespace>\n')
        file.write('      <namespace key="14" case="first-letter">Category</namespace>\n')
        file.write("    </namespaces>\n  </siteinfo>\n")
        for i, (title, text) in enumerate(titled, 1):
            file.write(f"  <page>\n    <title>{escape(title)}</title>\n    <ns>0</ns>\n    <id>{i}</id>\n    <revision>\n")
            file.write(f'      <id>{i}</id>\n      <text xml:space="preserve">{escape(text)}</text>\n')
            file.write("    </revision>\n  </page>\n")
        file.write("</mediawiki>\n")


def run(command):
    """Output and CPU seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(c) for c in command], cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout.decode(), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def words(text):
    return re.findall(r"\w+", text.lower())


def without_headings(text, wikitext):
    """wikiextractor's text without the headings it keeps as sentences, its numbered formulas and its HTML escapes."""
    found = re.findall(r"^(=+)(.+?)\1\s*$", wikitext, re.M)
    headings = {" ".join(words(re.sub(r"<.*?>|\{\{.*?\}\}|\[\[[^]|]*\|", " ", html.unescape(title)))) for _, title in found}
    lines = (line for line in html.unescape(text).split("\n") if " ".join(words(line)) not in headings)
    return re.sub(r"\b(formula|codice)_\d+", "", "\n".join(lines))


def lost_lines(title, theirs, ours):
    """Lines of wikiextractor with the share of their words that Cloze has on the same page, least first."""
    have = collections.Counter(words(ours))
    for line in theirs.split("\n"):
        found = words(line)
        if len(found) >= 4:
            yield sum(have[w] > 0 for w in found) / len(found), title, line


def print_residues(ours, theirs):
    print(f"\n{'residue':<10}{'cloze':>10}{'wikiextractor':>16}   per million characters")
    for residue in RESIDUES:
        rates = [sum(t.count(residue) for t in texts) * 1e6 / max(1, sum(map(len, texts))) for texts in (ours, theirs)]
        print(f"{residue.replace(' ', '␣'):<10}{rates[0]:>10.1f}{rates[1]:>16.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dumps", nargs="+")
    parser.add_argument("--lost", type=int, default=0, help="lines of wikiextractor to print that Cloze has least of")
    parser.add_argument("--words", action="store_true", help="print the words that wikiextractor has and Cloze lacks")
    parser.add_argument("--least-recall", type=float, default=0.0)
    parser.add_argument("--extract", help="the built example; by default it is built, in release mode")
    args = parser.parse_args()

    python = install_peer()
    extract = args.extract
    if not extract:
        subprocess.run(["cargo", "build", "--release", "-p", "cloze-prep", "--example", "extract"], cwd=ROOT, check=True)
        extract = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release/examples/extract"
    titled = [page for dump in args.dumps for page in pages(dump)]
    work = ROOT / "target/peer/pages.xml"
    write_dump(work, titled)
    our_out, our_seconds = run([extract, "wikipedia", work, "--json"])
    their_out, their_seconds = run([python, "-m", "wikiextractor.WikiExtractor", "--json", "--processes", "1", "-o", "-", work])
    ours = {d["title"]: "\n".join(d["paragraphs"]) for d in map(json.loads, our_out.splitlines())}
    theirs = {d["title"]: d["text"] for d in map(json.loads, their_out.splitlines())}
    if not theirs:
        sys.exit("wikiextractor extracted nothing")

    raw, sources = theirs, dict(titled)
    theirs = {title: without_headings(text, sources[title]) for title, text in raw.items() if title in sources}

    print(f"{'page':<44}{'cloze':>9}{'peer':>9}{'recall':>9}{'precision':>11}   words of cloze and of wikiextractor")
    total, lost = collections.Counter(), []
    for title in (title for title, _ in titled if title in theirs):
        if title not in ours:
            print(f"{title[:42]:<44}{'-':>9}{len(words(theirs[title])):>9}   left out by cloze")
            continue
        a, b = collections.Counter(words(ours[title])), collections.Counter(words(theirs[title]))
        common = (a & b).total()
        total.update(ours=a.total(), theirs=b.total(), common=common)
        print(f"{title[:42]:<44}{a.total():>9}{b.total():>9}{common / max(1, b.total()):>9.4f}{common / max(1, a.total()):>11.4f}")
        if args.words:
            print("    lacking:", " ".join(f"{w}×{n}" for w, n in (b - a).most_common(60)))
        lost += lost_lines(title, theirs[title], ours[title])
    recall = total["common"] / max(1, total["theirs"])
    print(f"{'all pages':<44}{total['ours']:>9}{total['theirs']:>9}{recall:>9.4f}{total['common'] / max(1, total['ours']):>11.4f}")
    both = [title for title in ours if title in theirs]
    print_residues([ours[t] for t in both], [raw[t] for t in both])
    size = sum(len(text.encode()) for _, text in titled) / 1e6
    print(f"\n{size:.2f} MB of wikitext; CPU seconds with start and reading: cloze {our_seconds:.2f}, wikiextractor {their_seconds:.2f}")
    for share, title, line in sorted(lost, key=lambda found: found[0])[: args.lost]:
        print(f"{share:.2f} {title}: {line[:300]}")
    if recall < args.least_recall:
        sys.exit(f"recall is {recall:.4f}, expected at least {args.least_recall}")


if __name__ == "__main__":
    main()
