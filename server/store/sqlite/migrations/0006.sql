-- Secrets, API keys and public keys that were a client's: whoever still uses one is
-- noticed.
CREATE TABLE ended_credentials (
    realm     TEXT    NOT NULL,
    client_id TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    id        TEXT    NOT NULL,
    value     TEXT    NOT NULL, -- a hash, or a public JWK
    ended     INTEGER NOT NULL,
    PRIMARY KEY (realm, client_id, kind, id)
) STRICT, WITHOUT ROWID;
