//! Templates: text with places for values, which are escaped for HTML.

use std::borrow::Cow;
use std::collections::BTreeMap;

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use crate::endpoint::page::asset::Assets;
use crate::endpoint::page::theme::Theme;

/// Every template there is.
const BUILT_IN: [(&str, &str); 11] = [
    ("account.html", include_str!("templates/account.html")),
    ("consent.html", include_str!("templates/consent.html")),
    ("device.html", include_str!("templates/device.html")),
    ("device_code.html", include_str!("templates/device_code.html")),
    ("device_done.html", include_str!("templates/device_done.html")),
    ("error.html", include_str!("templates/error.html")),
    ("layout.html", include_str!("templates/layout.html")),
    ("login.html", include_str!("templates/login.html")),
    ("logout.html", include_str!("templates/logout.html")),
    ("scopes.html", include_str!("templates/scopes.html")),
    ("send_on.html", include_str!("templates/send_on.html")),
];

/// The templates, read and checked.
pub(super) struct Templates {
    environment: Environment<'static>,
    /// Of each template of the theme: its name, and the path of its file.
    paths: Vec<(String, String)>,
}

/// A template that cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct TemplateError {
    /// File and line.
    place: String,
    /// What is wrong there.
    reason: String,
}

impl Templates {
    /// Reads the built-in templates and those of the theme.
    pub(super) fn new(theme: &Theme, assets: &Assets, base: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_global("base", base);
        let paths = assets.names().iter().map(|(file, served)| (file.clone(), format!("{base}/assets/{served}")));
        environment.add_global("assets", Value::from(paths.collect::<BTreeMap<_, _>>()));
        let mut templates = Self { environment, paths: Vec::new() };
        for (name, text) in BUILT_IN {
            templates.add(name, Cow::Borrowed(text))?;
        }
        for file in theme.files.iter().filter(|file| file.name.ends_with(".html")) {
            templates.paths.push((file.name.clone(), file.path.clone()));
            let Ok(text) = String::from_utf8(file.content.clone()) else {
                return Err(TemplateError { place: file.path.clone(), reason: "is not UTF-8".to_owned() });
            };
            templates.add(&file.name, Cow::Owned(text))?;
        }
        Ok(templates)
    }

    fn add(&mut self, name: &str, text: Cow<'static, str>) -> Result<(), TemplateError> {
        let added = self.environment.add_template_owned(name.to_owned(), text);
        added.map_err(|error| self.error(&error, name))
    }

    /// A page: the template of that name, with `page` as what it shows.
    pub(super) fn render<T: Serialize>(&self, name: &str, page: &T) -> Result<String, TemplateError> {
        let context = minijinja::context! { page => Value::from(Serde(page)) };
        let rendered = self.environment.get_template(name).and_then(|template| template.render(context));
        rendered.map_err(|error| self.error(&error, name))
    }

    /// The innermost error: where a template includes another, what went wrong in that one.
    fn error(&self, error: &minijinja::Error, rendered: &str) -> TemplateError {
        let mut innermost = error;
        while let Some(inside) =
            std::error::Error::source(innermost).and_then(|inside| inside.downcast_ref::<minijinja::Error>())
        {
            innermost = inside;
        }
        let name = innermost.name().or_else(|| error.name()).unwrap_or(rendered);
        let path = self.paths.iter().find(|(own, _)| own == name).map_or(name, |(_, path)| path);
        let place = match innermost.line().or_else(|| error.line()) {
            Some(line) => format!("{path}, line {line}"),
            None => path.to_owned(),
        };
        let kind = innermost.kind();
        let reason = innermost.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"));
        TemplateError { place, reason }
    }
}
