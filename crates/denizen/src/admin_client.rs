//! How a command does what an administrator may: by the server that runs, over its socket; and where none runs, on the
//! database itself. Either way the server's own administration API decides.
//!
//! Touches the data directory. Tests: `tests/it`.

use std::{path::Path, time::Duration};

use denizen_server::{
    domain::claims::audience::EntraIssued,
    http::{Body, Call},
    run::Server,
};
use denizen_wire::Clock;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    config::{Config, StoreUrl},
    data::{DataDir, OF_CONFIG, Sharing, root_key},
    exit::{self, Failure},
    server::{admin_socket, launch},
};

/// A server that is being started or stopped is waited for this long.
const HANDOVER: Duration = Duration::from_secs(20);
/// A running server answers within this time.
const ANSWER: Duration = Duration::from_secs(60);
/// No answer is larger, bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Who does what is asked.
pub(crate) enum Administrator {
    /// The server that runs.
    Running(UnixStream),
    /// This process, which holds the data directory.
    AtRest(Box<Server>, DataDir),
}

impl Administrator {
    /// Finds the server that runs, or opens the database.
    ///
    /// # Errors
    /// There is nothing to open, or it is somebody else's.
    pub(crate) async fn reach(config: &Config) -> Result<Self, Failure> {
        let socket = admin_socket::path_in(&config.data_dir);
        let deadline = Instant::now() + HANDOVER;
        loop {
            match UnixStream::connect(&socket).await {
                Ok(stream) => return Ok(Self::Running(stream)),
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    let rule = "run this as the user that runs the server, or as root";
                    return Err(Failure::new(exit::NO_PERMISSION, format!("{}: {error}; {rule}", socket.display())));
                }
                Err(_) => {}
            }
            match Self::at_rest(config).await {
                // Somebody has it, who does not answer yet, or no longer.
                Err(failure) if failure.code == exit::TRY_AGAIN && Instant::now() < deadline => {
                    sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Finds the development server that runs over this data directory.
    ///
    /// # Errors
    /// None does.
    pub(crate) async fn of_development(data: &Path) -> Result<Self, Failure> {
        let socket = admin_socket::path_in(data);
        let connected = UnixStream::connect(&socket).await.map_err(|error| {
            let text = format!(
                "--data: no `denizen dev` answers at {} ({error}); start it with this --data",
                socket.display()
            );
            Failure::new(exit::UNAVAILABLE, text)
        })?;
        Ok(Self::Running(connected))
    }

    async fn at_rest(config: &Config) -> Result<Self, Failure> {
        let missing = match &config.store.url {
            StoreUrl::Sqlite(path) if !path.exists() => Some(path),
            StoreUrl::Sqlite(_) | StoreUrl::Postgres(_) => None,
        };
        if let Some(path) = missing {
            let text = format!(
                "{}: there is no database at {}; make one with `denizen init`",
                config.store.at,
                path.display()
            );
            return Err(Failure::new(exit::CONFIG, text));
        }
        let data = DataDir::open_at(&config.data_dir, OF_CONFIG)?;
        let key = root_key(&config.root_key, true, Sharing::of(&config.store.url))?;
        let names = launch::names(config, config.listen.address.port(), config.vault_listen.address.port());
        let opened = launch::open(config, names, key, Clock::system(), EntraIssued::default(), 0).await;
        let server = opened.map_err(|fault| Failure::new(exit::DATA, fault.to_string()))?;
        Ok(Self::AtRest(Box::new(server), data))
    }

    /// Asks for what is at `path`, and lets go.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn ask<T: Serialize, U: DeserializeOwned>(self, path: &str, asked: &T) -> Result<U, Failure> {
        let asked = serde_json::to_vec(asked).map_err(Failure::while_(exit::SOFTWARE, "the request"))?;
        let (status, answer) = match self {
            Self::Running(stream) => timeout(ANSWER, over(stream, path, asked)).await.unwrap_or_else(|_| {
                Err(Failure::new(exit::UNAVAILABLE, "the server did not answer within a minute; see its log"))
            })?,
            Self::AtRest(server, data) => {
                let answered = within(&server, path, asked).await;
                let store = server.store.clone();
                drop(server);
                store.close().await;
                data.close();
                answered?
            }
        };
        let broken = Failure::while_(exit::SOFTWARE, "the server's answer");
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(broken);
        }
        let fault: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        let message = fault.pointer("/error/message").and_then(|it| it.as_str()).unwrap_or("the server refused");
        let code = match status {
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::CONFLICT => exit::DATA,
            StatusCode::FORBIDDEN => exit::NO_PERMISSION,
            StatusCode::SERVICE_UNAVAILABLE => exit::TRY_AGAIN,
            _ => exit::SOFTWARE,
        };
        Err(Failure::new(code, message))
    }
}

/// Asks the server that runs.
async fn over(stream: UnixStream, path: &str, asked: Vec<u8>) -> Result<(StatusCode, Bytes), Failure> {
    let broken = |error: &dyn std::error::Error| {
        let text = format!("the running server cannot be asked: {}", denizen_wire::Causes(error));
        Failure::new(exit::UNAVAILABLE, text)
    };
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| broken(&error))?;
    let serving = tokio::spawn(connection);
    let request = Request::post(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(asked)))
        .map_err(|error| broken(&error))?;
    let (head, body) = sender.send_request(request).await.map_err(|error| broken(&error))?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| broken(&*error))?.to_bytes();
    serving.abort();
    Ok((head.status, body))
}

/// Asks the server in this process.
async fn within(server: &Server, path: &str, asked: Vec<u8>) -> Result<(StatusCode, Bytes), Failure> {
    let services = server.services().map_err(Failure::while_(exit::SOFTWARE, "the routes"))?;
    let uri = path.parse().map_err(Failure::while_(exit::SOFTWARE, "the path"))?;
    let (body, peer) = (Body::Bytes(asked.into()), ([127, 0, 0, 1], 0).into());
    let id = denizen_keys::random::uuid_v4();
    let mut call = Call::new(Method::POST, &uri, HeaderMap::new(), body, peer, Clock::system().now(), id);
    call.local_user = Some(rustix::process::geteuid().as_raw());
    let (head, body) = services.admin.handle(call).await.into_parts();
    let body = body.collect().await.map_err(Failure::while_(exit::SOFTWARE, "the answer"))?.to_bytes();
    Ok((head.status, body))
}
