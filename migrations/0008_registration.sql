-- Clients that have registered themselves (RFC 7591), and the initial access tokens by which they may.

ALTER TABLE client_records
    ADD COLUMN initial_access_token text,
    ADD COLUMN registration_number bigint,
    ADD COLUMN used_at timestamptz;
COMMENT ON COLUMN client_records.initial_access_token IS 'With which initial access token it has registered itself; null where an operator has registered it, like the two that follow';
COMMENT ON COLUMN client_records.registration_number IS 'As which of those that did, from 1 on';
COMMENT ON COLUMN client_records.used_at IS 'When it was last of use, up to a day behind';

CREATE TABLE initial_access_records (
    id text PRIMARY KEY,
    sha256 bytea,
    label text,
    created_at timestamptz,
    expires_at timestamptz,
    registrations_max bigint,
    registrations bigint NOT NULL,
    policy text,
    revoked_at timestamptz,
    lsn bigint NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE initial_access_records IS 'Initial access tokens, revoked ones too; the view initial_access_tokens is what people want to see';
COMMENT ON COLUMN initial_access_records.sha256 IS 'SHA-256 of its text; null once it is revoked, like all that is not counted';
COMMENT ON COLUMN initial_access_records.label IS 'For whom or for what it was made';
COMMENT ON COLUMN initial_access_records.registrations_max IS 'How many clients may register with it; null for any number';
COMMENT ON COLUMN initial_access_records.registrations IS 'How many have';
COMMENT ON COLUMN initial_access_records.policy IS 'JSON: the most that these clients may be';
COMMENT ON COLUMN initial_access_records.revoked_at IS 'When it was revoked, about; null while it is there';
COMMENT ON COLUMN initial_access_records.lsn IS 'The journal record that says so';

CREATE VIEW initial_access_tokens AS
SELECT id, label, created_at, expires_at, registrations, registrations_max, policy::jsonb AS policy
FROM initial_access_records
WHERE revoked_at IS NULL;
COMMENT ON VIEW initial_access_tokens IS 'By which clients may register themselves, until they expire or are used up';

CREATE VIEW dynamic_clients AS
SELECT client_id, metadata::jsonb ->> 'client_name' AS client_name, created_at, used_at, initial_access_token
FROM client_records
WHERE deleted_at IS NULL AND initial_access_token IS NOT NULL;
COMMENT ON VIEW dynamic_clients IS 'The clients that have registered themselves';
