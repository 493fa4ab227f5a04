//! The template: a project's settings in, the JSON configuration out.
//!
//! It is the software that a rollout stands for, so it is read once and not watched: another
//! template is another rollout. Undefined values are errors, `fuel` bounds the work of one render,
//! and what comes out must be JSON.

use std::{fs, path::Path};

use bytes::Bytes;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::{Serialize, de::IgnoredAny};
use serde_json::{Map, Value};

/// How many instructions one render may take: some hundred times what a large template needs.
const FUEL: u64 = 5_000_000;

/// The name that the template bears in its environment.
const NAME: &str = "template.json";

/// What a template sees.
#[derive(Debug, Serialize)]
pub(super) struct Context<'a> {
    /// Whose configuration.
    pub(super) project: &'a str,
    /// Which component of the software asks.
    pub(super) component: &'a str,
    /// The generation of the software.
    pub(super) rollout: u64,
    /// What the project's file says.
    pub(super) settings: &'a Map<String, Value>,
}

/// A template that could not be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum InvalidTemplate {
    #[error(transparent)]
    Unreadable(#[from] std::io::Error),
    #[error("the template is wrong: {0}")]
    Syntax(minijinja::Error),
}

/// Why a template gave no configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("the template failed: {0}")]
    Failed(#[from] minijinja::Error),
    #[error("the template gave no JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// A compiled template.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
}

impl Template {
    /// Reads the template at `path`. It renders values as JSON, whatever the file is called.
    pub(super) fn read(path: &Path) -> Result<Self, InvalidTemplate> {
        Self::new(fs::read_to_string(path)?).map_err(InvalidTemplate::Syntax)
    }

    /// Compiles a template.
    pub(super) fn new(source: String) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Json);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()?,
        );
        environment.set_fuel(Some(FUEL));
        environment.add_template_owned(NAME, source)?;
        Ok(Self { environment })
    }

    /// Renders a configuration.
    pub(super) fn render(&self, context: &Context<'_>) -> Result<Bytes, TemplateError> {
        let text = self
            .environment
            .get_template(NAME)?
            .render(Serde(context))?;
        serde_json::from_str::<IgnoredAny>(&text)?;
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<Bytes, TemplateError> {
        let settings = serde_json::json!({ "name": "Ada \"the\" Bank" });
        Template::new(source.to_owned())?.render(&Context {
            project: "ada",
            component: "identity",
            rollout: 3,
            settings: settings.as_object().unwrap(),
        })
    }

    #[test]
    fn values_are_written_as_json() {
        let payload = render(r#"{"of": {{ project }}, "name": {{ settings.name }}}"#).unwrap();
        assert_eq!(payload, r#"{"of": "ada", "name": "Ada \"the\" Bank"}"#);
    }

    #[test]
    fn what_is_undefined_is_an_error_that_says_where() {
        let error = render("{\n\"x\": {{ settings.mail.from }}}").unwrap_err();
        assert!(error.to_string().contains("template.json:2"), "{error}");
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        let error = render("{").unwrap_err();
        assert!(matches!(error, TemplateError::NotJson(_)), "{error}");
    }

    #[test]
    fn a_template_that_does_not_end_runs_out_of_fuel() {
        let error =
            render("{% for a in range(9999) %}{% for b in range(9999) %}1{% endfor %}{% endfor %}")
                .unwrap_err();
        assert!(error.to_string().contains("fuel"), "{error}");
    }
}
