-- What the projector writes. Nothing here is ever asked by a request: it is the queryable copy of the journal, and the way back
-- when a data directory is lost. Rows of token_events are inserted and never changed; whole partitions of them are dropped.

CREATE TABLE projection (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    instance uuid NOT NULL,
    key_id bigint NOT NULL,
    epoch bigint NOT NULL,
    applied_lsn bigint NOT NULL,
    high_water timestamptz NOT NULL,
    confirmed_at timestamptz NOT NULL
);
COMMENT ON TABLE projection IS 'One row: how far this copy of the journal is. Moves in the same transaction as the rows.';
COMMENT ON COLUMN projection.instance IS 'Of which journal this is the copy';
COMMENT ON COLUMN projection.key_id IS 'Identifies the master key that a rebuild needs; it is not the key';
COMMENT ON COLUMN projection.epoch IS 'The start of the server that writes now: one from before can write no more';
COMMENT ON COLUMN projection.applied_lsn IS 'The last journal record that is here';
COMMENT ON COLUMN projection.high_water IS 'The time of that record, about';
COMMENT ON COLUMN projection.confirmed_at IS 'When a commit last was synchronous';

CREATE TABLE client_records (
    client_id text PRIMARY KEY,
    generation bigint NOT NULL,
    created_at timestamptz,
    deleted_at timestamptz,
    secret_sha256 bytea,
    metadata text,
    lsn bigint NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE client_records IS 'Clients, deleted ones too; the view clients is what people want to see';
COMMENT ON COLUMN client_records.generation IS 'Raised when the client is deleted: tokens of an older generation are dead';
COMMENT ON COLUMN client_records.created_at IS 'When it was registered; null where it was deleted before this copy began';
COMMENT ON COLUMN client_records.deleted_at IS 'When it was deleted, about; null while it is registered';
COMMENT ON COLUMN client_records.secret_sha256 IS 'SHA-256 of its generated secret; null where it has none';
COMMENT ON COLUMN client_records.metadata IS 'JSON, under the names of RFC 7591; null once it is deleted';
COMMENT ON COLUMN client_records.lsn IS 'The journal record that says so';

CREATE TABLE grants (
    id uuid PRIMARY KEY,
    subject text NOT NULL,
    client_id text NOT NULL,
    client_generation bigint NOT NULL,
    scope text NOT NULL,
    audience text[] NOT NULL,
    first_lsn bigint NOT NULL,
    live_until timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX grants_by_subject ON grants (subject);
CREATE INDEX grants_by_client ON grants (client_id);
COMMENT ON TABLE grants IS 'What was granted to whom: one row for all tokens of the same terms';
COMMENT ON COLUMN grants.id IS 'Follows from the terms';
COMMENT ON COLUMN grants.subject IS 'sub of the tokens (RFC 9068): the client itself where it acts for itself';
COMMENT ON COLUMN grants.client_generation IS 'The generation of the client that it was granted to; dead once the client has another';
COMMENT ON COLUMN grants.scope IS 'Separated by spaces (RFC 6749, section 3.3)';
COMMENT ON COLUMN grants.audience IS 'aud of the tokens';
COMMENT ON COLUMN grants.first_lsn IS 'The journal record of its first token here';
COMMENT ON COLUMN grants.live_until IS 'When the last of its tokens expires';

CREATE TABLE token_events (
    token uuid NOT NULL,
    grant_id uuid,
    lsn bigint NOT NULL,
    at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    partition_number integer NOT NULL,
    kind smallint NOT NULL
) PARTITION BY RANGE (expires_at);
CREATE INDEX token_events_by_token ON token_events (token);
CREATE INDEX token_events_by_time ON token_events USING brin (at);
CREATE TABLE token_events_default PARTITION OF token_events DEFAULT;
COMMENT ON TABLE token_events IS 'What happened to tokens; a partition for each day (UTC) on which tokens expire';
COMMENT ON COLUMN token_events.token IS 'The first 128 bits of the SHA-256 of the token: see the function token_id';
COMMENT ON COLUMN token_events.grant_id IS 'What it was issued under; null in a revocation';
COMMENT ON COLUMN token_events.lsn IS 'The journal record that says so';
COMMENT ON COLUMN token_events.at IS 'When it was issued; when it was revoked, about';
COMMENT ON COLUMN token_events.expires_at IS 'When the token expires, in every row about it';
COMMENT ON COLUMN token_events.partition_number IS 'Which part of the shards it belongs to; a rebuild needs it';
COMMENT ON COLUMN token_events.kind IS '1 issued, 2 revoked';

CREATE TABLE dead_letters (
    lsn bigint PRIMARY KEY,
    kind integer NOT NULL,
    schema integer NOT NULL,
    sqlstate text,
    reason text NOT NULL,
    payload bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE dead_letters IS 'Journal records that this database refused, or that could not be read: look at each';
COMMENT ON COLUMN dead_letters.sqlstate IS 'What the database said; null where the record could not be read';
COMMENT ON COLUMN dead_letters.payload IS 'The record; it holds digests and no secrets';

CREATE TABLE gaps (
    first_lsn bigint PRIMARY KEY,
    last_lsn bigint NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE gaps IS 'Records that were gone from the journal before they came here. What they left alive was copied from a snapshot, as issued when it was; what had ended by then is missing from the history';

CREATE FUNCTION token_id(token text) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN encode(substring(sha256(convert_to(token, 'UTF8')) FOR 16), 'hex')::uuid;
COMMENT ON FUNCTION token_id IS 'Under which id a token stands in all tables and views';

CREATE VIEW clients AS
SELECT client_id, metadata::jsonb ->> 'client_name' AS client_name, created_at, metadata::jsonb AS metadata
FROM client_records
WHERE deleted_at IS NULL;
COMMENT ON VIEW clients IS 'The registered clients';

CREATE VIEW live_tokens AS
SELECT issued.token, g.subject, g.client_id, g.scope, g.audience, issued.at AS issued_at, issued.expires_at, g.id AS grant_id
FROM token_events issued
JOIN grants g ON g.id = issued.grant_id
JOIN client_records c ON c.client_id = g.client_id AND c.generation = g.client_generation AND c.deleted_at IS NULL
WHERE issued.kind = 1
  AND issued.expires_at > now()
  AND NOT EXISTS (
      SELECT FROM token_events revoked
      WHERE revoked.token = issued.token AND revoked.expires_at = issued.expires_at AND revoked.kind = 2
  );
COMMENT ON VIEW live_tokens IS 'Tokens that introspection would call active, as of the last record that is here';

CREATE VIEW token_history AS
SELECT issued.token, g.subject, g.client_id, g.scope, g.audience, issued.at AS issued_at, issued.expires_at,
       revoked.at AS revoked_at, g.id AS grant_id, issued.lsn
FROM token_events issued
JOIN grants g ON g.id = issued.grant_id
LEFT JOIN LATERAL (
    SELECT min(event.at) AS at FROM token_events event
    WHERE event.token = issued.token AND event.expires_at = issued.expires_at AND event.kind = 2
) revoked ON true
WHERE issued.kind = 1;
COMMENT ON VIEW token_history IS 'Every token that was issued, with its end';

CREATE VIEW grants_by_user AS
SELECT g.subject, g.client_id, g.scope, g.audience, g.live_until,
       g.live_until > now() AND c.client_id IS NOT NULL AS is_live, g.id AS grant_id
FROM grants g
LEFT JOIN client_records c ON c.client_id = g.client_id AND c.generation = g.client_generation AND c.deleted_at IS NULL;
COMMENT ON VIEW grants_by_user IS 'What each subject has granted to which client';
