//! OpenID configuration, keys, and instance discovery.
//!
//! Every URL is made of the configured authority, never of the request's `Host`: clients compare the issuer's host
//! and port with the authority they were given, and a document that a stranger can put words into is no document.
//! The tenant stands in them by id however it was asked for, since clients take the id from there.

use denizen_keys::jwk::Jwk;
use denizen_wire::{
    Causes, TenantId,
    oauth::{Discovery, InstanceDiscovery, InstanceMetadata, UserRealm},
};
use http::{HeaderValue, StatusCode, Uri, header};
use serde::Serialize;

use super::{Sts, Tenancy, fault::Fault};
use crate::{
    domain::{claims::issuer, directory::TokenVersion},
    http::{Call, Reply, reply, route::Params},
};

/// A key document.
#[derive(Serialize)]
struct Keys {
    keys: Vec<Jwk>,
}

pub(super) fn v2(sts: &Sts, params: &Params) -> Result<Reply, Fault> {
    configuration(sts, params, TokenVersion::V2)
}

pub(super) fn v1(sts: &Sts, params: &Params) -> Result<Reply, Fault> {
    configuration(sts, params, TokenVersion::V1)
}

fn configuration(sts: &Sts, params: &Params, version: TokenVersion) -> Result<Reply, Fault> {
    let tenancy = sts.tenancy(params.text("tenant"))?;
    Ok(cached(&document(&sts.names.authority, tenancy, version)))
}

fn document(authority: &str, tenancy: Tenancy, version: TokenVersion) -> Discovery {
    let (tenant, issuer) = match tenancy {
        Tenancy::One(id) => (id.to_string(), issuer(authority, id, version)),
        // Whoever calls the tenant so looks for its endpoints under that name.
        Tenancy::Adfs(id) => ("adfs".to_owned(), issuer(authority, id, version)),
        // Clients put the user's tenant in the place of this word.
        Tenancy::Shared(name) => (name.to_owned(), template(authority, version)),
    };
    let at = |v1: &str, v2: &str| match version {
        TokenVersion::V1 => format!("{authority}/{tenant}/{v1}"),
        TokenVersion::V2 => format!("{authority}/{tenant}/{v2}"),
    };
    let host = host(authority).to_owned();
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Discovery {
        token_endpoint: at("oauth2/token", "oauth2/v2.0/token"),
        token_endpoint_auth_methods_supported: texts(&["client_secret_post", "private_key_jwt", "client_secret_basic"]),
        jwks_uri: at("discovery/keys", "discovery/v2.0/keys"),
        response_modes_supported: texts(&["query", "fragment", "form_post"]),
        subject_types_supported: texts(&["pairwise"]),
        id_token_signing_alg_values_supported: texts(&["RS256"]),
        response_types_supported: texts(&["code"]),
        scopes_supported: texts(&["openid", "profile", "email", "offline_access"]),
        issuer,
        request_uri_parameter_supported: false,
        authorization_response_iss_parameter_supported: true,
        code_challenge_methods_supported: texts(&["S256"]),
        authorization_endpoint: at("oauth2/authorize", "oauth2/v2.0/authorize"),
        device_authorization_endpoint: at("oauth2/devicecode", "oauth2/v2.0/devicecode"),
        end_session_endpoint: at("oauth2/logout", "oauth2/v2.0/logout"),
        http_logout_supported: false,
        frontchannel_logout_supported: false,
        claims_supported: texts(&[
            "aud",
            "exp",
            "iat",
            "iss",
            "nbf",
            "oid",
            "sub",
            "tid",
            "uti",
            "ver",
            "auth_time",
            "nonce",
            "name",
            "preferred_username",
            "email",
            "sid",
        ]),
        tenant_region_scope: None,
        cloud_instance_name: host.clone(),
        cloud_graph_host_name: host.clone(),
        msgraph_host: host,
    }
}

fn template(authority: &str, version: TokenVersion) -> String {
    match version {
        TokenVersion::V1 => format!("{authority}/{{tenantid}}/"),
        TokenVersion::V2 => format!("{authority}/{{tenantid}}/v2.0"),
    }
}

