//! Puts the server together: opens the store, makes the use cases, binds them to listeners, keeps the schedules.
//!
//! Nothing is global: two servers run in one process, and the tests do. Tests: `run/tests.rs`, and `tests/it`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use denizen_keys::{Custody, SecretString, envelope::RootKey};
use denizen_wire::{Causes, Clock, TenantId};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};

use crate::{
    app::{
        ChangeError,
        access::{Access, Authorization, System, SystemReason},
        administration::Administration,
        clock::ServerClock,
        credentials::Credentials,
        directory::Directory,
        federation::Federation,
        hashing::Hashing,
        key_encryption_keys::KeyEncryptionKeys,
        limits::{Limits, Rates},
        machines::Machines,
        passwords::Passwords,
        rbac::Rbac,
        readiness::{Readiness, Severity},
        replica::Replica,
        secrets::Secrets,
        set_up::SetUp,
        sign_in::SignInService,
        signing::KeyRing,
        tokens::TokenService,
        trusts::Trusts,
        users::Users,
        vaults::Vaults,
    },
    domain::{claims::audience::EntraIssued, roles::BuiltInRoles},
    http::{
        BadRoute, PublicNames, RouteInfo, Service,
        admin::Admin,
        graph::Graph,
        health::Health,
        listen,
        listen::Budgets,
        metrics::Metrics,
        node::Node,
        sts::Sts,
        tls::{Certificates, Pair, TlsHealth},
        vault::Vault,
    },
    issuers::{Issuers, Outbound},
    store::{Engine, Retention, Store, StoreError, StoreKeys},
};

/// The first segments of the health API's paths.
const HEALTH: &[&str] = &["healthz", "readyz"];
/// How often the schedules (signing keys, deleted secrets and objects) are looked at.
const SCHEDULE_CHECK: Duration = Duration::from_secs(3600);
/// Which replica keeps the schedules: it says so this often, and another takes over when it has not for so long.
const LEASE: &str = "schedules";
const LEASE_CHECK: Duration = Duration::from_secs(20);
const LEASE_LASTS: Duration = Duration::from_secs(60);
/// How often replicas record where each other's part of the audit's trail ends.
const WITNESS_PERIOD: Duration = Duration::from_secs(60);
/// How often it is looked whether the audit has outgrown the size that is kept.
const SIZE_CHECK: Duration = Duration::from_secs(10);

/// What a server is made of.
pub struct ServerConfig {
    /// The database.
    pub engine: Engine,
    /// What the server is called from outside.
    pub names: PublicNames,
    /// What everything at rest is sealed under.
    pub root_key: RootKey,
    /// Where the keys that sign tokens are made and kept.
    pub custody: Custody,
    /// Where the time comes from.
    pub clock: Clock,
    /// Whose tokens name Entra as their issuer: none, but where an emulator of Azure's insists on it.
    pub entra_issued: EntraIssued,
    /// The connections that all services may have together, as the process's descriptors allow:
    /// [`denizen_serve::raise_descriptors`].
    pub connections: usize,
    /// How long the audit and the change log are kept.
    pub retention: Retention,
    /// The limits of the token endpoint.
    pub rates: Rates,
    /// Which other issuers may be asked for their keys.
    pub outbound: Outbound,
    /// Whether clients may send users' passwords themselves. Not, unless an operator insists.
    pub password_grant: bool,
}

/// An open server: its use cases, not yet listening.
#[derive(Clone)]
pub struct Server {
    /// The store.
    pub store: Store,
    /// Tenants and applications.
    pub directory: Directory,
    /// Users.
    pub users: Users,
    /// How people sign in.
    pub sign_in: SignInService,
    /// Join tokens and enrolment.
    pub machines: Machines,
    /// Role assignments.
    pub rbac: Rbac,
    /// The first tenant.
    pub set_up: SetUp,
    /// Vaults.
    pub vaults: Vaults,
    /// Secrets.
    pub secrets: Secrets,
    /// The keys that sign tokens.
    pub signing: KeyRing,
    /// What the owner of the process does by command.
    pub administration: Administration,
    /// Whether this server should be sent requests.
    pub readiness: Readiness,
    /// What the metrics show of the certificate.
    pub tls_health: TlsHealth,
    system: System,
    tokens: TokenService,
    access: Access,
    trusts: Trusts,
    names: PublicNames,
    clock: Clock,
    budgets: Budgets,
    retention: Retention,
}

/// The listeners of each service. A service may have several: `localhost` is both 127.0.0.1 and [::1].
pub struct Listeners {
    /// Token service and enrolment.
    pub control: Vec<TcpListener>,
    /// The vault.
    pub vault: Vec<TcpListener>,
    /// Metrics, on loopback: the caller has checked.
    pub metrics: Vec<TcpListener>,
    /// Administration, closed to other users: the caller has checked. None where the process is administered otherwise.
    pub admin: Option<UnixListener>,
}

