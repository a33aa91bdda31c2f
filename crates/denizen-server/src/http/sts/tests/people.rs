//! Users' tokens: by an authorization code and a refresh token here; by a device code in [`device`], on behalf of in
//! [`on_behalf_of`]. What a browser or a person does in between is written straight into the store.

mod device;
mod on_behalf_of;

use denizen_keys::{hash, random};
use denizen_wire::{
    PrincipalId,
    claims::{AccessToken, IdToken},
    oauth::{ClientInfo, DeviceAuthorization, TokenV1, TokenV2},
};

use super::*;
use crate::{
    app::{
        signing::fixture::{API, APP, FABRIKAM, SECRET, application, ctx, principal},
        strangers::Reason,
    },
    domain::{
        claims::audience,
        directory::{
            AppRole, AppRoleMembers, Application, GroupClaims, PermissionScope, RedirectUris, SigningAlgorithm,
            SigningKey, TokenVersion,
        },
        grants::{AppRoleAssignment, PermissionGrant},
        people::{Group, Membership, Totp, User, UserPassword},
        scopes::Scopes,
        sign_in::{AuthorizationCode, DeviceDecision, SignIn, UserCode, hash_of_user_code},
    },
    store::Outcome,
};

/// The Azure CLI's client, which every tenant has.
const AZURE_CLI: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
const ARM: &str = "https://management.core.windows.net/";
const REDIRECT: &str = "http://localhost:8400";
const VERIFIER: &str = "dBjftJeZ4CVP-mBJz-92-gqpvNpmQJVTN0LSfPDVc8NjW-q";

const ALICE: PrincipalId = PrincipalId(Uuid::from_u128(0x11));
const OPERATORS: PrincipalId = PrincipalId(Uuid::from_u128(0x21));
const READER: Uuid = Uuid::from_u128(0x31);

fn alice() -> User {
    User {
        tenant: CONTOSO,
        id: ALICE,
        name: "Alice@contoso.test".to_owned(),
        display_name: "Alice Able".to_owned(),
        given_name: Some("Alice".to_owned()),
        surname: Some("Able".to_owned()),
        mail: Some("alice@example.com".to_owned()),
        mail_nickname: "alice".to_owned(),
        enabled: true,
        epoch: 4,
        password: None,
        totp: None,
        externals: Vec::new(),
        created: NOW,
    }
}

fn sign_in() -> SignIn {
    SignIn {
        tenant: CONTOSO,
        user: ALICE,
        epoch: 4,
        at: NOW - 60,
        methods: vec!["pwd".to_owned(), "mfa".to_owned()],
        session: Uuid::from_u128(0x51d),
    }
}

/// `api://orders` with a role and two permissions, which names the groups of whoever calls it.
fn orders() -> Application {
    let scope = |n: u128, value: &str| PermissionScope {
        id: Uuid::from_u128(n),
        value: value.to_owned(),
        display_name: value.to_owned(),
        description: String::new(),
        users_consent: true,
        enabled: true,
    };
    Application {
        identifier_uris: vec!["api://orders".to_owned()],
        token_version: TokenVersion::V2,
        keys: Vec::new(),
        app_roles: vec![AppRole {
            id: READER,
            value: "Reader".to_owned(),
            display_name: "Reader".to_owned(),
            description: String::new(),
            members: vec![AppRoleMembers::User, AppRoleMembers::Application],
            enabled: true,
        }],
        scopes: vec![scope(0x41, "Orders.Read"), scope(0x42, "Orders.Write")],
        group_claims: GroupClaims::All,
        ..application(CONTOSO, API)
    }
}

/// What `client` may do at a resource of Azure's, for everybody.
fn at_azure(n: u128, client: denizen_wire::ClientId, resource: &str) -> PermissionGrant {
    PermissionGrant {
        tenant: CONTOSO,
        id: Uuid::from_u128(n),
        client: principal(CONTOSO, client).id,
        user: None,
        resource: audience::consent_id(resource),
        scopes: vec!["user_impersonation".to_owned()],
        created: NOW,
    }
}

async fn service() -> Service {
    let service = Service::start().await;
    service.deployment.put(CONTOSO, &alice()).await;
    service.deployment.put(CONTOSO, &orders()).await;
    service.deployment.put(CONTOSO, &principal(CONTOSO, API)).await;
    service
}

