//! What a client may do in the user's name: asked once, recorded, and asked again when the client wants more.
//!
//! Nobody is asked for a tool that every tenant has, nor by an application for itself. What only an administrator may allow,
//! a user is not asked for. Resources of Azure's have no service principal here; consent to use one is recorded under an id
//! that is made of its name.

use denizen_wire::{PrincipalId, shown};
use maud::{Markup, html};

use super::{
    Pages,
    request::{Client, Refused},
};
use crate::{
    app::access::USER_IMPERSONATION,
    domain::{claims::audience, directory::Application, scopes::Scopes, sign_in::SignIn},
    store::Snapshot,
};

/// What is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) client: PrincipalId,
    pub(super) resource: PrincipalId,
    /// As `scp` has them.
    pub(super) permissions: Vec<String>,
    /// The same for people.
    texts: Vec<String>,
    resource_name: String,
}

/// Whether it is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    Given,
    Ask(Question),
    Refused(Refused),
}

/// What has to be asked before `client` gets what it asks for. With `again` all of it, whatever was said before.
pub(super) fn needed(
    pages: &Pages,
    snapshot: &Snapshot,
    sign_in: &SignIn,
    client: &Client,
    scopes: &Scopes,
    again: bool,
) -> Consent {
    let tenant = sign_in.tenant;
    let Some(principal) = snapshot.principal_of_client(tenant, client.id).filter(|_| client.tenant.is_some()) else {
        // A tool that every tenant has.
        return Consent::Given;
    };
    let own = &pages.own_resources;
    let resource = snapshot.application_behind(tenant, own, &scopes.resource);
    if resource.is_some_and(|resource| resource.client_id == client.id) {
        return Consent::Given;
    }
    let (id, name, wanted) = match resource {
        Some(resource) => match of_application(snapshot, sign_in, resource, scopes) {
            Ok(found) => found,
            Err(refused) => return Consent::Refused(refused),
        },
        None if audience::is_first_party(&scopes.resource) || own.covers(&scopes.resource) => of_azure(scopes),
        None => {
            let text = format!(
                "The resource principal named {} was not found in this directory. Correct the scope in the program, or \
                 register the resource.",
                shown::identifier(&scopes.resource)
            );
            return Consent::Refused(Refused::new("invalid_resource", 500_011, text));
        }
    };
    let grants: Vec<_> = snapshot.granted_to(tenant, principal.id, sign_in.user, id).collect();
    let is_there = |permission: &Wanted| grants.iter().any(|grant| grant.scopes.contains(&permission.value));
    // All that was consented to is what `.default` asks for.
    let is_given = if scopes.is_default() && resource.is_some() {
        wanted.iter().any(is_there)
    } else {
        wanted.iter().all(is_there)
    };
    if is_given && !again {
        return Consent::Given;
    }
    let wanted: Vec<Wanted> = wanted.into_iter().filter(|permission| again || !is_there(permission)).collect();
    if let Some(reserved) = wanted.iter().find(|permission| !permission.users_consent && !is_there(permission)) {
        let text = format!(
            "The permission '{}' of {name} needs an administrator's consent. Ask an administrator to grant it to the application.",
            reserved.value
        );
        return Consent::Refused(Refused::new("access_denied", 90_094, text));
    }
    let (permissions, texts) = wanted.into_iter().map(|permission| (permission.value, permission.text)).unzip();
    Consent::Ask(Question { client: principal.id, resource: id, permissions, texts, resource_name: name })
}

struct Wanted {
    value: String,
    text: String,
    users_consent: bool,
}

fn of_application(
    snapshot: &Snapshot,
    sign_in: &SignIn,
    resource: &Application,
    scopes: &Scopes,
) -> Result<(PrincipalId, String, Vec<Wanted>), Refused> {
    let name = resource.display_name.clone();
    let unknown = |what: &str| {
        let text =
            format!("The application asked for {what} on the resource '{name}'. Correct the scope in the program.");
        Refused::new("invalid_scope", 650_053, text)
    };
    let principal = snapshot.principal_of_client(sign_in.tenant, resource.client_id);
    let principal =
        principal.ok_or_else(|| Refused::new("invalid_resource", 500_011, "The resource has no service principal."))?;
    let mut wanted = Vec::new();
    for scope in resource.scopes.iter().filter(|scope| scope.enabled) {
        if scopes.is_default() || scopes.permissions.contains(&scope.value) {
            let text = format!("{} ({})", scope.display_name, scope.value);
            wanted.push(Wanted { value: scope.value.clone(), text, users_consent: scope.users_consent });
        }
    }
    let named = scopes.permissions.iter().filter(|permission| *permission != crate::domain::scopes::DEFAULT);
    if !scopes.is_default() && named.clone().any(|permission| wanted.iter().all(|it| it.value != *permission)) {
        return Err(unknown("a permission that doesn't exist"));
    }
    if wanted.is_empty() {
        return Err(unknown("what it may do, and there are no permissions"));
    }
    Ok((principal.id, name, wanted))
}

fn of_azure(scopes: &Scopes) -> (PrincipalId, String, Vec<Wanted>) {
    let name = audience::canonical(&scopes.resource);
    let values = match scopes.is_default() {
        true => vec![USER_IMPERSONATION.to_owned()],
        false => scopes.permissions.clone(),
    };
    let text = |value: &String| match value.as_str() {
        USER_IMPERSONATION => "Do there whatever you may do, in your name".to_owned(),
        other => other.to_owned(),
    };
    let wanted = values.iter().map(|value| Wanted { value: value.clone(), text: text(value), users_consent: true });
    (audience::consent_id(&scopes.resource), name, wanted.collect())
}

impl Question {
    /// What is asked, as the form that answers it carries it.
    pub(super) fn asked(&self) -> String {
        format!("{} {} {}", self.client, self.resource, self.permissions.join(" "))
    }

    /// What the client wants, for people.
    pub(super) fn list(&self, client: &Client, scopes: &Scopes) -> Markup {
        html! {
            p { strong { (client.name) } " wants to use " strong { (self.resource_name) } " in your name:" }
            ul {
                @for text in &self.texts { li { (text) } }
                @if scopes.email { li { "Learn your mail address" } }
                @if scopes.offline { li { "Do so also while you are away" } }
            }
            p.soft { "Accept only if you know this program and trust who runs it." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::signing::fixture::{APP, CONTOSO, deployment};
    use crate::domain::claims::audience::OwnResources;

    #[tokio::test]
    async fn a_name_of_ours_is_no_applications_whatever_one_calls_itself() {
        let deployment = deployment().await;
        let taken = ["https://vault.denizen.test", "https://localhost:8443"];
        let mut application = Application::new(CONTOSO, APP, uuid::Uuid::from_u128(1), "taker");
        application.identifier_uris = taken.iter().chain(&["api://taker"]).map(|uri| (*uri).to_owned()).collect();
        deployment.put(CONTOSO, &application).await;
        let (snapshot, own) = (deployment.store.snapshot(), OwnResources::named(taken));
        let found = |resource: &str| snapshot.application_behind(CONTOSO, &own, resource).map(|it| it.client_id);
        assert_eq!(taken.map(found), [None, None]);
        assert_eq!(found("api://taker"), Some(APP));
    }
}
