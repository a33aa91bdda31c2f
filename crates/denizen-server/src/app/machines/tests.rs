//! Enrolment against a real store: one machine in, and every way of getting in that is not one.

use std::sync::Arc;

use denizen_keys::{
    Algorithm, RsaBits, Signer,
    envelope::RootKey,
    jws,
    x509::{self, Certificate},
};
use denizen_wire::{SubscriptionId, node::MachineFacts};
use uuid::Uuid;

use super::*;
use crate::{
    app::{
        access::tests::fixture::access, directory::Directory, hashing::Hashing, key_encryption_keys::KeyEncryptionKeys,
        passwords::Passwords,
    },
    domain::{Actor, claims::audience::OwnResources, roles::BuiltInRoles},
    store::{AuditRecord, Engine},
};

const AUTHORITY: &str = "https://localhost:8443";
const NOW: UnixTime = UnixTime(1_795_239_900);

struct Fixture {
    _dir: tempfile::TempDir,
    store: Store,
    machines: Machines,
    group: ResourceId,
    ctx: Ctx,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let store = Store::open(Engine::Sqlite { path: root.join("denizen.db") }, crate::store::StoreKeys::of_test())
        .await
        .unwrap();
    let ctx = Ctx::new(TenantId(Uuid::from_u128(7)), Actor::System("test"), NOW, Uuid::from_u128(1));
    let authorization = Authorization::of_test(ctx.clone(), &store);
    let root_key = RootKey::load_or_create(&root.join("root.key")).unwrap();
    let directory = Directory::new(
        store.clone(),
        KeyEncryptionKeys::new(root_key),
        Arc::new(BuiltInRoles::load()),
        Passwords::new(Hashing::of_this_machine()),
        OwnResources::default(),
    );
    directory.create_tenant(&authorization, "a.test", "A").await.unwrap();
    let group = directory
        .create_resource_group(&authorization, SubscriptionId(Uuid::from_u128(9)), "dev", "local")
        .await
        .unwrap()
        .id;
    let machines = Machines::new(store.clone(), access(&store), AUTHORITY);
    Fixture { _dir: dir, store, machines, group, ctx }
}

/// The context of a request.
fn at(now: UnixTime, request: u128) -> impl FnOnce(TenantId) -> Ctx {
    move |tenant| Ctx::new(tenant, Actor::Anonymous, now, Uuid::from_u128(request))
}

struct Node {
    signer: Signer,
    certificate: Certificate,
}

impl Node {
    fn new() -> Self {
        let signer = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let certificate = x509::self_signed(&signer, "m1", NOW.0 - 60, NOW.0 + 86_400).unwrap();
        Self { signer, certificate }
    }

    fn request(&self, token: &SecretString, name: &str, change: impl FnOnce(&mut EnrolClaims)) -> EnrolRequest {
        let mut claims = EnrolClaims {
            aud: format!("{AUTHORITY}{ENROL_PATH}"),
            join: hash::hex(&hash::sha256(token.expose().as_bytes())),
            name: name.into(),
            iat: NOW.0,
            exp: NOW.0 + PROOF_LIFETIME,
        };
        change(&mut claims);
        let header = r#"{"alg":"RS256","typ":"JWT"}"#;
        let proof = jws::sign_compact(&self.signer, Algorithm::Rs256, header, &serde_json::to_string(&claims).unwrap())
            .unwrap();
        EnrolRequest {
            join_token: token.expose().into(),
            machine_name: name.into(),
            certificate: b64::standard(self.certificate.der()),
            proof,
            machine: MachineFacts::default(),
        }
    }
}

impl Fixture {
    async fn token(&self, name: Option<&str>) -> SecretString {
        self.machines
            .create_join_token(&Authorization::of_test(self.ctx.clone(), &self.store), &self.group, name, 600)
            .await
            .unwrap()
    }

    async fn enrol(&self, request: &EnrolRequest) -> Result<Enrolled, EnrolError> {
        self.machines.enrol(request, at(NOW, 2)).await
    }

    /// The audit records of enrolments, oldest first.
    async fn audited(&self) -> Vec<AuditRecord> {
        let tail = self.store.audit_tail(&self.ctx, 1000).await.unwrap();
        tail.into_iter().filter(|record| record.action == CONNECT).collect()
    }

    /// A machine's principal as it is kept.
    async fn principal(&self, of: &Enrolled) -> ServicePrincipal {
        self.store.record(&self.ctx, &of.principal_id).await.unwrap().unwrap()
    }

    async fn refusal(&self, request: &EnrolRequest) -> String {
        match self.enrol(request).await {
            Ok(enrolled) => panic!("{} was let in", enrolled.resource_id),
            Err(refused) => refused.to_string(),
        }
    }
}

