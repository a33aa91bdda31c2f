//! Whom of others a client takes as itself: its federated credentials, and the certificate subjects it trusts.
//!
//! An application has both; a user-assigned managed identity has federated credentials. A system-assigned identity has
//! neither: its machine proves it, and nobody else.
//!
//! Tests: below, and `tests/it` with the commands.

use denizen_keys::{b64, chain, x509::Certificate};
use denizen_wire::{ClientId, PrincipalId, TenantId};
use uuid::Uuid;

use super::{
    ChangeError,
    access::Authorization,
    directory::{DirectoryError, actions, refuse_outranked, revoke_where_lost},
    federation::Federation,
};
use crate::{
    domain::{
        directory::{Application, ServicePrincipal, is_user_assigned},
        federation::{self, FederatedCredential, LONGEST, MOST_SUBJECTS, TrustedSubject, Whom},
    },
    store::{Snapshot, Store, Tx, Write},
};

/// The most authorities of a trusted subject.
const MOST_AUTHORITIES: usize = 10;

/// Changes to whom clients trust.
#[derive(Clone)]
pub struct Trusts {
    store: Store,
    federation: Federation,
}

/// Whose list it is.
#[derive(Clone, Copy)]
enum Holder {
    Application(ClientId),
    Identity(PrincipalId),
}

/// What is to be changed of a federated credential; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct FederatedChange {
    /// What its name must be: it does not change.
    pub name: Option<String>,
    /// `iss`
    pub issuer: Option<String>,
    /// Whom of that issuer.
    pub whom: Option<Whom>,
    /// `aud`
    pub audiences: Option<Vec<String>>,
    /// For people.
    pub description: Option<String>,
}

impl Trusts {
    /// Creates the use cases of a store. `federation` says which issuers can be asked.
    pub fn new(store: Store, federation: Federation) -> Self {
        Self { store, federation }
    }

    /// Adds a federated credential to a client.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] names the rule that it breaks; [`DirectoryError::Missing`];
    /// [`DirectoryError::Outranked`]; the store's.
    pub async fn add_federated(
        &self,
        authorization: &Authorization,
        client: ClientId,
        new: FederatedCredential,
    ) -> Result<FederatedCredential, DirectoryError> {
        authorization.check(actions::UPDATE_CREDENTIALS, authorization.tenant(), &["/"])?;
        self.change(authorization, client, ("added", &new.name), |list, snapshot| {
            self.check_credential(snapshot, &new)?;
            federation::add(list, new.clone()).map_err(|rule| DirectoryError::Invalid(rule.to_string()))
        })
        .await?;
        Ok(new)
    }

    /// Changes the federated credential of this name, or of this id. Whoever got a token by what it was keeps nothing of it.
    ///
    /// # Errors
    /// As [`Self::add_federated`].
    pub async fn change_federated(
        &self,
        authorization: &Authorization,
        client: ClientId,
        which: &str,
        change: &FederatedChange,
    ) -> Result<(), DirectoryError> {
        authorization.check(actions::UPDATE_CREDENTIALS, authorization.tenant(), &["/"])?;
        self.change(authorization, client, ("changed", which), |list, snapshot| {
            let at = list.iter().position(|it| is_called(it, which)).ok_or_else(|| no_credential(client, which))?;
            let after = change.over(list.remove(at))?;
            self.check_credential(snapshot, &after)?;
            federation::add(list, after).map_err(|rule| DirectoryError::Invalid(rule.to_string()))?;
            // Where it stood.
            if let Some(tail) = list.get_mut(at..) {
                tail.rotate_right(1);
            }
            Ok(())
        })
        .await
    }

    /// Removes the federated credential of this name, or of this id.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Outranked`]; the store's.
    pub async fn remove_federated(
        &self,
        authorization: &Authorization,
        client: ClientId,
        which: &str,
    ) -> Result<(), DirectoryError> {
        authorization.check(actions::UPDATE_CREDENTIALS, authorization.tenant(), &["/"])?;
        self.change(authorization, client, ("removed", which), |list, _| {
            let before = list.len();
            list.retain(|it| !is_called(it, which));
            if list.len() < before { Ok(()) } else { Err(no_credential(client, which)) }
        })
        .await
    }

    /// Refuses one that breaks a rule, or whose issuer cannot be asked.
    fn check_credential(&self, snapshot: &Snapshot, new: &FederatedCredential) -> Result<(), DirectoryError> {
        new.check().map_err(|rule| DirectoryError::Invalid(rule.to_string()))?;
        self.federation.check_issuer(snapshot, &new.issuer).map_err(|reason| {
            DirectoryError::Invalid(format!("tokens of this issuer cannot be verified here: {reason}"))
        })
    }

