//! Text from outside, cut to what it may take of a page once it is escaped.

/// The start of the text that takes at most `most` bytes of HTML.
pub(super) fn clip(text: &str, most: usize) -> String {
    if takes(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub('…'.len_utf8());
    let fits = |character: &char| {
        let takes = taken(*character);
        let fits = takes <= left;
        left = left.saturating_sub(takes);
        fits
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

/// How many bytes a text takes once it is escaped.
pub(super) fn takes(text: &str) -> usize {
    text.chars().map(taken).sum()
}

fn taken(character: char) -> usize {
    match character {
        '<' | '>' | '&' | '"' | '\'' | '/' => "&quot;".len(),
        character => character.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_escaped_takes_more() {
        assert_eq!(clip("shop-7", 6), "shop-7");
        assert_eq!(clip("shop-77", 6), "sho…");
        assert_eq!(clip("<<<<", 24), "<<<<");
        assert_eq!(clip("<<<<", 23), "<<<…");
        assert_eq!(clip("ääää", 7), "ää…");
        assert_eq!(clip("abc", 0), "…");
    }
}