#[tokio::test]
async fn a_machine_comes_in_once_and_its_identity_has_its_key() {
    let fixture = fixture().await;
    let node = Node::new();
    let request = node.request(&fixture.token(Some("m1")).await, "m1", |_| {});
    let enrolled = fixture.enrol(&request).await.unwrap();
    let principal = fixture.principal(&enrolled).await;
    assert_eq!(principal.kind, PrincipalKind::ManagedIdentity { resource_id: enrolled.resource_id.clone() });
    assert_eq!(principal.keys[0].x5t_s256, node.certificate.thumbprint_sha256());
    assert_eq!(enrolled.token_endpoint, format!("{AUTHORITY}/{}/oauth2/v2.0/token", fixture.ctx.tenant));

    // The answer was lost and the machine asks again: the same answer.
    assert_eq!(fixture.enrol(&request).await.unwrap().principal_id, enrolled.principal_id);
    // Somebody else found the token: nothing.
    let thief = Node::new().request(&SecretString::from(request.join_token.clone()), "m1", |_| {});
    assert!(fixture.refusal(&thief).await.contains("make a new one"));
}

/// The agent was killed between the server's commit and its own, and is started again with a new join token.
#[tokio::test]
async fn a_machine_that_is_there_gets_its_identity_again_by_its_key() {
    let fixture = fixture().await;
    let mut node = Node::new();
    let first = fixture.enrol(&node.request(&fixture.token(Some("m1")).await, "m1", |_| {})).await.unwrap();

    let token = fixture.token(None).await;
    let again = fixture.enrol(&node.request(&token, "m1", |_| {})).await.unwrap();
    let same = |other: &Enrolled| serde_json::to_value(other).unwrap() == serde_json::to_value(&first).unwrap();
    assert!(same(&again), "{again:?}");
    assert!(fixture.store.redeemable::<JoinToken>(&fixture.ctx).await.unwrap().is_empty(), "the token is used up");
    assert_eq!(fixture.principal(&first).await.keys.len(), 1);

    // Its certificate was made anew. The next assertions name that one, so it takes the old one's place.
    node.certificate = x509::self_signed(&node.signer, "m1", NOW.0 - 30, NOW.0 + 90_000).unwrap();
    let renewed = node.request(&token, "m1", |_| {});
    assert!(fixture.refusal(&renewed).await.contains("make a new one"), "a used token registers nothing");
    let renewed = node.request(&fixture.token(None).await, "m1", |_| {});
    assert!(same(&fixture.enrol(&renewed).await.unwrap()));
    let found = fixture.principal(&first).await.keys;
    assert_eq!((found.len(), found[0].x5t_s256), (1, node.certificate.thumbprint_sha256()));
    assert!(same(&fixture.enrol(&renewed).await.unwrap()), "the answer was lost once more");

    // A machine's name is nobody else's, and its key makes no other machine of it.
    let token = fixture.token(None).await;
    assert!(fixture.refusal(&Node::new().request(&token, "m1", |_| {})).await.contains("connected already"));
    let other = fixture.enrol(&node.request(&token, "m2", |_| {})).await.unwrap();
    assert_ne!(other.principal_id, first.principal_id);

    let audited = fixture.audited().await;
    let repeated = |record: &AuditRecord| record.detail.as_ref().is_some_and(|detail| detail["repeated"] == true);
    let done: Vec<bool> = audited.iter().filter(|r| r.outcome == Outcome::Allowed).map(repeated).collect();
    assert_eq!(done, [false, true, true, false]);
    let refused: Vec<_> = audited.iter().filter(|r| r.outcome == Outcome::Refused).collect();
    assert!(refused.len() == 2 && refused.iter().all(|r| r.actor.starts_with("join-token:")), "{refused:?}");
}

#[tokio::test]
async fn a_disabled_identity_stays_so_when_its_machine_comes_again() {
    let fixture = fixture().await;
    let node = Node::new();
    let first = fixture.enrol(&node.request(&fixture.token(None).await, "m1", |_| {})).await.unwrap();
    let disabled = ServicePrincipal { enabled: false, epoch: 4, ..fixture.principal(&first).await };
    crate::app::access::tests::fixture::put(&fixture.store, &fixture.ctx, &disabled).await;
    fixture.enrol(&node.request(&fixture.token(None).await, "m1", |_| {})).await.unwrap();
    assert_eq!(fixture.principal(&first).await, disabled);
}