    /// The federated credentials of a client.
    ///
    /// # Errors
    /// [`ChangeError::Missing`] when there is no such client.
    pub fn federated(
        &self,
        authorization: &Authorization,
        client: ClientId,
    ) -> Result<Vec<FederatedCredential>, ChangeError> {
        authorization.check(actions::READ_APPLICATIONS, authorization.tenant(), &["/"])?;
        let (snapshot, tenant) = (authorization.snapshot(), authorization.tenant());
        match holder(snapshot, tenant, client)? {
            Holder::Application(id) => {
                Ok(snapshot.application(tenant, id).map(|it| it.federated.clone()).unwrap_or_default())
            }
            Holder::Identity(id) => {
                Ok(snapshot.principal(tenant, id).map(|it| it.federated().to_vec()).unwrap_or_default())
            }
        }
    }

    /// Changes a client's list, where the actor may change what that client has its roles by.
    async fn change(
        &self,
        authorization: &Authorization,
        client: ClientId,
        (what, name): (&'static str, &str),
        change: impl Fn(&mut Vec<FederatedCredential>, &Snapshot) -> Result<(), DirectoryError> + Send + Sync,
    ) -> Result<(), DirectoryError> {
        let (tenant, change) = (authorization.tenant(), &change);
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let snapshot = tx.snapshot();
                    let holder = holder(&snapshot, tenant, client)?;
                    if let Some(principal) = snapshot.principal_of_client(tenant, client) {
                        refuse_outranked(authorization, &snapshot, principal.id)?;
                    }
                    match holder {
                        Holder::Application(id) => {
                            let mut application = application(tx, tenant, id)?;
                            let before = application.clone();
                            change(&mut application.federated, &snapshot)?;
                            if application == before {
                                return Ok(Write::Unchanged(()));
                            }
                            tx.put(&application).await?;
                            revoke_where_lost(tx, &before, &application).await?;
                        }
                        Holder::Identity(id) => {
                            let missing = || ChangeError::Missing(format!("the client {client}"));
                            let mut principal = tx.record::<ServicePrincipal>(&id).await?.ok_or_else(missing)?;
                            let before = principal.federated.clone();
                            change(&mut principal.federated, &snapshot)?;
                            if principal.federated == before {
                                return Ok(Write::Unchanged(()));
                            }
                            // Whoever got a token by what is not there any more keeps nothing of it.
                            principal.epoch += u64::from(federation::is_lost(&before, &principal.federated));
                            tx.put(&principal).await?;
                        }
                    }
                    let detail = serde_json::json!({ what: {"federatedIdentityCredential": name} });
                    Ok(Write::commit(actions::UPDATE_CREDENTIALS, client.to_string(), ()).detail(detail))
                })
            })
            .await
    }

    /// Lets an application prove itself by any certificate of this subject, RFC 4514, that one of these authorities (PEM)
    /// vouches for.
    ///
    /// # Errors
    /// [`ChangeError::Invalid`] names the rule that it breaks; [`ChangeError::Missing`]; the store's.
    pub async fn trust_subject(
        &self,
        authorization: &Authorization,
        client: ClientId,
        (id, subject): (Uuid, &str),
        authorities_pem: &str,
    ) -> Result<TrustedSubject, ChangeError> {
        authorization.check(actions::UPDATE_CREDENTIALS, authorization.tenant(), &["/"])?;
        let new = new_subject(id, subject, authorities_pem)?;
        let (tenant, written) = (authorization.tenant(), &new);
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let mut application = application(tx, tenant, client)?;
                    if application.trusted_subjects.len() >= MOST_SUBJECTS {
                        let rule = format!("an application trusts at most {MOST_SUBJECTS} subjects: remove one");
                        return Err(ChangeError::Invalid(rule));
                    }
                    application.trusted_subjects.push(written.clone());
                    tx.put(&application).await?;
                    let detail = serde_json::json!({"added": {"trustedSubject": written.subject}});
                    Ok(Write::commit(actions::UPDATE_CREDENTIALS, client.to_string(), ()).detail(detail))
                })
            })
            .await?;
        Ok(new)
    }

    /// Takes a subject's trust back.
    ///
    /// # Errors
    /// [`ChangeError::Missing`]; the store's.
    pub async fn distrust_subject(
        &self,
        authorization: &Authorization,
        client: ClientId,
        id: Uuid,
    ) -> Result<(), ChangeError> {
        authorization.check(actions::UPDATE_CREDENTIALS, authorization.tenant(), &["/"])?;
        let tenant = authorization.tenant();
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let mut application = application(tx, tenant, client)?;
                    let Some(at) = application.trusted_subjects.iter().position(|it| it.id == id) else {
                        return Err(ChangeError::Missing(format!("the trusted subject {id} of {client}")));
                    };
                    let before = application.clone();
                    let gone = application.trusted_subjects.remove(at);
                    tx.put(&application).await?;
                    revoke_where_lost(tx, &before, &application).await?;
                    let detail = serde_json::json!({"removed": {"trustedSubject": gone.subject}});
                    Ok(Write::commit(actions::UPDATE_CREDENTIALS, client.to_string(), ()).detail(detail))
                })
            })
            .await
    }

    /// The subjects an application trusts.
    ///
    /// # Errors
    /// [`ChangeError::Missing`] when there is no such application.
    pub fn subjects(
        &self,
        authorization: &Authorization,
        client: ClientId,
    ) -> Result<Vec<TrustedSubject>, ChangeError> {
        authorization.check(actions::READ_APPLICATIONS, authorization.tenant(), &["/"])?;
        let application = authorization.snapshot().application(authorization.tenant(), client);
        application.map(|it| it.trusted_subjects.clone()).ok_or_else(|| no_application(client))
    }
}

