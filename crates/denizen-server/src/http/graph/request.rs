//! What a request asks for: the members of its body, one by one, and the options of a list; and a list's answer.
//!
//! Tests: `tests/`.

use denizen_wire::{PrincipalId, UnixTime};
use http::StatusCode;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Graph, GraphAccess, fault::Fault};
use crate::{
    app::directory::{List, Listed, Named, Page},
    domain::query::{Filter, Options},
    http::{Call, Reply, body::depth, reply, route::Params},
};

/// The largest body, bytes.
const MAX_BODY: usize = 256 * 1024;
/// The largest batch, bytes.
pub(super) const MAX_BATCH: usize = 1024 * 1024;
const MAX_DEPTH: usize = 16;

/// An object of which each member is taken once: what is left that says something was not understood.
pub(super) struct Members {
    of: Map<String, Value>,
    /// The property whose value it is; empty of the body itself.
    at: &'static str,
}

pub(super) async fn body(call: &mut Call) -> Result<Members, Fault> {
    Ok(Members { of: object(call, MAX_BODY).await?, at: "" })
}

pub(super) async fn object(call: &mut Call, limit: usize) -> Result<Map<String, Value>, Fault> {
    let bytes = call.body(limit).await.map_err(Fault::body)?;
    if depth(&bytes) > MAX_DEPTH {
        return Err(Fault::bad(format!("The request body is nested more than {MAX_DEPTH} levels deep.")));
    }
    // The position only: serde's own text may quote what stands there, and a password may stand there.
    let read = serde_json::from_slice(&bytes).map_err(|error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        Fault::bad(format!("Unable to read JSON request payload (line {line}, column {column})."))
    })?;
    let Value::Object(members) = read else { return Err(Fault::bad("The request body must be a JSON object.")) };
    Ok(members)
}

impl Members {
    /// A member as messages name it: `appRoles/id`.
    fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}/{name}", self.at) }
    }

    fn wrong(&self, name: &str, wanted: &str) -> Fault {
        Fault::bad(format!("Invalid value specified for property '{}': it must be {wanted}.", self.path(name)))
    }

    /// What is null is as what is not there.
    fn value(&mut self, name: &str) -> Option<Value> {
        self.of.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    /// Null takes the value away, and what is not there leaves it.
    pub(super) fn nullable_text(&mut self, name: &str) -> Result<Option<Option<String>>, Fault> {
        match self.of.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) => Ok(Some(Some(text))),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(is)) => Ok(Some(is)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    /// Null is false, and what is not there leaves it.
    pub(super) fn nullable_flag(&mut self, name: &str) -> Result<Option<bool>, Fault> {
        match self.of.get(name) {
            Some(Value::Null) => Ok(self.of.remove(name).map(|_| false)),
            _ => self.flag(name),
        }
    }

    /// Null takes the value away, and what is not there leaves it.
    pub(super) fn nullable_number(&mut self, name: &str) -> Result<Option<Option<i64>>, Fault> {
        match self.of.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::Number(number)) if number.is_i64() => Ok(Some(number.as_i64())),
            Some(_) => Err(self.wrong(name, "a whole number")),
        }
    }

    pub(super) fn id(&mut self, name: &str) -> Result<Option<Uuid>, Fault> {
        match self.text(name)? {
            None => Ok(None),
            Some(text) => guid(&text).map(Some).ok_or_else(|| self.wrong(name, "a GUID")),
        }
    }

    fn required(&self, name: &str) -> Fault {
        Fault::bad(format!("A value is required for property '{}'.", self.path(name)))
    }

    /// An id that must be there.
    pub(super) fn the_id(&mut self, name: &str) -> Result<Uuid, Fault> {
        self.id(name)?.ok_or_else(|| self.required(name))
    }

    /// A text that must be there.
    pub(super) fn the_text(&mut self, name: &str) -> Result<String, Fault> {
        self.text(name)?.ok_or_else(|| self.required(name))
    }

    pub(super) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        let Some(values) = self.list(name)? else { return Ok(None) };
        let texts = values.into_iter().map(|value| value.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<_>>>().map(Some).ok_or_else(|| self.wrong(name, "a list of texts"))
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(self.wrong(name, "a list")),
        }
    }

    /// A list of objects.
    pub(super) fn objects(&mut self, name: &'static str) -> Result<Option<Vec<Self>>, Fault> {
        let Some(values) = self.list(name)? else { return Ok(None) };
        let each = values.into_iter().map(|value| match value {
            Value::Object(of) => Some(Self { of, at: name }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        });
        each.collect::<Option<Vec<_>>>().map(Some).ok_or_else(|| self.wrong(name, "a list of objects"))
    }

    pub(super) fn object(&mut self, name: &'static str) -> Result<Option<Self>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(of)) => Ok(Some(Self { of, at: name })),
            Some(_) => Err(self.wrong(name, "an object")),
        }
    }

    pub(super) fn time(&mut self, name: &str) -> Result<Option<UnixTime>, Fault> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let read = time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339);
        match read {
            Ok(time) => Ok(Some(UnixTime(time.unix_timestamp()))),
            Err(_) => Err(self.wrong(name, "a time, as 2026-01-31T12:00:00Z")),
        }
    }

    /// Each of these may say nothing but this value.
    pub(super) fn fixed(&mut self, name: &str, only: &Value) -> Result<(), Fault> {
        match self.value(name) {
            Some(value) if value != *only => Err(self.wrong(name, &format!("{only}: nothing else is answered here"))),
            _ => Ok(()),
        }
    }

    /// Refuses what is left, but for what says nothing.
    pub(super) fn finish(self) -> Result<(), Fault> {
        fn says_nothing(value: &Value) -> bool {
            match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(values) => values.is_empty(),
                Value::Object(members) => members.values().all(says_nothing),
                Value::String(text) => text.is_empty(),
                Value::Bool(true) | Value::Number(_) => false,
            }
        }
        let left = self.of.iter().find(|(name, value)| !name.starts_with("@odata.") && !says_nothing(value));
        match left {
            None => Ok(()),
            Some((name, _)) => {
                let name: String =
                    name.chars().filter(|c| c.is_ascii_alphanumeric() || "_.@".contains(*c)).take(80).collect();
                Err(Fault::bad(format!("The property '{}' is not kept here: leave it out.", self.path(&name))))
            }
        }
    }
}

