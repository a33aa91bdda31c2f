//! `dev.json`: every URL and id, for programs; and of these the variables that a program's environment needs.

use denizen_identity::Environment;
use denizen_server::http::PublicNames;
use denizen_wire::{ClientId, PrincipalId, ResourceId, SubscriptionId, TenantId};
use serde::Serialize;

use super::{
    environment,
    machine::Machine,
    tenant::{DevTenant, VAULT},
};
use crate::{
    data::{DataDir, remove_if_there, write_private},
    exit::{self, Failure},
};

/// `dev.json`. Has no `Debug`: it holds secrets.
#[derive(Serialize)]
pub(crate) struct Manifest {
    /// The token service's base: `AZURE_AUTHORITY_HOST`.
    pub(crate) authority: String,
    pub(crate) tenant_id: TenantId,
    pub(crate) subscription_id: SubscriptionId,
    pub(crate) resource_group: String,
    /// Where the resource manager answers, on the same listener.
    pub(crate) arm_url: String,
    /// Where the directory's REST API answers, on the same listener.
    pub(crate) graph_url: String,
    /// The vault, by a name that needs no resolver.
    pub(crate) vault_url: String,
    /// The vault, by a name under the challenge's domain, for where that name resolves to loopback.
    pub(crate) vault_url_named: String,
    pub(crate) vault_name: String,
    /// Counters, for operators and benches.
    pub(crate) metrics_url: String,
    pub(crate) ca_file: String,
    pub(crate) ca_bundle_file: String,
    pub(crate) admin: Admin,
    pub(crate) user: User,
    pub(crate) machine: MachineIds,
    pub(crate) agent: AgentEndpoints,
    pub(crate) secret: Secret,
}

#[derive(Serialize)]
pub(crate) struct Admin {
    pub(crate) client_id: ClientId,
    pub(crate) client_secret: String,
}

/// Who can sign in on the pages.
#[derive(Serialize)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

#[derive(Serialize)]
pub(crate) struct MachineIds {
    pub(crate) resource_id: ResourceId,
    pub(crate) client_id: ClientId,
    pub(crate) principal_id: PrincipalId,
}

#[derive(Serialize)]
pub(crate) struct AgentEndpoints {
    /// `null` when this user may not offer it.
    pub(crate) arc: Option<Arc>,
    /// `AZURE_POD_IDENTITY_AUTHORITY_HOST`.
    pub(crate) imds_host: String,
    pub(crate) app_service: AppService,
}

#[derive(Serialize)]
pub(crate) struct Arc {
    pub(crate) identity_endpoint: String,
    pub(crate) imds_endpoint: String,
}

#[derive(Serialize)]
pub(crate) struct AppService {
    pub(crate) identity_endpoint: String,
    pub(crate) identity_header: String,
}

#[derive(Serialize)]
pub(crate) struct Secret {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Manifest {
    pub(crate) fn new(
        names: &PublicNames,
        dev_tenant: &DevTenant,
        machine: &Machine,
        data: &DataDir,
        metrics_port: u16,
    ) -> Self {
        Self {
            authority: names.authority.clone(),
            tenant_id: dev_tenant.tenant,
            subscription_id: dev_tenant.subscription,
            resource_group: dev_tenant.resource_group.name().to_owned(),
            arm_url: names.authority.clone(),
            graph_url: names.authority.clone(),
            vault_url: format!("https://localhost:{}", names.vault_port),
            vault_url_named: format!("https://{VAULT}.{}:{}", names.vault_suffix, names.vault_port),
            vault_name: VAULT.to_owned(),
            metrics_url: format!("http://localhost:{metrics_port}/metrics"),
            ca_file: data.ca_file().display().to_string(),
            ca_bundle_file: data.ca_bundle_file().display().to_string(),
            admin: Admin { client_id: dev_tenant.admin_client, client_secret: dev_tenant.admin_secret.clone() },
            user: User { name: dev_tenant.user.0.clone(), password: dev_tenant.user.1.clone() },
            machine: MachineIds {
                resource_id: machine.identity.enrolled.resource_id.clone(),
                client_id: machine.identity.enrolled.client_id,
                principal_id: machine.identity.enrolled.principal_id,
            },
            agent: AgentEndpoints {
                arc: machine
                    .arc
                    .clone()
                    .map(|arc| Arc { identity_endpoint: arc.identity_endpoint, imds_endpoint: arc.imds_endpoint }),
                imds_host: machine.imds_host.clone(),
                app_service: AppService {
                    identity_endpoint: machine.app_service.0.clone(),
                    identity_header: machine.app_service.1.expose().to_owned(),
                },
            },
            secret: Secret { name: dev_tenant.secret.0.clone(), value: dev_tenant.secret.1.clone() },
        }
    }

    /// The variables a program needs. `IDENTITY_HEADER` must be absent with Arc: its mere presence means App Service.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let bundle = self.ca_bundle_file.clone();
        let mut variables = vec![
            ("SSL_CERT_FILE", bundle.clone()),
            ("REQUESTS_CA_BUNDLE", bundle),
            ("NODE_EXTRA_CA_CERTS", self.ca_file.clone()),
            ("AZURE_AUTHORITY_HOST", self.authority.clone()),
            ("DENIZEN_VAULT_URL", self.vault_url.clone()),
            ("DENIZEN_DEV_USER", self.user.name.clone()),
            ("DENIZEN_DEV_PASSWORD", self.user.password.clone()),
        ];
        match &self.agent.arc {
            Some(arc) => variables.extend([
                ("IDENTITY_ENDPOINT", arc.identity_endpoint.clone()),
                ("IMDS_ENDPOINT", arc.imds_endpoint.clone()),
            ]),
            None => variables.extend([
                ("IDENTITY_ENDPOINT", self.agent.app_service.identity_endpoint.clone()),
                ("IDENTITY_HEADER", self.agent.app_service.identity_header.clone()),
            ]),
        }
        variables
    }

    /// Writes `dev.json`, `env` and `env.list`: all hold secrets.
    pub(crate) fn write(&self, data: &DataDir, environment: &Environment) -> Result<(), Failure> {
        let json = serde_json::to_vec_pretty(self).map_err(Failure::while_(exit::SOFTWARE, "dev.json"))?;
        write_private(&data.manifest_file(), &json)?;
        let no_proxy = environment::no_proxy(crate::config::TRIAL_VAULT_SUFFIX);
        let mut variables = self.variables();
        write_private(&data.env_file(), environment::shell_file(&variables, &no_proxy).as_bytes())?;
        variables.extend(environment::proxy_exceptions(environment, &no_proxy));
        if let Some(list) = environment::list_file(&variables) {
            return write_private(&data.env_list_file(), list.as_bytes());
        }
        remove_if_there(&data.env_list_file())?;
        tracing::warn!(
            "no {}: a path or a proxy exception has a quote, a backslash or '#', which systemd, Docker and Node each \
             read differently; use the env file, or name another directory with --data",
            data.env_list_file().display()
        );
        Ok(())
    }
}
