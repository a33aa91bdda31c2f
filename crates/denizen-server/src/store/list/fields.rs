//! What of each record can be filtered and ordered by, and how that is said in SQL.
//!
//! Tests: `contract/lists.rs`.

use super::{super::db::Composed, BadQuery, Listed, Literal, Test, after_prefix, like, refused, text_of};
use crate::domain::{
    deleted::DeletedObject,
    directory::{Application, ServicePrincipal},
    grants::{AppRoleAssignment, PermissionGrant},
    people::{Group, User},
};

/// Something that a record can be filtered by.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As clients call it.
    pub(in crate::store) name: &'static str,
    /// Where it is.
    pub(in crate::store) place: Place,
}

/// Where a field is, and how it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Place {
    /// The table's key, a GUID.
    Id,
    /// The table's other unique column, lower case.
    Unique(&'static str),
    /// A member of the body that is a GUID or a word of ours.
    Exact(&'static str),
    /// A member of the body that is text for people.
    Text(&'static str),
    /// A member of the body that is true or false.
    Flag(&'static str),
    /// One of two words, by whether the body has a member.
    Presence {
        /// The member.
        path: &'static str,
        /// The word when it is there.
        there: &'static str,
        /// The word when it is not.
        absent: &'static str,
    },
    /// The same of all records.
    Always(&'static str),
    /// Each of what an application calls itself as a resource.
    Uris,
    /// The same of a service principal: its client, and what the application calls itself.
    Names,
    /// A collection of which the body has one.
    One(&'static str),
}

const fn field(name: &'static str, place: Place) -> Field {
    Field { name, place }
}

const DISPLAY_NAME: Field = field("displayName", Place::Text("display_name"));

impl Listed for Application {
    const FIELDS: &'static [Field] = &[
        DISPLAY_NAME,
        field("id", Place::Exact("object_id")),
        field("appId", Place::Id),
        field("identifierUris", Place::Uris),
    ];
    const ORDERS: &'static [&'static str] = &["displayName"];
}

impl Listed for ServicePrincipal {
    const FIELDS: &'static [Field] = &[
        DISPLAY_NAME,
        field("appDisplayName", Place::Text("display_name")),
        field("id", Place::Id),
        field("appId", Place::Unique("client_id")),
        field("servicePrincipalNames", Place::Names),
        field("alternativeNames", Place::One("kind.ManagedIdentity.resource_id")),
        field("accountEnabled", Place::Flag("enabled")),
        field(
            "servicePrincipalType",
            Place::Presence {
                path: "kind.ManagedIdentity.resource_id",
                there: "ManagedIdentity",
                absent: "Application",
            },
        ),
    ];
    const ORDERS: &'static [&'static str] = &["displayName"];
}

impl Listed for User {
    const FIELDS: &'static [Field] = &[
        DISPLAY_NAME,
        field("id", Place::Id),
        field("userPrincipalName", Place::Unique("name")),
        field("mail", Place::Text("mail")),
        field("mailNickname", Place::Text("mail_nickname")),
        field("givenName", Place::Text("given_name")),
        field("surname", Place::Text("surname")),
        field("accountEnabled", Place::Flag("enabled")),
        field("userType", Place::Always("Member")),
    ];
    const ORDERS: &'static [&'static str] = &["displayName", "userPrincipalName"];
}

impl Listed for Group {
    const FIELDS: &'static [Field] = &[
        DISPLAY_NAME,
        field("id", Place::Id),
        field("description", Place::Text("description")),
        field("mailNickname", Place::Text("mail_nickname")),
        field("securityEnabled", Place::Always("true")),
        field("mailEnabled", Place::Always("false")),
    ];
    const ORDERS: &'static [&'static str] = &["displayName"];
}

impl Listed for DeletedObject {
    const FIELDS: &'static [Field] = &[DISPLAY_NAME, field("id", Place::Id), field("kind", Place::Exact("kind"))];
    const ORDERS: &'static [&'static str] = &["displayName"];
}

impl Listed for AppRoleAssignment {
    const FIELDS: &'static [Field] = &[
        field("id", Place::Id),
        field("principalId", Place::Exact("principal")),
        field("resourceId", Place::Exact("resource")),
        field("appRoleId", Place::Exact("role")),
    ];
    const ORDERS: &'static [&'static str] = &["id"];
}

impl Listed for PermissionGrant {
    const FIELDS: &'static [Field] = &[
        field("id", Place::Id),
        field("clientId", Place::Exact("client")),
        field("resourceId", Place::Exact("resource")),
        field("principalId", Place::Exact("user")),
        field("consentType", Place::Presence { path: "user", there: "Principal", absent: "AllPrincipals" }),
    ];
    const ORDERS: &'static [&'static str] = &["id"];
}

impl Place {
    /// Whether it is asked for by `any`.
    pub(in crate::store) fn is_collection(&self) -> bool {
        matches!(self, Self::Uris | Self::Names | Self::One(_))
    }

