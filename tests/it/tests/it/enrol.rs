//! How machines come in, and how they do not. D-10, D-28: a join token is for one machine, once, for minutes.
//!
//! Join tokens are made over the stopped server's data, as the operator's command will make them.

use denizen_keys::{Algorithm, RsaBits, SecretString, Signer, b64, hash, jws, random, x509};
use denizen_wire::{
    ResourceId, UnixTime,
    node::{ENROL_PATH, EnrolClaims, EnrolRequest, MachineFacts, PROOF_LIFETIME},
    oauth::JWT_BEARER,
};
use serde_json::json;

use crate::{dev::Dev, jwt, offline::Offline, sandbox::Sandbox, wire::Answer};

/// A machine that wants in: its node key, and the clock it has.
pub(crate) struct Node {
    signer: Signer,
    certificate: x509::Certificate,
    now: i64,
}

impl Node {
    pub(crate) fn new(now: UnixTime) -> Self {
        let signer = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let certificate = x509::self_signed(&signer, "node", now.0 - 60, now.0 + 86_400).unwrap();
        Self { signer, certificate, now: now.0 }
    }

    /// A request that is right in every way, then changed.
    pub(crate) fn request(
        &self,
        authority: &str,
        token: &SecretString,
        name: &str,
        change: impl FnOnce(&mut EnrolClaims),
    ) -> EnrolRequest {
        let mut claims = EnrolClaims {
            aud: format!("{authority}{ENROL_PATH}"),
            join: hash::hex(&hash::sha256(token.expose().as_bytes())),
            name: name.into(),
            iat: self.now,
            exp: self.now + PROOF_LIFETIME,
        };
        change(&mut claims);
        let header = r#"{"alg":"RS256","typ":"JWT"}"#;
        let claims = serde_json::to_string(&claims).unwrap();
        EnrolRequest {
            join_token: token.expose().into(),
            machine_name: name.into(),
            certificate: b64::standard(self.certificate.der()),
            proof: jws::sign_compact(&self.signer, Algorithm::Rs256, header, &claims).unwrap(),
            machine: MachineFacts::default(),
        }
    }

    /// What any OAuth client with a certificate sends.
    pub(crate) async fn token(&self, dev: &Dev<'_>, client_id: &str, resource: &str) -> Answer {
        self.token_by(dev, dev.fact("/authority"), client_id, resource).await
    }

    /// The same, by another name of the authority: asked there, and the assertion is for it.
    async fn token_by(&self, dev: &Dev<'_>, authority: &str, client_id: &str, resource: &str) -> Answer {
        let endpoint = format!("{authority}/{}/oauth2/v2.0/token", dev.fact("/tenant_id"));
        let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": b64::url(&self.certificate.thumbprint_sha256())});
        let claims = json!({
            "aud": endpoint, "iss": client_id, "sub": client_id, "jti": random::uuid_v4(),
            "nbf": self.now - 10, "iat": self.now, "exp": self.now + 600,
        });
        let assertion =
            jws::sign_compact(&self.signer, Algorithm::Ps256, &header.to_string(), &claims.to_string()).unwrap();
        let scope = format!("{resource}/.default");
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", &assertion),
            ("scope", &scope),
        ];
        dev.wire.form(&endpoint, &fields).await
    }
}

async fn enrol(dev: &Dev<'_>, request: &EnrolRequest) -> Answer {
    let url = format!("{}{ENROL_PATH}", dev.fact("/authority"));
    let headers = [("Content-Type", "application/json")];
    dev.wire.send("POST", &url, &headers, Some(&serde_json::to_string(request).unwrap())).await.unwrap()
}

/// A server, and join tokens for it: bound to these names or to none, good for so many seconds from so long ago.
pub(crate) async fn with_join_tokens<'s, const N: usize>(
    sandbox: &'s Sandbox,
    wanted: [(Option<&str>, i64, i64); N],
) -> (Dev<'s>, [SecretString; N], UnixTime) {
    let first = Dev::start(sandbox).await;
    let (data, authority) = (first.data.clone(), first.fact("/authority").to_owned());
    let group = format!("/subscriptions/{}/resourceGroups/dev", first.fact("/subscription_id"));
    let group: ResourceId = group.parse().unwrap();
    first.stop().await;
    let operator = Offline::open(&data, &authority).await;
    let mut tokens = Vec::new();
    for (name, lifetime, ago) in wanted {
        let authorization = operator.authorization_before(ago);
        tokens.push(operator.server.machines.create_join_token(&authorization, &group, name, lifetime).await.unwrap());
    }
    let now = operator.now();
    operator.close().await;
    let dev = Dev::start(sandbox).await;
    (dev, tokens.try_into().ok().unwrap(), now)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proofs_and_assertions_are_good_for_every_name_that_the_certificate_carries() {
    let sandbox = Sandbox::new().await;
    let (dev, [token], now) = with_join_tokens(&sandbox, [(None, 600, 0)]).await;
    let node = Node::new(now);
    let port = dev.fact("/authority").rsplit(':').next().unwrap();
    let by = |host: &str| format!("https://{host}:{port}");
    let answer = enrol(&dev, &node.request(&by("127.0.0.1"), &token, "by-address", |_| ())).await.expect(200);
    let client = answer.text("/clientId");
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let token = node.token_by(&dev, &by(host), &client, "https://vault.azure.net").await.expect(200);
        // What is issued names one authority, whoever asked where.
        let issuer = format!("{}/{}/", dev.fact("/authority"), dev.fact("/tenant_id"));
        assert_eq!(jwt::claims(&token.text("/access_token"))["iss"], issuer, "{host}");
    }
    dev.stop().await;
}