/// Whoever guesses at join tokens keeps nobody from writing, and has nothing verified for him.
#[tokio::test]
async fn guesses_are_refused_by_a_read_and_leave_nothing() {
    let fixture = fixture().await;
    let node = Node::new();
    let (used, ended) = (fixture.token(None).await, fixture.token(None).await);
    fixture.enrol(&node.request(&used, "m1", |_| {})).await.unwrap();
    let guess = SecretString::from(format!("dzj.{}.guess", fixture.ctx.tenant.0.simple()));
    // The proof is not looked at: nobody's token comes before it.
    let mut unproved = node.request(&guess, "m2", |_| {});
    unproved.proof = "nonsense".into();
    unproved.certificate = "?".into();
    let late = node.request(&ended, "m2", |_| {});
    let thief = Node::new().request(&used, "m2", |_| {});

    let before = fixture.audited().await.len();
    let (holding, held) = (tokio::sync::oneshot::channel::<()>(), tokio::sync::oneshot::channel::<()>());
    let ((begun, has_begun), (release, released)) = (holding, held);
    let (store, ctx) = (fixture.store.clone(), fixture.ctx.clone());
    let mut hold = Some((begun, released));
    let holder = tokio::spawn(async move {
        let written = store.write(&ctx, |_| {
            let (begun, released) = hold.take().unwrap();
            Box::pin(async move {
                begun.send(()).unwrap();
                released.await.unwrap();
                Ok::<_, StoreError>(Write::Unchanged(()))
            })
        });
        written.await.unwrap();
    });
    has_begun.await.unwrap();
    let writes = fixture.store.counters().writes;
    let (expired, unknown, of_a_thief) = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        let expired = fixture.machines.enrol(&late, at(NOW + 601, 3)).await;
        (expired, fixture.enrol(&unproved).await, fixture.enrol(&thief).await)
    })
    .await
    .expect("a refusal waits for the writer");
    assert_eq!(fixture.store.counters().writes, writes);
    release.send(()).unwrap();
    holder.await.unwrap();

    let why = |outcome: Result<Enrolled, EnrolError>| {
        let Err(EnrolError::Token(why)) = outcome else { panic!("{:?}", outcome.err()) };
        why
    };
    let counts = || {
        let strangers = fixture.machines.strangers();
        (strangers.count(Reason::JoinToken), strangers.count(Reason::JoinTokenEnded))
    };
    assert_eq!(why(expired), OneTimeRefused::Expired);
    assert_eq!(why(unknown), OneTimeRefused::Unknown);
    assert_eq!(why(of_a_thief), OneTimeRefused::Used);
    // The API counts them, as it knows where they came from.
    assert_eq!(counts(), (0, 0));
    let audited = fixture.audited().await;
    assert_eq!(audited.len(), before + 1, "who holds a token that was used is known by it");
    assert!(audited.last().unwrap().actor.starts_with("join-token:"));
}

#[tokio::test]
async fn no_time_in_a_proof_is_too_absurd() {
    let fixture = fixture().await;
    let (node, token) = (Node::new(), fixture.token(None).await);
    let ends = [i64::MIN, i64::MIN + 1, -1, 0, NOW.0 - 4000, i64::MAX - 1, i64::MAX];
    for (iat, exp) in ends.into_iter().flat_map(|iat| ends.map(|exp| (iat, exp))) {
        let request = node.request(&token, "m1", |claims| (claims.iat, claims.exp) = (iat, exp));
        let refused = fixture.enrol(&request).await.err();
        assert!(matches!(refused, Some(EnrolError::Proof(_))), "{iat} {exp}: {refused:?}");
    }
}

#[tokio::test]
async fn a_token_whose_group_is_gone_is_refused_for_good() {
    let fixture = fixture().await;
    let token = fixture.token(None).await;
    let removed = fixture.store.write(&fixture.ctx, |tx| {
        let group = fixture.group.clone();
        Box::pin(async move {
            tx.remove::<crate::domain::resources::ResourceGroup>(&group).await?;
            Ok::<_, StoreError>(Write::commit("test", "test", ()))
        })
    });
    removed.await.unwrap();
    let refused = fixture.enrol(&Node::new().request(&token, "m1", |_| {})).await;
    assert!(matches!(refused, Err(EnrolError::GroupGone)), "{:?}", refused.err());
}

