//! Several requests in one, as Graph's clients send them: each is entered, authorized and answered as if it had come by itself.
//!
//! They run one after the other in the order in which they stand, so what one depends on must stand before it.
//! Tests: `tests/`.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::{
    Graph, GraphAccess,
    fault::Fault,
    request::{MAX_BATCH, object},
};
use crate::{
    domain::authorize::Action,
    http::{
        Api, Body, Call, Reply, reply,
        route::{Found, Handler, Params, Request, Route},
    },
};

/// How many requests a batch has at most.
const MOST: usize = 20;
/// When the bodies of its replies have so many bytes, what is left of a batch is not run.
const MOST_REPLIED: usize = 4 * 1024 * 1024;

pub(super) fn routes() -> Vec<Route<Graph>> {
    ["/v1.0/$batch", "/beta/$batch"]
        .map(|pattern| Route {
            method: Method::POST,
            pattern,
            handler: Handler::OwnCredential {
                credential: "the access token, which each of its requests is authorized by",
                run: |api, Request { params, call }| Box::pin(async move { batch(api, &params, call).await }),
            },
        })
        .into()
}

/// One request of a batch.
struct Part {
    id: String,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    after: Vec<String>,
}

async fn batch(api: &Graph, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let mut members = object(call, MAX_BATCH).await?;
    let Some(Value::Array(requests)) = members.remove("requests") else {
        return Err(Fault::bad("Invalid batch payload format: it must have the list 'requests'."));
    };
    if requests.is_empty() || requests.len() > MOST {
        return Err(Fault::bad(format!("Invalid batch payload format: it must have 1 to {MOST} requests.")));
    }
    let version = params.segment(0).to_owned();
    let parts: Vec<_> = requests.into_iter().map(|it| part(it, &version, call)).collect::<Result<_, _>>()?;
    for (at, one) in parts.iter().enumerate() {
        let earlier = parts.get(..at).unwrap_or_default();
        if earlier.iter().any(|other| other.id == one.id) {
            return Err(Fault::bad("Invalid batch payload format: an 'id' stands there twice."));
        }
        if !one.after.iter().all(|id| earlier.iter().any(|other| other.id == *id)) {
            return Err(Fault::bad("Invalid batch payload format: 'dependsOn' must name requests that stand before."));
        }
    }
    let mut responses: Vec<(String, u16, Value)> = Vec::with_capacity(parts.len());
    let mut replied = 0;
    for part in parts {
        let failed = |id: &String| responses.iter().any(|(other, status, _)| other == id && *status >= 400);
        let id = part.id.clone();
        let (status, headers, body) = if part.after.iter().any(failed) {
            let error = json!({ "error": { "code": "FailedDependency", "message": "A request that this one depends on has failed." } });
            (StatusCode::FAILED_DEPENDENCY, Map::new(), error)
        } else if replied >= MOST_REPLIED {
            let message = format!(
                "The replies of this batch have reached {MOST_REPLIED} bytes, so this request was not run: send it in another batch."
            );
            let headers = Map::from_iter([(header::RETRY_AFTER.to_string(), "1".into())]);
            (
                StatusCode::TOO_MANY_REQUESTS,
                headers,
                json!({ "error": { "code": "TooManyRequests", "message": message } }),
            )
        } else {
            let (status, headers, body, bytes) = api.answer_part(part, call).await;
            replied += bytes;
            (status, headers, body)
        };
        let answer = json!({ "id": id, "status": status.as_u16(), "headers": headers, "body": body });
        responses.push((id, status.as_u16(), answer));
    }
    let responses: Vec<_> = responses.into_iter().map(|(_, _, answer)| answer).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "responses": responses })))
}

