//! Reads one YAML file into the values of known fields, each with its place.
//!
//! A structural problem (syntax, a duplicate key) ends the reading of the file; a name that no
//! field has does not, and what a value means is left to its type. Scalars are kept as they are
//! spelled, for YAML's own reading of them is too kind.

use std::{fmt, ops::Range, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    Location, MessageFormatter, Spanned, UserMessageFormatter, options,
    options::NonFiniteFloatPolicy,
};

use super::{
    Settings,
    layers::{Layer, LayerEntry},
    problem::{Problem, ValueOrigin, nearest},
    setting::Written,
    shown::shown,
};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The values of its fields.
    pub(super) layer: Layer,
    /// Its sections, and its fields outside of any.
    pub(super) sections: Vec<(String, ValueOrigin)>,
    /// The names in it that no field has, and the sections that are none.
    pub(super) problems: Vec<Problem>,
}

impl Document {
    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// When it is empty or its structure is not that of a settings file.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Problem> {
        let unparsable = |location: Option<Location>, why: String| Problem::Unparsable {
            path: path.into(),
            position: location.map(|location| (location.line(), location.column())),
            why,
        };
        let source = str::from_utf8(bytes)
            .map_err(|error| unparsable(None, format!("is not UTF-8: {error}")))?;
        let options = options! {
            non_finite_float_policy: NonFiniteFloatPolicy::AsString,
            strict_booleans: true,
            reject_unsupported_tags: true,
            with_snippet: false,
        };
        let root: Spanned<Node> =
            serde_saphyr::from_str_with_options(source, options).map_err(|error| {
                let why = UserMessageFormatter.format_message(&error);
                unparsable(error.location(), why.into_owned())
            })?;
        let mut document = Self::default();
        match root.value {
            Node::Null => return Err(Problem::Empty { path: path.into() }),
            Node::Mapping(parts) => {
                let reading = DocumentReader { path, source };
                for (name, _) in &parts {
                    let stands = (name.value.clone(), place(path, name.referenced));
                    document.sections.push(stands);
                }
                reading.take(&mut document, "", parts);
            }
            Node::Plain | Node::Text(_) | Node::List(_) => {
                let why = "a file of settings is a mapping of sections".to_owned();
                return Err(unparsable(Some(root.referenced), why));
            }
        }
        Ok(document)
    }
}

struct DocumentReader<'a> {
    path: &'a Path,
    source: &'a str,
}

impl DocumentReader<'_> {
    /// Takes the parts of a section whose name, with a dot behind it, is `prefix`.
    fn take(
        &self,
        document: &mut Document,
        prefix: &str,
        parts: Vec<(Spanned<String>, Spanned<Node>)>,
    ) {
        let fields = Settings::fields();
        for (name, node) in parts {
            let path = format!("{prefix}{}", name.value);
            let within = format!("{path}.");
            let is_section = fields.iter().any(|field| field.path.starts_with(&within));
            match (fields.iter().find(|field| field.path == path), node.value) {
                (Some(field), value) => {
                    let entry = self.entry(value, node.referenced, node.defined);
                    document.layer.insert(field.path, entry);
                }
                (None, Node::Mapping(parts)) if is_section => self.take(document, &within, parts),
                (None, value) if is_section => {
                    document.problems.push(Problem::Refused {
                        place: place(self.path, node.referenced),
                        value: self.entry(value, node.referenced, node.defined).shown,
                        field: path,
                        accepted: "a mapping of fields, or left out to have their defaults"
                            .to_owned(),
                    });
                }
                (None, _) => document.problems.push(Problem::Unknown {
                    place: place(self.path, name.referenced),
                    nearest: nearest(&path, &fields),
                    name: path,
                }),
            }
        }
    }

    fn entry(&self, node: Node, referenced: Location, defined: Location) -> LayerEntry {
        LayerEntry {
            shown: shown(&self.spelling(&node, defined)),
            written: self.written(node, defined),
            place: place(self.path, referenced),
        }
    }

    fn spelling(&self, node: &Node, defined: Location) -> String {
        match node {
            Node::Null => "null".to_owned(),
            Node::Plain | Node::Text(_) => {
                let lines: Vec<_> = self.spelled(defined).lines().map(str::trim).collect();
                lines.join(" ")
            }
            Node::List(nodes) => {
                let nodes = nodes.iter();
                let shown: Vec<_> = nodes
                    .map(|node| self.spelling(&node.value, node.defined))
                    .collect();
                format!("[{}]", shown.join(", "))
            }
            Node::Mapping(_) => "{…}".to_owned(),
        }
    }

    fn written(&self, node: Node, defined: Location) -> Written {
        match node {
            Node::Null => Written::Null,
            Node::Text(text) => Written::Text(text),
            Node::Mapping(_) => Written::Mapping,
            Node::Plain => Written::Plain(self.spelled(defined).to_owned()),
            Node::List(nodes) => {
                let entry = |node: Spanned<Node>| self.written(node.value, node.defined);
                Written::List(nodes.into_iter().map(entry).collect())
            }
        }
    }

    fn spelled(&self, defined: Location) -> &str {
        let spelled = bytes_of(defined).and_then(|bytes| self.source.get(bytes));
        spelled.unwrap_or_default().trim()
    }
}

fn place(path: &Path, location: Location) -> ValueOrigin {
    ValueOrigin::File {
        path: path.into(),
        line: location.line(),
        column: location.column(),
    }
}

fn bytes_of(location: Location) -> Option<Range<usize>> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    Some(start..start + length)
}

/// A node of YAML.
#[derive(Debug)]
enum Node {
    Null,
    /// A number or a boolean.
    Plain,
    Text(String),
    List(Vec<Spanned<Node>>),
    Mapping(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_i64<E>(self, _value: i64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_u64<E>(self, _value: u64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = entries.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = entries.next_entry()? {
            parts.push(part);
        }
        Ok(Node::Mapping(parts))
    }
}