/// What each listener serves.
pub struct Services {
    /// Token service, enrolment, health.
    pub control: Arc<Service>,
    /// The vaults.
    pub vault: Arc<Service>,
    /// Metrics.
    pub metrics: Arc<Service>,
    /// Administration.
    pub admin: Arc<Service>,
}

/// A listening server.
pub struct Serving {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    store: Store,
}

impl Server {
    /// Opens the store and makes the use cases.
    pub async fn open(config: ServerConfig) -> Result<Self, StoreError> {
        let ServerConfig {
            engine,
            names,
            root_key,
            custody,
            clock,
            entra_issued,
            connections,
            retention,
            rates,
            outbound,
            password_grant,
        } = config;
        let store = Store::open(engine, StoreKeys::of(&root_key)).await?;
        store.record_findings(clock.now())?;
        store.watch_clock(clock.clone()).await?;
        let key_encryption_keys = KeyEncryptionKeys::new(root_key);
        let roles = Arc::new(BuiltInRoles::load());
        let signing = KeyRing::in_custody(store.clone(), key_encryption_keys.clone(), custody);
        let vaults = Vaults::new(store.clone(), key_encryption_keys.clone());
        let (access, system) = Access::new(store.clone(), Arc::clone(&roles), &names.authority, clock.clone());
        let hashing = Hashing::of_this_machine();
        let passwords = Passwords::new(hashing.clone());
        let directory = Directory::new(
            store.clone(),
            key_encryption_keys.clone(),
            Arc::clone(&roles),
            passwords.clone(),
            names.own_resources(),
        );
        let users = Users::new(store.clone(), key_encryption_keys.clone(), passwords.clone());
        let sign_in = SignInService::new(store.clone(), users.clone(), passwords, access.strangers().clone());
        let machines = Machines::new(store.clone(), access.clone(), &names.authority)
            .with_other_authorities(&names.other_authorities);
        let rbac = Rbac::new(store.clone(), Arc::clone(&roles));
        let federation = Federation::new(Issuers::new(&outbound, clock.clone()), signing.clone(), &names.authority);
        let set_up = SetUp::new(store.clone(), Arc::clone(&roles), directory.clone(), vaults.clone());
        let trusts = Trusts::new(store.clone(), federation.clone());
        let readiness = Readiness::of(&store, &clock);
        let (asked, now) = (signing.clone(), clock.clone());
        // The vaults and the tokens that are out do not need it, and one device may be all replicas'.
        readiness.add("signing keys", Severity::Warns, move || {
            let (keys, now) = (asked.clone(), now.now());
            Box::pin(async move { keys.check(now).await })
        });
        Ok(Self {
            administration: Administration::new(
                store.clone(),
                system.clone(),
                machines.clone(),
                rbac.clone(),
                signing.clone(),
                (set_up.clone(), directory.clone(), trusts.clone(), users.clone()),
            ),
            readiness,
            tls_health: TlsHealth::default(),
            set_up,
            directory,
            users,
            sign_in: sign_in.clone(),
            machines,
            rbac,
            secrets: Secrets::new(store.clone(), vaults.clone()),
            tokens: TokenService::new(
                store.clone(),
                signing.clone(),
                (Credentials::new(key_encryption_keys, hashing), federation),
                &names.authority,
                names.own_resources(),
                entra_issued,
                access.clone(),
            )
            .with_password_grant(password_grant.then(|| sign_in.clone()))
            .with_other_authorities(&names.other_authorities)
            .with_limits(Limits::new(rates)),
            vaults,
            signing,
            system,
            trusts,
            access,
            store,
            names,
            clock,
            budgets: Budgets::new(connections),
            retention,
        })
    }

    /// Opens a database for use cases alone, without serving: `authority` stands in the tokens it may sign, and its
    /// other names are never seen.
    pub async fn open_engine_at_rest(
        engine: Engine,
        root_key: RootKey,
        authority: &str,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let names = PublicNames {
            authority: authority.to_owned(),
            other_authorities: Vec::new(),
            vault_suffix: String::new(),
            vault_port: 443,
            vault_local: None,
        };
        let (entra_issued, retention, custody) = (EntraIssued::default(), Retention::default(), Custody::sealed());
        let (rates, outbound) = (Rates::default(), Outbound::default());
        Self::open(ServerConfig {
            engine,
            names,
            root_key,
            custody,
            clock,
            entra_issued,
            connections: 0,
            retention,
            rates,
            outbound,
            password_grant: false,
        })
        .await
    }

