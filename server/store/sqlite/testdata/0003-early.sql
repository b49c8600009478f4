-- One record of all events, in runs, and the log that proves it.

ALTER TABLE issued RENAME TO records;

-- How the events of a run are encoded: 0 is one event as a JSON array, 1 the form of
-- earlier programs, 2 the present one, and 3 that of events whose addresses and user
-- agents were erased.
ALTER TABLE records ADD COLUMN form INTEGER NOT NULL DEFAULT 1;
-- What makes it impossible to guess an address or a user agent from the log; empty
-- once they are erased.
ALTER TABLE records ADD COLUMN salt BLOB NOT NULL DEFAULT x'';

INSERT INTO records (last, first, data, form)
    SELECT sequence, sequence, CAST(json_array(time, success, type, realm, client_id, reason, actor, token_id, address,
        user_agent, detail) AS BLOB), 0
    FROM events;

DROP TABLE events;

-- The entries of the log are the records, without a gap: the first is the one after
-- base. It has one row.
CREATE TABLE log (
    base    INTEGER NOT NULL, -- sequence number
    dropped INTEGER NOT NULL, -- events up to this one were dropped
    erased  INTEGER NOT NULL  -- and those up to this one have no address and no user agent
) STRICT;

INSERT INTO log SELECT sequence, 0, 0 FROM totals;

-- Full tiles of hashes (C2SP tlog-tiles).
CREATE TABLE log_tiles (
    level INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    data  BLOB    NOT NULL,
    PRIMARY KEY (level, n)
) STRICT, WITHOUT ROWID;

-- Signed checkpoints (C2SP tlog-checkpoint).
CREATE TABLE log_checkpoints (
    size INTEGER PRIMARY KEY, -- entries that it is about
    time INTEGER NOT NULL,
    note TEXT    NOT NULL
) STRICT;
