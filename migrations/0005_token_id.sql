-- An access token is known by the bytes that its characters behind the prefix stand for, all others by their text.
CREATE OR REPLACE FUNCTION token_id(token text) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN encode(
        substring(
            sha256(
                CASE
                    WHEN token ~ '^tsr_at_[A-Za-z0-9_-]{60}$' THEN decode(translate(substring(token FROM 8), '-_', '+/'), 'base64')
                    ELSE convert_to(token, 'UTF8')
                END
            )
            FOR 16
        ),
        'hex'
    )::uuid;