    /// The same of the embedded database in a data directory.
    pub async fn open_at_rest(
        data: &Path,
        root_key: RootKey,
        authority: &str,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        Self::open_engine_at_rest(Engine::Sqlite { path: database_in(data) }, root_key, authority, clock).await
    }

    /// Authorizes what the owner of this process does with the use cases.
    pub fn authorize(&self, tenant: TenantId, reason: SystemReason) -> Authorization {
        self.system.authorize(tenant, reason)
    }

    /// Says that the clock is right, though it is not where this server expects it: what waits for that is removed for
    /// good at the next look at the schedules. Recorded in the audit of every tenant.
    ///
    /// # Errors
    /// The store's; the clock is not confirmed then.
    pub async fn confirm_clock(&self) -> Result<(), ChangeError> {
        let authorize = |tenant| self.authorize(tenant, SystemReason::ClockConfirmed);
        let authorizations: Vec<Authorization> = self.tenants().into_iter().map(authorize).collect();
        ServerClock::new(self.store.clone()).confirm(&authorizations).await
    }

    /// What each listener serves.
    ///
    /// # Errors
    /// [`BadRoute`] when a route table cannot be served.
    pub fn services(&self) -> Result<Services, BadRoute> {
        let sts = Sts::new(self.tokens.clone(), self.sign_in.clone(), self.names.clone());
        let health = || Health::new(self.readiness.clone());
        let replica = Replica::new(self.store.clone());
        let control = Service::new("control", sts)?
            .of_replica(replica.clone())
            .mount(HEALTH, health())?
            .mount(&["node"], Node::new(self.machines.clone()))?
            .mount(
                &["v1.0", "beta"],
                Graph::new(self.directory.clone(), self.trusts.clone(), self.access.clone(), &self.names)?,
            )?;
        let vault = Vault::new(self.secrets.clone(), self.access.clone(), self.names.clone());
        let vault = Service::new("vault", vault)?.of_replica(replica);
        let control = Arc::new(control);
        let admin = Admin::new(self.administration.clone(), Arc::clone(&control), &self.names.authority);
        let admin = Service::new("admin", admin)?;
        let metrics = Metrics::new(
            self.store.clone(),
            (self.access.strangers().clone(), self.tokens.limits().clone()),
            self.budgets.clone(),
            self.tls_health.clone(),
            self.readiness.clone(),
            &[&control, &vault, &admin],
        );
        let metrics = Service::new("metrics", metrics)?.mount(HEALTH, health())?;
        Ok(Services { control, vault: Arc::new(vault), metrics: Arc::new(metrics), admin: Arc::new(admin) })
    }

    /// Starts to listen, and to keep the schedules.
    ///
    /// # Errors
    /// [`BadRoute`] when a route table cannot be served.
    pub fn serve(&self, listeners: Listeners, tls: &Arc<rustls::ServerConfig>) -> Result<Serving, BadRoute> {
        let services = self.services()?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let budgets = self.budgets.clone();
        for (listeners, tls, service, budget) in [
            (listeners.control, Some(tls), services.control, budgets.control),
            (listeners.vault, Some(tls), services.vault, budgets.vault),
            (listeners.metrics, None, services.metrics, budgets.metrics),
        ] {
            let tls = tls.map(Arc::clone);
            tasks.spawn(listen::serve(listeners, tls, service, budget, self.clock.clone(), stopped.clone()));
        }
        if let Some(listener) = listeners.admin {
            tasks.spawn(listen::serve_local(listener, services.admin, self.clock.clone(), stopped.clone()));
        }
        tasks.spawn(self.clone().keep_size(stopped.clone()));
        tasks.spawn(self.clone().keep_schedules(stopped));
        Ok(Serving { stop, tasks, store: self.store.clone() })
    }

    fn tenants(&self) -> Vec<TenantId> {
        self.store.snapshot().tenants().map(|tenant| tenant.id).collect()
    }

    async fn keep_schedules(self, mut stopped: watch::Receiver<bool>) {
        let mut kept: Option<Instant> = None;
        loop {
            if self.keeps_schedules().await && kept.is_none_or(|at| at.elapsed() >= SCHEDULE_CHECK) {
                self.keep_schedules_once().await;
                kept = Some(Instant::now());
            }
            tokio::select! {
                () = tokio::time::sleep(LEASE_CHECK) => {}
                _ = stopped.changed() => break,
            }
        }
        // Another takes over at once. Where this fails, it does when the lease ends.
        let _ = self.store.release(LEASE).await;
    }