/// A GUID in the hyphenated form.
pub(super) fn guid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// The object that a path names.
pub(super) fn id(params: &Params, name: &str) -> Result<Uuid, Fault> {
    let text = params.text(name);
    guid(text).ok_or_else(|| Fault::missing(&text.chars().filter(|c| !c.is_control()).take(80).collect::<String>()))
}

pub(super) fn principal(params: &Params, name: &str) -> Result<PrincipalId, Fault> {
    id(params, name).map(PrincipalId)
}

/// The same of an application or a service principal: by either id.
pub(super) fn named(params: &Params) -> Result<Named, Fault> {
    match params.text("id").strip_prefix("appId=") {
        None => Ok(Named::Object(id(params, "id")?)),
        Some(client) => client.parse().map(Named::Client).map_err(|_| Fault::bad("The appId is not a GUID.")),
    }
}

/// Whom a path names: by its id, a user also by its name, and a service principal by its client id.
pub(super) fn someone(access: &GraphAccess, params: &Params) -> Result<PrincipalId, Fault> {
    let (snapshot, tenant) = (access.authorization.snapshot(), access.authorization.tenant());
    let text = params.text("id");
    let found = match text.strip_prefix("appId=") {
        Some(client) => {
            let client = client.parse().map_err(|_| Fault::bad("The appId is not a GUID."))?;
            snapshot.principal_of_client(tenant, client).map(|it| it.id)
        }
        None => match snapshot.user_named(tenant, text) {
            Some(user) => Some(user.id),
            None => Some(principal(params, "id")?).filter(|id| snapshot.has_object(tenant, *id)),
        },
    };
    found.ok_or_else(|| Fault::missing(&denizen_wire::shown::identifier(text)))
}

/// The object that `{"@odata.id": "https://…/directoryObjects/{id}"}` names.
pub(super) async fn reference(call: &mut Call) -> Result<PrincipalId, Fault> {
    let mut members = body(call).await?;
    let url = members.text("@odata.id")?.unwrap_or_default();
    members.finish()?;
    referenced(&url).map(PrincipalId)
}

pub(super) fn referenced(url: &str) -> Result<Uuid, Fault> {
    let last = url.rsplit(['/', '(']).next().unwrap_or_default().trim_end_matches(')').trim_matches('\'');
    guid(last)
        .ok_or_else(|| Fault::bad("The '@odata.id' must be the URL of an object, as …/v1.0/directoryObjects/{id}."))
}