pub(super) fn keys_v2(sts: &Sts, params: &Params, call: &Call) -> Result<Reply, Fault> {
    // Here each key names the issuer it signs for, so that a resource that trusts many tenants through one document
    // holds each key to its own.
    keys(sts, params, call, |tenant| Some(issuer(&sts.names.authority, tenant, TokenVersion::V2)))
}

pub(super) fn keys_v1(sts: &Sts, params: &Params, call: &Call) -> Result<Reply, Fault> {
    // The v1 document has no issuers: a validator would compare them with v1 tokens, which name another.
    keys(sts, params, call, |_| None)
}

fn keys(sts: &Sts, params: &Params, call: &Call, issuer: impl Fn(TenantId) -> Option<String>) -> Result<Reply, Fault> {
    let tenancy = sts.tenancy(params.text("tenant"))?;
    let snapshot = sts.tokens.snapshot();
    let tenants: Vec<TenantId> = match tenancy {
        Tenancy::One(id) | Tenancy::Adfs(id) => vec![id],
        Tenancy::Shared(_) => snapshot.tenants().map(|tenant| tenant.id).collect(),
    };
    let mut keys = Vec::new();
    for tenant in tenants {
        let published = sts.tokens.keys().jwks(&snapshot, tenant, call.now, issuer(tenant).as_deref());
        keys.extend(published.map_err(|error| {
            // A document without a key would have every token of the tenant refused, and be cached.
            if let Some(held_back) = sts.key_faults.admit() {
                tracing::error!(%tenant, error = %Causes(&error), held_back, "the keys cannot be published");
            }
            Fault::transient()
        })?);
    }
    Ok(cached(&Keys { keys }))
}

/// How a user signs in: with a name and a password, here. The answer is the same of every name, so it tells nothing of who
/// there is.
pub(super) fn user_realm(sts: &Sts, params: &Params) -> Result<Reply, Fault> {
    let domain_name = params.text("user").rsplit_once('@').map_or("", |(_, domain)| domain);
    Ok(cached(&UserRealm {
        ver: "1.0".to_owned(),
        account_type: "Managed".to_owned(),
        domain_name: denizen_wire::shown::identifier(domain_name).into_owned(),
        cloud_instance_name: host(&sts.names.authority).to_owned(),
        cloud_audience_urn: "urn:federation:MicrosoftOnline".to_owned(),
    }))
}

/// Which names this authority goes by, for clients that ask before they trust one.
pub(super) fn instance(sts: &Sts, call: &Call) -> Result<Reply, Fault> {
    let Ok(Some(asked)) = call.query.one("authorization_endpoint") else {
        return Err(Fault::query("authorization_endpoint"));
    };
    let ours = host(&sts.names.authority);
    let Some(tenant) = asked.parse::<Uri>().ok().and_then(|uri| tenant_of(&uri, ours)) else {
        return Err(Fault::unknown_instance(asked));
    };
    let mut aliases = vec![ours.to_owned()];
    if without_port(ours) != ours {
        aliases.push(without_port(ours).to_owned());
    }
    Ok(cached(&InstanceDiscovery {
        tenant_discovery_endpoint: format!("{}/{tenant}/v2.0/.well-known/openid-configuration", sts.names.authority),
        api_version: "1.1".to_owned(),
        metadata: vec![InstanceMetadata {
            preferred_network: ours.to_owned(),
            preferred_cache: ours.to_owned(),
            aliases,
        }],
    }))
}

/// The tenant of an authorization endpoint of ours. MSAL for Python and for Java leave the port out.
fn tenant_of(uri: &Uri, ours: &str) -> Option<String> {
    let authority = uri.authority()?.as_str();
    let known = authority.eq_ignore_ascii_case(ours) || authority.eq_ignore_ascii_case(without_port(ours));
    let tenant = uri.path().split('/').nth(1)?;
    let plain = !tenant.is_empty() && tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    (known && plain && uri.scheme_str() == Some("https")).then(|| tenant.to_owned())
}

/// `localhost:8443` of `https://localhost:8443`.
fn host(authority: &str) -> &str {
    authority.split_once("://").map_or(authority, |(_, host)| host)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

fn cached<T: Serialize>(body: &T) -> Reply {
    let mut answer = reply::json(StatusCode::OK, body);
    // Short enough that a key which is rotated in an emergency is read within the hour.
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    answer
}
