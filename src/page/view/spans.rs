//! A sentence in pieces, so that what is to be typed looks like it.

use serde::Serialize;

/// The most pieces of a sentence that are to be typed; one with more has none.
const TYPED: usize = 10;

/// A piece of a sentence, and whether it is to be typed as it stands.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::page) struct Span {
    pub(in crate::page) is_code: bool,
    pub(in crate::page) text: String,
}

/// A sentence in pieces: what stands between backticks is to be typed.
pub(super) fn spans(sentence: &str) -> Vec<Span> {
    let pieces: Vec<_> = sentence.split('`').collect();
    if pieces.len().is_multiple_of(2) || pieces.len() > 2 * TYPED + 1 {
        // A backtick that is not closed is one.
        return vec![Span {
            is_code: false,
            text: sentence.to_owned(),
        }];
    }
    let pieces = pieces
        .into_iter()
        .enumerate()
        .filter(|(_, text)| !text.is_empty());
    pieces
        .map(|(index, text)| Span {
            is_code: !index.is_multiple_of(2),
            text: text.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_typed_stands_between_backticks() {
        let span = |is_code, text: &str| Span {
            is_code,
            text: text.to_owned(),
        };
        assert_eq!(
            spans("Raise `admission.rate`, or not."),
            [
                span(false, "Raise "),
                span(true, "admission.rate"),
                span(false, ", or not.")
            ]
        );
        assert_eq!(spans("a ` b"), [span(false, "a ` b")]);
        assert_eq!(spans(""), []);
    }
}