impl FederatedChange {
    fn over(&self, it: FederatedCredential) -> Result<FederatedCredential, DirectoryError> {
        if self.name.as_ref().is_some_and(|name| *name != it.name) {
            return Err(DirectoryError::Invalid(format!(
                "Invalid value specified for property 'name': the name of a federated credential does not change from '{}'.",
                it.name
            )));
        }
        Ok(FederatedCredential {
            issuer: self.issuer.clone().unwrap_or(it.issuer),
            whom: self.whom.clone().unwrap_or(it.whom),
            audiences: self.audiences.clone().unwrap_or(it.audiences),
            description: self.description.clone().unwrap_or(it.description),
            ..it
        })
    }
}

/// Whether it is the one of this name or of this id.
fn is_called(it: &FederatedCredential, which: &str) -> bool {
    it.name == which || which.parse() == Ok(it.id)
}

fn no_credential(client: ClientId, which: &str) -> DirectoryError {
    DirectoryError::Missing(format!("the federated credential '{}' of {client}", federation::shown(which)))
}

fn no_application(client: ClientId) -> ChangeError {
    ChangeError::Missing(format!("application {client}"))
}

fn application(tx: &Tx<'_>, tenant: TenantId, client: ClientId) -> Result<Application, ChangeError> {
    let snapshot = tx.snapshot();
    snapshot.application(tenant, client).map(|it| Application::clone(it)).ok_or_else(|| no_application(client))
}

/// Whose federated credentials a client's are.
fn holder(snapshot: &Snapshot, tenant: TenantId, client: ClientId) -> Result<Holder, ChangeError> {
    if snapshot.application(tenant, client).is_some() {
        return Ok(Holder::Application(client));
    }
    let missing = || ChangeError::Missing(format!("the client {client}"));
    let principal = snapshot.principal_of_client(tenant, client).ok_or_else(missing)?;
    if principal.resource_id.as_ref().is_some_and(is_user_assigned) {
        return Ok(Holder::Identity(principal.id));
    }
    Err(ChangeError::Invalid(
        "a system-assigned managed identity has no federated credentials: give them to an application or to a user-assigned identity"
            .to_owned(),
    ))
}

fn new_subject(id: Uuid, subject: &str, authorities_pem: &str) -> Result<TrustedSubject, ChangeError> {
    let invalid = |rule: String| ChangeError::Invalid(rule);
    // As `openssl x509 -subject` writes it by default it would never be found again.
    let plain = subject.replace("\\,", "");
    let has_type = subject.split_once('=').is_some_and(|(kind, value)| {
        !kind.is_empty() && !value.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
    });
    if !has_type || plain.contains(", ") || plain.contains(" = ") || subject.chars().count() > LONGEST {
        return Err(invalid(format!(
            "write the subject as RFC 4514 does, the most specific name first, as CN=app.contoso.example,O=Contoso, of at \
             most {LONGEST} characters: openssl x509 -noout -subject -nameopt RFC2253 -in FILE prints it"
        )));
    }
    let read = Certificate::chain_from_pem(authorities_pem)?;
    if !(1..=MOST_AUTHORITIES).contains(&read.len()) {
        return Err(invalid(format!("give the certificates of 1 to {MOST_AUTHORITIES} authorities, as PEM")));
    }
    let authorities = read.iter().map(|certificate| {
        chain::check_authority(certificate.der()).map_err(|reason| ChangeError::Invalid(format!("{reason}")))?;
        Ok(b64::standard(certificate.der()))
    });
    let authorities = authorities.collect::<Result<_, ChangeError>>()?;
    Ok(TrustedSubject { id, subject: subject.to_owned(), authorities })
}

