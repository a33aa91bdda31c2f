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
