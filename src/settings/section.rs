//! The macro [`section!`], from which everything that must agree about a field follows: its place
//! in a struct, its name in files and in the environment, its default, the values accepted, whether
//! it is hot, and what `deploy/README.md` says of it.
//!
//! It knows nothing of what the fields mean; how a type is read from text is said in
//! [`super::setting`].

use std::fmt;

/// What is known of a field before any value of it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, with those of the sections it stands in: `upstream.fetch.rate`.
    pub path: &'static str,
    /// Its default, as text; `null` when there is none.
    pub default: &'static str,
    /// The lowest and the highest value accepted, as text.
    pub bounds: Option<(&'static str, &'static str)>,
    /// Whether a change applies without a restart.
    pub is_hot: bool,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// What its type accepts.
    pub accepted: &'static str,
    /// The texts accepted, when only those are.
    pub choices: &'static [&'static str],
    /// The JSON type of its values.
    pub json: super::setting::JsonType,
}

/// A field with two values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) field: &'static Field,
    /// The value in force, as a file would have it.
    pub(super) before: String,
    /// The value that the files have.
    pub(super) after: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.field.path, self.before, self.after)
    }
}

impl Field {
    /// What is accepted, in words.
    pub fn accepted(&self) -> String {
        match self.bounds {
            Some((low, high)) => format!("{}, from {low} to {high}", self.accepted),
            None => self.accepted.to_owned(),
        }
    }

    /// The name of its environment variable: `EVENKEEL_UPSTREAM__FETCH__RATE`.
    pub fn variable(&self) -> String {
        variable(self.path)
    }
}

/// The variable of a field or section.
pub(super) fn variable(path: &str) -> String {
    format!("EVENKEEL_{}", path.replace('.', "__").to_ascii_uppercase())
}

/// Declares a section: `field: Type = "default" ["lowest" to "highest"] hot;`, the last two where
/// they apply, and the sections within it: `name: Type if "feature",`, the last where only builds
/// with that cargo feature have it.
macro_rules! section {
    (
        $(#[$attribute:meta])*
        $name:ident($prefix:literal) {
            $(
                $(#[doc = $meaning:literal])+
                $field:ident: $type:ty = $default:literal $([$low:literal to $high:literal])? $($hot:ident)?;
            )*
        }
        $( with { $( $(#[$part_attribute:meta])+ $part:ident: $part_type:ident $(if $feature:literal)?, )+ } )?
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $meaning])+ pub $field: $type, )*
            $($( $(#[cfg(feature = $feature)])? $(#[$part_attribute])+ pub $part: $part_type, )+)?
        }

        impl $name {
            /// Reads it from the layers, a default where they say nothing or what is refused.
            fn read(layers: &mut $crate::settings::layers::Layers) -> Self {
                Self {
                    $( $field: layers.read(
                        section!(@field $prefix, $field, $type, $default, [$($low, $high)?], [$($hot)?], [$($meaning)+]),
                        section!(@within $type, $($low, $high)?),
                    ), )*
                    $($( $(#[cfg(feature = $feature)])? $part: $part_type::read(layers), )+)?
                }
            }

            /// Adds its fields, and those of the sections within it, in the order of their
            /// declaration.
            fn list(fields: &mut Vec<&'static $crate::settings::Field>) {
                $( fields.push(
                    section!(@field $prefix, $field, $type, $default, [$($low, $high)?], [$($hot)?], [$($meaning)+]),
                ); )*
                $($( $(#[cfg(feature = $feature)])? $part_type::list(fields); )+)?
            }

            /// Takes over what differs in the hot fields, and adds every field that differs.
            fn adopt(&mut self, newer: &Self, differing: &mut Vec<$crate::settings::section::Difference>) {
                $( if self.$field != newer.$field {
                    differing.push($crate::settings::section::Difference {
                        field: section!(@field $prefix, $field, $type, $default, [$($low, $high)?], [$($hot)?], [$($meaning)+]),
                        before: $crate::settings::setting::Setting::show(&self.$field),
                        after: $crate::settings::setting::Setting::show(&newer.$field),
                    });
                    if section!(@hot $($hot)?) {
                        self.$field = newer.$field.clone();
                    }
                } )*
                $($( $(#[cfg(feature = $feature)])? self.$part.adopt(&newer.$part, differing); )+)?
            }
        }
    };

    (@field $prefix:literal, $field:ident, $type:ty, $default:literal, [$($low:literal, $high:literal)?], [$($hot:ident)?], [$($meaning:literal)+]) => {
        &$crate::settings::Field {
            path: concat!($prefix, stringify!($field)),
            default: $default,
            bounds: section!(@bounds $($low, $high)?),
            is_hot: section!(@hot $($hot)?),
            meaning: concat!($($meaning),+),
            accepted: <$type as $crate::settings::setting::Setting>::ACCEPTED,
            choices: <$type as $crate::settings::setting::Setting>::CHOICES,
            json: <$type as $crate::settings::setting::Setting>::JSON,
        }
    };
    (@bounds $low:literal, $high:literal) => { Some(($low, $high)) };
    (@bounds) => { None };
    (@hot hot) => { true };
    (@hot) => { false };
    (@within $type:ty, $low:literal, $high:literal) => {
        |read: &$type| $crate::settings::setting::is_within(read, $low, $high)
    };
    (@within $type:ty,) => { |_| true };
}

pub(super) use section;