#[cfg(test)]
mod tests {
    use denizen_keys::ca::DevCa;
    use denizen_wire::ResourceId;

    use super::*;
    use crate::{
        app::signing::{
            KeyRing,
            fixture::{APP, AUTHORITY, CONTOSO, FABRIKAM, MACHINE, NOW, OTHER_APP, deployment, principal},
        },
        domain::{
            authorize::Action,
            directory::PrincipalKind,
            federation::Whom,
            roles::{BuiltInRoles, RoleAssignment},
        },
        issuers::{Issuers, Outbound},
    };

    fn credential(issuer: &str) -> FederatedCredential {
        FederatedCredential {
            id: Uuid::from_u128(7),
            name: "one".into(),
            issuer: issuer.into(),
            whom: Whom::Subject("subject".into()),
            audiences: vec!["api://AzureADTokenExchange".into()],
            description: String::new(),
        }
    }

    #[tokio::test]
    async fn credentials_are_of_applications_and_of_identities_that_people_make() {
        let deployment = deployment().await;
        let outbound = Outbound { hosts: "issuer.test".parse().unwrap(), ..Outbound::default() };
        let issuers = Issuers::new(&outbound, denizen_wire::Clock::manual(NOW));
        let federation = Federation::new(issuers, deployment.keys.clone(), AUTHORITY);
        let trusts = Trusts::new(deployment.store.clone(), federation);
        let identity = ClientId(Uuid::from_u128(0xa9));
        let id = "/subscriptions/00000000-0000-0000-0000-000000000009/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id1";
        let kind = PrincipalKind::ManagedIdentity { resource_id: id.parse().unwrap() };
        deployment.put(CONTOSO, &ServicePrincipal { kind, ..principal(CONTOSO, identity) }).await;

        for client in [APP, identity] {
            let auth = deployment.auth(CONTOSO, NOW);
            let one = credential("https://issuer.test");
            assert_eq!(trusts.add_federated(&auth, client, one.clone()).await.unwrap(), one);
            let again = trusts.add_federated(&auth, client, one.clone()).await.unwrap_err();
            assert!(again.to_string().contains("name one already"), "{again}");
            let auth = deployment.auth(CONTOSO, NOW);
            assert_eq!(trusts.federated(&auth, client).unwrap(), [one]);
            let other = trusts.remove_federated(&auth, client, "another").await.unwrap_err();
            assert!(matches!(other, DirectoryError::Missing(_)));
            trusts.remove_federated(&auth, client, "one").await.unwrap();
            assert_eq!(trusts.federated(&deployment.auth(CONTOSO, NOW), client).unwrap(), []);
        }
        let auth = deployment.auth(CONTOSO, NOW);
        let machine = trusts.add_federated(&auth, MACHINE, credential("https://issuer.test")).await.unwrap_err();
        assert!(machine.to_string().contains("user-assigned"), "{machine}");
        // Another tenant's application is not there.
        let other = trusts.add_federated(&auth, OTHER_APP, credential("https://issuer.test")).await.unwrap_err();
        assert!(matches!(other, DirectoryError::Missing(_)));
        for (issuer, says) in [
            ("https://elsewhere.test", "federation.issuers"),
            ("http://issuer.test", "https"),
            (&format!("{AUTHORITY}/{}/", Uuid::nil()), "no such tenant"),
            (&format!("{AUTHORITY}/{CONTOSO}"), "no such tenant"),
        ] {
            let refused = trusts.add_federated(&auth, APP, credential(issuer)).await.unwrap_err().to_string();
            assert!(refused.contains(says), "{issuer}: {refused}");
        }
        // A tenant of this server needs no leave to be asked.
        for own in [format!("{AUTHORITY}/{CONTOSO}/"), format!("{AUTHORITY}/{FABRIKAM}/v2.0")] {
            let new = FederatedCredential { name: format!("n{}", own.len()), ..credential(&own) };
            trusts.add_federated(&auth, APP, new).await.unwrap();
        }
    }

