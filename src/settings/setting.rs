//! The types that a field may have, and how each is read from what is [`Written`].
//!
//! A field is read strictly, by what its type accepts and never by what YAML makes of it: `"3"` is
//! no number, `true` is no text, `1_000`, `0x10` and `.nan` are nothing at all. Values of
//! environment and flags carry no such kind and are read as what the field wants.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;

/// What is written for a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// YAML's null, or nothing.
    Null,
    /// A number or a boolean of YAML, as it is spelled.
    Plain(String),
    /// A text of YAML.
    Text(String),
    /// A value of an environment variable, a flag or a default.
    Untyped(String),
    /// A sequence of YAML.
    List(Vec<Written>),
    /// A mapping of YAML.
    Mapping,
}

impl Written {
    /// A default, a variable's or a flag's value.
    pub(super) fn untyped(text: &str) -> Self {
        Self::Untyped(text.to_owned())
    }

    fn number(&self) -> Option<&str> {
        match self {
            Self::Plain(text) | Self::Untyped(text) => Some(text),
            Self::Null | Self::Text(_) | Self::List(_) | Self::Mapping => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Untyped(text) => Some(text),
            Self::Null | Self::Plain(_) | Self::List(_) | Self::Mapping => None,
        }
    }
}

/// The JSON type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonType {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A text.
    Text,
    /// A text, or a whole number of bytes.
    Size,
    /// A list of texts.
    Texts,
}

/// Reads a value strictly.
pub(super) trait Setting: Sized {
    /// What is accepted, in words.
    const ACCEPTED: &'static str;
    /// The texts accepted, when only those are.
    const CHOICES: &'static [&'static str] = &[];
    /// The type in JSON.
    const JSON: JsonType;

    /// Reads what is written; nothing when it is not accepted.
    fn read(written: &Written) -> Option<Self>;

    /// The value as text, as a file would have it.
    fn show(&self) -> String;

    /// Whether that means that there is no value.
    fn is_absent(_written: &Written) -> bool {
        false
    }
}

/// Whether a value lies within bounds given as text.
pub(super) fn is_within<T: Setting + PartialOrd>(read: &T, low: &str, high: &str) -> bool {
    let bound = |text| T::read(&Written::untyped(text)).expect("BUG: a bound is not accepted");
    (bound(low)..=bound(high)).contains(read)
}

/// Reads decimal digits and nothing else.
fn whole<T: FromStr>(written: &Written) -> Option<T> {
    let digits = written.number()?;
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then(|| digits.parse().ok()).flatten()
}

/// Implements [`Setting`] for kinds of whole numbers, each with what is accepted.
macro_rules! whole_numbers {
    ($($number:ty: $accepted:literal,)*) => {$(
        impl Setting for $number {
            const ACCEPTED: &'static str = $accepted;
            const JSON: JsonType = JsonType::Integer;

            fn read(written: &Written) -> Option<Self> {
                whole(written)
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers! {
    u32: "a whole number",
    NonZeroU32: "a whole number",
    NonZeroU64: "a whole number above 0",
    NonZeroUsize: "a whole number",
}

impl Setting for f64 {
    const ACCEPTED: &'static str = "a number";
    const JSON: JsonType = JsonType::Number;

    fn read(written: &Written) -> Option<Self> {
        let number: Self = written.number()?.parse().ok()?;
        number.is_finite().then_some(number + 0.0) // −0 becomes 0
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Duration {
    const ACCEPTED: &'static str = "a duration with its unit, such as 250ms or 30s";
    const JSON: JsonType = JsonType::Text;

    fn read(written: &Written) -> Option<Self> {
        humantime::parse_duration(written.text()?).ok()
    }

    fn show(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(ByteSize);

impl Size {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0.as_u64()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.display().iec(), f)
    }
}

impl Setting for Size {
    const ACCEPTED: &'static str = "a size such as 512KiB or 16MiB, or a number of bytes";
    const JSON: JsonType = JsonType::Size;

    fn read(written: &Written) -> Option<Self> {
        if let Some(bytes) = whole(written) {
            return Some(Self(ByteSize::b(bytes)));
        }
        let text = written.text()?;
        let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
        has_unit.then(|| text.parse().ok().map(Self)).flatten()
    }

    fn show(&self) -> String {
        let bytes = self.bytes();
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = units
            .into_iter()
            .find(|(power, _)| bytes >> power << power == bytes && bytes > 0);
        match whole {
            Some((power, unit)) => format!("{}{unit}", bytes >> power),
            None => format!("{bytes}B"),
        }
    }
}

impl Setting for String {
    const ACCEPTED: &'static str = "a text of 1 to 253 characters of [A-Za-z0-9._:/-]";
    const JSON: JsonType = JsonType::Text;

    fn read(written: &Written) -> Option<Self> {
        let text = written.text()?;
        let is_accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
        let fits = (1..=253).contains(&text.len()) && text.bytes().all(is_accepted);
        fits.then(|| text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

macro_rules! optional {
    ($($type:ty: $accepted:literal;)+) => { $(
        impl Setting for Option<$type> {
            const ACCEPTED: &'static str = $accepted;
            const JSON: JsonType = <$type>::JSON;

            fn read(written: &Written) -> Option<Self> {
                if Self::is_absent(written) {
                    return Some(None);
                }
                <$type>::read(written).map(Some)
            }

            fn show(&self) -> String {
                self.as_ref().map_or_else(|| "null".to_owned(), Setting::show)
            }

            fn is_absent(written: &Written) -> bool {
                matches!(written, Written::Null) || *written == Written::untyped("null")
            }
        }
    )+ };
}

optional! {
    Duration: "null, or a duration with its unit, such as 15m or 1h";
    f64: "null, or a number";
    NonZeroU32: "null, or a whole number";
    super::KeptFolder: "null, or an absolute path such as /var/lib/evenkeel";
    String: "null, or a text of 1 to 253 characters of [A-Za-z0-9._:/-]";
    super::StoreAddress: "null, or redis://HOST:PORT without a user, path or query";
}
#[cfg(feature = "otlp")]
optional! {
    http::Uri: "null, or http://HOST:PORT without a path";
}
