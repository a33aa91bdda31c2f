//! What a person reads when the development server is up.

use std::io::Write;

use super::{Args, machine::Machine, manifest::Manifest, self_test::SelfTest};
use crate::data::DataDir;

/// Prints to standard output, or to standard error when a command's own output goes there.
pub(crate) fn print(manifest: &Manifest, machine: &Machine, self_test: &SelfTest, data: &DataDir, args: &Args) {
    let command_follows = !args.command.is_empty();
    let text = text(manifest, machine, self_test, data, args);
    // A closed pipe is the reader's choice.
    let _ = if command_follows {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        let mut out = std::io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
}

fn text(manifest: &Manifest, machine: &Machine, self_test: &SelfTest, data: &DataDir, args: &Args) -> String {
    let Manifest { authority, tenant_id, vault_url, .. } = manifest;
    let resource = machine.identity.enrolled.resource_id.name();
    let client = machine.identity.enrolled.client_id;
    let name = &manifest.secret.name;
    let asked = format!("1. asked the {} endpoint for a token, as any Azure SDK does", self_test.source);
    let signed = "2. the agent signed an assertion with the node key, a JWT came back";
    let version = self_test.secret_version.get(..8).unwrap_or_default();
    let read = format!("3. read the secret '{name}' (version {version}...) from the vault with it");
    let why = &machine.why;
    let (user, password) = (&manifest.user.name, &manifest.user.password);
    let mut text = format!(
        "\
Denizen is up, FOR DEVELOPMENT ONLY (loopback, self-made CA). Data: {data}

  machine      {resource}, enrolled with a join token; its key never leaves it
  identity     client id {client}, no secret stored anywhere
  endpoint     {why}
  authority    {authority}
  tenant       {tenant_id}
  vault        {vault_url}
  user         {user}, password {password}

It has done the main job once, through its own endpoints:
  {asked:<72} ok
  {signed:<72} ok
  {read:<72} ok

",
        data = data.path().display(),
    );
    for resource in &args.sts_windows_net_for {
        text.push_str(&format!(
            "Tokens for {resource} name https://sts.windows.net/{tenant_id}/ as their issuer.\n\
             What checks no signature takes them for Entra's.\n\n"
        ));
    }
    if !args.command.is_empty() {
        text.push_str("Now the command, with the environment of this machine.\n");
        return text;
    }
    let env = data.env_file();
    // As it was called: nothing is installed yet when a newcomer reads this.
    let given = args.data.as_ref().map_or_else(String::new, |data| format!(" --data {}", data.display()));
    let denizen = std::env::args().next().unwrap_or_else(|| "denizen".to_owned());
    text.push_str(&format!(
        "\
Try next, in another terminal:
  . {env}
  {denizen} secret get {name}
  {denizen} token get --resource https://vault.azure.net
Programs on any Azure SDK work in that terminal too. Their Key Vault client needs one option there, because no
localhost name can pass its domain check (Python: verify_challenge_resource=False). Started by Denizen, in place of this
server, which must be stopped first, they need none:
  {denizen} dev{given} -- python3 app.py
",
        env = env.display(),
    ));
    text
}
