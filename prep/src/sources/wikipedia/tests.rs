//! Small dumps, whole and damaged.

use std::io::Write;

use super::super::{Document, SourceFile, SourceKind, documents};

const HEAD: &str = r#"<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="is">
  <siteinfo><sitename>W</sitename><namespaces>
    <namespace key="0" case="first-letter" /><namespace key="1">Talk</namespace><namespace key="6">Mynd</namespace>
  </namespaces></siteinfo>
"#;

fn page(title: &str, fields: &str, text: &str) -> String {
    format!(
        "  <page><title>{title}</title>{fields}<id>1</id><revision><id>2</id><comment>c [[x]]</comment><text bytes=\"5\">{text}</text></revision></page>\n"
    )
}

fn dump(pages: &[String]) -> String {
    format!("{HEAD}{}</mediawiki>\n", pages.concat())
}

type Found = (Vec<Document>, Vec<(&'static str, u64)>);

fn read(bytes: &[u8]) -> std::result::Result<Found, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.xml");
    std::fs::write(&path, bytes).unwrap();
    let reader = documents(&SourceFile { kind: SourceKind::Wikipedia, path }).map_err(|e| e.to_string())?;
    let skipped = reader.skipped();
    let found = reader.map(|raw| raw.map(|raw| raw.into_document()).map_err(|e| e.to_string()));
    let found = found.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok((found, skipped.counts().into_iter().filter(|(_, pages)| *pages > 0).collect()))
}

fn pages() -> String {
    dump(&[
        page(
            "Köttur &amp; co",
            "<ns>0</ns>",
            "'''Köttur''' &lt;ref&gt;x&lt;/ref&gt; er &amp;ndash; [[Mynd:X.jpg|caption]]dýr.\r\n\r\nAnnað.",
        ),
        page("Talk:Köttur", "<ns>1</ns>", "Talk."),
        page("Kisa", "<ns>0</ns><redirect title=\"Köttur\" />", "#REDIRECT [[Köttur]]"),
        page("Kisi", "<ns>0</ns>", "#redirect [[Köttur]]"),
        page("Mess", "<ns>0</ns>", "May be:\n* a\n{{disambig}}"),
        page("Common.css", "<ns>0</ns>", "x").replace("<text", "<model>css</model><text"),
        page("Empty", "<ns>0</ns>", " \n"),
        page("Last", "", "<![CDATA[It is &amp; stays <b>here</b>.]]>"),
        page("Talk:Old", "", "An old export without numbers."),
    ])
}

#[test]
fn pages_of_the_main_namespace_are_documents_and_the_rest_is_counted() {
    let (found, skipped) = read(pages().as_bytes()).unwrap();
    let titles: Vec<_> = found.iter().map(|document| document.title.as_deref().unwrap()).collect();
    assert_eq!(titles, ["Köttur & co", "Last"]);
    assert_eq!(found[0].paragraphs, ["Köttur er – dýr.", "Annað."]);
    assert_eq!(found[1].paragraphs, ["It is & stays here."]);
    assert_eq!(
        skipped,
        [("other namespace", 2), ("redirect", 2), ("disambiguation", 1), ("other content model", 1), ("empty", 1)]
    );
}

#[test]
fn multistream_bzip2_reads_the_same() {
    let text = pages();
    let (head, tail) = text.split_at(text.len() / 2 - text.len() / 2 % 2);
    let mut bytes = Vec::new();
    for part in [head.as_bytes(), tail.as_bytes()] {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(part).unwrap();
        bytes.extend(encoder.finish().unwrap());
    }
    assert_eq!(read(&bytes).unwrap(), read(text.as_bytes()).unwrap());
    let message = read(&bytes[..bytes.len() - 9]).unwrap_err();
    assert!(message.contains("dump.xml: bzip2 data ends early, after "), "{message}");
}

#[test]
fn the_last_revision_counts() {
    let one = page("A", "<ns>0</ns>", "Old.").replace("</page>", "<revision><text>New.</text></revision></page>");
    assert_eq!(read(dump(&[one]).as_bytes()).unwrap().0[0].paragraphs, ["New."]);
}

#[test]
fn what_is_no_dump_is_refused() {
    let message = |bytes: &[u8]| read(bytes).unwrap_err();
    assert!(message(b"").contains("dump.xml: expected a MediaWiki export (<mediawiki>), found an empty file"));
    assert!(message(b"Hello there.").contains("expected a MediaWiki export (<mediawiki>), found text"));
    assert!(message(b"<html><body/></html>").contains("expected a MediaWiki export (<mediawiki>), found <html>"));
}

/// Found by fuzzing: the name of a closing tag ran on over several paragraphs, and the message quoted it whole.
#[test]
fn a_message_is_one_line_whatever_it_quotes() {
    let message = read(pages().replacen("</title>", "</ti\n\ntle", 1).as_bytes()).unwrap_err();
    assert!(message.contains("expected well-formed XML") && !message.contains('\n'), "{message:?}");
}

#[test]
fn bombs_do_not_go_off() {
    // Entities are not expanded, so that ten of them cannot become a billion.
    let entities = "<!DOCTYPE m [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]>";
    let message = read((entities.to_owned() + &dump(&[page("A", "", "&b;")])).as_bytes()).unwrap_err();
    assert!(message.contains("expected an entity that XML defines, found &b; (XML byte "), "{message}");
    let deep = "<a>".repeat(1_000_000);
    let message = read(format!("{HEAD}{deep}").as_bytes()).unwrap_err();
    assert!(message.contains("expected elements at most 64 deep, found deeper ones"), "{message}");
}

#[test]
fn damage_is_named_with_its_place() {
    let text = pages();
    let cut = &text[..text.find("Annað").unwrap()];
    let message = read(cut.as_bytes()).unwrap_err();
    assert!(message.contains("expected </mediawiki>, found the end: the file was cut short (XML byte "), "{message}");
    assert!(message.ends_with("page \"Köttur & co\"); restore the file or download it again"), "{message}");
    let message = read(text.replace("</revision></page>", "</page>").as_bytes()).unwrap_err();
    assert!(message.contains("expected well-formed XML, found at byte "), "{message}");
    let message = read(text.replace("&amp;ndash;", "&ndash;").as_bytes()).unwrap_err();
    assert!(message.contains("expected an entity that XML defines, found &ndash; (XML byte "), "{message}");
    let mut bytes = text.into_bytes();
    let at = bytes.windows(4).position(|w| w == b"Talk").unwrap();
    bytes[at] = 0xff;
    let message = read(&bytes).unwrap_err();
    assert!(message.contains("dump.xml: expected "), "{message}");
}
