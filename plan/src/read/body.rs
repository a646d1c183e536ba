//! Bodies, credentials, and what is kept from an answer.

use barrage_model::plan::{Auth, Body, Extract, ExtractFrom, FileRef, Part, PartBody};

use super::request::Uses;
use super::scalars::is_map;
use super::{Fields, Got, Reader, Value};
use crate::language::{AUTH, BASIC, EXTRACT, PART};
use crate::problem::Problem;
use crate::value;
use crate::yaml::Node;

impl Reader<'_> {
    /// The body, whichever key holds it.
    pub(crate) fn body(&self, fields: &Fields<'_, '_>) -> Got<Body> {
        let json = fields.opt("json", |value| {
            let mut uses = Uses::new();
            let template = self.json(value.node, &mut uses)?;
            self.check_uses(&uses)?;
            Ok(Body::Json(template))
        });
        let form = fields.opt("form", |value| Ok(Body::Form(self.templates(value)?)));
        let multipart = fields.opt("multipart", |value| self.multipart(value));
        let raw = fields.opt("body", |value| Ok(Body::Raw(self.template(value)?)));
        let file = fields.opt("file", |value| Ok(Body::File(self.file(value)?)));
        let found = [json?, form?, multipart?, raw?, file?].into_iter().flatten().next();
        Ok(found.unwrap_or(Body::Empty))
    }

    fn multipart(&self, value: Value<'_>) -> Got<Body> {
        let read: Vec<Got<Part>> = self
            .entries(value)?
            .map(|(entry, value)| self.part(&entry.key, value))
            .collect();
        let parts: Vec<Part> = read.into_iter().collect::<Got<_>>()?;
        if parts.is_empty() {
            return Err(self.fail(value.node.span, Problem::new("found no parts", "at least one part")));
        }
        Ok(Body::Multipart(parts))
    }

    fn part(&self, name: &str, value: Value<'_>) -> Got<Part> {
        if value::header_value(name).is_err() || name.is_empty() {
            let problem = Problem::value(name, "the name of a field");
            return Err(self.fail(value.node.span, problem));
        }
        let name = name.to_owned();
        if !is_map(value.node) {
            let body = PartBody::Text(self.template(value)?);
            return Ok(Part {
                name,
                filename: None,
                content_type: None,
                body,
            });
        }
        let fields = self.object(value.node, &PART)?;
        let text = fields.opt("text", |value| Ok(PartBody::Text(self.template(value)?)));
        let file = fields.opt("file", |value| Ok(PartBody::File(self.file(value)?)));
        let filename = fields.opt("filename", |value| self.text(value));
        let content_type = fields.opt("content_type", |value| self.text(value));
        let body = text?.or(file?).ok_or_else(|| fields.missing("text"))?;
        let own = match &body {
            PartBody::File(FileRef { path, .. }) => path.rsplit('/').next().map(str::to_owned),
            PartBody::Text(_) => None,
        };
        Ok(Part {
            name,
            filename: filename?.or(own),
            content_type: content_type?,
            body,
        })
    }

    /// Credentials, and the templates in them.
    pub(crate) fn auth<'n>(&self, node: &'n Node) -> Got<(Auth, Uses<'n>)> {
        let fields = self.object(node, &AUTH)?;
        let basic = fields.opt("basic", |value| {
            let fields = self.object(value.node, &BASIC)?;
            let user = fields.need("user", |value| Ok((value.node, self.unscoped(value)?)));
            let password = fields.need("password", |value| Ok((value.node, self.unscoped(value)?)));
            let (user, password) = (user?, password?);
            let auth = Auth::Basic {
                user: user.1.clone(),
                password: password.1.clone(),
            };
            Ok((auth, vec![user, password]))
        });
        let bearer = fields.opt("bearer", |value| {
            let token = self
                .unscoped(value)
                .and_then(|template| self.header_text(value, template))?;
            Ok((Auth::Bearer(token.clone()), vec![(value.node, token)]))
        });
        basic?.or(bearer?).ok_or_else(|| fields.missing("bearer"))
    }

    pub(crate) fn extracts(&self, value: Value<'_>) -> Got<Vec<Extract>> {
        let mut all = Vec::new();
        for (entry, value) in self.entries(value)? {
            let name = self.variable_key(entry);
            let extract = self
                .object(value.node, &EXTRACT)
                .and_then(|fields| self.extract(&fields));
            self.declare(&entry.key);
            all.push(name.and_then(|name| {
                let (from, default) = extract?;
                Ok(Extract { name, from, default })
            }));
        }
        all.into_iter().collect()
    }

    fn extract(&self, fields: &Fields<'_, '_>) -> Got<(ExtractFrom, Option<String>)> {
        let json = fields.opt("json", |value| {
            Ok(ExtractFrom::Json(self.parse(value, value::json_path)?))
        });
        let header = fields.opt("header", |value| {
            Ok(ExtractFrom::Header(
                self.parse(value, value::header_name)?.to_ascii_lowercase(),
            ))
        });
        let regex = fields.opt("regex", |value| Ok(ExtractFrom::Regex(self.regex(value)?)));
        let cookie = fields.opt("cookie", |value| {
            Ok(ExtractFrom::Cookie(self.parse(value, value::header_name)?))
        });
        let default = fields.opt("default", |value| self.any(value));
        let from = [json?, header?, regex?, cookie?].into_iter().flatten().next();
        Ok((from.ok_or_else(|| fields.missing("json"))?, default?))
    }
}
