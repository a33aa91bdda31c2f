//! `denizen init`: a new server's data: directory, root key, database, first tenant and its administrator.
//!
//! The administrator's secret is written before it is worth anything, and gets its name after:
//!
//! 1. see that FILE can be written, before anything is made;
//! 2. directory, root key, database: each is made where it is missing, and taken where it is there;
//! 3. choose every id and the secret; write them to a file beside FILE, to the disk;
//! 4. make everything in one transaction;
//! 5. give the file its name.
//!
//! So a process that is killed anywhere is repaired by the same command: before 4 it starts anew, after 4 it does 5. Run
//! again it changes nothing and says so.
//!
//! Touches the data directory, and FILE's. Tests: `tests/it`.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use denizen_agent::files;
use denizen_keys::{SecretString, random};
use denizen_server::{
    app::{
        access::SystemReason,
        administration::AdministratorCredential,
        set_up::{Existing, NewSetUp, Outcome, Plan},
        vaults::NewVault,
    },
    domain::claims::audience::EntraIssued,
    http::admin::ADMINISTRATOR_SECRET,
    run::Server,
};
use denizen_wire::{ClientId, Clock, PrincipalId, SubscriptionId, TenantId};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

use crate::{
    admin_client::Administrator,
    config::{Config, Sources, StoreUrl, TRIAL_VAULT, engine},
    data::{DataDir, OF_CONFIG, Sharing, root_key},
    exit::{self, Failure},
    server::{admin_socket, launch},
};

/// Another `denizen init` on the same directory has this long.
const OTHER_INIT: Duration = Duration::from_secs(60);
/// How long a deleted secret of the first vault can be recovered, days.
const RETENTION_DAYS: u32 = 90;
/// No administrator's file is larger, bytes.
const MAX_FILE: u64 = 64 * 1024;
/// What the audit calls this.
const COMMAND: SystemReason = SystemReason::Command("denizen init");

/// A new server's data.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: Sources,
    /// Where the administrator's credential is written, mode 0600; there must be no such file yet
    #[arg(long, value_name = "FILE")]
    admin_out: PathBuf,
    /// Make a new secret for the administrator of what is set up; the one before it ends
    #[arg(long)]
    new_secret: bool,
    /// The domain name that the tenant also goes by [default: the host of public_url, or tenant.denizen.test]
    #[arg(long, value_name = "NAME")]
    tenant_domain: Option<String>,
    /// The first resource group's name
    #[arg(long, value_name = "NAME", default_value = "servers")]
    resource_group: String,
    /// The first vault's name
    #[arg(long, value_name = "NAME", default_value = TRIAL_VAULT)]
    vault: String,
    /// A word that says where all this is; nothing is decided by it
    #[arg(long, value_name = "WORD", default_value = "local")]
    location: String,
}

/// The administrator's file. Has no `Debug`: it holds a secret.
#[derive(Serialize, Deserialize)]
struct Credential {
    tenant_id: TenantId,
    subscription_id: SubscriptionId,
    resource_group: String,
    client_id: ClientId,
    client_secret: String,
    object_id: PrincipalId,
    vault: String,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = args.sources.load()?;
    let out = Out::of(&args.admin_out)?;
    if args.new_secret {
        return new_secret(&config, &out).await;
    }
    let has_database = matches!(&config.store.url, StoreUrl::Sqlite(path) if path.exists());
    let may_be_new = !has_database && matches!(config.store.url, StoreUrl::Sqlite(_));
    if out.is_there()? {
        if may_be_new {
            return Err(out.in_the_way());
        }
    } else {
        out.try_writing()?;
    }
    let said = match hold(&config).await? {
        Some(data) => {
            let said = init(&args, &config, &out).await;
            data.close();
            said?
        }
        None => "everything is set up: a server is running on it. Nothing was changed".to_owned(),
    };
    writeln!(io::stdout(), "{said}").map_err(Failure::while_(exit::OS_ERROR, "it cannot be printed"))?;
    Ok(ExitCode::from(exit::OK))
}

