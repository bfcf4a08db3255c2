-- Proofs that clients have used and that count once. Nothing of a proof can be read here: it is known by a keyed digest.

CREATE TABLE used_proofs (
    digest uuid PRIMARY KEY,
    expires_at timestamptz NOT NULL,
    lsn bigint NOT NULL
);
CREATE INDEX used_proofs_expires_at ON used_proofs (expires_at);
COMMENT ON TABLE used_proofs IS 'Assertions that clients have authenticated with: each counts once. Deleted an hour after they have expired';
COMMENT ON COLUMN used_proofs.digest IS 'A keyed digest of whose it is and of its jti';
COMMENT ON COLUMN used_proofs.expires_at IS 'From when on it would be refused for its age';
COMMENT ON COLUMN used_proofs.lsn IS 'The journal record that says so';
