-- Keys that sign. The private halves are sealed with the master key, which is not here: without it nothing of them can be read.

CREATE TABLE key_records (
    kid text PRIMARY KEY,
    algorithm text NOT NULL,
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL,
    tokens_until timestamptz NOT NULL,
    sealed text,
    removed_at timestamptz,
    lsn bigint NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE key_records IS 'Keys that sign tokens, removed ones too; the view keys has those that others learn of';
COMMENT ON COLUMN key_records.kid IS 'The thumbprint of the public half (RFC 7638)';
COMMENT ON COLUMN key_records.algorithm IS 'What it signs with (RFC 7518, section 3.1)';
COMMENT ON COLUMN key_records.signs_from IS 'From when on it signs, until a later key of the algorithm does; it is published from the beginning';
COMMENT ON COLUMN key_records.tokens_until IS 'No token that it has signed expires later';
COMMENT ON COLUMN key_records.sealed IS 'The private half, sealed with the master key; null once it is removed';
COMMENT ON COLUMN key_records.removed_at IS 'When it was removed, about; null while it is there';
COMMENT ON COLUMN key_records.lsn IS 'The journal record that says so';

CREATE VIEW keys AS
SELECT kid, algorithm, created_at, signs_from, tokens_until
FROM key_records
WHERE removed_at IS NULL;
COMMENT ON VIEW keys IS 'The keys that sign tokens, will sign them, or have signed some that are still good';
