//! Role definitions and role assignments: the nouns that [`authorize`](super::authorize) reads.
//!
//! The built-in roles are a data file, `roles.json`, compiled in and read once into a [`BuiltInRoles`] that is
//! passed around. Its order is meaningful: the first role that allows an action is the one that a refusal proposes,
//! so narrow roles stand before broad ones.
//!
//! Tests: `roles/tests.rs`.

use std::{collections::HashMap, fmt, str::FromStr};

use denizen_wire::{PrincipalId, ResourceId, TenantId, UnixTime, ids::NotAGuid};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::authorize::{Action, matches};

#[cfg(test)]
mod tests;

/// The id of a role definition; built-in roles have the same id everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoleId(pub Uuid);

impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoleId({})", self.0)
    }
}

impl FromStr for RoleId {
    type Err = NotAGuid;

    /// Accepts the hyphenated form only, as every other id does.
    fn from_str(text: &str) -> Result<Self, NotAGuid> {
        if text.len() != 36 {
            return Err(NotAGuid);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| NotAGuid)
    }
}

/// A role given to a principal at a scope, and at everything below it. The snapshot serves
/// [`super::hot::Assignment`] of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleAssignment {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id, its name on the wire.
    pub id: Uuid,
    /// Where it holds.
    pub scope: ResourceId,
    /// Who has it.
    pub principal: PrincipalId,
    /// What it gives.
    pub role: RoleId,
    /// When it was made.
    pub created: UnixTime,
    /// By whom: an actor, for people.
    pub created_by: String,
}

/// A set of actions with a name.
///
/// Patterns are compared without regard to case and are kept as they were written, because clients get them back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDefinition {
    /// Its tenant; none for a built-in role.
    pub tenant: Option<TenantId>,
    /// Its id.
    pub id: RoleId,
    /// For people; also what commands take.
    pub name: String,
    /// For people.
    pub description: String,
    /// Control-plane patterns that it allows.
    pub actions: Vec<String>,
    /// Control-plane patterns taken from `actions`. Not a denial: another assignment may allow them.
    pub not_actions: Vec<String>,
    /// Data-plane patterns that it allows. Control-plane patterns never reach data, `*` included.
    pub data_actions: Vec<String>,
    /// Data-plane patterns taken from `data_actions`.
    pub not_data_actions: Vec<String>,
    /// Where it may be assigned.
    pub assignable_scopes: Vec<ResourceId>,
}

impl RoleDefinition {
    /// Whether this role, by itself, allows `action`.
    pub fn allows(&self, action: &Action) -> bool {
        let (granted, taken, name) = match action {
            Action::Control(name) => (&self.actions, &self.not_actions, name),
            Action::Data(name) => (&self.data_actions, &self.not_data_actions, name),
        };
        let grants = |pattern: &String| matches(pattern, name) && (is_of_directory(pattern) || !is_of_directory(name));
        granted.iter().any(grants) && !taken.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether it is a role of the directory: those are given in the whole tenant, by who has such a role.
    pub fn is_of_directory(&self) -> bool {
        self.actions.iter().any(|pattern| is_of_directory(pattern))
    }

    /// Every pattern, with the member it stands in.
    pub fn patterns(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let actions = self.actions.iter().map(|p| ("actions", p.as_str()));
        let not_actions = self.not_actions.iter().map(|p| ("notActions", p.as_str()));
        let data_actions = self.data_actions.iter().map(|p| ("dataActions", p.as_str()));
        let not_data_actions = self.not_data_actions.iter().map(|p| ("notDataActions", p.as_str()));
        actions.chain(not_actions).chain(data_actions).chain(not_data_actions)
    }

    /// Checks what any role must obey, built in or custom.
    ///
    /// # Errors
    /// The first pattern that is not one, or an empty name.
    pub fn check(&self) -> Result<(), BadRole> {
        if self.name.is_empty() || self.name.len() > 512 {
            return Err(BadRole::Name(self.id));
        }
        for (member, pattern) in self.patterns() {
            if !is_pattern(pattern) {
                return Err(BadRole::Pattern { role: self.name.clone(), member, pattern: pattern.to_owned() });
            }
        }
        Ok(())
    }
}

/// Whether an action, or a pattern, is one of the directory. Roles for resources never reach it, `*` included.
fn is_of_directory(name: &str) -> bool {
    const DIRECTORY: &str = "microsoft.directory/";
    name.get(..DIRECTORY.len()).is_some_and(|start| start.eq_ignore_ascii_case(DIRECTORY))
}

/// Whether the text is an action pattern: `*`, or `{provider}/{type…}/{verb}` where any part may hold `*`.
///
/// Letters, digits and `._-` only: a pattern with a space or a `?` in it is a mistake that would silently allow
/// nothing, or take nothing away.
pub fn is_pattern(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    text.len() <= 512
        && text.contains('/')
        && text
            .split('/')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-*".contains(&b)))
}

/// A role definition breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRole {
    /// No name, or one that is too long.
    #[error("role {0}: its name must have 1 to 512 characters")]
    Name(RoleId),
    /// Not an action pattern.
    #[error(
        "role '{role}': {member} has '{pattern}', which is neither '*' nor 'Provider/type/verb' with '*' for any part"
    )]
    Pattern {
        /// The role.
        role: String,
        /// `actions`, `notActions`, `dataActions` or `notDataActions`.
        member: &'static str,
        /// What stands there.
        pattern: String,
    },
    /// Two roles with one id.
    #[error("two roles have the id {0}")]
    Twice(RoleId),
    /// The data file is not what this module reads.
    #[error("the built-in roles cannot be read: {0}")]
    Unreadable(String),
}