    /// Whether it is this replica that keeps the schedules.
    async fn keeps_schedules(&self) -> bool {
        match self.store.lease(LEASE, self.clock.now(), LEASE_LASTS).await {
            Ok(is_ours) => is_ours,
            Err(e) => {
                tracing::debug!(error = %Causes(&e), "it is not known who keeps the schedules");
                false
            }
        }
    }

    /// Does what is due. While the clock is not trusted, nothing is removed for good by it.
    async fn keep_schedules_once(&self) {
        if let Err(e) = self.store.look_at_clock().await {
            tracing::error!(error = %Causes(&e), "the time could not be kept in the database; it is tried again in an hour");
        }
        for tenant in self.tenants() {
            let authorization = self.authorize(tenant, SystemReason::SigningKeySchedule);
            if let Err(e) = self.signing.ensure_keys(&authorization).await {
                tracing::error!(%tenant, error = %Causes(&e), "the signing keys' schedule could not be kept; it is tried again in an hour");
            }
            let authorization = self.authorize(tenant, SystemReason::RecoveryOver);
            if let Err(e) = self.secrets.purge_due(&authorization).await {
                tracing::error!(%tenant, error = %Causes(&e), "deleted secrets could not be purged; it is tried again in an hour");
            }
            if let Err(e) = self.directory.purge_due(&authorization).await {
                tracing::error!(%tenant, error = %Causes(&e), "deleted objects of the directory could not be purged; it is tried again in an hour");
            }
            let authorization = self.authorize(tenant, SystemReason::JoinTokensEnded);
            if self.store.trusts(authorization.now())
                && let Err(e) = self.machines.forget_ended_tokens(&authorization).await
            {
                tracing::error!(%tenant, error = %Causes(&e), "join tokens that ended could not be removed; it is tried again in an hour");
            }
        }
        let now = self.clock.now();
        let retention = if self.store.trusts(now) { self.retention } else { self.retention.by_size() };
        if let Err(e) = self.store.prune(retention, now).await {
            tracing::error!(error = %Causes(&e), "old audit records could not be removed; it is tried again in an hour");
        }
    }
}

impl Server {
    /// Keeps the audit within its size whatever the clock says: a flood fills a disk in less than an hour. Also records
    /// what was found wrong with the audit's files.
    async fn keep_size(self, mut stopped: watch::Receiver<bool>) {
        let mut witnessed = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(SIZE_CHECK) => {}
                _ = stopped.changed() => return,
            }
            if witnessed.elapsed() >= WITNESS_PERIOD {
                witnessed = Instant::now();
                if let Err(e) = self.store.witness(self.clock.now()).await {
                    tracing::warn!(error = %Causes(&e), "where the other replicas' chains end could not be recorded; it is tried again in a minute");
                }
            }
            if let Err(e) = self.store.record_findings(self.clock.now()) {
                tracing::error!(error = %Causes(&e), "what was found wrong with the audit's files could not be recorded; it is tried again");
            }
            let retention = self.retention.by_size();
            let outgrown = self.store.audit_bytes().await.map(|bytes| retention.is_outgrown(bytes));
            let pruned = match outgrown {
                Ok(true) => self.store.prune(retention, self.clock.now()).await.map(drop),
                // While the database is away, nothing comes to it.
                Ok(false) | Err(StoreError::Unavailable(_)) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(e) = pruned {
                tracing::error!(error = %Causes(&e), "the audit could not be brought to its size; it is tried again");
            }
        }
    }
}

impl Services {
    /// Everything that can be reached, on any listener.
    pub fn routes(&self) -> Vec<RouteInfo> {
        [&self.control, &self.vault, &self.metrics, &self.admin].iter().flat_map(|service| service.routes()).collect()
    }
}

impl Serving {
    /// Stops listening, lets requests in flight finish, and closes the store.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        self.store.close().await;
    }
}

/// The TLS side of a listener: one chain and its key, HTTP/1.1, no resumption.
pub fn tls(chain_pem: &str, key_pem: &SecretString) -> Result<Arc<rustls::ServerConfig>, rustls::Error> {
    let pair = Pair::read(chain_pem, key_pem).map_err(|error| rustls::Error::General(error.to_string()))?;
    tls_of(Certificates::new(&pair, TlsHealth::default()))
}

/// The same of a certificate that is replaced while listeners serve.
pub fn tls_of(certificates: Arc<Certificates>) -> Result<Arc<rustls::ServerConfig>, rustls::Error> {
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The path of the embedded database in a data directory.
pub fn database_in(data: &Path) -> PathBuf {
    data.join("denizen.db")
}

/// The root key's file in a data directory.
pub fn root_key_in(data: &Path) -> PathBuf {
    data.join("root.key")
}

#[cfg(test)]
mod tests;
