-- Times are microseconds since 1970, 0 for none. Truth is 0 or 1. Strings compare by
-- their bytes.

-- What all writes count. It has one row, whose lock is that of a write.
CREATE TABLE totals (
    feed        TEXT   COLLATE "C" NOT NULL, -- names the database to those who follow revocations
    sequence    BIGINT NOT NULL, -- of the last event
    changes     BIGINT NOT NULL, -- of clients, and revocations that were asked for
    revocations BIGINT NOT NULL, -- sequence number of the last one
    evicted     BIGINT NOT NULL, -- has no meaning: a write that only tries changes it
    latest      BIGINT NOT NULL, -- the time of the newest event
    horizon     BIGINT NOT NULL, -- up to when what has expired may be swept
    moved       BIGINT NOT NULL  -- what the clock showed when the horizon was moved last
) WITH (fillfactor = 10);

INSERT INTO totals VALUES (replace(gen_random_uuid()::text, '-', ''), 0, 1, 0, 0, 0, 0, 0);

CREATE TABLE clients (
    key        BIGINT NOT NULL PRIMARY KEY, -- a hash of realm and ID
    realm      TEXT   COLLATE "C" NOT NULL,
    id         TEXT   COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    disabled   BIGINT NOT NULL,
    created    BIGINT NOT NULL,
    changed    BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    scopes     TEXT   COLLATE "C" NOT NULL, -- separated by spaces
    tenants    TEXT   COLLATE "C" NOT NULL, -- one a line
    secrets    TEXT   COLLATE "C" NOT NULL, -- one a line: ID, hash, created, ends
    api_keys   TEXT   COLLATE "C" NOT NULL, -- likewise
    rest       TEXT   COLLATE "C" NOT NULL, -- the other settings in JSON; empty when there are none
    name       TEXT   COLLATE "C" NOT NULL,
    -- The beginnings of the hashes: whoever reports a leaked secret need not know whose
    -- it is.
    secret_1   TEXT   COLLATE "C" GENERATED ALWAYS AS (substring(split_part(secrets, chr(10), 1) FROM ' sha256:(.{12})')) STORED,
    secret_2   TEXT   COLLATE "C" GENERATED ALWAYS AS (substring(split_part(secrets, chr(10), 2) FROM ' sha256:(.{12})')) STORED,
    api_key_1  TEXT   COLLATE "C" GENERATED ALWAYS AS (substring(split_part(api_keys, chr(10), 1) FROM ' sha256:(.{12})')) STORED,
    api_key_2  TEXT   COLLATE "C" GENERATED ALWAYS AS (substring(split_part(api_keys, chr(10), 2) FROM ' sha256:(.{12})')) STORED,
    UNIQUE (realm, id)
);

CREATE INDEX clients_secret_1 ON clients (secret_1) WHERE secret_1 IS NOT NULL;
CREATE INDEX clients_secret_2 ON clients (secret_2) WHERE secret_2 IS NOT NULL;
CREATE INDEX clients_api_key_1 ON clients (api_key_1) WHERE api_key_1 IS NOT NULL;
CREATE INDEX clients_api_key_2 ON clients (api_key_2) WHERE api_key_2 IS NOT NULL;

-- What has to be known of a client's tokens: its live one under the policy
-- "replace", and the revocation of all that are older. A client that was deleted
-- leaves its row.
CREATE TABLE client_tokens (
    realm      TEXT   COLLATE "C" NOT NULL,
    client_id  TEXT   COLLATE "C" NOT NULL,
    live       TEXT   COLLATE "C" NOT NULL, -- ID of the live token; empty for none
    issued     BIGINT NOT NULL, -- the live token's
    expires    BIGINT NOT NULL,
    sequence   BIGINT NOT NULL, -- the revocation's; 0 for no revocation
    not_before BIGINT NOT NULL,
    disabled   BIGINT NOT NULL,
    ends       BIGINT NOT NULL, -- when the revocation can be forgotten
    revoked    BIGINT NOT NULL, -- rows in revoked_tokens
    unnamed    BIGINT NOT NULL, -- the last event before tokens were revoked by their dates alone
    PRIMARY KEY (realm, client_id)
);

