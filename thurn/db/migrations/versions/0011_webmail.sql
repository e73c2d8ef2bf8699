-- Webmail. Roundcube keeps its own tables in a schema of its own, as the role `thurn_webmail`, which sees nothing else.
CREATE SCHEMA roundcube;
GRANT USAGE, CREATE ON SCHEMA roundcube TO thurn_webmail;
GRANT USAGE ON SCHEMA mta TO thurn_system;
GRANT SELECT ON mta.sender_login TO thurn_system;

-- An app password that was made for a session of the portal ends with it, by whatever way that ends.
ALTER TABLE app_password
  ADD portal_session bytea REFERENCES mailbox_session ON UPDATE CASCADE ON DELETE CASCADE;
CREATE INDEX app_password_portal_session ON app_password (portal_session) WHERE portal_session IS NOT NULL;

-- The right to open webmail once. `cookie`: from the portal, good only in the browser that holds the cookie; `link`:
-- from the operator's command line.
CREATE TABLE webmail_token (
  token_hash     bytea PRIMARY KEY,             -- SHA-256 of the token
  workspace_id   int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  mailbox_id     int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  way            text NOT NULL CHECK (way IN ('cookie', 'link')),
  portal_session bytea REFERENCES mailbox_session ON UPDATE CASCADE ON DELETE CASCADE,
  expires_at     timestamptz NOT NULL,
  ip             text NOT NULL DEFAULT '',
  user_agent     text NOT NULL DEFAULT '',
  CHECK ((way = 'cookie') = (portal_session IS NOT NULL))
);
CREATE INDEX webmail_token_portal_session ON webmail_token (portal_session);
CREATE INDEX webmail_token_mailbox ON webmail_token (mailbox_id);
SELECT wall_off('webmail_token', 'INSERT, DELETE');
GRANT SELECT (mailbox_id, portal_session) ON webmail_token TO thurn_app;
