-- Alerts: what operators and the owners of clients must know.

-- How far the record was searched for alerts. It has one row.
CREATE TABLE alert_state (
    version  INTEGER NOT NULL, -- grows with each change of the others: whoever has read another one changes nothing
    sequence INTEGER NOT NULL, -- of the last event that was searched
    data     BLOB    NOT NULL, -- what else the search has to remember
    last     INTEGER NOT NULL, -- ID of the last alert
    dropped  INTEGER NOT NULL  -- deliveries that were given up
) STRICT;

INSERT INTO alert_state SELECT 1, sequence, x'', 0, 0 FROM totals;

-- What is remembered of a client, of a realm (no client) and of the server (neither).
CREATE TABLE alert_memory (
    realm     TEXT NOT NULL,
    client_id TEXT NOT NULL,
    data      BLOB NOT NULL,
    PRIMARY KEY (realm, client_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    id           INTEGER PRIMARY KEY,
    kind         TEXT    NOT NULL,
    realm        TEXT    NOT NULL,
    client_id    TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    summary      TEXT    NOT NULL,
    command      TEXT    NOT NULL,
    contact      TEXT    NOT NULL,
    count        INTEGER NOT NULL,
    first        INTEGER NOT NULL,
    last         INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL, -- 0 while it is open
    by           TEXT    NOT NULL
) STRICT;

CREATE UNIQUE INDEX open_alerts ON alerts (kind, realm, client_id, subject) WHERE acknowledged = 0;
CREATE INDEX acknowledged_alerts ON alerts (id) WHERE acknowledged > 0;

-- To whom alerts are to be sent.
CREATE TABLE alert_deliveries (
    sender   TEXT    NOT NULL,
    alert    INTEGER NOT NULL,
    pending  INTEGER NOT NULL, -- 0 once it has arrived or was given up
    attempts INTEGER NOT NULL,
    made     INTEGER NOT NULL, -- when next was decided: a clock that shows less was set back
    next     INTEGER NOT NULL, -- when to try
    sent     INTEGER NOT NULL, -- when it arrived last; 0 for never
    PRIMARY KEY (sender, alert)
) STRICT, WITHOUT ROWID;

CREATE INDEX pending_alerts ON alert_deliveries (sender, next) WHERE pending = 1;

CREATE TABLE alert_silences (
    id        INTEGER PRIMARY KEY,
    kind      TEXT    NOT NULL,
    realm     TEXT    NOT NULL,
    client_id TEXT    NOT NULL, -- a * at the end stands for any ending
    until     INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    by        TEXT    NOT NULL
) STRICT;
