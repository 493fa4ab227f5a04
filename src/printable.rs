//! Text from outside, made fit to be shown: no control character reaches a terminal or begins a
//! line of its own.
//!
//! Logs and the terminal pass all that they write through here, at the edge where it is formatted,
//! so that no new line can forget it. What the text means is not known here.

use std::fmt::{self, Write as _};

/// What stands where text was left out.
const CUT: char = '…';

/// The text with each character escaped that a terminal may obey or hide (`\n`, `\u{1b}`,
/// `\u{202e}`), cut to at most `most` bytes.
pub fn printable(text: impl fmt::Display, most: usize) -> String {
    let mut shown = String::new();
    // If there is only room for the mark that something is left out.
    let mut room = 0;
    for character in collect(text, most).chars() {
        if is_obeyed(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        if shown.len() + CUT.len_utf8() <= most {
            room = shown.len();
        }
        if shown.len() > most {
            shown.truncate(room);
            shown.push(CUT);
            break;
        }
    }
    shown
}

/// The text cut as [`printable`] cuts it, and nothing escaped.
pub fn cut(text: impl fmt::Display, most: usize) -> String {
    let mut text = collect(text, most);
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most - CUT.len_utf8()));
        text.push(CUT);
    }
    text
}

/// Whether a terminal or a reader may obey a character rather than show it: the controls of C0 and
/// C1, DEL, separators of lines and paragraphs, marks that turn the direction of text, and what
/// takes no room.
pub fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
        || matches!(character, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The first `most` bytes of what is written, and the rest of the character after them, if there is
/// more.
fn collect(text: impl fmt::Display, most: usize) -> String {
    let mut bounded = Bounded {
        text: String::new(),
        most,
    };
    // An error says that the rest is not wanted.
    let _ = write!(bounded, "{text}");
    bounded.text
}

struct Bounded {
    text: String,
    most: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = (self.most + 1).saturating_sub(self.text.len());
        let (fits, rest) = text.split_at(text.ceil_char_boundary(room));
        self.text.push_str(fits);
        if rest.is_empty() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let text = "a\nb\r\tc\x1b[31m\u{7f}\u{9b}2J\u{202e}d\u{2028}e\u{2066}f\u{200b}\0";
        assert_eq!(
            printable(text, 300),
            r"a\nb\r\tc\u{1b}[31m\u{7f}\u{9b}2J\u{202e}d\u{2028}e\u{2066}f\u{200b}\u{0}"
        );
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        let text = r#"Straße "größer" 東京 \n 🦀 {}"#;
        assert_eq!(printable(text, 300), text);
    }

    #[test]
    fn a_long_text_is_cut_at_the_limit_and_between_characters() {
        assert_eq!(printable("12345678", 8), "12345678");
        assert_eq!(printable("123456789", 8), "12345…");
        assert_eq!(printable("12345\n\n", 8), "12345…");
        assert_eq!(printable("ääääää", 8), "ää…");
        for text in ["a".repeat(9_000), "\x1b".repeat(9_000), "東".repeat(9_000)] {
            for shown in [printable(&text, 300), cut(&text, 300)] {
                assert!(shown.len() <= 300 && shown.len() > 280, "{}", shown.len());
                assert!(shown.ends_with('…'));
            }
        }
    }

    #[test]
    fn a_long_text_is_not_collected_whole() {
        assert_eq!(collect("x".repeat(1 << 20), 300).len(), 301);
        assert_eq!(collect(format_args!("{:>9999}", 1), 300).len(), 301);
    }
}
