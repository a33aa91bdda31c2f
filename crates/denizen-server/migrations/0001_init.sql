-- Records are kept whole, as JSON; beside the key stands only what must be unique. Every key starts with the tenant.
-- Ids are text in canonical (lower) case. Times are Unix seconds.
-- revision is the transaction that wrote a row; tag binds all that stands in the row under a key that is not in here.

CREATE TABLE tenants (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    domain   {text}   NOT NULL UNIQUE,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE applications (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- What an application calls itself as a resource: no two of a tenant may answer to one name. It repeats the applications'
-- own rows and is compared with them at start, so it has no tag.
CREATE TABLE application_uris (
    tenant      {text} NOT NULL,
    uri         {text} NOT NULL,
    application {text} NOT NULL,
    PRIMARY KEY (tenant, uri)
);
CREATE INDEX application_uris_by_application ON application_uris (tenant, application);

CREATE TABLE service_principals (
    tenant    {text}   NOT NULL,
    id        {text}   NOT NULL,
    client_id {text}   NOT NULL,
    body      {text}   NOT NULL,
    revision  BIGINT NOT NULL,
    tag       {blob}   NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, client_id)
);

CREATE TABLE signing_keys (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- A subscription's id is all that a resource id says of its owner, so it belongs to one tenant.
CREATE TABLE subscriptions (
    tenant       {text}   NOT NULL,
    id           {text}   NOT NULL,
    subscription {text}   NOT NULL UNIQUE,
    body         {text}   NOT NULL,
    revision     BIGINT NOT NULL,
    tag          {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE resource_groups (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE machines (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- A vault's name is a host name.
CREATE TABLE vaults (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    name     {text}   NOT NULL UNIQUE,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE role_assignments (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE role_definitions (
    tenant   {text}   NOT NULL,
    id       {text}   NOT NULL,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- What is consumed once. The secret itself is kept nowhere: hash is SHA-256 of it. used_at is set once, by the update
-- that consumes it.
CREATE TABLE one_time (
    tenant   {text}   NOT NULL,
    purpose  {text}   NOT NULL,
    hash     {text}   NOT NULL,
    id       {text}   NOT NULL,
    expires  BIGINT NOT NULL,
    used_at  BIGINT,
    body     {text}   NOT NULL,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, purpose, hash),
    UNIQUE (purpose, hash),
    UNIQUE (tenant, purpose, id)
);

-- One row per name. A vault cannot go while it has any: removing its secrets is a decision, not a side effect.
CREATE TABLE secrets (
    tenant   {text}   NOT NULL,
    vault    {text}   NOT NULL,
    name     {text}   NOT NULL,
    written  {text}   NOT NULL,
    latest   {text}   NOT NULL,
    deleted  BIGINT,
    purge_at BIGINT,
    revision BIGINT NOT NULL,
    tag      {blob}   NOT NULL,
    PRIMARY KEY (tenant, vault, name),
    FOREIGN KEY (tenant, vault) REFERENCES vaults (tenant, id)
);
CREATE INDEX secrets_by_purge ON secrets (tenant, purge_at);

-- ordinal counts the versions of a name: seconds are too coarse to tell which came last. sealed_hash is SHA-256 of what is
-- sealed: the tag covers it in the place of the bytes, which need not be read at start.
CREATE TABLE secret_versions (
    tenant       {text}   NOT NULL,
    vault        {text}   NOT NULL,
    name         {text}   NOT NULL,
    version      {text}   NOT NULL,
    ordinal      BIGINT NOT NULL,
    content_type {text},
    tags         {text}   NOT NULL,
    enabled      BIGINT NOT NULL,
    nbf          BIGINT,
    exp          BIGINT,
    created      BIGINT NOT NULL,
    updated      BIGINT NOT NULL,
    wrapped_key  {blob}   NOT NULL,
    sealed_value {blob}   NOT NULL,
    sealed_hash  {blob}   NOT NULL,
    revision     BIGINT NOT NULL,
    tag          {blob}   NOT NULL,
    PRIMARY KEY (tenant, vault, name, version),
    UNIQUE (tenant, vault, name, ordinal),
    FOREIGN KEY (tenant, vault, name) REFERENCES secrets (tenant, vault, name)
);

-- One row: the revision, and a tag that binds it and the state. state binds the sum over all rows to the revision, and to
-- the state before, so that it stands for the whole history. seen is the latest time the server trusted.
CREATE TABLE head (
    id       BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    seen     BIGINT NOT NULL,
    before_state {blob} NOT NULL,
    state    {blob}   NOT NULL,
    tag      {blob}   NOT NULL
);

-- One revision per transaction, one row per row it changed. parent is the vault, where there is one. digest stands in the
-- first row of a transaction: what its state is made of beside the state before.
CREATE TABLE changes (
    revision    BIGINT NOT NULL,
    ordinal     BIGINT NOT NULL,
    tenant      {text}   NOT NULL,
    at          BIGINT NOT NULL,
    kind        {text}   NOT NULL,
    id          {text}   NOT NULL,
    parent      {text},
    before_body {text},
    after_body  {text},
    digest      {blob},
    PRIMARY KEY (revision, ordinal)
);
CREATE INDEX changes_by_tenant ON changes (tenant, revision);
CREATE INDEX changes_by_parent ON changes (parent, revision);
CREATE INDEX changes_by_kind ON changes (kind, revision);

-- A chain for each replica. One row for each transaction, and one for many records that came by the spool: lines holds those from seq to last,
-- all of one tenant, the last of them written at `at`. revision is the directory's when the row was written. total is
-- what this row, all before it and their changes take, bytes. spool is the position up to which the spool is in here.
-- hash binds a row to the one before, tag binds it to the root key. The lines stand last: what is before them is read
-- without them.
-- state is the head's when the row was written: rows and trail that do not belong together are told apart by it.
CREATE TABLE audit (
    chain    {text} NOT NULL,
    seq      BIGINT NOT NULL,
    last     BIGINT NOT NULL,
    tenant   {text} NOT NULL,
    at       BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    total    BIGINT NOT NULL,
    spool    BIGINT NOT NULL,
    state    {blob} NOT NULL,
    hash     {text} NOT NULL,
    tag      {blob} NOT NULL,
    lines    {text} NOT NULL,
    PRIMARY KEY (chain, seq)
);
CREATE INDEX audit_by_tenant ON audit (tenant, chain, seq);

-- Where a chain starts, once records before it were removed or given up: seq, hash and total of the last one before.
CREATE TABLE audit_start (
    chain {text} NOT NULL PRIMARY KEY,
    seq   BIGINT NOT NULL,
    hash  {text} NOT NULL,
    total BIGINT NOT NULL,
    why   {text} NOT NULL,
    tag   {blob} NOT NULL
);

-- Who does what only one replica does at a time, and until when. It decides who works, not what may be done.
CREATE TABLE leases (
    name   {text} NOT NULL PRIMARY KEY,
    holder {text} NOT NULL,
    until  BIGINT NOT NULL
);
