-- Times are microseconds since 1970. Strings compare by their bytes.
CREATE TABLE clients (
    realm    TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    name     TEXT    NOT NULL,
    scopes   TEXT    NOT NULL, -- separated by spaces
    tenants  TEXT    NOT NULL, -- one a line
    disabled INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    changed  INTEGER NOT NULL,
    secrets  TEXT    NOT NULL, -- one a line: hash, created, ends (0 for never)
    api_keys TEXT    NOT NULL, -- likewise
    PRIMARY KEY (realm, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE live_tokens (
    realm     TEXT NOT NULL,
    client_id TEXT NOT NULL,
    token_id  TEXT NOT NULL,
    PRIMARY KEY (realm, client_id),
    FOREIGN KEY (realm, client_id) REFERENCES clients (realm, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_keys (
    realm     TEXT    NOT NULL,
    id        TEXT    NOT NULL,
    algorithm TEXT    NOT NULL,
    created   INTEGER NOT NULL,
    active    INTEGER NOT NULL,
    pkcs8     BLOB    NOT NULL,
    PRIMARY KEY (realm, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX signing_keys_active ON signing_keys (realm, algorithm) WHERE active = 1;

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

-- How many events of strangers there are, and how many were evicted.
CREATE TABLE event_totals (
    strangers INTEGER NOT NULL,
    evicted   INTEGER NOT NULL
) STRICT;

INSERT INTO event_totals VALUES (0, 0);