fn code(secret: &str, client: &str) -> AuthorizationCode {
    AuthorizationCode {
        id: random::uuid_v4(),
        tenant: CONTOSO,
        hash: hash::hex(&hash::sha256(secret.as_bytes())),
        expires: NOW + 600,
        client: client.parse().unwrap(),
        redirect_uri: REDIRECT.to_owned(),
        scope: format!("{ARM}/.default openid profile offline_access"),
        nonce: Some("n-0S6".to_owned()),
        challenge: Some(b64::url(&hash::sha256(VERIFIER.as_bytes()))),
        sign_in: sign_in(),
    }
}

impl Service {
    async fn issue_code(&self, code: &AuthorizationCode) {
        self.deployment.issue(code).await;
    }

    async fn redeem(&self, secret: &str, client: &str) -> Answer {
        self.token(&code_form(secret, client)).await
    }

    /// A code of Alice's for the Azure CLI, redeemed.
    async fn signed_in(&self) -> TokenV2 {
        self.issue_code(&code("the-code", AZURE_CLI)).await;
        let answer = self.redeem("the-code", AZURE_CLI).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()
    }

    async fn refresh(&self, token: &str, scope: &str) -> Answer {
        let form =
            [("grant_type", "refresh_token"), ("client_id", AZURE_CLI), ("refresh_token", token), ("scope", scope)];
        self.token(&form).await
    }

    async fn id_token(&self, token: &str) -> IdToken {
        let keys: Value = self.get(&format!("/{CONTOSO}/discovery/v2.0/keys")).await.json();
        let parsed = Unverified::parse(token, 16_384).unwrap();
        let jwk = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"].as_str() == parsed.kid()).unwrap();
        let jwk: denizen_keys::jwk::RsaJwk = serde_json::from_value(jwk.clone()).unwrap();
        parsed.verify(&jwk.to_public().unwrap(), &[Algorithm::Rs256]).unwrap().claims().unwrap()
    }
}

fn code_form<'a>(secret: &'a str, client: &'a str) -> [(&'a str, &'a str); 6] {
    [
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", secret),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("client_info", "1"),
    ]
}

#[track_caller]
fn refused(answer: &Answer, error: &str, code: i32) {
    let body: oauth::Error = answer.json();
    assert_eq!((body.error.as_str(), body.error_codes[0]), (error, code), "{}", answer.body);
}

#[tokio::test]
async fn a_code_gives_a_users_tokens_once() {
    let service = service().await;
    let tokens = service.signed_in().await;
    let user = &tokens.user;
    assert!(tokens.expires_in >= 3600);
    let scope = user.scope.as_deref().unwrap();
    for granted in [&format!("{ARM}/user_impersonation"), &format!("{ARM}/.default"), "openid", "offline_access"] {
        assert!(scope.split(' ').any(|it| it == granted), "{granted} is missing of {scope}");
    }
    let info: ClientInfo =
        serde_json::from_slice(&b64::decode_url(user.client_info.as_deref().unwrap()).unwrap()).unwrap();
    assert_eq!((info.uid, info.utid), (ALICE, CONTOSO));

    let token = service.verified(CONTOSO, &tokens.access_token).await;
    assert_eq!((token.aud.as_str(), token.ver.as_str(), token.idtyp.as_str()), (ARM, "1.0", "user"));
    assert_eq!((token.oid, token.tid), (ALICE, CONTOSO));
    assert_eq!(token.scp.as_deref(), Some("user_impersonation"));
    assert_eq!((token.appid.unwrap().to_string().as_str(), token.appidacr.as_deref()), (AZURE_CLI, Some("0")));
    assert_eq!((token.amr.as_slice(), token.auth_time), (&["pwd".to_owned(), "mfa".to_owned()][..], Some(NOW - 60)));
    assert_eq!(token.user.upn.as_deref(), Some("Alice@contoso.test"));
    assert_ne!(token.sub, ALICE.to_string(), "each resource knows the user by another name");
    assert_eq!((token.roles.len(), token.groups.len(), token.xms_epoch), (0, 0, 4));

    let id = service.id_token(user.id_token.as_deref().unwrap()).await;
    assert_eq!(
        (id.aud.to_string().as_str(), id.iss.as_str()),
        (AZURE_CLI, format!("{AUTHORITY}/{CONTOSO}/v2.0").as_str())
    );
    assert_eq!((id.nonce.as_deref(), id.oid, id.ver.as_str()), (Some("n-0S6"), ALICE, "2.0"));
    assert_eq!(id.user.preferred_username.as_deref(), Some("Alice@contoso.test"));
    assert_eq!(id.user.email, None, "it was not asked for");

    // Once more is somebody else's: the refresh token that came of it is worth nothing from then on.
    refused(&service.redeem("the-code", AZURE_CLI).await, "invalid_grant", 54_005);
    let refresh = user.refresh_token.as_deref().unwrap();
    refused(&service.refresh(refresh, &format!("{ARM}/.default")).await, "invalid_grant", 50_173);
}