fn refused(what: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.text("/error/code"), code, "{what}: {answer:?}");
    assert!(answer.text("/error/message").len() > 20, "{what}: {answer:?}");
    assert!(!answer.body.contains("clientId"), "{what}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_one_machine_once_and_it_may_do_nothing_until_a_role_is_given() {
    let sandbox = Sandbox::new().await;
    let (dev, [token], now) = with_join_tokens(&sandbox, [(None, 600, 0)]).await;
    let authority = dev.fact("/authority");
    let node = Node::new(now);
    let request = node.request(authority, &token, "web-1", |_| {});
    let enrolled = enrol(&dev, &request).await.expect(200);
    let client_id = enrolled.text("/clientId");
    assert!(enrolled.text("/resourceId").ends_with("/providers/Microsoft.HybridCompute/machines/web-1"));
    assert_eq!(enrolled.text("/tokenEndpoint"), dev.token_url("/v2.0"));
    assert_eq!(enrolled.header("cache-control"), Some("no-store"));
    // The answer was lost on the way: the same machine asks again and is the same machine.
    let again = enrol(&dev, &node.request(authority, &token, "web-1", |_| {})).await.expect(200);
    assert_eq!(again.json(), enrolled.json());

    let issued = node.token(&dev, &client_id, "https://vault.azure.net").await.expect(200).text("/access_token");
    assert_eq!(jwt::claims(&issued)["oid"], enrolled.text("/principalId"));
    // D-36: an identity is good for nothing until somebody says what for.
    let forbidden = dev.vault("GET", "/secrets/hello/?api-version=7.6", Some(&issued), None).await.expect(403);
    assert_eq!(forbidden.text("/error/innererror/code"), "ForbiddenByRbac");
    let why = forbidden.text("/error/message");
    assert!(why.contains("Microsoft.KeyVault/vaults/secrets/getSecret/action"), "{why}");

    // Another key with the token that was used, under the same name and another.
    let other = Node::new(now);
    for name in ["web-1", "web-2"] {
        let answer = enrol(&dev, &other.request(authority, &token, name, |_| {})).await;
        refused("a used token", &answer, 403, "JoinTokenRefused");
    }
    // The same key under another name is another machine.
    let answer = enrol(&dev, &node.request(authority, &token, "web-2", |_| {})).await;
    refused("a used token, another name", &answer, 403, "JoinTokenRefused");
    // Nor does the other key get tokens for the machine's identity.
    let answer = other.token(&dev, &client_id, "https://vault.azure.net").await.expect(401);
    assert_eq!(answer.json()["error_codes"][0], 700_027, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_request_is_said_and_costs_the_token_nothing() {
    let sandbox = Sandbox::new().await;
    let wanted = [(None, 600, 0), (Some("bound"), 600, 0), (None, 60, 120)];
    let (dev, [token, bound, expired], now) = with_join_tokens(&sandbox, wanted).await;
    let authority = dev.fact("/authority");
    let (node, other) = (Node::new(now), Node::new(now));
    let machine = dev.fact("/machine/resource_id").rsplit('/').next().unwrap().to_owned();

    let good = |name: &str| node.request(authority, &token, name, |_| {});
    let mut foreign_key = good("m");
    foreign_key.certificate = b64::standard(other.certificate.der());
    let mut unsigned = good("m");
    let claims = jwt::claims(&unsigned.proof);
    unsigned.proof = format!("{}.", jwt::unsigned(&json!({"alg": "none", "typ": "JWT"}), &claims));
    let mut garbled = good("m");
    garbled.certificate = b64::standard(b"no certificate");
    let stranger = SecretString::from(format!("dzj.{}.unknown", dev.fact("/tenant_id").replace('-', "")));
    let foreign_tenant = SecretString::from(format!("dzj.{}.unknown", random::uuid_v4().simple()));

    let cases = [
        ("a proof by another key", foreign_key, 403, "ProofRefused"),
        ("no proof", unsigned, 403, "ProofRefused"),
        (
            "a proof for another server",
            node.request(authority, &token, "m", |c| c.aud = format!("https://evil.example{ENROL_PATH}")),
            403,
            "ProofRefused",
        ),
        (
            "a proof for another path",
            node.request(authority, &token, "m", |c| c.aud = authority.to_owned()),
            403,
            "ProofRefused",
        ),
        (
            "an expired proof",
            node.request(authority, &token, "m", |c| (c.iat, c.exp) = (now.0 - 1000, now.0 - 700)),
            403,
            "ProofRefused",
        ),
        (
            "a proof from the future",
            node.request(authority, &token, "m", |c| (c.iat, c.exp) = (now.0 + 1000, now.0 + 1300)),
            403,
            "ProofRefused",
        ),
        (
            "a proof that lives for a day",
            node.request(authority, &token, "m", |c| c.exp = now.0 + 86_400),
            403,
            "ProofRefused",
        ),
        (
            "a proof for another token",
            node.request(authority, &token, "m", |c| c.join = hash::hex(&hash::sha256(b"x"))),
            403,
            "ProofRefused",
        ),
        (
            "a proof for another name",
            node.request(authority, &token, "m", |c| c.name = "n".into()),
            403,
            "ProofRefused",
        ),
        ("a certificate that is none", garbled, 400, "BadRequest"),
        ("a name with a slash", good("a/b"), 400, "BadRequest"),
        ("a name that is a dot segment", good(".."), 400, "BadRequest"),
        ("a name that is too long", good(&"n".repeat(55)), 400, "BadRequest"),
        ("a machine that is there", good(&machine), 409, "MachineExists"),
        ("an expired token", node.request(authority, &expired, "m", |_| {}), 403, "JoinTokenRefused"),
        ("an unknown token", node.request(authority, &stranger, "m", |_| {}), 403, "JoinTokenRefused"),
        ("an unknown tenant", node.request(authority, &foreign_tenant, "m", |_| {}), 403, "JoinTokenRefused"),
        ("a token bound to a name", node.request(authority, &bound, "m", |_| {}), 403, "JoinTokenRefused"),
    ];
    for (what, request, status, code) in cases {
        refused(what, &enrol(&dev, &request).await, status, code);
    }
    // None of that used the tokens up, and none of it is a machine now. Members of a later version are ignored.
    let mut later = serde_json::to_value(good("m")).unwrap();
    later["attestation"] = json!({"format": "tpm2"});
    let url = format!("{authority}{ENROL_PATH}");
    dev.wire.send("POST", &url, &[], Some(&later.to_string())).await.unwrap().expect(200);
    enrol(&dev, &node.request(authority, &bound, "bound", |_| {})).await.expect(200);
    let logged = dev.stderr();
    for token in [&token, &bound, &expired] {
        assert!(!logged.contains(token.expose()), "a join token is in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d28_a_raced_token_lets_one_machine_in() {
    const RACERS: usize = 6;
    let sandbox = Sandbox::new().await;
    let (dev, [token], now) = with_join_tokens(&sandbox, [(None, 600, 0)]).await;
    let nodes: Vec<Node> = std::thread::scope(|scope| {
        let making: Vec<_> = (0..RACERS).map(|_| scope.spawn(|| Node::new(now))).collect();
        making.into_iter().map(|node| node.join().unwrap()).collect()
    });
    let requests: Vec<EnrolRequest> = nodes
        .iter()
        .enumerate()
        .map(|(number, node)| node.request(dev.fact("/authority"), &token, &format!("racer-{number}"), |_| {}))
        .collect();
    let bodies: Vec<String> = requests.iter().map(|request| serde_json::to_string(request).unwrap()).collect();
    let url = format!("{}{ENROL_PATH}", dev.fact("/authority"));
    let mut racing = tokio::task::JoinSet::new();
    for body in bodies {
        let (wire, url) = (dev.wire.clone(), url.clone());
        racing.spawn(async move { wire.send("POST", &url, &[], Some(&body)).await.unwrap().status });
    }
    let mut statuses = racing.join_all().await;
    statuses.sort_unstable();
    let mut expected = vec![403; RACERS];
    expected[0] = 200;
    assert_eq!(statuses, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_is_kept_as_a_hash_only() {
    let sandbox = Sandbox::new().await;
    let (dev, [token], _) = with_join_tokens(&sandbox, [(None, 600, 0)]).await;
    let secret = token.expose().rsplit('.').next().unwrap().to_owned();
    for path in crate::start::below(&dev.data).into_iter().filter(|path| path.is_file()) {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", path.display());
    }
}
