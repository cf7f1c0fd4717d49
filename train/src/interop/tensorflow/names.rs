//! Names of google-research/bert's variables and PyTorch's of the same weights.

/// Variables that are not only spelt another way: PyTorch's name and TensorFlow's.
///
/// Source: run_pretraining.py, run_classifier.py and run_squad.py of google-research/bert.
const HEADS: [(&str, &str); 5] = [
    ("cls.predictions.bias", "cls/predictions/output_bias"),
    ("classifier.weight", "output_weights"),
    ("classifier.bias", "output_bias"),
    ("qa_outputs.weight", "cls/squad/output_weights"),
    ("qa_outputs.bias", "cls/squad/output_bias"),
];

/// Whether the variable is the matrix of a dense layer, which TensorFlow keeps as `[from, to]`.
pub(super) fn is_kernel(name: &str) -> bool {
    name.ends_with("/kernel")
}

/// PyTorch's name of a variable of google-research/bert; another one is only spelt with dots.
pub(super) fn torch_name(name: &str) -> String {
    if let Some((torch, _)) = HEADS.iter().find(|(_, tensorflow)| *tensorflow == name) {
        return (*torch).to_owned();
    }
    let parts = name.split('/').map(|part| match part {
        "kernel" | "gamma" | "output_weights" => "weight".to_owned(),
        "beta" | "output_bias" => "bias".to_owned(),
        "word_embeddings" | "position_embeddings" | "token_type_embeddings" => format!("{part}.weight"),
        _ => part.strip_prefix("layer_").map_or(part.to_owned(), |index| format!("layer.{index}")),
    });
    parts.collect::<Vec<_>>().join(".")
}

/// The name of google-research/bert for a weight that this crate names `name`.
pub(super) fn tensorflow_name(name: &str) -> String {
    if let Some((_, tensorflow)) = HEADS.iter().find(|(torch, _)| *torch == name) {
        return (*tensorflow).to_owned();
    }
    let (stem, last) = name.rsplit_once('.').unwrap_or(("", name));
    let stem = stem.replace(".layer.", ".layer_").replace('.', "/");
    let is_weight = last == "weight";
    let own = if stem.ends_with("_embeddings") {
        return stem;
    } else if stem.ends_with("LayerNorm") {
        if is_weight { "gamma" } else { "beta" }
    } else if stem.ends_with("seq_relationship") {
        if is_weight { "output_weights" } else { "output_bias" }
    } else if is_weight {
        "kernel"
    } else {
        last
    };
    format!("{stem}/{own}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::architecture::ALL;
    use crate::model::config::BertConfig;

    #[test]
    fn every_weight_of_every_class_has_a_variable_and_comes_back() {
        for architecture in ALL {
            for (name, _) in architecture.weights(&BertConfig::default()) {
                let variable = tensorflow_name(&name);
                assert!(!variable.contains('.'), "{variable}");
                assert_eq!(torch_name(&variable), name);
            }
        }
    }

    #[test]
    fn names_are_those_of_google_s_scripts() {
        let named = [
            ("output_weights", "classifier.weight"),
            ("output_bias", "classifier.bias"),
            ("cls/squad/output_weights", "qa_outputs.weight"),
            ("cls/squad/output_bias", "qa_outputs.bias"),
            ("cls/predictions/output_bias", "cls.predictions.bias"),
            ("cls/predictions/transform/dense/kernel", "cls.predictions.transform.dense.weight"),
            ("cls/seq_relationship/output_weights", "cls.seq_relationship.weight"),
            ("cls/seq_relationship/output_bias", "cls.seq_relationship.bias"),
            ("bert/encoder/layer_11/output/LayerNorm/gamma", "bert.encoder.layer.11.output.LayerNorm.weight"),
            ("bert/encoder/layer_0/attention/self/query/kernel", "bert.encoder.layer.0.attention.self.query.weight"),
            ("bert/embeddings/token_type_embeddings", "bert.embeddings.token_type_embeddings.weight"),
        ];
        for (tensorflow, torch) in named {
            assert_eq!((torch_name(tensorflow), tensorflow_name(torch)), (torch.to_owned(), tensorflow.to_owned()));
        }
    }
}
