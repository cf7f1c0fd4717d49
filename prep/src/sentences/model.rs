//! Which parameters split the sentences of a corpus.

use std::fmt;
use std::path::Path;

use cloze_formats::checksum::sha256_hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Parameters, Splitter};
use crate::Result;
use crate::error::AtPath;

/// The name of the built-in parameters.
const ENGLISH: &str = "english";

/// A splitter with the name by which corpora remember its parameters: `english`, or the SHA-256 of a parameter file.
///
/// Two are equal if their names are. As configuration it is its name alone, so that only `english` can be read back.
#[derive(Clone)]
pub struct SentenceModel {
    name: String,
    splitter: Splitter,
}

impl SentenceModel {
    /// The built-in English parameters.
    pub fn english() -> Self {
        Self { name: ENGLISH.to_owned(), splitter: Splitter::english() }
    }

    /// The parameters in a file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a parameter file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).at(path)?;
        let splitter = Splitter::new(&Parameters::from_bytes(path, &bytes)?);
        Ok(Self { name: sha256_hex(&bytes), splitter })
    }

    /// `english`, or the SHA-256 of the parameter file in hexadecimal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Splits with its parameters.
    pub fn splitter(&self) -> &Splitter {
        &self.splitter
    }
}

impl Default for SentenceModel {
    fn default() -> Self {
        Self::english()
    }
}

impl PartialEq for SentenceModel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for SentenceModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SentenceModel").field(&self.name).finish()
    }
}

impl Serialize for SentenceModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for SentenceModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == ENGLISH {
            return Ok(Self::english());
        }
        let problem = format!("expected the sentence model {ENGLISH:?}, found {name:?}: give its parameter file");
        Err(serde::de::Error::custom(problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_its_name() {
        let english = SentenceModel::english();
        assert_eq!(serde_json::to_string(&english).unwrap(), "\"english\"");
        assert_eq!(serde_json::from_str::<SentenceModel>("\"english\"").unwrap(), english);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own.punkt");
        std::fs::write(&path, Parameters::default().to_text(&[])).unwrap();
        let own = SentenceModel::read(&path).unwrap();
        assert_ne!(own, english);
        assert_eq!(own.name(), sha256_hex(&std::fs::read(&path).unwrap()));
        let message = serde_json::from_str::<SentenceModel>("\"00ff\"").unwrap_err().to_string();
        assert!(message.contains("expected the sentence model \"english\", found \"00ff\""), "{message}");
        let message = SentenceModel::read(&dir.path().join("none")).unwrap_err().to_string();
        assert!(message.contains("none: "), "{message}");
    }
}
