-- What was asked for by name of a person (OpenID Connect Core, section 5.5).

ALTER TABLE grants ADD COLUMN claims text;
COMMENT ON COLUMN grants.claims IS 'JSON: the claims that its client asked for by name (OpenID Connect Core, section 5.5); null where it asked for none';