/// The roles every tenant has.
#[derive(Debug)]
pub struct BuiltInRoles {
    ordered: Vec<RoleDefinition>,
    by_id: HashMap<RoleId, usize>,
}

impl BuiltInRoles {
    /// Reads the roles that are compiled in.
    ///
    /// # Panics
    /// When the data file breaks a rule. No input reaches this: the file is part of the program, and the first test
    /// of this module reads it.
    #[expect(clippy::expect_used, reason = "the file is compiled in and tested; a broken one must not start to serve")]
    pub fn load() -> Self {
        Self::parse(include_str!("roles.json")).expect("the built-in roles are well formed")
    }

    /// The role of this id.
    pub fn role(&self, id: RoleId) -> Option<&RoleDefinition> {
        self.by_id.get(&id).and_then(|at| self.ordered.get(*at))
    }

    /// The role of this name, in any case.
    pub fn named(&self, name: &str) -> Option<&RoleDefinition> {
        self.ordered.iter().find(|role| role.name.eq_ignore_ascii_case(name))
    }

    /// All of them, narrow before broad.
    pub fn iter(&self) -> impl Iterator<Item = &RoleDefinition> {
        self.ordered.iter()
    }

    /// The narrowest role that allows `action`: what a refusal proposes.
    pub fn proposal(&self, action: &Action) -> Option<&RoleDefinition> {
        self.ordered.iter().find(|role| role.allows(action))
    }

    fn parse(json: &str) -> Result<Self, BadRole> {
        let rows: Vec<Row> = serde_json::from_str(json).map_err(|error| BadRole::Unreadable(error.to_string()))?;
        let mut ordered = Vec::with_capacity(rows.len());
        let mut by_id = HashMap::with_capacity(rows.len());
        for row in rows {
            let role = RoleDefinition {
                tenant: None,
                id: row.id,
                name: row.name,
                description: row.description,
                actions: row.actions,
                not_actions: row.not_actions,
                data_actions: row.data_actions,
                not_data_actions: row.not_data_actions,
                assignable_scopes: vec![ResourceId::root()],
            };
            role.check()?;
            if by_id.insert(role.id, ordered.len()).is_some() {
                return Err(BadRole::Twice(role.id));
            }
            ordered.push(role);
        }
        Ok(Self { ordered, by_id })
    }
}

/// One role of the data file. Every member must be there: a misspelt `notActions` would widen a role.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    id: RoleId,
    name: String,
    description: String,
    actions: Vec<String>,
    not_actions: Vec<String>,
    data_actions: Vec<String>,
    not_data_actions: Vec<String>,
}