    /// A text in the form that it is compared in.
    pub(super) fn folded(&self, text: &str) -> String {
        match self {
            Self::Unique(_) => text.to_lowercase(),
            Self::Uris | Self::Names => text.to_owned(),
            Self::Id
            | Self::Exact(_)
            | Self::Text(_)
            | Self::Flag(_)
            | Self::Presence { .. }
            | Self::Always(_)
            | Self::One(_) => text.to_ascii_lowercase(),
        }
    }

    /// Adds what is compared, in that form.
    pub(super) fn column(&self, sql: &mut Composed) {
        match *self {
            Self::Id | Self::Uris => _ = sql.push("id"),
            Self::Unique(column) => _ = sql.push(column),
            Self::Names => _ = sql.push("client_id"),
            Self::Exact(path) | Self::Presence { path, .. } => _ = sql.json(path),
            Self::Text(path) | Self::Flag(path) | Self::One(path) => _ = sql.push("lower(").json(path).push(")"),
            Self::Always(_) => {}
        }
    }
}

impl Field {
    /// Adds the condition that the test passes.
    pub(super) fn condition(&self, sql: &mut Composed, test: &Test) -> Result<(), BadQuery> {
        match test {
            Test::Equals(literal) | Test::Differs(literal) => self.equals(sql, literal),
            Test::In(literals) => {
                sql.push("(");
                for (at, literal) in literals.iter().enumerate() {
                    if at > 0 {
                        sql.push(" OR ");
                    }
                    self.equals(sql, literal)?;
                }
                sql.push(")");
                Ok(())
            }
            Test::StartsWith(prefix) if matches!(self.place, Place::Text(_) | Place::Unique(_)) => {
                let prefix = self.place.folded(prefix);
                sql.push("(");
                self.place.column(sql);
                sql.push(" >= ").text(prefix.as_str());
                if let Some(end) = after_prefix(&prefix) {
                    sql.push(" AND ");
                    self.place.column(sql);
                    sql.push(" < ").text(end);
                }
                sql.push(")");
                Ok(())
            }
            Test::EndsWith(end) if matches!(self.place, Place::Text(_) | Place::Unique(_)) => {
                self.place.column(sql);
                sql.push(" LIKE ").text(format!("%{}", like(&self.place.folded(end)))).push(" ESCAPE '\\'");
                Ok(())
            }
            Test::StartsWith(_) => {
                Err(refused("$filter", self.name, "it is not compared by how it begins here: use eq"))
            }
            Test::EndsWith(_) => Err(refused("$filter", self.name, "it is not compared by how it ends here: use eq")),
        }
    }

    fn equals(&self, sql: &mut Composed, literal: &Literal) -> Result<(), BadQuery> {
        match (self.place, literal) {
            (Place::Flag(_), Literal::Bool(is)) => {
                self.place.column(sql);
                sql.push(" = ").flag(*is);
            }
            (Place::Flag(_), _) => {
                return Err(refused("$filter", self.name, "it is compared with true or false, without quotes"));
            }
            (Place::Presence { there, absent, .. }, _) => {
                let word = text_of(self, literal)?;
                let is = |other: &str| word.eq_ignore_ascii_case(other);
                match (is(there), is(absent)) {
                    (true, _) => {
                        self.place.column(sql);
                        sql.push(" IS NOT NULL");
                    }
                    (_, true) => {
                        self.place.column(sql);
                        sql.push(" IS NULL");
                    }
                    _ => _ = sql.push("0 = 1"),
                }
            }
            (Place::Always(said), _) => {
                let is = match literal {
                    Literal::Bool(is) => is.to_string() == said,
                    Literal::Null => false,
                    Literal::Text(_) | Literal::Guid(_) | Literal::Number(_) | Literal::DateTime(_) => {
                        text_of(self, literal)?.eq_ignore_ascii_case(said)
                    }
                };
                sql.push(if is { "1 = 1" } else { "0 = 1" });
            }
            (Place::Exact(_) | Place::Text(_) | Place::Unique(_) | Place::Id, Literal::Null) => {
                self.place.column(sql);
                sql.push(" IS NULL");
            }
            (Place::Uris, _) => self.uri(sql, "id", text_of(self, literal)?),
            (Place::Names, _) => {
                let name = text_of(self, literal)?;
                match uuid::Uuid::try_parse(name) {
                    Ok(id) => _ = sql.push("client_id = ").text(id.to_string()),
                    Err(_) => self.uri(sql, "client_id", name),
                }
            }
            (Place::Exact(_) | Place::Text(_) | Place::Unique(_) | Place::Id | Place::One(_), _) => {
                let value = self.place.folded(text_of(self, literal)?);
                self.place.column(sql);
                sql.push(" = ").text(value);
            }
        }
        Ok(())
    }

    /// The application that calls itself so; the key's column of the list is `column`.
    #[expect(clippy::unused_self, reason = "it is said of a field")]
    fn uri(&self, sql: &mut Composed, column: &'static str, uri: &str) {
        sql.push(column).push(" IN (SELECT application FROM application_uris WHERE uri = ").text(uri);
        sql.push(" AND tenant = $1)");
    }
}