#[tokio::test]
async fn a_code_is_worth_nothing_without_what_belongs_to_it() {
    let service = service().await;
    let mut without = code("the-code", AZURE_CLI);
    without.challenge = None;
    for (name, code, change, error) in [
        ("another redirect URI", code("c1", AZURE_CLI), ("redirect_uri", "http://localhost:8400/"), 500_112),
        (
            "another verifier",
            code("c2", AZURE_CLI),
            ("code_verifier", "another-verifier-that-is-long-enough-000000"),
            501_481,
        ),
        ("no verifier", code("c3", AZURE_CLI), ("code_verifier", ""), 501_481),
        ("a verifier and no challenge", without.clone(), ("", ""), 501_481),
        ("another client", code("c5", "1950a258-227b-4e31-a9cf-717495945fc2"), ("", ""), 70_000),
    ] {
        let secret = format!("secret of {name}");
        let code =
            AuthorizationCode { id: random::uuid_v4(), hash: hash::hex(&hash::sha256(secret.as_bytes())), ..code };
        service.issue_code(&code).await;
        let form = code_form(&secret, AZURE_CLI);
        let changed: Vec<_> =
            form.iter().map(|(name, value)| (*name, if *name == change.0 { change.1 } else { value })).collect();
        refused(&service.token(&changed).await, "invalid_grant", error);
        if error != 70_000 {
            // Whoever has a code and not what belongs to it does not get to try again.
            refused(&service.token(&form).await, "invalid_grant", 54_005);
        }
    }
    refused(&service.redeem("never given", AZURE_CLI).await, "invalid_grant", 70_000);
    let ended = AuthorizationCode { expires: NOW, ..code("ended", AZURE_CLI) };
    service.issue_code(&ended).await;
    refused(&service.redeem("ended", AZURE_CLI).await, "invalid_grant", 70_008);
    // In another tenant.
    let code = code("elsewhere", AZURE_CLI);
    service.issue_code(&code).await;
    let answer = service.post(&format!("/{FABRIKAM}/oauth2/v2.0/token"), &code_form("elsewhere", AZURE_CLI)).await;
    refused(&answer, "invalid_grant", 700_005);
    // Where the path leaves the tenant open, the code says it.
    let answer = service.post("/organizations/oauth2/v2.0/token", &code_form("elsewhere", AZURE_CLI)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let answer = service.post("/common/oauth2/v2.0/token", &code_form("nobody's", AZURE_CLI)).await;
    refused(&answer, "invalid_grant", 70_000);
}

#[tokio::test]
async fn a_client_with_a_credential_has_to_show_it() {
    let service = service().await;
    let client = APP.to_string();
    service.issue_code(&code("of-app", &client)).await;
    refused(&service.redeem("of-app", &client).await, "invalid_client", 7_000_218);
    let mut form = code_form("of-app", &client).to_vec();
    form.push(("client_secret", SECRET));
    refused(&service.token(&form).await, "invalid_grant", 65_001);
    service.deployment.put(CONTOSO, &at_azure(0x71, APP, ARM)).await;
    let answer = service.token(&form).await;
    let token = service.verified(CONTOSO, &answer.access_token()).await;
    assert_eq!((token.appid, token.appidacr.as_deref()), (Some(APP), Some("1")));
    // One that is registered as public need not have one.
    let public = Application { public_client: true, ..application(CONTOSO, APP) };
    service.deployment.put(CONTOSO, &public).await;
    service.issue_code(&code("public", &client)).await;
    let answer = service.redeem("public", &client).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    // But a code without a challenge is not enough by itself.
    let bare = AuthorizationCode { challenge: None, ..code("bare", &client) };
    service.issue_code(&bare).await;
    let form: Vec<_> = code_form("bare", &client).into_iter().filter(|(name, _)| *name != "code_verifier").collect();
    refused(&service.token(&form).await, "invalid_grant", 501_481);
    // And gets nothing for itself.
    let form =
        [("grant_type", "client_credentials"), ("client_id", &client), ("scope", "https://vault.azure.net/.default")];
    refused(&service.token(&form).await, "invalid_client", 7_000_218);
}

#[tokio::test]
async fn a_refresh_token_is_spent_and_a_copy_of_it_revokes_them_all() {
    let mut service = service().await;
    let scope = format!("{ARM}/.default");
    let first = service.signed_in().await.user.refresh_token.unwrap();
    let next = async |service: &Service, token: &str| {
        let answer = service.refresh(token, &scope).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json::<TokenV2>().user.refresh_token.unwrap()
    };
    let second = next(&service, &first).await;
    assert_ne!(first, second);
    // Its answer may have been lost, and programs share them: for a moment it gives what it gave.
    service.now = NOW + 30;
    assert_eq!(next(&service, &first).await, second);
    let third = next(&service, &second).await;
    // One that is two behind, or that was spent long ago, is a copy.
    refused(&service.refresh(&first, &scope).await, "invalid_grant", 50_173);
    let refused_body: oauth::Error = service.refresh(&third, &scope).await.json();
    assert_eq!(refused_body.suberror.as_deref(), Some("bad_token"));
    assert_eq!(refused_body.error_codes, [50_173], "the rightful one is revoked as well");
    let records = service.deployment.store.audit_tail(&ctx(CONTOSO, NOW), 20).await.unwrap();
    assert!(records.iter().any(|it| it.action.ends_with("refreshTokens/revoke") && it.outcome == Outcome::Allowed));

    // The other way: late, one generation behind.
    service.issue_code(&code("again", AZURE_CLI)).await;
    let first = service.redeem("again", AZURE_CLI).await.json::<TokenV2>().user.refresh_token.unwrap();
    let second = next(&service, &first).await;
    service.now = NOW + 30 + 31;
    refused(&service.refresh(&first, &scope).await, "invalid_grant", 50_173);
    refused(&service.refresh(&second, &scope).await, "invalid_grant", 50_173);
}

#[tokio::test]
async fn what_is_no_refresh_token_of_ours_is_refused_without_a_look_at_the_database() {
    let mut service = service().await;
    let scope = format!("{ARM}/.default");
    let token = service.signed_in().await.user.refresh_token.unwrap();
    let reads = service.deployment.store.counters().reads;
    let bytes = b64::decode_url(&token).unwrap();
    for at in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        let answer = service.refresh(&b64::url(&forged), &scope).await;
        refused(&answer, "invalid_grant", if at < 16 { 700_005 } else { 70_000 });
    }
    for text in ["", "x", &token[1..], &format!("{token}A")] {
        let answer = service.refresh(text, &scope).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    }
    assert_eq!(service.deployment.store.counters().reads, reads);
    // Not by another client, in another tenant, or after ninety days.
    let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", token.as_str()), ("scope", scope.as_str())];
    form.push(("client_id", "1950a258-227b-4e31-a9cf-717495945fc2"));
    refused(&service.token(&form).await, "invalid_grant", 700_003);
    service.now = NOW + 90 * 24 * 3600;
    refused(&service.refresh(&token, &scope).await, "invalid_grant", 700_082);
}