/// What a list is asked for.
pub(super) struct Asked {
    options: Options,
    /// As the links of its pages repeat it.
    query: Vec<(String, String)>,
}

impl Asked {
    /// Reads a request's options. `$count`, `$search` and others are answered only to who asks for them rightly.
    pub(super) fn of(call: &Call) -> Result<Self, Fault> {
        let options = Options::parse(call.query.pairs())?;
        let is_eventual =
            call.header("consistencylevel").is_some_and(|level| level.trim().eq_ignore_ascii_case("eventual"));
        let is_told = match options.count {
            true => is_eventual,
            false => !options.is_advanced(),
        };
        if !is_told {
            return Err(Fault::not_eventual());
        }
        if let Some(name) = options.expand.first() {
            return Err(Fault::bad(format!(
                "Invalid $expand: '{name}' is not answered here: ask for it at its own path."
            )));
        }
        let query =
            call.query.pairs().filter(|(name, _)| !name.trim_start_matches('$').eq_ignore_ascii_case("skiptoken"));
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { options, query })
    }

    pub(super) fn top(&self) -> u32 {
        self.options.page()
    }

    pub(super) fn skip_token(&self) -> Option<&str> {
        self.options.skip_token.as_deref()
    }

    /// Refuses what a list that is not the database's cannot do.
    pub(super) fn plain(&self) -> Result<(), Fault> {
        match &self.options {
            Options { filter: None, order: None, count: false, .. } if self.options.search.is_empty() => Ok(()),
            _ => Err(Fault::bad("This list is answered without $filter, $search, $orderby and $count here.")),
        }
    }

    /// The list, beside what its path says of it.
    pub(super) fn list<'q>(&'q self, within: Option<&'q Filter>) -> List<'q> {
        List {
            filters: within.into_iter().chain(&self.options.filter).collect(),
            search: &self.options.search,
            order: self.options.order.as_ref(),
            after: self.options.skip_token.as_deref(),
            limit: self.options.page(),
        }
    }

    /// A page of the database's.
    pub(super) async fn page<R: Listed>(
        &self,
        api: &Graph,
        access: &GraphAccess,
        action: &'static str,
        within: Option<&Filter>,
    ) -> Result<(Page<R>, Option<u64>), Fault> {
        let list = self.list(within);
        Ok(api.directory.list::<R>(&access.authorization, action, &list, self.options.count).await?)
    }

    /// A list's answer: `path` is where it is asked for, `of` what it is a list of.
    pub(super) fn answer(
        &self,
        access: &GraphAccess,
        (path, of): (&str, &str),
        items: Vec<Map<String, Value>>,
        (next, count): (Option<String>, Option<u64>),
    ) -> Reply {
        let value: Vec<_> = items.into_iter().map(|item| Value::Object(self.selected(item))).collect();
        let mut body = Map::new();
        body.insert("@odata.context".to_owned(), format!("{}/$metadata#{of}", access.base).into());
        if let Some(count) = count {
            body.insert("@odata.count".to_owned(), count.into());
        }
        if let Some(next) = next {
            let mut query = form_urlencoded::Serializer::new(String::new());
            for (name, value) in &self.query {
                query.append_pair(name, value);
            }
            query.append_pair("$skiptoken", &next);
            let link = format!("{}{path}?{}", access.base, query.finish());
            body.insert("@odata.nextLink".to_owned(), link.into());
        }
        body.insert("value".to_owned(), value.into());
        reply::json(StatusCode::OK, &Value::Object(body))
    }

    pub(super) fn selected(&self, mut item: Map<String, Value>) -> Map<String, Value> {
        if !self.options.select.is_empty() {
            item.retain(|name, _| name.starts_with('@') || self.options.select.iter().any(|wanted| wanted == name));
        }
        item
    }

    /// One object's answer.
    pub(super) fn one(&self, access: &GraphAccess, of: &str, item: Map<String, Value>) -> Reply {
        with_context(StatusCode::OK, access, &format!("{of}/$entity"), self.selected(item))
    }
}

/// One object, with where it is described.
pub(super) fn with_context(status: StatusCode, access: &GraphAccess, of: &str, item: Map<String, Value>) -> Reply {
    let mut body = Map::new();
    body.insert("@odata.context".to_owned(), format!("{}/$metadata#{of}", access.base).into());
    body.extend(item);
    reply::json(status, &Value::Object(body))
}