CREATE UNIQUE INDEX client_tokens_sequence ON client_tokens (realm, sequence) WHERE sequence > 0;

-- Tokens that are revoked one by one.
CREATE TABLE revoked_tokens (
    realm     TEXT   COLLATE "C" NOT NULL,
    client_id TEXT   COLLATE "C" NOT NULL,
    token_id  TEXT   COLLATE "C" NOT NULL,
    sequence  BIGINT NOT NULL,
    issued    BIGINT NOT NULL, -- 0 when that is not known
    ends      BIGINT NOT NULL,
    PRIMARY KEY (realm, client_id, token_id)
);

CREATE UNIQUE INDEX revoked_tokens_sequence ON revoked_tokens (realm, sequence);

-- Tokens that a newer one of their client has replaced. Usually their dates tell;
-- when the clock was set back, only their names do.
CREATE TABLE replaced_tokens (
    realm     TEXT   COLLATE "C" NOT NULL,
    client_id TEXT   COLLATE "C" NOT NULL,
    issued    BIGINT NOT NULL,
    token_id  TEXT   COLLATE "C" NOT NULL,
    ends      BIGINT NOT NULL,
    PRIMARY KEY (realm, client_id, issued, token_id)
);

-- Tokens with an index in a status list.
CREATE TABLE status (
    realm     TEXT   COLLATE "C" NOT NULL,
    idx       BIGINT NOT NULL,
    client_id TEXT   COLLATE "C" NOT NULL,
    token_id  TEXT   COLLATE "C" NOT NULL,
    issued    BIGINT NOT NULL,
    expires   BIGINT NOT NULL,
    replaces  BIGINT NOT NULL, -- 1 when only the live token serves
    PRIMARY KEY (realm, idx)
);

CREATE TABLE status_indexes (
    realm TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    next  BIGINT NOT NULL
);

-- What may be used once and was used.
CREATE TABLE once (
    key   BYTEA  NOT NULL PRIMARY KEY,
    until BIGINT NOT NULL
);

CREATE TABLE uses (
    realm     TEXT   COLLATE "C" NOT NULL,
    client_id TEXT   COLLATE "C" NOT NULL,
    secret_id TEXT   COLLATE "C" NOT NULL,
    last      BIGINT NOT NULL,
    PRIMARY KEY (realm, client_id, secret_id)
);

CREATE TABLE signing_keys (
    realm     TEXT   COLLATE "C" NOT NULL,
    id        TEXT   COLLATE "C" NOT NULL,
    algorithm TEXT   COLLATE "C" NOT NULL,
    created   BIGINT NOT NULL,
    activates BIGINT NOT NULL,
    lifetime  BIGINT NOT NULL, -- microseconds
    public    BYTEA  NOT NULL,
    private   BYTEA  NOT NULL,
    PRIMARY KEY (realm, id)
);

-- Where the clock was set back: after the event of that number, and from when.
CREATE TABLE clock_steps (
    sequence BIGINT NOT NULL PRIMARY KEY,
    latest   BIGINT NOT NULL
);

-- The events, in runs: those from first to last without a gap.
CREATE TABLE records (
    last    BIGINT NOT NULL PRIMARY KEY,
    first   BIGINT NOT NULL,
    data    BYTEA  NOT NULL,
    form    BIGINT NOT NULL, -- how the events are encoded
    salt    BYTEA  NOT NULL, -- what makes it impossible to guess a caller from the log; empty once callers are erased
    horizon BIGINT NOT NULL  -- of the write (see totals): what tells how old a run is
);

-- The entries of the log are the records, without a gap: the first is the one after
-- base. It has one row.
CREATE TABLE log (
    base    BIGINT NOT NULL, -- sequence number
    dropped BIGINT NOT NULL, -- events up to this one were dropped
    erased  BIGINT NOT NULL  -- and those up to this one have no address and no user agent
);

INSERT INTO log VALUES (0, 0, 0);

