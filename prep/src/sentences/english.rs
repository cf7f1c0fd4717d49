//! English abbreviations and sentence starters.

use super::{Abbreviation, Parameters};

/// Titles, ranks and given names: a name follows.
const TITLES: &str = "mr mrs ms messrs mme mmes mlle dr drs prof rev revd fr sr sra srta hon rt st ste mt ft pt \
    pres gov lt col gen maj capt cpt cmdr cdr adm brig sgt cpl pvt pfc ens maj supt insp det sen rep reps sens atty \
    asst assoc sec amb gov-gen lt-gov mgr msgr dea bros wm geo chas jas jos thos robt edw benj saml alex fred";

/// Latin and scholarly abbreviations that something follows.
const LEADING: &str = "e.g i.e cf viz vs v ca approx al.e eds ed trans transl vol vols fig figs eq eqs sect ch chap \
    chs para paras ser fol app op loc cit fl est esp resp incl aka a.k.a nee née pron lit i.e. inf sup \
    cca circa op.cit ff.e ex";

/// Abbreviations only before a number.
const BEFORE_NUMBER: &str = "no nos p pp b c d r sec line ll op nn fig bk pt ver op cap jan feb mar apr jun jul aug sep sept oct nov dec \
    mon tue tues wed thu thur thurs fri sat sun";

/// Abbreviations that may also end a sentence.
const EITHER: &str = "jr sr snr esq inc ltd co cos corp llc plc bros gmbh ag sa s.a s.p.a assn assoc dept depts div univ inst \
    acad soc bd bldg govt natl intl mfg etc al seq ibid id ff a.m p.m am.e pm.e a.d b.c b.c.e c.e u.s u.s.a u.k u.n e.u \
    u.s.s.r d.c n.y l.a ph.d m.d b.a m.a b.sc m.sc ll.d d.d m.p q.c k.c r.n d.d.s j.d ltd pty \
    ala ariz ark calif colo conn del fla ga ill ind kan kans ky la mass md mich minn miss mo mont neb nebr nev okla ore \
    penn penna pa tenn tex vt va wash wis wisc wyo ont que alta sask man b.c n.s n.b \
    ave blvd rd hwy pkwy sq rte apt ste ste tel ext \
    ft lb lbs oz gal qt pt pts doz hr hrs min mins yr yrs mo mos wk wks sec secs in.e cm mm km kg mg ml kw hp mph rpm \
    cu kt kts max min avg temp \
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat \
    gen n.b p.s r.i.p m.p.h r.p.m dist prov terr u.s.s h.m.s \
    eng fr.e ger ital lat gr heb arab russ sp port adj adv obs orig poss pl sing abbr var gen nom acc dat \
    bap bur born.e pub publ rev repr cent anon";

/// Words that begin sentences far more often than names or titles.
const STARTERS: &str = "The A An This That These Those There Here It Its He She They We You I His Her Their Our My Your \
    In On At By For From With Without Within After Before During Since Until When Where While Although Though Because \
    If As Once Unlike Despite However Moreover Furthermore Nevertheless Nonetheless Therefore Thus Hence Then Later \
    Today Now Also And But Or Nor So Yet Such Some Many Most Several All Both Each Every Few Other Others Another \
    One Two Three What Which Who Whose Why How Is Are Was Were Do Does Did Has Have Had Will Would Can Could Should May \
    Not No Never Nothing Nobody Only Even Perhaps Among Between Under Over Through Throughout Upon Whether Unless \
    Additionally According Because Instead Meanwhile Following Due Initially Eventually Finally Subsequently Recently \
    Originally Currently Generally Usually Often Sometimes Still Until Having Being";

/// The English parameters: our own lists.
pub(super) fn parameters() -> Parameters {
    let mut parameters = Parameters::default();
    // Later lists win: a word that also leads, or counts, is judged by that.
    for (list, kind) in [
        (EITHER, Abbreviation::Either),
        (BEFORE_NUMBER, Abbreviation::BeforeNumber),
        (LEADING, Abbreviation::Leading),
        (TITLES, Abbreviation::Leading),
    ] {
        for word in list.split_whitespace() {
            parameters.abbreviations.insert(word.into(), kind);
        }
    }
    parameters.starters = STARTERS.split_whitespace().map(Into::into).collect();
    parameters
}
