-- Times are microseconds since 1970, 0 for none. Strings compare by their bytes.

-- What all writes count. It has one row.
CREATE TABLE totals (
    feed        TEXT    NOT NULL, -- names the database to those who follow revocations
    sequence    INTEGER NOT NULL, -- of the last event
    changes     INTEGER NOT NULL, -- of clients, and revocations that were asked for
    revocations INTEGER NOT NULL, -- sequence number of the last one
    strangers   INTEGER NOT NULL, -- events of strangers that are kept
    evicted     INTEGER NOT NULL  -- and that were dropped
) STRICT;

INSERT INTO totals VALUES (lower(hex(randomblob(16))), 0, 1, 0, 0, 0);

CREATE TABLE clients (
    key        INTEGER NOT NULL PRIMARY KEY, -- a hash of realm and ID, which is found sooner than they are
    realm      TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    disabled   INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    changed    INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    scopes     TEXT    NOT NULL, -- separated by spaces
    tenants    TEXT    NOT NULL, -- one a line
    secrets    TEXT    NOT NULL, -- one a line: ID, hash, created, ends
    api_keys   TEXT    NOT NULL, -- likewise
    rest       TEXT    NOT NULL, -- the other settings in JSON; empty when there are none
    name       TEXT    NOT NULL,
    UNIQUE (realm, id)
) STRICT;

-- What has to be known of a client's tokens: its live one under the policy
-- "replace", and the revocation of all that are older. A client that was deleted
-- leaves its row.
CREATE TABLE client_tokens (
    realm      TEXT    NOT NULL,
    client_id  TEXT    NOT NULL,
    live       TEXT    NOT NULL, -- ID of the live token; empty for none
    issued     INTEGER NOT NULL, -- the live token's
    expires    INTEGER NOT NULL,
    sequence   INTEGER NOT NULL, -- the revocation's; 0 for no revocation
    not_before INTEGER NOT NULL,
    disabled   INTEGER NOT NULL,
    ends       INTEGER NOT NULL, -- when the revocation can be forgotten
    revoked    INTEGER NOT NULL, -- rows in revoked_tokens
    PRIMARY KEY (realm, client_id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX client_tokens_sequence ON client_tokens (realm, sequence) WHERE sequence > 0;

-- Tokens that are revoked one by one.
CREATE TABLE revoked_tokens (
    realm     TEXT    NOT NULL,
    client_id TEXT    NOT NULL,
    token_id  TEXT    NOT NULL,
    sequence  INTEGER NOT NULL,
    issued    INTEGER NOT NULL, -- 0 when that is not known
    ends      INTEGER NOT NULL,
    PRIMARY KEY (realm, client_id, token_id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX revoked_tokens_sequence ON revoked_tokens (realm, sequence);

-- Tokens with an index in a status list.
CREATE TABLE status (
    realm     TEXT    NOT NULL,
    idx       INTEGER NOT NULL,
    client_id TEXT    NOT NULL,
    token_id  TEXT    NOT NULL,
    issued    INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    replaces  INTEGER NOT NULL, -- 1 when only the live token serves
    PRIMARY KEY (realm, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE status_indexes (
    realm TEXT    NOT NULL PRIMARY KEY,
    next  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What may be used once and was used.
CREATE TABLE once (
    key   BLOB    NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE uses (
    realm     TEXT    NOT NULL,
    client_id TEXT    NOT NULL,
    secret_id TEXT    NOT NULL,
    last      INTEGER NOT NULL,
    PRIMARY KEY (realm, client_id, secret_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_keys (
    realm     TEXT    NOT NULL,
    id        TEXT    NOT NULL,
    algorithm TEXT    NOT NULL,
    created   INTEGER NOT NULL,
    activates INTEGER NOT NULL,
    lifetime  INTEGER NOT NULL, -- microseconds
    public    BLOB    NOT NULL,
    private   BLOB    NOT NULL,
    PRIMARY KEY (realm, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    sequence   INTEGER PRIMARY KEY,
    time       INTEGER NOT NULL,
    type       TEXT    NOT NULL,
    realm      TEXT    NOT NULL,
    client_id  TEXT    NOT NULL,
    success    INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    token_id   TEXT    NOT NULL,
    address    TEXT    NOT NULL,
    user_agent TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    stranger   INTEGER NOT NULL -- 1 for a refusal of someone unproven: may be evicted
) STRICT;

CREATE INDEX events_of_strangers ON events (sequence) WHERE stranger = 1;

-- The events of tokens that were issued, many in a row: those from first to last
-- without a gap, each its time and its strings with their lengths.
CREATE TABLE issued (
    last  INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,
    data  BLOB    NOT NULL
) STRICT;
