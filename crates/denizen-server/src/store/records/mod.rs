//! One file per entity: where it is kept, what its key is, what of it must be unique.

mod app_role_assignments;
mod applications;
mod deleted_objects;
mod groups;
mod machines;
mod memberships;
mod permission_grants;
mod principals;
mod resource_groups;
mod role_assignments;
mod role_definitions;
mod signing_keys;
mod subscriptions;
mod tenants;
mod users;
mod vaults;
