-- Whoever reports a leaked secret need not know whose it is: clients are found by the
-- beginning of its hash. Each has two secrets and two API keys at most; those under
-- another hash are not found.
ALTER TABLE clients ADD COLUMN secret_1 TEXT GENERATED ALWAYS AS (
    CASE WHEN instr(secrets, ' sha256:') > 0 THEN substr(secrets, instr(secrets, ' sha256:') + 8, 12) END) VIRTUAL;
ALTER TABLE clients ADD COLUMN secret_2 TEXT GENERATED ALWAYS AS (
    CASE WHEN instr(substr(secrets, instr(secrets, char(10)) + 1), ' sha256:') > 0 THEN
        substr(substr(secrets, instr(secrets, char(10)) + 1), instr(substr(secrets, instr(secrets, char(10)) + 1), ' sha256:') + 8, 12)
    END) VIRTUAL;
ALTER TABLE clients ADD COLUMN api_key_1 TEXT GENERATED ALWAYS AS (
    CASE WHEN instr(api_keys, ' sha256:') > 0 THEN substr(api_keys, instr(api_keys, ' sha256:') + 8, 12) END) VIRTUAL;
ALTER TABLE clients ADD COLUMN api_key_2 TEXT GENERATED ALWAYS AS (
    CASE WHEN instr(substr(api_keys, instr(api_keys, char(10)) + 1), ' sha256:') > 0 THEN
        substr(substr(api_keys, instr(api_keys, char(10)) + 1), instr(substr(api_keys, instr(api_keys, char(10)) + 1), ' sha256:') + 8, 12)
    END) VIRTUAL;

CREATE INDEX clients_secret_1 ON clients (secret_1) WHERE secret_1 IS NOT NULL;
CREATE INDEX clients_secret_2 ON clients (secret_2) WHERE secret_2 IS NOT NULL;
CREATE INDEX clients_api_key_1 ON clients (api_key_1) WHERE api_key_1 IS NOT NULL;
CREATE INDEX clients_api_key_2 ON clients (api_key_2) WHERE api_key_2 IS NOT NULL;