#[tokio::test]
async fn join_tokens_are_forgotten_a_day_after_their_end() {
    let fixture = fixture().await;
    fixture.token(None).await;
    let forget = async |now| {
        let authorization = Authorization::of_test(Ctx { now, ..fixture.ctx.clone() }, &fixture.store);
        fixture.machines.forget_ended_tokens(&authorization).await.unwrap()
    };
    let end = NOW + 600;
    assert_eq!(forget(end + KEEP_ENDED).await, 0);
    assert_eq!(forget(end + KEEP_ENDED + 1).await, 1);
    assert_eq!(forget(end + KEEP_ENDED + 1).await, 0);

    // However many they are: some of them at a time, so that writers wait for no more than that.
    let (tenant, many) = (fixture.ctx.tenant, 2 * u128::from(Tx::FORGOTTEN_AT_ONCE.unsigned_abs()) + 1);
    let issued = fixture.store.write(&fixture.ctx, |tx| {
        let resource_group = fixture.group.clone();
        Box::pin(async move {
            for n in 0..many {
                let token = JoinToken {
                    id: Uuid::from_u128(n),
                    tenant,
                    hash: format!("{n:064x}"),
                    resource_group: resource_group.clone(),
                    machine_name: None,
                    created: NOW,
                    expires: end,
                };
                tx.issue(&token).await?;
            }
            Ok::<_, StoreError>(Write::commit("test", "test", ()))
        })
    });
    issued.await.unwrap();
    let before = fixture.store.revision();
    assert_eq!(u128::from(forget(end + KEEP_ENDED + 1).await), many);
    assert_eq!(fixture.store.revision().0 - before.0, 3, "transactions");
}

#[tokio::test]
async fn d10_a_join_token_is_bound_expires_and_is_raced_by_one_winner() {
    let fixture = fixture().await;
    let node = Node::new();
    let bound = fixture.token(Some("m1")).await;
    assert!(fixture.refusal(&node.request(&bound, "m2", |_| {})).await.contains("bound to the machine name 'm1'"));

    let late = node.request(&bound, "m1", |claims| {
        claims.iat = NOW.0 + 600;
        claims.exp = NOW.0 + 700;
    });
    let refused = fixture.machines.enrol(&late, at(NOW + 601, 3)).await;
    assert!(matches!(refused, Err(EnrolError::Token(OneTimeRefused::Expired))), "{:?}", refused.err());

    let token = fixture.token(None).await;
    let requests: Vec<EnrolRequest> = (0..8).map(|i| Node::new().request(&token, &format!("m{i}"), |_| {})).collect();
    let mut attempts = tokio::task::JoinSet::new();
    for request in requests {
        let machines = fixture.machines.clone();
        attempts.spawn(async move { machines.enrol(&request, at(NOW, 4)).await.is_ok() });
    }
    assert_eq!(attempts.join_all().await.into_iter().filter(|won| *won).count(), 1);
}

#[tokio::test]
async fn d28_a_proof_is_for_this_server_this_token_this_name_and_now() {
    let fixture = fixture().await;
    let node = Node::new();
    let token = fixture.token(None).await;
    type Change = fn(&mut EnrolClaims);
    let cases: [(&str, Change); 5] = [
        ("another server", |c| c.aud = "https://evil.test/node/v1/enrol".into()),
        ("another join token", |c| c.join = "00".into()),
        ("another machine name", |c| c.name = "m2".into()),
        ("not fresh", |c| (c.iat, c.exp) = (NOW.0 - 4000, NOW.0 - 3900)),
        ("lives too long", |c| c.exp = NOW.0 + 86_400),
    ];
    for (expected, change) in cases {
        let text = fixture.refusal(&node.request(&token, "m1", change)).await;
        assert!(text.contains(expected), "{text}");
    }
    let mut foreign = node.request(&token, "m1", |_| {});
    foreign.certificate = b64::standard(Node::new().certificate.der());
    assert!(fixture.refusal(&foreign).await.contains("not signed by the key it brings"));

    // None of these used the token up.
    assert!(fixture.enrol(&node.request(&token, "m1", |_| {})).await.is_ok());
    let again = fixture.token(None).await;
    assert!(fixture.refusal(&Node::new().request(&again, "m1", |_| {})).await.contains("connected already"));
}

#[tokio::test]
async fn what_is_not_a_request_is_told_why() {
    let fixture = fixture().await;
    let node = Node::new();
    let token = fixture.token(None).await;
    for name in ["", "..", "a/b", "a b", &"x".repeat(55)] {
        assert!(fixture.refusal(&node.request(&token, name, |_| {})).await.contains("'machineName'"), "{name}");
    }
    let mut request = node.request(&token, "m1", |_| {});
    request.certificate = "?".into();
    assert!(fixture.refusal(&request).await.contains("'certificate'"));
    for made_up in ["", "dzj", "dzj.00000000000000000000000000000007.x", "dzj.zz.x", "x"] {
        let request = node.request(&SecretString::from(made_up.to_owned()), "m1", |_| {});
        assert!(matches!(fixture.enrol(&request).await, Err(EnrolError::Token(OneTimeRefused::Unknown))), "{made_up}");
    }
}