#[tokio::test]
async fn what_was_taken_from_a_user_is_not_given_again() {
    let service = service().await;
    let scope = format!("{ARM}/.default");
    let token = service.signed_in().await.user.refresh_token.unwrap();
    let after = async |user: User, code: i32| {
        service.deployment.put(CONTOSO, &user).await;
        refused(&service.refresh(&token, &scope).await, "invalid_grant", code);
    };
    after(User { epoch: 5, ..alice() }, 50_173).await;
    after(User { enabled: false, ..alice() }, 50_057).await;
    service.deployment.put(CONTOSO, &alice()).await;
    assert_eq!(service.refresh(&token, &scope).await.status, StatusCode::OK);
    service.deployment.remove::<User>(CONTOSO, &ALICE).await;
    refused(&service.refresh(&token, &scope).await, "invalid_grant", 50_034);
}

#[tokio::test]
async fn one_refresh_token_serves_every_resource() {
    let service = service().await;
    let token = service.signed_in().await.user.refresh_token.unwrap();
    let answer = service.refresh(&token, "https://vault.azure.net/.default").await;
    let body: TokenV2 = answer.json();
    let claims = service.verified(CONTOSO, &body.access_token).await;
    assert_eq!(claims.aud, "https://vault.azure.net");
    assert!(body.user.id_token.is_some() && body.user.refresh_token.is_some(), "as it was asked for the first time");
    // The v1 endpoint answers in text, by resource.
    let next = body.user.refresh_token.unwrap();
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", AZURE_CLI),
        ("refresh_token", next.as_str()),
        ("resource", "https://vault.azure.net"),
    ];
    let answer = service.post(&format!("/{CONTOSO}/oauth2/token"), &form).await;
    let body: TokenV1 = answer.json();
    assert_eq!(body.resource, "https://vault.azure.net");
    let id = service.id_token(body.user.id_token.as_deref().unwrap()).await;
    assert_eq!((id.ver.as_str(), id.user.upn.as_deref()), ("1.0", Some("Alice@contoso.test")));
}