/// A new secret for the administrator, by the server that runs or by this process.
async fn new_secret(config: &Config, out: &Out) -> Result<ExitCode, Failure> {
    if out.is_there()? {
        return Err(out.failed("there is such a file; name a new one"));
    }
    out.try_writing()?;
    let nothing = serde_json::Map::new();
    let made: AdministratorCredential = Administrator::reach(config).await?.ask(ADMINISTRATOR_SECRET, &nothing).await?;
    let AdministratorCredential { tenant, resource_group, vault, client, principal, secret } = made;
    let subscription = resource_group.subscription_id();
    out.keep(&Credential {
        tenant_id: tenant,
        subscription_id: subscription.ok_or_else(|| Failure::new(exit::SOFTWARE, "a resource group's id"))?,
        resource_group: resource_group.name().to_owned(),
        client_id: client,
        client_secret: secret,
        object_id: principal,
        vault: vault.name().to_owned(),
    })?;
    out.finish()?;
    writeln!(
        io::stdout(),
        "the administrator has a new secret, in {}; the one before it has ended",
        out.path.display()
    )
    .map_err(Failure::while_(exit::OS_ERROR, "it cannot be printed"))?;
    Ok(ExitCode::from(exit::OK))
}

/// The data directory, held; none when a server has it. Another one that sets it up is waited for.
async fn hold(config: &Config) -> Result<Option<DataDir>, Failure> {
    let deadline = Instant::now() + OTHER_INIT;
    loop {
        match DataDir::open_at(&config.data_dir, OF_CONFIG) {
            Ok(data) => return Ok(Some(data)),
            Err(failure) if failure.code != exit::TRY_AGAIN || Instant::now() > deadline => return Err(failure),
            Err(_) => {}
        }
        if UnixStream::connect(admin_socket::path_in(&config.data_dir)).await.is_ok() {
            return Ok(None);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn init(args: &Args, config: &Config, out: &Out) -> Result<String, Failure> {
    // Asked again: another one may just have made it.
    let has_database = engine(config)?.has_data().await.map_err(Failure::while_(exit::DATA, &config.store.at))?;
    let key = root_key(&config.root_key, has_database, Sharing::of(&config.store.url))?;
    let names = launch::names(config, config.listen.address.port(), config.vault_listen.address.port());
    let opened = launch::open(config, names, key, Clock::system(), EntraIssued::default(), 0).await;
    let server = opened.map_err(|fault| Failure::new(exit::DATA, fault.to_string()))?;
    let said = set_up(args, config, out, &server).await;
    server.store.clone().close().await;
    said
}

async fn set_up(args: &Args, config: &Config, out: &Out, server: &Server) -> Result<String, Failure> {
    let failed = Failure::while_(exit::DATA, "setting up");
    let is_new = server.store.snapshot().tenants().next().is_none();
    let mut made = None;
    if is_new {
        if out.is_there()? {
            return Err(out.in_the_way());
        }
        let domain = args.tenant_domain.clone().unwrap_or_else(|| {
            let host = config.public_url.as_ref().map_or("", |url| url.host.as_str());
            let is_name = host.contains('.') && !host.ends_with(|last: char| last.is_ascii_digit() || last == ']');
            if is_name { host.to_owned() } else { "tenant.denizen.test".to_owned() }
        });
        let new = NewSetUp {
            domain: &domain,
            display_name: &domain,
            resource_group: &args.resource_group,
            vault: NewVault { name: &args.vault, location: &args.location, retention_days: RETENTION_DAYS },
            administrator: "Administrator",
            more_roles: &[],
        };
        let plan = server.set_up.plan(&new, Clock::system().now()).await.map_err(&failed)?;
        out.keep(&credential(&plan))?;
        let authorization = server.authorize(plan.tenant(), COMMAND);
        if server.set_up.carry_out(&authorization, &plan).await.map_err(&failed)? == Outcome::Made {
            made = Some(plan);
        }
    }
    let existing = server.set_up.existing(&server.store.snapshot());
    for tenant in server.store.snapshot().tenants() {
        let keys = server.signing.ensure_keys(&server.authorize(tenant.id, COMMAND)).await;
        keys.map_err(Failure::while_(exit::DATA, "the signing keys"))?;
    }
    if let Some(plan) = made {
        out.finish()?;
        return Ok(format!(
            "made the tenant {}, with a resource group, a vault and an administrator, whose credential is in {}",
            plan.tenant(),
            out.path.display()
        ));
    }
    let tenant = existing.as_ref().map_or_else(String::new, |existing| format!(" (tenant {})", existing.tenant));
    if out.is_there()? {
        out.forget()?;
        return Ok(format!("everything is set up already{tenant}. Nothing was changed"));
    }
    if existing.is_some_and(|existing| out.holds_the_secret_of(server, &existing)) {
        out.finish()?;
        let path = out.path.display();
        return Ok(format!(
            "everything is set up{tenant}; the credential that an earlier run did not finish is in {path}"
        ));
    }
    out.forget()?;
    Ok(format!(
        "everything is set up already{tenant}. Nothing was changed, and {} was not written: the administrator's secret is kept \
         in the file that the first run wrote, and nowhere else; --new-secret makes another",
        out.path.display()
    ))
}

fn credential(plan: &Plan) -> Credential {
    Credential {
        tenant_id: plan.tenant(),
        subscription_id: plan.subscription(),
        resource_group: plan.resource_group().name().to_owned(),
        client_id: plan.client(),
        client_secret: plan.secret().expose().to_owned(),
        object_id: plan.principal(),
        vault: plan.vault().name().to_owned(),
    }
}

/// FILE, and the file beside it that will get its name.
struct Out {
    path: PathBuf,
    pending: PathBuf,
}

impl Out {
    fn of(path: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(path).map_err(Failure::while_(exit::USAGE, "--admin-out"))?;
        let Some(name) = path.file_name() else {
            return Err(Failure::new(exit::USAGE, "--admin-out names no file"));
        };
        let mut pending = OsString::from(".");
        pending.push(name);
        pending.push(".pending");
        Ok(Self { pending: path.with_file_name(pending), path })
    }

    fn failed(&self, why: impl std::fmt::Display) -> Failure {
        Failure::new(exit::CANNOT_CREATE, format!("--admin-out {}: {why}", self.path.display()))
    }

    fn in_the_way(&self) -> Failure {
        self.failed(
            "there is such a file, and nothing is set up: it may be another server's credential; name a new file",
        )
    }

    /// Whether there is such a file. What is no file, or leads elsewhere, is refused.
    fn is_there(&self) -> Result<bool, Failure> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_file() => Ok(true),
            Ok(found) if found.is_dir() => Err(self.failed("this is a directory; name a file in it")),
            Ok(found) if found.is_symlink() => Err(self.failed("this is a link; name the file itself")),
            Ok(_) => Err(self.failed("this is no regular file; name another")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Sees whether files can be made and renamed in its directory, and leaves none.
    fn try_writing(&self) -> Result<(), Failure> {
        let mut name = self.pending.as_os_str().to_owned();
        name.push(format!(".{}", random::uuid_v4().simple()));
        let trial = PathBuf::from(name);
        let tried = new_file(&trial).and_then(|mut file| file.write_all(b"\n"));
        let removed = fs::remove_file(&trial);
        tried.and(removed).map_err(|error| self.failed(format!("no file can be made there: {error}")))
    }

    /// Writes the credential beside FILE, and brings it to the disk.
    fn keep(&self, credential: &Credential) -> Result<(), Failure> {
        self.forget()?;
        let json = serde_json::to_vec_pretty(credential).map(denizen_keys::SecretBytes::from);
        let json = json.map_err(Failure::while_(exit::SOFTWARE, "JSON"))?;
        let written = new_file(&self.pending).and_then(|mut file| {
            file.write_all(json.expose())?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
        written.and_then(|()| self.sync_directory()).map_err(|error| self.failed(error))
    }

    /// Gives it its name, which nothing has taken.
    fn finish(&self) -> Result<(), Failure> {
        renameat_with(CWD, &self.pending, CWD, &self.path, RenameFlags::NOREPLACE)
            .map_err(io::Error::from)
            .and_then(|()| self.sync_directory())
            .map_err(|error| {
                self.failed(format!("{} has the credential and cannot be renamed: {error}", self.pending.display()))
            })
    }

    /// Removes what an earlier run left beside FILE.
    fn forget(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.pending) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether what an earlier run left beside FILE is the administrator's credential.
    fn holds_the_secret_of(&self, server: &Server, existing: &Existing) -> bool {
        let Ok(text) = files::read_text(&self.pending, MAX_FILE).map(SecretString::from) else { return false };
        let Ok(kept) = serde_json::from_str::<Credential>(text.expose()) else { return false };
        let secret = SecretString::from(kept.client_secret);
        let snapshot = server.store.snapshot();
        let application = snapshot.application(existing.tenant, existing.administrator);
        (kept.tenant_id, kept.client_id) == (existing.tenant, existing.administrator)
            && application.is_some_and(|it| server.directory.is_secret_of(it, &secret).unwrap_or(false))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()
    }
}

/// A new file that only we may read, never one that is there and never by a link.
fn new_file(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}
