//! Nothing: what the dependency brings is weighed.
