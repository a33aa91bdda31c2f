//! The test kit's endpoints as a process, for programs that are not written in Rust: clients of other languages are
//! compared on one server's behaviour with it.
//!
//! ```text
//! cargo run -p denizen-identity-testkit --example endpoints -- /var/opt/azcmagent/tokens
//! ```
//!
//! The argument is the directory of Arc's key files; without one it is a directory of its own. Two more say where Arc
//! and IMDS listen (`127.0.0.1:40342 169.254.169.254:80`), for clients that look there and nowhere else; without them
//! they have free ports. The first line it prints is a JSON object: the environment variables of each endpoint. Then it reads commands, one a line, and
//! answers each with one line, `ok`, a reason, or JSON:
//!
//! | command | what it does |
//! |---|---|
//! | `ENDPOINT honest` | ends every failure and peculiarity |
//! | `ENDPOINT fail TIMES STATUS [SECONDS]` | the next requests fail, with `Retry-After` |
//! | `ENDPOINT unassigned TIMES` | the next requests are told that the machine has no identity |
//! | `ENDPOINT numbers`, `chunked`, `close`, `lifetime SECONDS`, `omit MEMBER` | how answers are written |
//! | `ENDPOINT requests` | prints the requests so far and forgets them |
//! | `arc body empty`, `text`, `untyped` | the 401's body |
//! | `arc realm quoted`, `lower-case`, `bare`, `extra-parameter`, `elsewhere`, `subdirectory`, `roundabout`, `twice`, `absent` | how it names the file |
//! | `arc key newline`, `size BYTES`, `link-inside`, `link-outside`, `fifo`, `directory`, `missing`, `empty`, `binary` | what is in the place |
//! | `arc retry-after SECONDS`, `direct`, `ignores-selector`, `rejects-key` | the rest |

#![allow(clippy::print_stdout, reason = "its output is its protocol")]

use std::{error::Error, path::Path};

use denizen_identity_testkit::{
    AppServiceEndpoint, Application, ArcEndpoint, ArcQuirks, Authority, AzureMlEndpoint, Behavior, ChallengeBody,
    CloudShellEndpoint, Fault, ImdsEndpoint, KeyFile, Options, Realm, Reply, Server, ServiceFabricEndpoint,
};
use serde_json::{Value, json};

/// The application the token service knows, and its secret.
const CLIENT: (&str, &str) = ("80000000-0000-4000-8000-000000000001", "kit-secret");

struct Kit {
    arc: ArcEndpoint,
    imds: ImdsEndpoint,
    app_service: AppServiceEndpoint,
    azure_ml: AzureMlEndpoint,
    cloud_shell: CloudShellEndpoint,
    service_fabric: ServiceFabricEndpoint,
    authority: Authority,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::default;
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next();
    let mut listening = || -> Result<Options, std::net::AddrParseError> {
        let address = arguments.next().map(|address| address.parse()).transpose()?;
        Ok(address.map_or_else(options, |address| options().with_address(address)))
    };
    let (at_arc, at_imds) = (listening()?, listening()?);
    let arc = match directory {
        Some(directory) => ArcEndpoint::start_in(at_arc, Path::new(&directory)).await?,
        None => ArcEndpoint::start(at_arc).await?,
    };
    let kit = Kit {
        arc,
        imds: ImdsEndpoint::start(at_imds).await?,
        app_service: AppServiceEndpoint::start(options()).await?,
        azure_ml: AzureMlEndpoint::start(options()).await?,
        cloud_shell: CloudShellEndpoint::start(options()).await?,
        service_fabric: ServiceFabricEndpoint::start(options()).await?,
        authority: Authority::start_named_by_address(options()).await?,
    };
    kit.authority.register(Application::new(CLIENT.0).with_secret(CLIENT.1));
    println!("{}", kit.variables());
    // Blocks this thread only: the endpoints have workers of their own.
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        println!("{}", kit.obey(&words).unwrap_or_else(|| "not a command".to_owned()));
    }
    Ok(())
}

impl Kit {
    fn variables(&self) -> Value {
        let object = |pairs: Vec<(&str, String)>| pairs.into_iter().map(|(k, v)| (k.to_owned(), json!(v))).collect();
        let object = |pairs| Value::Object(object(pairs));
        let mut authority = self.authority.variables();
        authority.extend([("AZURE_CLIENT_ID", CLIENT.0.into()), ("AZURE_CLIENT_SECRET", CLIENT.1.into())]);
        json!({
            "arc": object(self.arc.variables()),
            "imds": object(self.imds.variables()),
            "app_service": object(self.app_service.variables()),
            "azure_ml": object(self.azure_ml.variables()),
            "cloud_shell": object(self.cloud_shell.variables()),
            "service_fabric": object(self.service_fabric.variables()),
            "authority": object(authority),
        })
    }

