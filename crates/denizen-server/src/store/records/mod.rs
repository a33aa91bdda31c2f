//! One file per entity: where it is kept, what its key is, what of it must be unique.

mod applications;
mod machines;
mod principals;
mod resource_groups;
mod role_assignments;
mod role_definitions;
mod signing_keys;
mod subscriptions;
mod tenants;
mod vaults;
