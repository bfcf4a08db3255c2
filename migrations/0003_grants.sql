-- What people granted: a row of grants for each, with where its refresh tokens stand. Codes and devices that wait are not here: a
-- copy that is behind would let a code be redeemed twice.

ALTER TABLE grants
    ADD COLUMN subject_generation bigint,
    ADD COLUMN auth_time timestamptz,
    ADD COLUMN created_at timestamptz,
    ADD COLUMN ended_at timestamptz,
    ADD COLUMN code uuid,
    ADD COLUMN access_expires_at timestamptz,
    ADD COLUMN refresh_generation bigint,
    ADD COLUMN refresh_token uuid,
    ADD COLUMN previous_refresh_token uuid,
    ADD COLUMN refreshed_at timestamptz,
    ADD COLUMN refresh_idle_until timestamptz,
    ADD COLUMN refresh_expires_at timestamptz,
    ADD COLUMN lsn bigint;
COMMENT ON TABLE grants IS 'What was granted to whom: one row for all tokens of the same terms where a client acts for itself, one for each time that a person agreed';
COMMENT ON COLUMN grants.id IS 'Of a person''s grant its own, else it follows from the terms';
COMMENT ON COLUMN grants.live_until IS 'When the last of its tokens expires, of a person''s grant the refresh token too';
COMMENT ON COLUMN grants.subject_generation IS 'The generation of the person who granted it; dead once the person has another. Null where the client acts for itself, like all that follows';
COMMENT ON COLUMN grants.auth_time IS 'When the person last proved who they are (OpenID Connect Core, section 2)';
COMMENT ON COLUMN grants.created_at IS 'When its code was redeemed';
COMMENT ON COLUMN grants.ended_at IS 'When it was ended, about: revoked, or a code or refresh token of it was used twice; null while it was not';
COMMENT ON COLUMN grants.code IS 'The code that it was made of, under the id that the function token_id has for it; null until its record is here';
COMMENT ON COLUMN grants.access_expires_at IS 'When the last of its access tokens expires';
COMMENT ON COLUMN grants.refresh_generation IS 'Which of its refresh tokens is good now, the first is 1; null where it has none, like all that follows';
COMMENT ON COLUMN grants.refresh_token IS 'The refresh token that is good now, under the id that the function token_id has for it';
COMMENT ON COLUMN grants.previous_refresh_token IS 'The one before; null where there was none';
COMMENT ON COLUMN grants.refreshed_at IS 'When it was last refreshed, or made';
COMMENT ON COLUMN grants.refresh_idle_until IS 'When the refresh token expires unless it is used before';
COMMENT ON COLUMN grants.refresh_expires_at IS 'When it expires in any case';
COMMENT ON COLUMN grants.lsn IS 'The journal record that says so';

ALTER TABLE token_events ADD COLUMN scope text;
COMMENT ON COLUMN token_events.scope IS 'What it may be used for, where that may be less than what its grant allows (RFC 6749, section 6); null where it is the same';

CREATE OR REPLACE VIEW live_tokens AS
SELECT issued.token, g.subject, g.client_id, coalesce(issued.scope, g.scope) AS scope, g.audience, issued.at AS issued_at,
       issued.expires_at, g.id AS grant_id
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
SELECT issued.token, g.subject, g.client_id, coalesce(issued.scope, g.scope) AS scope, g.audience, issued.at AS issued_at,
       issued.expires_at, least(revoked.at, CASE WHEN g.ended_at < issued.expires_at THEN g.ended_at END) AS revoked_at,
       g.id AS grant_id, issued.lsn
FROM token_events issued
JOIN grants g ON g.id = issued.grant_id
LEFT JOIN LATERAL (
    SELECT min(event.at) AS at FROM token_events event
    WHERE event.token = issued.token AND event.expires_at = issued.expires_at AND event.kind = 2
) revoked ON true
WHERE issued.kind = 1;
COMMENT ON VIEW token_history IS 'Every token that was issued, with its end, which may be that of its grant';

CREATE OR REPLACE VIEW grants_by_user AS
SELECT g.subject, g.client_id, g.scope, g.audience, g.live_until,
       g.live_until > now() AND g.ended_at IS NULL AND c.client_id IS NOT NULL
           AND (g.subject_generation IS NULL OR g.subject_generation = coalesce(s.generation, 0)) AS is_live,
       g.id AS grant_id, g.created_at, g.refreshed_at, g.ended_at
FROM grants g
LEFT JOIN client_records c ON c.client_id = g.client_id AND c.generation = g.client_generation AND c.deleted_at IS NULL
LEFT JOIN subject_generations s ON s.subject = g.subject;