    fn server(&self, name: &str) -> Option<&Server> {
        Some(match name {
            "arc" => self.arc.server(),
            "imds" => self.imds.server(),
            "app_service" => self.app_service.server(),
            "azure_ml" => self.azure_ml.server(),
            "cloud_shell" => self.cloud_shell.server(),
            "service_fabric" => self.service_fabric.server(),
            "authority" => self.authority.server(),
            _ => return None,
        })
    }

    fn obey(&self, words: &[&str]) -> Option<String> {
        let (name, words) = words.split_first()?;
        let server = self.server(name)?;
        match words {
            ["honest"] => {
                server.heal();
                server.set_behavior(|behavior| *behavior = Behavior::default());
                self.arc.set_quirks(|quirks| *quirks = ArcQuirks::default());
            }
            ["fail", times, status] => server.fail(times.parse().ok()?, Fault::status(status.parse().ok()?)),
            ["fail", times, status, seconds] => {
                server.fail(times.parse().ok()?, Fault::retry_after(status.parse().ok()?, seconds.parse().ok()?));
            }
            ["unassigned", times] => {
                let body = json!({"error": "invalid_request", "error_description": "Identity not found"});
                server.fail(times.parse().ok()?, Fault::Answer(Reply::json(400, &body)));
            }
            ["numbers"] => server.set_behavior(|behavior| behavior.numbers = true),
            ["chunked"] => server.set_behavior(|behavior| behavior.chunked = true),
            ["close"] => server.set_behavior(|behavior| behavior.close = true),
            ["lifetime", seconds] => {
                let seconds = seconds.parse().ok()?;
                server.set_behavior(|behavior| behavior.lifetime = seconds);
            }
            ["omit", member] => {
                let known = ["access_token", "expires_in", "expires_on", "resource", "token_type", "client_id"];
                let member = known.into_iter().find(|known| known == member)?;
                server.set_behavior(|behavior| behavior.omit.push(member));
            }
            ["requests"] => {
                let requests = server.requests();
                server.forget();
                let shown = requests.iter().map(|request| {
                    json!({
                        "connection": request.connection, "method": request.method, "path": request.path,
                        "query": request.raw_query, "body": request.body,
                        "metadata": request.header("metadata"), "authorization": request.header("authorization"),
                    })
                });
                return Some(Value::Array(shown.collect()).to_string());
            }
            words if *name == "arc" => set_quirk(&self.arc, words)?,
            _ => return None,
        }
        Some("ok".to_owned())
    }
}

fn set_quirk(arc: &ArcEndpoint, words: &[&str]) -> Option<()> {
    match words {
        ["body", form] => {
            let body = match *form {
                "json" => ChallengeBody::Json,
                "untyped" => ChallengeBody::JsonUntyped,
                "empty" => ChallengeBody::Empty,
                "text" => ChallengeBody::Text,
                _ => return None,
            };
            arc.set_quirks(|quirks| quirks.body = body);
        }
        ["realm", form] => {
            let realm = match *form {
                "plain" => Realm::Plain,
                "quoted" => Realm::Quoted,
                "lower-case" => Realm::LowerCase,
                "bare" => Realm::Bare,
                "extra-parameter" => Realm::ExtraParameter,
                "elsewhere" => Realm::Elsewhere,
                "subdirectory" => Realm::Subdirectory,
                "roundabout" => Realm::Roundabout,
                "twice" => Realm::Twice,
                "absent" => Realm::Absent,
                _ => return None,
            };
            arc.set_quirks(|quirks| quirks.realm = realm);
        }
        ["key", form @ ..] => {
            let key = match form {
                ["plain"] => KeyFile::Plain,
                ["newline"] => KeyFile::Newline,
                ["size", bytes] => KeyFile::Size(bytes.parse().ok()?),
                ["link-inside"] => KeyFile::LinkInside,
                ["link-outside"] => KeyFile::LinkOutside,
                ["fifo"] => KeyFile::Fifo,
                ["directory"] => KeyFile::Directory,
                ["missing"] => KeyFile::Missing,
                ["empty"] => KeyFile::Empty,
                ["binary"] => KeyFile::Binary,
                _ => return None,
            };
            arc.set_quirks(|quirks| quirks.key = key);
        }
        ["retry-after", seconds] => {
            let seconds = seconds.parse().ok()?;
            arc.set_quirks(|quirks| quirks.retry_after = Some(seconds));
        }
        ["direct"] => arc.set_quirks(|quirks| quirks.direct = true),
        ["ignores-selector"] => arc.set_quirks(|quirks| quirks.ignores_selector = true),
        ["rejects-key"] => arc.set_quirks(|quirks| quirks.rejects_key = true),
        _ => return None,
    }
    Some(())
}
