-- Order is kept without the clock, which can be set back.

-- The time of the newest event, and up to when what has expired may be swept: that
-- goes on with the time that passes and not with a clock that is set. It was moved
-- last when the clock showed the third, by one of the processes.
ALTER TABLE totals ADD COLUMN latest  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN horizon INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN moved   INTEGER NOT NULL DEFAULT 0;

-- Where the clock was set back: after the event of that number, and from when.
CREATE TABLE clock_steps (
    sequence INTEGER PRIMARY KEY,
    latest   INTEGER NOT NULL
) STRICT;

-- Tokens that a newer one of their client has replaced. Usually their dates tell;
-- when the clock was set back, only their names do.
CREATE TABLE replaced_tokens (
    realm     TEXT    NOT NULL,
    client_id TEXT    NOT NULL,
    issued    INTEGER NOT NULL,
    token_id  TEXT    NOT NULL,
    ends      INTEGER NOT NULL,
    PRIMARY KEY (realm, client_id, issued, token_id)
) STRICT, WITHOUT ROWID;

-- The last event before tokens were revoked by their dates alone: their names are
-- in the record only.
ALTER TABLE client_tokens ADD COLUMN unnamed INTEGER NOT NULL DEFAULT 0;