#[tokio::test]
async fn an_application_is_used_as_far_as_somebody_has_consented() {
    let service = service().await;
    let form = async |scope: &str| {
        let client = APP.to_string();
        let secret = random::token(16);
        let code = AuthorizationCode { scope: scope.to_owned(), ..code(secret.expose(), &client) };
        service.issue_code(&code).await;
        let mut form = code_form(secret.expose(), &client).to_vec();
        form.push(("client_secret", SECRET));
        service.token(&form).await
    };
    let refused_body: oauth::Error = form("api://orders/.default openid").await.json();
    assert_eq!((refused_body.error_codes[0], refused_body.suberror.as_deref()), (65_001, Some("consent_required")));

    let grant = |n, user, scopes: &[&str]| PermissionGrant {
        tenant: CONTOSO,
        id: Uuid::from_u128(n),
        client: principal(CONTOSO, APP).id,
        user,
        resource: principal(CONTOSO, API).id,
        scopes: scopes.iter().map(|it| (*it).to_owned()).collect(),
        created: NOW,
    };
    service.deployment.put(CONTOSO, &grant(1, Some(PrincipalId(Uuid::from_u128(0x99))), &["Orders.Write"])).await;
    refused(&form("api://orders/Orders.Write").await, "invalid_grant", 65_001);
    service.deployment.put(CONTOSO, &grant(2, Some(ALICE), &["Orders.Read", "Gone"])).await;
    let token = service.verified(CONTOSO, &form("api://orders/Orders.Read").await.access_token()).await;
    assert_eq!(
        (token.scp.as_deref(), token.aud.as_str(), token.ver.as_str()),
        (Some("Orders.Read"), API.to_string().as_str(), "2.0")
    );
    assert_eq!(token.user.preferred_username.as_deref(), Some("Alice@contoso.test"));
    refused(&form("api://orders/Orders.Read api://orders/Orders.Write").await, "invalid_grant", 65_001);
    service.deployment.put(CONTOSO, &grant(3, None, &["Orders.Write"])).await;
    let token = service.verified(CONTOSO, &form("api://orders/.default").await.access_token()).await;
    assert_eq!(token.scp.as_deref(), Some("Orders.Read Orders.Write"), "for everybody, and by Alice");
}

#[tokio::test]
async fn roles_and_groups_are_said_as_the_resource_asks() {
    let service = service().await;
    let group = Group {
        tenant: CONTOSO,
        id: OPERATORS,
        display_name: "Operators".to_owned(),
        description: None,
        mail_nickname: "operators".to_owned(),
        owners: Vec::new(),
        created: NOW,
    };
    service.deployment.put(CONTOSO, &group).await;
    for member in [ALICE, principal(CONTOSO, APP).id] {
        let membership = Membership { tenant: CONTOSO, group: OPERATORS, member, since: NOW };
        service.deployment.put(CONTOSO, &membership).await;
    }
    let role = AppRoleAssignment {
        tenant: CONTOSO,
        id: Uuid::from_u128(0x61),
        principal: OPERATORS,
        resource: principal(CONTOSO, API).id,
        role: READER,
        created: NOW,
    };
    // By itself, an application gets what it has, a role of its group's included.
    let by_secret =
        async |service: &Service| service.token(&secret_form(&APP.to_string(), SECRET, "api://orders/.default")).await;
    let token = service.verified(CONTOSO, &by_secret(&service).await.access_token()).await;
    assert_eq!((token.roles.len(), token.groups.as_slice()), (0, &[OPERATORS][..]));
    service.deployment.put(CONTOSO, &role).await;
    let token = service.verified(CONTOSO, &by_secret(&service).await.access_token()).await;
    assert_eq!((token.roles.as_slice(), token.scp), (&["Reader".to_owned()][..], None));

    // Who has none is not let in where one is needed.
    service.deployment.put(CONTOSO, &Application { assignment_required: true, ..orders() }).await;
    assert_eq!(by_secret(&service).await.status, StatusCode::OK);
    service.deployment.remove::<AppRoleAssignment>(CONTOSO, &role.id).await;
    refused(&by_secret(&service).await, "invalid_grant", 501_051);
    service.deployment.put(CONTOSO, &orders()).await;

    // More groups than a token has room for are asked for elsewhere.
    for n in 0..200u128 {
        let group = Group { id: PrincipalId(Uuid::from_u128(0x1000 + n)), ..group.clone() };
        let membership =
            Membership { tenant: CONTOSO, group: group.id, member: principal(CONTOSO, APP).id, since: NOW };
        service.deployment.put(CONTOSO, &group).await;
        service.deployment.put(CONTOSO, &membership).await;
    }
    let token: AccessToken = service.verified(CONTOSO, &by_secret(&service).await.access_token()).await;
    assert!(token.groups.is_empty() && token.claim_names.is_some_and(|it| it.groups == "src1"));
    assert!(token.claim_sources.unwrap().src1.endpoint.ends_with("/getMemberObjects"));
}

