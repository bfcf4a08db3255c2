-- People: who may log in, and what they allowed whom. Sessions are not here: after a rebuild everybody logs in again.

ALTER TABLE client_records ADD COLUMN secret_hash text;
COMMENT ON COLUMN client_records.secret_hash IS 'Hash of a secret that it had before it came here (Argon2id, bcrypt or PBKDF2); null where it has none';

CREATE TABLE user_records (
    subject text PRIMARY KEY,
    username text,
    is_disabled boolean,
    created_at timestamptz,
    updated_at timestamptz,
    deleted_at timestamptz,
    password_hash text,
    profile text,
    lsn bigint NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE user_records IS 'Users, deleted ones too; the view users is what people want to see';
COMMENT ON COLUMN user_records.subject IS 'sub of their tokens';
COMMENT ON COLUMN user_records.username IS 'What they log in with; null once they are deleted, like all that follows';
COMMENT ON COLUMN user_records.deleted_at IS 'When they were deleted, about; null while they are registered';
COMMENT ON COLUMN user_records.password_hash IS 'Argon2id, bcrypt or PBKDF2; null for who cannot log in yet';
COMMENT ON COLUMN user_records.profile IS 'JSON, under the names of OpenID Connect Core, section 5.1';
COMMENT ON COLUMN user_records.lsn IS 'The journal record that says so';

CREATE TABLE subject_generations (
    subject text PRIMARY KEY,
    generation bigint NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE subject_generations IS 'Subjects from whom all was once revoked, users of another system too';
COMMENT ON COLUMN subject_generations.generation IS 'Raised when all is revoked, and when the user is disabled or deleted: what was granted under an older one is dead. 0 where there is no row';

CREATE TABLE consent_records (
    subject text NOT NULL,
    client_id text NOT NULL,
    subject_generation bigint NOT NULL,
    client_generation bigint NOT NULL,
    scope text NOT NULL,
    granted_at timestamptz NOT NULL,
    withdrawn_at timestamptz,
    lsn bigint NOT NULL,
    PRIMARY KEY (subject, client_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE consent_records IS 'What people let clients have without being asked again, withdrawn ones too; the view consents has those in force';
COMMENT ON COLUMN consent_records.subject_generation IS 'The generation of the subject that it was given under; dead once the subject has another';
COMMENT ON COLUMN consent_records.client_generation IS 'The generation of the client that it was given to; dead once the client has another';
COMMENT ON COLUMN consent_records.withdrawn_at IS 'When it was withdrawn, about; null while it is in force';
COMMENT ON COLUMN consent_records.lsn IS 'The journal record that says so';

CREATE VIEW users AS
SELECT subject, username, profile::jsonb ->> 'name' AS name, profile::jsonb ->> 'email' AS email, is_disabled, created_at, updated_at
FROM user_records
WHERE deleted_at IS NULL;
COMMENT ON VIEW users IS 'The registered users';

CREATE VIEW consents AS
SELECT consent.subject, consent.client_id, consent.scope, consent.granted_at
FROM consent_records consent
JOIN client_records c
  ON c.client_id = consent.client_id AND c.generation = consent.client_generation AND c.deleted_at IS NULL
LEFT JOIN subject_generations s ON s.subject = consent.subject
WHERE consent.withdrawn_at IS NULL AND consent.subject_generation = coalesce(s.generation, 0);
COMMENT ON VIEW consents IS 'What people let clients have without being asked again';