fn part(value: Value, version: &str, call: &Call) -> Result<Part, Fault> {
    let wrong = |why: &str| Fault::bad(format!("Invalid batch payload format: {why}."));
    let Value::Object(mut members) = value else { return Err(wrong("each request must be an object")) };
    let text = |members: &mut Map<String, Value>, name: &str| match members.remove(name) {
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let id = text(&mut members, "id").filter(|id| id.len() <= 64).ok_or_else(|| wrong("each request needs an 'id'"))?;
    let method = text(&mut members, "method").and_then(|it| Method::from_bytes(it.to_uppercase().as_bytes()).ok());
    let method = method.ok_or_else(|| wrong("each request needs a 'method'"))?;
    let url = text(&mut members, "url").ok_or_else(|| wrong("each request needs a 'url'"))?;
    let path = format!("/{version}/{}", url.trim_start_matches('/').replace(' ', "%20"));
    let uri: Uri = path.parse().map_err(|_| wrong("a 'url' is no path, as /users?$top=1"))?;
    let mut headers = HeaderMap::new();
    if let Some(Value::Object(given)) = members.remove("headers") {
        for (name, value) in given {
            let name = HeaderName::from_bytes(name.as_bytes()).ok();
            let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
            let (Some(name), Some(value)) = (name, value) else { return Err(wrong("a header is none")) };
            headers.insert(name, value);
        }
    }
    // Who asks is who sends the batch, and no request in it can say another.
    headers.remove(header::AUTHORIZATION);
    if let Some(token) = call.headers.get(header::AUTHORIZATION) {
        headers.insert(header::AUTHORIZATION, token.clone());
    }
    let after = match members.remove("dependsOn") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(ids)) => ids.iter().map(|id| id.as_str().unwrap_or_default().to_owned()).collect(),
        Some(_) => return Err(wrong("'dependsOn' must be a list")),
    };
    let body = match members.remove("body") {
        None | Some(Value::Null) => Bytes::new(),
        Some(body) => body.to_string().into(),
    };
    Ok(Part { id, method, uri, headers, body, after })
}

impl Graph {
    /// The way that a request goes which came by itself, but for the listener: entered, found, authorized, run.
    /// With its length in bytes.
    async fn answer_part(&self, part: Part, of: &Call) -> (StatusCode, Map<String, Value>, Value, usize) {
        let Part { method, uri, headers, body, .. } = part;
        let mut call = Call::new(method, &uri, headers, Body::Bytes(body), of.peer, of.now, of.request_id);
        let mut reply = match self.run_part(&mut call).await {
            Ok(reply) => reply,
            Err(fault) => self.write_fault(&call, fault),
        };
        let status = reply.status();
        let mut headers = Map::new();
        for name in [header::CONTENT_TYPE, header::RETRY_AFTER, header::LOCATION] {
            if let Some(value) = reply.headers().get(&name).and_then(|value| value.to_str().ok()) {
                headers.insert(name.as_str().to_owned(), value.into());
            }
        }
        let body = reply.body_mut().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null), body.len())
    }

    async fn run_part(&self, call: &mut Call) -> Result<Reply, Fault> {
        if let Some(why) = call.ambiguous() {
            return Err(self.ambiguous(call, why));
        }
        let session = self.enter(call)?;
        let (route, params) = match self.router.find(&call.method, &mut call.segments) {
            Found::Route(route, params) => (route, params),
            Found::OtherMethod(allow) => return Err(Fault::method(allow)),
            Found::Nothing => return Err(Fault::no_route()),
        };
        match &route.handler {
            Handler::Authorized { action, run } => {
                let access = self.authorize(session, call, action, &params)?;
                // A batch is no part of a batch, so this ends.
                run(self, &access, Request { params, call }).await
            }
            Handler::OwnCredential { .. } | Handler::Public { .. } => {
                Err(Fault::bad("This request is not answered in a batch: send it by itself."))
            }
        }
    }

    /// The authorization of another action than the row's, for a request that turns out to ask for it.
    pub(super) fn also(&self, call: &Call, action: &'static str, params: &Params) -> Result<GraphAccess, Fault> {
        self.authorize(self.session(call)?, call, &Action::control(action), params)
    }
}