#[tokio::test]
async fn a_challenged_client_gets_a_token_that_is_new_enough() {
    let service = service().await;
    let with = async |claims: &str| {
        let client = APP.to_string();
        let mut form = secret_form(&client, SECRET, "https://vault.azure.net/.default").to_vec();
        form.push(("claims", claims));
        service.token(&form).await
    };
    let claims = json!({"access_token": {"nbf": {"essential": true, "value": (NOW - 10).to_string()}, "xms_cc": {"values": ["CP1"]}}});
    let token = service.verified(CONTOSO, &with(&claims.to_string()).await.access_token()).await;
    assert_eq!((token.nbf, token.xms_cc.as_slice()), (NOW - 10, &["cp1".to_owned()][..]));
    // The resource's clock may go before ours, as far as it takes tokens that begin later.
    let soon = json!({"access_token": {"nbf": {"value": (NOW + 300).0}}});
    let token = service.verified(CONTOSO, &with(&soon.to_string()).await.access_token()).await;
    assert_eq!(token.nbf, NOW + 300);
    let future = json!({"access_token": {"nbf": {"value": (NOW + 301).0}}});
    refused(&with(&future.to_string()).await, "invalid_request", 50_200);
    for broken in
        ["{", "[]", "7", r#"{"access_token":{"nbf":{"value":"soon"}}}"#, r#"{"access_token":{"nbf":{"value":-1}}}"#]
    {
        refused(&with(broken).await, "invalid_request", 90_023);
    }
    // What it does not know it leaves alone.
    for other in [r#"{"id_token":{"acr":null}}"#, r#"{"access_token":{}}"#, "{}"] {
        let token = service.verified(CONTOSO, &with(other).await.access_token()).await;
        assert_eq!((token.nbf, token.xms_cc.len()), (NOW - 300, 0), "{other}");
    }
}

#[tokio::test]
async fn the_one_tenant_is_found_by_the_name_of_an_authority_of_its_own() {
    let service = service().await;
    let answer = service.get("/adfs/.well-known/openid-configuration").await;
    refused(&answer, "invalid_request", 900_023);
    service.deployment.remove::<crate::domain::directory::Tenant>(FABRIKAM, &FABRIKAM).await;
    let document: Value = service.get("/adfs/.well-known/openid-configuration").await.json();
    assert_eq!(document["token_endpoint"].as_str(), Some(format!("{AUTHORITY}/adfs/oauth2/token").as_str()));
    for path in ["/adfs/oauth2/token", "/adfs/oauth2/v2.0/token"] {
        let answer =
            service.post(path, &secret_form(&APP.to_string(), SECRET, "https://vault.azure.net/.default")).await;
        let token: TokenV2 = answer.json();
        assert_eq!(service.verified(CONTOSO, &token.access_token).await.aud, "https://vault.azure.net");
    }
    let realm: Value = service.get("/common/UserRealm/alice@contoso.test?api-version=1.0").await.json();
    assert_eq!(
        (realm["account_type"].as_str(), realm["domain_name"].as_str()),
        (Some("Managed"), Some("contoso.test"))
    );
    let nobody: Value = service.get("/common/userrealm/nobody@contoso.test?api-version=1.0").await.json();
    assert_eq!(realm, nobody, "it does not tell who there is");
}

#[tokio::test]
async fn a_password_is_taken_from_a_client_only_where_an_operator_insists() {
    let mut deployment = crate::app::signing::fixture::deployment().await;
    let password = denizen_keys::password::hash(&denizen_keys::SecretString::from("correct horse battery"));
    let kept = UserPassword { hash: password, set: NOW, must_change: false };
    deployment.put(CONTOSO, &User { password: Some(kept.clone()), ..alice() }).await;
    let form = |password: &'static str| {
        [
            ("grant_type", "password"),
            ("client_id", AZURE_CLI),
            ("username", "alice@CONTOSO.test"),
            ("password", password),
            ("scope", "https://vault.azure.net/.default openid offline_access"),
        ]
    };
    let service = Service::of(deployment);
    refused(&service.token(&form("correct horse battery")).await, "unsupported_grant_type", 70_003);

    deployment = service.deployment;
    deployment.tokens = deployment.tokens.clone().with_password_grant(Some(deployment.sign_in.clone()));
    let service = Service::of(deployment);
    for path in [format!("/{CONTOSO}/oauth2/v2.0/token"), "/organizations/oauth2/v2.0/token".to_owned()] {
        let answer = service.post(&path, &form("correct horse battery")).await;
        let tokens: TokenV2 = answer.json();
        let token = service.verified(CONTOSO, &tokens.access_token).await;
        assert_eq!((token.oid, token.scp.as_deref()), (ALICE, Some("user_impersonation")));
        assert_eq!(token.amr, ["pwd"]);
        let next = service.refresh(&tokens.user.refresh_token.unwrap(), &format!("{ARM}/.default")).await;
        assert_eq!(next.status, StatusCode::OK, "{}", next.body);
    }
    refused(&service.token(&form("wrong")).await, "invalid_grant", 50_126);
    let nobody = [("username", "nobody@contoso.test")];
    let unknown: Vec<_> = form("wrong").into_iter().filter(|(name, _)| *name != "username").chain(nobody).collect();
    refused(&service.token(&unknown).await, "invalid_grant", 50_126);
    // Nor does the shared name say whose names there are.
    let nowhere = [("username", "nobody@nowhere.test")];
    let unknown: Vec<_> = form("wrong").into_iter().filter(|(name, _)| *name != "username").chain(nowhere).collect();
    refused(&service.post("/organizations/oauth2/v2.0/token", &unknown).await, "invalid_grant", 50_126);
    // Who has a second factor, or a password that somebody else knows, cannot sign in so.
    let totp = Some(Totp { sealed: String::new(), set: NOW, last_step: 0 });
    service.deployment.put(CONTOSO, &User { password: Some(kept.clone()), totp, ..alice() }).await;
    refused(&service.token(&form("correct horse battery")).await, "interaction_required", 50_076);
    let given = UserPassword { must_change: true, ..kept };
    service.deployment.put(CONTOSO, &User { password: Some(given), ..alice() }).await;
    refused(&service.token(&form("correct horse battery")).await, "invalid_grant", 50_055);
}

