//! Countries by the codes that templates of flags take.
//!
//! Codes of ISO 3166-1 (three letters), those of the International Olympic Committee where they differ, and a few of both kinds for
//! countries of the past; names as the English Wikipedia's templates show them.

use super::Call;

/// What a flag has beside it: the name given, or that of a country's code. Templates of sports have nothing but a code.
pub(super) fn flag(call: &Call<'_>) -> String {
    let given = call.at(0);
    let country = if call.english { name(given) } else { None };
    match call.get("name").or(country) {
        Some(name) => name.to_owned(),
        None if call.name.starts_with("flag") || call.name == "noflag" => given.to_owned(),
        None => String::new(),
    }
}

/// The name of the country with this code.
pub(super) fn name(code: &str) -> Option<&'static str> {
    COUNTRIES.binary_search_by(|(known, _)| (*known).cmp(code)).ok().map(|at| COUNTRIES[at].1)
}

/// By code, in order.
#[rustfmt::skip]
const COUNTRIES: &[(&str, &str)] = &[
    ("ABW", "Aruba"), ("AFG", "Afghanistan"), ("AGO", "Angola"), ("ALB", "Albania"), ("ALG", "Algeria"),
    ("AND", "Andorra"), ("ANG", "Angola"), ("ANT", "Antigua and Barbuda"), ("ARE", "United Arab Emirates"),
    ("ARG", "Argentina"), ("ARM", "Armenia"), ("ARU", "Aruba"), ("ATG", "Antigua and Barbuda"), ("AUS", "Australia"),
    ("AUT", "Austria"), ("AZE", "Azerbaijan"), ("BAH", "Bahamas"), ("BAN", "Bangladesh"), ("BAR", "Barbados"),
    ("BDI", "Burundi"), ("BEL", "Belgium"), ("BEN", "Benin"), ("BER", "Bermuda"), ("BFA", "Burkina Faso"),
    ("BGD", "Bangladesh"), ("BGR", "Bulgaria"), ("BHR", "Bahrain"), ("BHS", "Bahamas"), ("BHU", "Bhutan"),
    ("BIH", "Bosnia and Herzegovina"), ("BIZ", "Belize"), ("BLR", "Belarus"), ("BLZ", "Belize"), ("BMU", "Bermuda"),
    ("BOL", "Bolivia"), ("BOT", "Botswana"), ("BRA", "Brazil"), ("BRB", "Barbados"), ("BRN", "Bahrain"),
    ("BTN", "Bhutan"), ("BUL", "Bulgaria"), ("BUR", "Burkina Faso"), ("BWA", "Botswana"),
    ("CAF", "Central African Republic"), ("CAM", "Cambodia"), ("CAN", "Canada"), ("CGO", "Republic of the Congo"),
    ("CHA", "Chad"), ("CHE", "Switzerland"), ("CHI", "Chile"), ("CHL", "Chile"), ("CHN", "China"),
    ("CIV", "Ivory Coast"), ("CMR", "Cameroon"), ("COD", "Democratic Republic of the Congo"),
    ("COG", "Republic of the Congo"), ("COL", "Colombia"), ("COM", "Comoros"), ("CPV", "Cape Verde"),
    ("CRC", "Costa Rica"), ("CRI", "Costa Rica"), ("CRO", "Croatia"), ("CUB", "Cuba"), ("CYP", "Cyprus"),
    ("CZE", "Czech Republic"), ("DEN", "Denmark"), ("DEU", "Germany"), ("DJI", "Djibouti"), ("DMA", "Dominica"),
    ("DNK", "Denmark"), ("DOM", "Dominican Republic"), ("DZA", "Algeria"), ("ECU", "Ecuador"), ("EGY", "Egypt"),
    ("ENG", "England"), ("ERI", "Eritrea"), ("ESA", "El Salvador"), ("ESP", "Spain"), ("EST", "Estonia"),
    ("ETH", "Ethiopia"), ("FIJ", "Fiji"), ("FIN", "Finland"), ("FJI", "Fiji"), ("FRA", "France"),
    ("FRG", "West Germany"), ("FRO", "Faroe Islands"), ("FSM", "Federated States of Micronesia"), ("GAB", "Gabon"),
    ("GAM", "Gambia"), ("GBR", "United Kingdom"), ("GBS", "Guinea-Bissau"), ("GDR", "East Germany"),
    ("GEO", "Georgia"), ("GEQ", "Equatorial Guinea"), ("GER", "Germany"), ("GHA", "Ghana"), ("GIB", "Gibraltar"),
    ("GIN", "Guinea"), ("GMB", "Gambia"), ("GNB", "Guinea-Bissau"), ("GNQ", "Equatorial Guinea"), ("GRC", "Greece"),
    ("GRD", "Grenada"), ("GRE", "Greece"), ("GRL", "Greenland"), ("GRN", "Grenada"), ("GTM", "Guatemala"),
    ("GUA", "Guatemala"), ("GUI", "Guinea"), ("GUY", "Guyana"), ("HAI", "Haiti"), ("HKG", "Hong Kong"),
    ("HND", "Honduras"), ("HON", "Honduras"), ("HRV", "Croatia"), ("HTI", "Haiti"), ("HUN", "Hungary"),
    ("IDN", "Indonesia"), ("INA", "Indonesia"), ("IND", "India"), ("IRI", "Iran"), ("IRL", "Ireland"),
    ("IRN", "Iran"), ("IRQ", "Iraq"), ("ISL", "Iceland"), ("ISR", "Israel"), ("ITA", "Italy"), ("JAM", "Jamaica"),
    ("JOR", "Jordan"), ("JPN", "Japan"), ("KAZ", "Kazakhstan"), ("KEN", "Kenya"), ("KGZ", "Kyrgyzstan"),
    ("KHM", "Cambodia"), ("KIR", "Kiribati"), ("KNA", "Saint Kitts and Nevis"), ("KOR", "South Korea"),
    ("KOS", "Kosovo"), ("KSA", "Saudi Arabia"), ("KUW", "Kuwait"), ("KWT", "Kuwait"), ("LAO", "Laos"),
    ("LAT", "Latvia"), ("LBA", "Libya"), ("LBN", "Lebanon"), ("LBR", "Liberia"), ("LBY", "Libya"),
    ("LCA", "Saint Lucia"), ("LES", "Lesotho"), ("LIB", "Lebanon"), ("LIE", "Liechtenstein"), ("LKA", "Sri Lanka"),
    ("LSO", "Lesotho"), ("LTU", "Lithuania"), ("LUX", "Luxembourg"), ("LVA", "Latvia"), ("MAC", "Macau"),
    ("MAD", "Madagascar"), ("MAR", "Morocco"), ("MAS", "Malaysia"), ("MAW", "Malawi"), ("MCO", "Monaco"),
    ("MDA", "Moldova"), ("MDG", "Madagascar"), ("MDV", "Maldives"), ("MEX", "Mexico"), ("MGL", "Mongolia"),
    ("MHL", "Marshall Islands"), ("MKD", "North Macedonia"), ("MLI", "Mali"), ("MLT", "Malta"), ("MMR", "Myanmar"),
    ("MNE", "Montenegro"), ("MNG", "Mongolia"), ("MON", "Monaco"), ("MOZ", "Mozambique"), ("MRI", "Mauritius"),
    ("MRT", "Mauritania"), ("MTN", "Mauritania"), ("MUS", "Mauritius"), ("MWI", "Malawi"), ("MYA", "Myanmar"),
    ("MYS", "Malaysia"), ("NAM", "Namibia"), ("NCA", "Nicaragua"), ("NED", "Netherlands"), ("NEP", "Nepal"),
    ("NER", "Niger"), ("NGA", "Nigeria"), ("NGR", "Nigeria"), ("NIC", "Nicaragua"), ("NIG", "Niger"),
    ("NIR", "Northern Ireland"), ("NLD", "Netherlands"), ("NOR", "Norway"), ("NPL", "Nepal"), ("NRU", "Nauru"),
    ("NZL", "New Zealand"), ("OMA", "Oman"), ("OMN", "Oman"), ("PAK", "Pakistan"), ("PAN", "Panama"),
    ("PAR", "Paraguay"), ("PER", "Peru"), ("PHI", "Philippines"), ("PHL", "Philippines"), ("PLE", "Palestine"),
    ("PLW", "Palau"), ("PNG", "Papua New Guinea"), ("POL", "Poland"), ("POR", "Portugal"), ("PRC", "China"),
    ("PRI", "Puerto Rico"), ("PRK", "North Korea"), ("PRT", "Portugal"), ("PRY", "Paraguay"), ("PSE", "Palestine"),
    ("PUR", "Puerto Rico"), ("QAT", "Qatar"), ("ROC", "Taiwan"), ("ROK", "South Korea"), ("ROM", "Romania"),
    ("ROU", "Romania"), ("RSA", "South Africa"), ("RUS", "Russia"), ("RWA", "Rwanda"), ("SAM", "Samoa"),
    ("SAU", "Saudi Arabia"), ("SCG", "Serbia and Montenegro"), ("SCO", "Scotland"), ("SDN", "Sudan"),
    ("SEN", "Senegal"), ("SEY", "Seychelles"), ("SGP", "Singapore"), ("SIN", "Singapore"),
    ("SKN", "Saint Kitts and Nevis"), ("SLB", "Solomon Islands"), ("SLE", "Sierra Leone"), ("SLO", "Slovenia"),
    ("SLV", "El Salvador"), ("SMR", "San Marino"), ("SOL", "Solomon Islands"), ("SOM", "Somalia"), ("SRB", "Serbia"),
    ("SRI", "Sri Lanka"), ("SSD", "South Sudan"), ("STP", "São Tomé and Príncipe"), ("SUD", "Sudan"),
    ("SUI", "Switzerland"), ("SUR", "Suriname"), ("SVK", "Slovakia"), ("SVN", "Slovenia"), ("SWE", "Sweden"),
    ("SWZ", "Eswatini"), ("SYC", "Seychelles"), ("SYR", "Syria"), ("TAN", "Tanzania"), ("TCD", "Chad"),
    ("TCH", "Czechoslovakia"), ("TGA", "Tonga"), ("TGO", "Togo"), ("THA", "Thailand"), ("TJK", "Tajikistan"),
    ("TKM", "Turkmenistan"), ("TLS", "East Timor"), ("TOG", "Togo"), ("TON", "Tonga"), ("TRI", "Trinidad and Tobago"),
    ("TTO", "Trinidad and Tobago"), ("TUN", "Tunisia"), ("TUR", "Turkey"), ("TUV", "Tuvalu"), ("TWN", "Taiwan"),
    ("TZA", "Tanzania"), ("UAE", "United Arab Emirates"), ("UGA", "Uganda"), ("UK", "United Kingdom"),
    ("UKR", "Ukraine"), ("URS", "Soviet Union"), ("URU", "Uruguay"), ("URY", "Uruguay"), ("US", "United States"),
    ("USA", "United States"), ("USSR", "Soviet Union"), ("UZB", "Uzbekistan"), ("VAN", "Vanuatu"),
    ("VAT", "Vatican City"), ("VCT", "Saint Vincent and the Grenadines"), ("VEN", "Venezuela"), ("VIE", "Vietnam"),
    ("VIN", "Saint Vincent and the Grenadines"), ("VNM", "Vietnam"), ("VUT", "Vanuatu"), ("WAL", "Wales"),
    ("WSM", "Samoa"), ("YEM", "Yemen"), ("YUG", "Yugoslavia"), ("ZAF", "South Africa"), ("ZAM", "Zambia"),
    ("ZIM", "Zimbabwe"), ("ZMB", "Zambia"), ("ZWE", "Zimbabwe"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_found() {
        assert!(COUNTRIES.is_sorted_by(|(a, _), (b, _)| a < b));
        assert_eq!(
            [name("SUI"), name("CHE"), name("UK")],
            [Some("Switzerland"), Some("Switzerland"), Some("United Kingdom")]
        );
        assert_eq!([name("usa"), name(""), name("XYZ")], [None; 3]);
    }
}
