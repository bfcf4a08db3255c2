-- What access tokens say beside their scope: for whom they are (RFC 8707), and how the person of a grant proved who they are.

ALTER TABLE grants ADD COLUMN amr text[], ADD COLUMN acr text;
COMMENT ON COLUMN grants.amr IS 'By what means the person proved who they are (RFC 8176), as far as that is known; null where the client acts for itself';
COMMENT ON COLUMN grants.acr IS 'How sure that is (OpenID Connect Core, section 2), where somebody said so';

ALTER TABLE token_events ADD COLUMN audience text[];
COMMENT ON COLUMN token_events.audience IS 'aud of the token, where that may be less than what its grant allows (RFC 8707, section 2.2); null where it is the same';

CREATE OR REPLACE VIEW clients AS
SELECT client_id, metadata::jsonb ->> 'client_name' AS client_name, created_at, metadata::jsonb AS metadata,
       coalesce(metadata::jsonb ->> 'access_token_format', 'opaque') AS access_token_format
FROM client_records
WHERE deleted_at IS NULL;

CREATE OR REPLACE VIEW live_tokens AS
SELECT issued.token, g.subject, g.client_id, coalesce(issued.scope, g.scope) AS scope,
       coalesce(issued.audience, g.audience) AS audience, issued.at AS issued_at, issued.expires_at, g.id AS grant_id
FROM token_events issued
JOIN grants g ON g.id = issued.grant_id AND g.ended_at IS NULL
JOIN client_records c ON c.client_id = g.client_id AND c.generation = g.client_generation AND c.deleted_at IS NULL
LEFT JOIN subject_generations s ON s.subject = g.subject
WHERE issued.kind = 1
  AND issued.expires_at > now()
  AND (g.subject_generation IS NULL OR g.subject_generation = coalesce(s.generation, 0))
  AND NOT EXISTS (
      SELECT FROM token_events revoked
      WHERE revoked.token = issued.token AND revoked.expires_at = issued.expires_at AND revoked.kind = 2
  );

CREATE OR REPLACE VIEW token_history AS
SELECT issued.token, g.subject, g.client_id, coalesce(issued.scope, g.scope) AS scope,
       coalesce(issued.audience, g.audience) AS audience, issued.at AS issued_at, issued.expires_at,
       least(revoked.at, CASE WHEN g.ended_at < issued.expires_at THEN g.ended_at END) AS revoked_at,
       g.id AS grant_id, issued.lsn
FROM token_events issued
JOIN grants g ON g.id = issued.grant_id
LEFT JOIN LATERAL (
    SELECT min(event.at) AS at FROM token_events event
    WHERE event.token = issued.token AND event.expires_at = issued.expires_at AND event.kind = 2
) revoked ON true
WHERE issued.kind = 1;