#[tokio::test]
async fn who_asks_for_an_id_token_alone_gets_nothing_that_opens_anything() {
    let service = service().await;
    let code = AuthorizationCode { scope: "openid email".to_owned(), ..code("id-only", AZURE_CLI) };
    service.issue_code(&code).await;
    let tokens: TokenV2 = service.redeem("id-only", AZURE_CLI).await.json();
    let token = service.verified(CONTOSO, &tokens.access_token).await;
    assert_eq!(token.scp.as_deref(), Some("openid profile"));
    let id = service.id_token(tokens.user.id_token.as_deref().unwrap()).await;
    assert_eq!(id.user.email.as_deref(), Some("alice@example.com"));
    assert!(tokens.user.refresh_token.is_none());
}

/// A key that cannot sign costs nobody a grant: what was brought is good for the next try.
#[tokio::test]
async fn what_cannot_be_signed_spends_nothing() {
    let service = service().await;
    let itself = API.to_string();
    let es256 = Application { signing_algorithm: SigningAlgorithm::Es256, ..orders() };
    let scope = "api://orders/Orders.Read offline_access".to_owned();
    service.issue_code(&AuthorizationCode { scope, ..code("for-itself", &itself) }).await;
    let mut form = code_form("for-itself", &itself).to_vec();
    form.push(("client_secret", SECRET));
    for key in service.deployment.signing_keys(CONTOSO).iter().filter(|key| key.alg == SigningAlgorithm::Es256) {
        service.deployment.remove::<SigningKey>(CONTOSO, &key.kid).await;
    }
    service.deployment.put(CONTOSO, &es256).await;
    let failed = service.token(&form).await;
    assert_eq!((failed.status, failed.code()), (StatusCode::SERVICE_UNAVAILABLE, 90_033), "{}", failed.body);
    service.deployment.put(CONTOSO, &orders()).await;
    let first = service.token(&form).await.json::<TokenV2>().user.refresh_token.unwrap();
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", &itself),
        ("client_secret", SECRET),
        ("refresh_token", &first),
        ("scope", "api://orders/Orders.Read"),
    ];
    service.deployment.put(CONTOSO, &es256).await;
    assert_eq!(service.token(&refresh).await.code(), 90_033);
    service.deployment.put(CONTOSO, &orders()).await;
    // Long after: had it been spent, this would be a copy's.
    let late = Service { now: NOW + 60, ..service };
    let answer = late.token(&refresh).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

