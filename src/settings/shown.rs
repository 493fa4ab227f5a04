//! How what others wrote is shown, in errors and log lines: in one line, of bounded length, and
//! without a password.

use std::path::Path;

/// The most characters that are shown of a value or a name.
const LONGEST: usize = 100;
/// The most characters that are shown of a path, or of what a parser says.
const LONGEST_SENTENCE: usize = 300;

/// A value or a name: a hundred characters of it.
pub fn shown(text: &str) -> String {
    in_one_line(text, LONGEST)
}

/// What the system or a parser says.
pub(super) fn sentence(text: &str) -> String {
    in_one_line(text, LONGEST_SENTENCE)
}

/// A path; `-` is standard input.
pub(super) fn path(path: &Path) -> String {
    if path.as_os_str() == "-" {
        return "standard input".to_owned();
    }
    sentence(&path.to_string_lossy())
}

/// As many characters of a text, without a password of a URL in it, and with what is no plain
/// character escaped.
pub fn in_one_line(text: &str, longest: usize) -> String {
    let (before, password, after) = around_password(text);
    let hidden = if password.is_empty() { "" } else { "…" };
    let parts = before.chars().chain(hidden.chars()).chain(after.chars());
    let mut shown = String::new();
    for (count, character) in parts.enumerate() {
        if count == longest {
            return format!("{shown}… ({} bytes)", text.len());
        }
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

/// Parts a text at the user and password of a URL in it: `http://`, `user:password`,
/// `@renderer:7070`.
///
/// A password may hold any character, so all up to the last `@` may belong to it.
fn around_password(text: &str) -> (&str, &str, &str) {
    let nothing = (text, "", "");
    let Some(end) = text.rfind('@') else {
        return nothing;
    };
    let before = &text[..end];
    let start = match (before.find("://"), before.find(':')) {
        (Some(scheme), _) => scheme + "://".len(),
        (None, Some(_)) if !before.contains("unix:") => 0,
        (None, _) => return nothing,
    };
    (&text[..start], &text[start..end], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (text, expected) in [
            ("http://me:secret@renderer:7070", "http://…@renderer:7070"),
            ("http://me:s@cr/t#e@renderer", "http://…@renderer"),
            ("'http://:secret@renderer'", "'http://…@renderer'"),
            ("me:secret@renderer:7070", "…@renderer:7070"),
            ("[http://a:b@c, http://d:e@f]", "[http://…@f]"),
            ("http://renderer:7070", "http://renderer:7070"),
            ("unix:/run/user@1/a.sock", "unix:/run/user@1/a.sock"),
            ("me@renderer", "me@renderer"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn a_long_value_is_shortened_and_a_line_stays_one() {
        let long = "x".repeat(3 << 20);
        assert_eq!(
            shown(&long),
            format!("{}… (3145728 bytes)", "x".repeat(100))
        );
        assert_eq!(shown("a\nERROR b\x1b[31m"), "a\\nERROR b\\u{1b}[31m");
        assert_eq!(shown("\"it's\" über"), "\"it's\" über");
        assert_eq!(path(Path::new("-")), "standard input");
    }
}
