-- Users, groups and what they were given. As in 0001: a record is kept whole, beside its key stands only what must be unique,
-- revision is the transaction that wrote a row, and tag binds all that stands in it.

-- name is userPrincipalName in lower case.
CREATE TABLE users (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    name     {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
);

CREATE TABLE groups (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- id is group/member: the members of a group lie together.
CREATE TABLE memberships (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE app_role_assignments (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE permission_grants (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- What was deleted and can be restored, whole: it decides nothing.
CREATE TABLE deleted_objects (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- Lists are read by these: in the order of names, a page at a time. Each is made of the bodies and of nothing else.
CREATE INDEX applications_by_name ON applications (tenant, lower({json display_name}), id);
CREATE INDEX applications_by_object ON applications (tenant, {json object_id}, lower({json display_name}), id);
CREATE INDEX service_principals_by_name ON service_principals (tenant, lower({json display_name}), id);
CREATE INDEX service_principals_by_resource ON service_principals (tenant, lower({json kind.ManagedIdentity.resource_id}), lower({json display_name}), id);
CREATE INDEX service_principals_managed ON service_principals (tenant, lower({json display_name}), id)
    WHERE {json kind.ManagedIdentity.resource_id} IS NOT NULL;
CREATE INDEX users_by_name ON users (tenant, lower({json display_name}), id);
CREATE INDEX users_by_mail ON users (tenant, lower({json mail}), lower({json display_name}), id);
CREATE INDEX groups_by_name ON groups (tenant, lower({json display_name}), id);
CREATE INDEX deleted_objects_by_name ON deleted_objects (tenant, {json kind}, lower({json display_name}), id);
CREATE INDEX app_role_assignments_by_principal ON app_role_assignments (tenant, {json principal}, id);
CREATE INDEX app_role_assignments_by_resource ON app_role_assignments (tenant, {json resource}, id);
CREATE INDEX permission_grants_by_client ON permission_grants (tenant, {json client}, id);

-- What has ended is removed by this, some rows at a time.
CREATE INDEX one_time_by_expires ON one_time (tenant, expires);