    /// What the actor may change is decided by how things are when it is written.
    #[tokio::test]
    async fn who_was_given_a_role_meanwhile_is_not_changed_by_who_may_not_give_it() {
        use crate::app::access::tests::fixture::{AUDIENCE, Fixture, put};

        let fixture = Fixture::new().await;
        let root = ResourceId::root();
        let keeper = fixture.with_role("Application Administrator", &root).await;
        let chief = fixture.principal().await;
        let application = Application::new(fixture.tenant, chief.client, Uuid::from_u128(1), "chief");
        put(&fixture.store, &fixture.ctx(), &application).await;
        let outbound = Outbound { hosts: "issuer.test".parse().unwrap(), ..Outbound::default() };
        let issuers = Issuers::new(&outbound, denizen_wire::Clock::manual(NOW));
        let keys = KeyRing::new(fixture.store.clone(), fixture.key_encryption_keys.clone());
        let trusts = Trusts::new(fixture.store.clone(), Federation::new(issuers, keys, AUTHORITY));
        let snapshot = fixture.store.snapshot();
        let (token, audiences) = (fixture.token(keeper), [AUDIENCE.to_owned()]);
        let caller = fixture.access.authenticate(&snapshot, &token, &audiences, fixture.tenant, NOW).unwrap();
        let ctx = fixture.ctx().by(caller.actor());
        let action = Action::control(actions::UPDATE_CREDENTIALS);
        let auth = fixture.access.authorize(&snapshot, &caller, ctx, &action, &root).unwrap();

        trusts.add_federated(&auth, chief.client, credential("https://issuer.test")).await.unwrap();
        let assignment = RoleAssignment {
            tenant: fixture.tenant,
            id: Uuid::from_u128(2),
            scope: root,
            principal: chief.principal,
            role: BuiltInRoles::load().named("Global Administrator").unwrap().id,
            created: NOW,
            created_by: "test".into(),
        };
        put(&fixture.store, &fixture.ctx(), &assignment).await;
        let new = FederatedCredential { name: "two".into(), ..credential("https://issuer.test") };
        let change = FederatedChange { description: Some("mine".into()), ..FederatedChange::default() };
        for refused in [
            trusts.add_federated(&auth, chief.client, new).await.map(drop),
            trusts.change_federated(&auth, chief.client, "one", &change).await,
            trusts.remove_federated(&auth, chief.client, "one").await,
        ] {
            assert!(matches!(refused, Err(DirectoryError::Outranked(_))), "{refused:?}");
        }
        let kept = trusts.federated(&fixture.auth(), chief.client).unwrap();
        assert_eq!(kept, [credential("https://issuer.test")]);
    }

    #[tokio::test]
    async fn a_subject_is_trusted_with_authorities_only() {
        let deployment = deployment().await;
        let federation = Federation::new(
            Issuers::new(&Outbound::default(), denizen_wire::Clock::manual(NOW)),
            deployment.keys.clone(),
            AUTHORITY,
        );
        let trusts = Trusts::new(deployment.store.clone(), federation);
        let ca = DevCa::generate("Test", NOW.0).unwrap();
        let auth = deployment.auth(CONTOSO, NOW);
        let trust = async |subject: &str, pem: &str| {
            trusts
                .trust_subject(&auth, APP, (Uuid::from_u128(9), subject), pem)
                .await
                .map_err(|error| error.to_string())
        };
        let leaf =
            denizen_keys::x509::self_signed(&crate::app::signing::fixture::SIGNER, "x", NOW.0, NOW.0 + 9).unwrap();
        for (subject, pem, says) in [
            ("CN=app, O=Contoso", ca.ca_pem(), "RFC 4514"),
            ("CN = app", ca.ca_pem(), "RFC 4514"),
            ("app", ca.ca_pem(), "RFC 4514"),
            ("", ca.ca_pem(), "RFC 4514"),
            ("CN=app", "", "1 to 10"),
            ("CN=app", &leaf.pem(), "not a CA's"),
        ] {
            let refused = trust(subject, pem).await.unwrap_err();
            assert!(refused.contains(says), "{subject}: {refused}");
        }
        let made = trust("CN=a\\, b,O=Contoso", ca.ca_pem()).await.unwrap();
        let auth = deployment.auth(CONTOSO, NOW);
        assert_eq!(trusts.subjects(&auth, APP).unwrap(), std::slice::from_ref(&made));
        trusts.distrust_subject(&auth, APP, made.id).await.unwrap();
        assert!(matches!(trusts.distrust_subject(&auth, APP, made.id).await, Err(ChangeError::Missing(_))));
        assert_eq!(trusts.subjects(&deployment.auth(CONTOSO, NOW), APP).unwrap(), []);
    }
}
