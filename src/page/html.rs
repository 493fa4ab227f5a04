//! HTML of a view: minijinja escapes all that stands in it, but for the pictures, which escape by
//! themselves.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use super::{buttons::Pressed, view::View};

/// The templates. Each but the page itself is that of a section, which bears its name.
const TEMPLATES: [(&str, &str); 8] = [
    ("page", include_str!("html/page.html.j2")),
    ("crumbs", include_str!("html/crumbs.html.j2")),
    ("verdict", include_str!("html/verdict.html.j2")),
    ("buttons", include_str!("html/buttons.html.j2")),
    ("flow", include_str!("html/flow.html.j2")),
    ("curves", include_str!("html/curves.html.j2")),
    ("pods", include_str!("html/pods.html.j2")),
    ("facts", include_str!("html/facts.html.j2")),
];

/// The style sheet of all pages.
pub(super) const STYLE: &str = include_str!("html/page.css");
/// What exchanges sections as they change.
pub(super) const SCRIPT: &str = include_str!("html/page.js");

/// The icon of a tab: a buoy in the colour of the verdict.
pub(super) fn icon(severity: &str) -> Option<String> {
    let colour = match severity {
        "good" => "#1a7f4b",
        "wait" => "#d9940a",
        "bad" => "#c9343a",
        _ => return None,
    };
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"7\" fill=\"{colour}\"/>\
         <path d=\"M3 8.5h10\" stroke=\"#fff\" stroke-width=\"2\" stroke-linecap=\"round\"/></svg>"
    ))
}

/// Writes pages.
#[derive(Debug)]
pub(super) struct Html {
    environment: Environment<'static>,
}

/// A view, and the buttons beside it.
#[derive(Debug, Serialize)]
pub(super) struct ShownView {
    #[serde(flatten)]
    pub(super) view: View,
    pub(super) buttons: Option<Pressed>,
}

/// The sections of a page, and what else of it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sections {
    pub(super) title: String,
    pub(super) severity: &'static str,
    /// By the identifier of their element.
    pub(super) sections: Vec<(&'static str, String)>,
}

#[derive(Debug, Serialize)]
struct WholePage<'a> {
    title: &'a str,
    severity: &'a str,
    sections: &'a [(&'static str, String)],
}

impl Html {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.expect("BUG: the usual delimiters"));
        for (name, source) in TEMPLATES {
            let added = environment.add_template(name, source);
            added.expect("BUG: a template of our own is wrong");
        }
        Self { environment }
    }

    /// The sections of a page.
    pub(super) fn sections(&self, shown: &ShownView) -> Sections {
        let names = TEMPLATES.iter().map(|(name, _)| *name).skip(1);
        let names = names.filter(|name| *name != "buttons" || shown.buttons.is_some());
        Sections {
            title: shown.view.title.clone(),
            severity: shown.view.severity,
            sections: names.map(|name| (name, self.render(name, shown))).collect(),
        }
    }

    /// A whole page.
    pub(super) fn page(&self, sections: &Sections) -> String {
        let whole = WholePage {
            title: &sections.title,
            severity: sections.severity,
            sections: &sections.sections,
        };
        self.render("page", &whole)
    }

    fn render(&self, name: &str, context: &impl Serialize) -> String {
        let template = self.environment.get_template(name);
        let rendered = template.and_then(|template| template.render(Serde(context)));
        rendered.expect("BUG: a template of our own asks for what it is not given")
    }
}
