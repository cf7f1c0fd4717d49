//! Sections that hold no prose.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Headings in lower case, by language: references, links, literature, notes, galleries.
#[rustfmt::skip]
const HEADINGS: &[&str] = &[
    // English
    "references|reference|external links|external link|see also|further reading|bibliography|notes|note|footnotes|footnote|sources|\
     citations|notes and references|references and notes|references and sources|notes and citations|footnotes and references|works cited|\
     literature cited|cited sources|cited works|sources cited|selected bibliography|additional reading|related pages|other websites|gallery|\
     image gallery|photo gallery|navigation|explanatory notes|general references|primary sources|secondary sources|\
     bibliography and further reading|sources and further reading|notes and sources|references and further reading|\
     citations and references|further reading and external links|external references|external sources|web links|links|references and links|\
     references and external links|external links and references|sources and references|general sources|works cited and further reading|\
     suggested reading|recommended reading|general bibliography|inline citations|book references|online sources|sources and notes|\
     reference notes|informational notes|notes and further reading|citations and notes|see also and references|related articles",
    // German
    "einzelnachweise|weblinks|siehe auch|literatur|quellen|anmerkungen|belege|fußnoten|nachweise|quellen und literatur|\
     literatur und quellen|anmerkungen und einzelnachweise|einzelnachweise und anmerkungen|quellen und einzelnachweise|\
     literatur und weblinks|quellenangaben|literaturhinweise|referenzen|galerie|bildergalerie|literaturverzeichnis|weblinks und quellen",
    // French
    "références|liens externes|lien externe|voir aussi|bibliographie|notes et références|notes|annexes|articles connexes|article connexe|sources|\
     notes de bas de page|bibliographie et sources|références et notes|liens et documents externes|sources et bibliographie|galerie|\
     iconographie|sources et références|notes et sources|bibliographie sélective|compléments|articles détaillés",
    // Spanish
    "referencias|enlaces externos|véase también|bibliografía|notas|fuentes|notas y referencias|referencias y notas|lecturas adicionales|\
     bibliografía adicional|notas al pie|enlaces|galería|galería de imágenes|ver también|fuentes y referencias|referencias bibliográficas",
    // Portuguese
    "referências|ligações externas|ver também|bibliografia|notas|fontes|notas e referências|referências e notas|leitura adicional|\
     leituras adicionais|referências bibliográficas|galeria|links externos|notas de rodapé|veja também",
    // Italian
    "note|collegamenti esterni|altri progetti|voci correlate|bibliografia|note e riferimenti|riferimenti|fonti|note bibliografiche|\
     galleria d'immagini|galleria|note al testo|annotazioni|esplicative|fonti bibliografiche|riferimenti bibliografici",
    // Dutch
    "externe links|externe link|zie ook|bronnen|bron|referenties|literatuur|noten|voetnoten|bronnen, noten en/of referenties|\
     bronnen en referenties|galerij|bronvermelding|externe koppelingen|verder lezen",
    // Polish
    "przypisy|linki zewnętrzne|zobacz też|bibliografia|uwagi|źródła|literatura|galeria|przypisy i bibliografia",
    // Russian, Ukrainian
    "примечания|ссылки|см. также|литература|источники|комментарии|сноски|галерея|библиография|внешние ссылки|примечания и источники|\
     посилання|примітки|див. також|література|джерела|виноски|галерея",
    // Swedish, Norwegian, Danish, Finnish
    "referenser|externa länkar|se även|källor|litteratur|noter|fotnoter|vidare läsning|referanser|eksterne lenker|eksterne lenkjer|se også|\
     sjå òg|kilder|kjelder|fotnotar|eksterne henvisninger|referencer|kilder og henvisninger|lähteet|aiheesta muualla|katso myös|viitteet|\
     kirjallisuutta|aiheesta lisää|viite|huomautukset|galleri",
    // Czech, Slovak, Slovene, Croatian, Serbian, Hungarian, Romanian, Bulgarian
    "reference|externí odkazy|související články|poznámky|zdroje|odkazy|externé odkazy|pozri aj|referencie|iné projekty|sklici|glej tudi|\
     zunanje povezave|viri|izvori|vanjske poveznice|povezani članci|bilješke|literatura|референце|спољашње везе|види још|спољне везе|\
     извори|jegyzetek|források|további információk|kapcsolódó szócikkek|irodalom|note|legături externe|vezi și|bibliografie|referințe|\
     lectură suplimentară|източници|външни препратки|вижте също|бележки|използвана литература",
    // Greek, Turkish, Arabic, Persian, Hebrew
    "παραπομπές|εξωτερικοί σύνδεσμοι|δείτε επίσης|βιβλιογραφία|πηγές|σημειώσεις|kaynakça|dış bağlantılar|ayrıca bakınız|notlar|kaynaklar|\
     مراجع|المراجع|وصلات خارجية|انظر أيضا|انظر أيضًا|مصادر|المصادر|هوامش|معرض صور|منابع|پیوند به بیرون|جستارهای وابسته|پانویس|یادداشت‌ها|\
     הערות שוליים|קישורים חיצוניים|ראו גם|לקריאה נוספת|ביבליוגרפיה|גלריה",
    // Catalan, Basque, Galician, Indonesian, Vietnamese, Esperanto
    "referències|enllaços externs|vegeu també|erreferentziak|kanpo estekak|ikus, gainera|notas|véxase tamén|ligazóns externas|referensi|\
     pranala luar|lihat pula|lihat juga|bacaan lanjutan|catatan|tham khảo|liên kết ngoài|xem thêm|chú thích|đọc thêm|thư mục|\
     referencoj|eksteraj ligiloj|vidu ankaŭ|notoj",
    // Japanese, Chinese, Korean, Hindi, Thai
    "脚注|外部リンク|関連項目|参考文献|出典|注釈|注釈・出典|関連文献|関連書籍|参照|参照文献|ギャラリー|外部链接|外部連結|外部鏈接|参考资料|參考資料|\
     参见|參見|參看|参看|注释|註釋|参考来源|參考來源|参考文献和注释|延伸阅读|延伸閱讀|相关条目|相關條目|參考文獻|资料来源|資料來源|备注|備註|图集|圖集|脚注|腳註|\
     각주|외부 링크|같이 보기|참고 문헌|참고 자료|주석|출처|갤러리|सन्दर्भ|संदर्भ|बाहरी कड़ियाँ|इन्हें भी देखें|อ้างอิง|แหล่งข้อมูลอื่น|ดูเพิ่ม|เชิงอรรถ",
];

/// Whether the section of this heading (plain text) holds no prose.
pub(super) fn is_dropped(heading: &str) -> bool {
    static KNOWN: LazyLock<HashSet<&'static str>> =
        LazyLock::new(|| HEADINGS.iter().flat_map(|list| list.split('|')).map(str::trim).collect());
    let heading = heading.trim().trim_end_matches([':', '：']).to_lowercase();
    KNOWN.contains(heading.as_str())
}
