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