/// What was revoked between the sign-in and the token ends the token, though it was not seen when that was decided.
#[tokio::test]
async fn a_users_token_has_the_epoch_of_its_sign_in() {
    let service = service().await;
    service.deployment.put(CONTOSO, &User { epoch: 3, ..alice() }).await;
    let token = service.verified(CONTOSO, &service.signed_in().await.access_token).await;
    assert_eq!(token.xms_epoch, sign_in().epoch);
}

/// MSAL Go sends `openid offline_access profile` with the code alone.
#[tokio::test]
async fn a_refresh_token_may_be_asked_for_with_the_code() {
    let service = service().await;
    let scope = "https://vault.azure.net/.default".to_owned();
    service.issue_code(&AuthorizationCode { scope, ..code("late", AZURE_CLI) }).await;
    let mut form = code_form("late", AZURE_CLI).to_vec();
    form.push(("scope", "https://vault.azure.net/.default openid offline_access profile"));
    let tokens: TokenV2 = service.token(&form).await.json();
    let refresh = tokens.user.refresh_token.unwrap();
    assert_eq!(service.refresh(&refresh, &format!("{ARM}/.default")).await.status, StatusCode::OK);
}

/// Clients look what they keep up by the spelling that they asked for.
#[tokio::test]
async fn scopes_are_answered_as_they_were_asked_for() {
    let service = service().await;
    for (n, (asked, answered)) in [
        ("User.Read openid", "User.Read openid profile"),
        ("https://graph.microsoft.com/User.Read", "https://graph.microsoft.com/User.Read"),
        ("openid", "openid profile"),
        ("profile", "profile"),
        ("profile offline_access", "profile offline_access"),
    ]
    .into_iter()
    .enumerate()
    {
        let (scope, secret) = (Scopes::parse(asked).unwrap().text(), format!("code-{n}"));
        service.issue_code(&AuthorizationCode { scope, ..code(&secret, AZURE_CLI) }).await;
        let tokens: TokenV2 = service.redeem(&secret, AZURE_CLI).await.json();
        assert_eq!(tokens.user.scope.as_deref(), Some(answered), "{asked}");
        assert_eq!(service.verified(CONTOSO, &tokens.access_token).await.aud, "https://graph.microsoft.com");
    }
}

/// An application that is a server and a program as well: the server's codes take its credential.
#[tokio::test]
async fn a_code_that_went_to_a_server_takes_the_servers_credential() {
    let service = service().await;
    let both = Application {
        public_client: true,
        redirect_uris: RedirectUris {
            web: vec!["https://shop.test/signin".to_owned()],
            public_client: vec![REDIRECT.to_owned()],
            ..RedirectUris::default()
        },
        ..orders()
    };
    service.deployment.put(CONTOSO, &both).await;
    let itself = API.to_string();
    let redirect_uri = "https://shop.test/signin".to_owned();
    let scope = "api://orders/Orders.Read".to_owned();
    service.issue_code(&AuthorizationCode { scope, redirect_uri, ..code("server's", &itself) }).await;
    let mut form = code_form("server's", &itself).to_vec();
    form.retain(|(name, _)| *name != "redirect_uri");
    form.push(("redirect_uri", "https://shop.test/signin"));
    refused(&service.token(&form).await, "invalid_client", 7_000_218);
    form.push(("client_secret", SECRET));
    assert_eq!(service.token(&form).await.status, StatusCode::OK);
    let scope = "api://orders/Orders.Read".to_owned();
    service.issue_code(&AuthorizationCode { scope, ..code("program's", &itself) }).await;
    assert_eq!(service.token(&code_form("program's", &itself)).await.status, StatusCode::OK);
}