-- Full tiles of hashes (C2SP tlog-tiles).
CREATE TABLE log_tiles (
    level BIGINT NOT NULL,
    n     BIGINT NOT NULL,
    data  BYTEA  NOT NULL,
    PRIMARY KEY (level, n)
);

-- Signed checkpoints (C2SP tlog-checkpoint).
CREATE TABLE log_checkpoints (
    size BIGINT NOT NULL PRIMARY KEY, -- entries that it is about
    time BIGINT NOT NULL,
    note TEXT   COLLATE "C" NOT NULL
);

-- How far the record was searched for alerts. It has one row.
CREATE TABLE alert_state (
    version  BIGINT NOT NULL, -- grows with each change of the others
    sequence BIGINT NOT NULL, -- of the last event that was searched
    data     BYTEA  NOT NULL, -- what else the search has to remember
    last     BIGINT NOT NULL, -- ID of the last alert
    dropped  BIGINT NOT NULL  -- deliveries that were given up
);

INSERT INTO alert_state VALUES (1, 0, '', 0, 0);

-- What is remembered of a client, of a realm (no client) and of the server (neither).
CREATE TABLE alert_memory (
    realm     TEXT  COLLATE "C" NOT NULL,
    client_id TEXT  COLLATE "C" NOT NULL,
    data      BYTEA NOT NULL,
    PRIMARY KEY (realm, client_id)
);

CREATE TABLE alerts (
    id           BIGINT NOT NULL PRIMARY KEY,
    kind         TEXT   COLLATE "C" NOT NULL,
    realm        TEXT   COLLATE "C" NOT NULL,
    client_id    TEXT   COLLATE "C" NOT NULL,
    subject      TEXT   COLLATE "C" NOT NULL,
    summary      TEXT   COLLATE "C" NOT NULL,
    command      TEXT   COLLATE "C" NOT NULL,
    contact      TEXT   COLLATE "C" NOT NULL,
    count        BIGINT NOT NULL,
    first        BIGINT NOT NULL,
    last         BIGINT NOT NULL,
    acknowledged BIGINT NOT NULL, -- 0 while it is open
    by           TEXT   COLLATE "C" NOT NULL
);

CREATE UNIQUE INDEX open_alerts ON alerts (kind, realm, client_id, subject) WHERE acknowledged = 0;
CREATE INDEX acknowledged_alerts ON alerts (id) WHERE acknowledged > 0;

-- To whom alerts are to be sent.
CREATE TABLE alert_deliveries (
    sender   TEXT   COLLATE "C" NOT NULL,
    alert    BIGINT NOT NULL,
    pending  BIGINT NOT NULL, -- 0 once it has arrived or was given up
    attempts BIGINT NOT NULL,
    made     BIGINT NOT NULL, -- when next was decided: a clock that shows less was set back
    next     BIGINT NOT NULL, -- when to try
    sent     BIGINT NOT NULL, -- when it arrived last; 0 for never
    PRIMARY KEY (sender, alert)
);

CREATE INDEX pending_alerts ON alert_deliveries (sender, next) WHERE pending = 1;

CREATE TABLE alert_silences (
    id        BIGINT NOT NULL PRIMARY KEY,
    kind      TEXT   COLLATE "C" NOT NULL,
    realm     TEXT   COLLATE "C" NOT NULL,
    client_id TEXT   COLLATE "C" NOT NULL, -- a * at the end stands for any ending
    until     BIGINT NOT NULL,
    created   BIGINT NOT NULL,
    by        TEXT   COLLATE "C" NOT NULL
);

-- Secrets, API keys and public keys that were a client's: whoever still uses one is
-- noticed.
CREATE TABLE ended_credentials (
    realm     TEXT   COLLATE "C" NOT NULL,
    client_id TEXT   COLLATE "C" NOT NULL,
    kind      TEXT   COLLATE "C" NOT NULL,
    id        TEXT   COLLATE "C" NOT NULL,
    value     TEXT   COLLATE "C" NOT NULL, -- a hash, or a public JWK
    ended     BIGINT NOT NULL,
    PRIMARY KEY (realm, client_id, kind, id)
);
