//! `/metadata/instance`: what a machine may know of itself, in the shape of Azure's instance metadata.
//!
//! Most values of a virtual machine do not exist here and are empty, as Arc's own agent leaves them. The JSON is
//! compact: scripts in the field find `"resourceId":"` in it with sed.
//!
//! Touches nothing. Tests: below, and over the wire with the other endpoints.

use http::StatusCode;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{
    answer::{Answer, Fault, Style, json as answer_json, text},
    gate::{INSTANCE_PATH, unknown_path},
    imds::VERSIONS,
    query,
};
use crate::identity_file::IdentityFile;

/// The document, rendered once.
pub struct InstanceDocument {
    root: Value,
    whole: Bytes,
}

impl InstanceDocument {
    /// Creates the document of an enrolled machine.
    pub fn new(machine: &IdentityFile) -> Self {
        let enrolled = &machine.enrolled;
        let subscription = enrolled.resource_id.subscription_id().map(|id| id.to_string()).unwrap_or_default();
        let root = json!({
            "compute": {
                "azEnvironment": "AzurePublicCloud",
                "customData": "",
                "isHostCompatibilityLayerVm": "",
                "licenseType": "",
                "location": enrolled.location,
                "name": machine.machine_name,
                "offer": "",
                "osType": machine.machine.os_type,
                "placementGroupId": "",
                "plan": { "name": "", "product": "", "publisher": "" },
                "platformFaultDomain": "",
                "platformUpdateDomain": "",
                "provider": "",
                "publicKeys": null,
                "publisher": "",
                "resourceGroupName": enrolled.resource_id.resource_group_name().unwrap_or_default(),
                "resourceId": enrolled.resource_id.as_str(),
                "securityProfile": { "secureBootEnabled": "", "virtualTpmEnabled": "" },
                "sku": machine.machine.os_name,
                "storageProfile": {},
                "subscriptionId": subscription,
                "tags": "",
                "tagsList": [],
                "version": machine.machine.os_version,
                "vmId": enrolled.machine_id,
                "vmScaleSetName": "",
                "vmSize": "",
                "zone": "",
            },
            "network": {},
        });
        let whole = root.to_string().into();
        Self { root, whole }
    }

    /// Answers a request; the gate has seen that `path` is the document's or under it.
    pub fn answer(&self, path: &str, query: &str) -> Answer {
        if query::repeats(query) {
            return Style::OAuth.fault(Fault::bad("A query parameter is specified more than once"));
        }
        if !query::parameter(query, "api-version").is_some_and(|version| VERSIONS.contains(&version.as_str())) {
            return bad_version();
        }
        let format = query::parameter(query, "format").unwrap_or_else(|| "json".to_owned());
        let segments =
            path.strip_prefix(INSTANCE_PATH).unwrap_or_default().split('/').filter(|segment| !segment.is_empty());
        let mut at = Some(&self.root);
        let mut whole = true;
        for segment in segments {
            whole = false;
            at = at.and_then(|value| match value {
                Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
                Value::Object(members) => members.get(segment),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            });
        }
        let Some(found) = at else { return Style::OAuth.fault(unknown_path()) };
        let container = found.is_array() || found.is_object();
        match format.as_str() {
            "json" if whole => answer_json(StatusCode::OK, self.whole.clone()),
            "json" if container => answer_json(StatusCode::OK, found.to_string().into()),
            "json" => Style::OAuth.fault(Fault::bad("A single value has no JSON form: add format=text")),
            "text" => text(match found {
                Value::Object(members) => lines(members.iter().map(|(name, value)| (name.clone(), value))),
                Value::Array(items) => lines(items.iter().enumerate().map(|(i, value)| (i.to_string(), value))),
                Value::String(value) => value.clone(),
                Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
            }),
            _ => Style::OAuth.fault(Fault::bad("The format must be json or text")),
        }
    }
}

/// A listing: one name on each line, with a slash behind what can be walked into.
fn lines<'a>(entries: impl Iterator<Item = (String, &'a Value)>) -> String {
    let named: Vec<_> = entries
        .map(|(name, value)| if value.is_object() || value.is_array() { format!("{name}/") } else { name })
        .collect();
    named.join("\n")
}

fn bad_version() -> Answer {
    let newest: Vec<_> = VERSIONS.iter().rev().take(3).collect();
    let body = json!({
        "error": "Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds",
        "newest-versions": newest,
    });
    answer_json(StatusCode::BAD_REQUEST, body.to_string().into())
}
