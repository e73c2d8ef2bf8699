-- Mail for people: what the features behind mailboxes share.

-- The wall between tenants for a table that carries workspace_id; rights of thurn_app beside it.
CREATE FUNCTION wall_off(t regclass, app_rights text DEFAULT 'SELECT, INSERT, UPDATE, DELETE') RETURNS void
  LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
  EXECUTE format('CREATE POLICY workspace ON %s TO thurn_app USING (workspace_id = (SELECT current_workspace()))
                  WITH CHECK (workspace_id = (SELECT current_workspace()))', t);
  EXECUTE format('CREATE POLICY machinery ON %s TO thurn_system USING (true) WITH CHECK (true)', t);
  IF app_rights <> '' THEN
    EXECUTE format('GRANT %s ON %s TO thurn_app', app_rights, t);
  END IF;
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO thurn_system', t);
END $$;
REVOKE ALL ON FUNCTION wall_off FROM PUBLIC;

ALTER TABLE mailbox
  ADD may_send            boolean NOT NULL DEFAULT true,   -- false: “Receives only”
  ADD send_limit          int NOT NULL DEFAULT 500 CHECK (send_limit >= 0),  -- recipients in 24 hours
  ADD password_changed_at timestamptz NOT NULL DEFAULT now(),
  ADD totp_secret         bytea,                -- sealed; the second step of signing in to the portal
  ADD totp_confirmed_at   timestamptz,          -- set: the portal asks for it, and mail programs need app passwords
  ADD totp_last_step      bigint,               -- the last code's time step: none is taken twice (RFC 6238, 5.2)
  ADD bytes_used          bigint,               -- as Dovecot counts; NULL until it has
  ADD messages_used       bigint,
  ADD used_at             timestamptz;

-- A password for one program on one device. Made by us with 100 bits and more, so a plain SHA-256 is enough to keep.
CREATE TABLE app_password (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  mailbox_id   int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  scope        text NOT NULL DEFAULT 'programs'
               CHECK (scope IN ('programs', 'webmail', 'import')),  -- webmail: at webmail's own doors only
  secret_hash  bytea NOT NULL UNIQUE,
  created_at   timestamptz NOT NULL DEFAULT now(),
  expires_at   timestamptz,
  last_used_at timestamptz,
  last_used_ip text NOT NULL DEFAULT ''
);
CREATE INDEX app_password_mailbox ON app_password (mailbox_id);
SELECT wall_off('app_password');

-- Somebody signed in to the portal as a mailbox (an account's session is another table).
CREATE TABLE mailbox_session (
  token_hash   bytea PRIMARY KEY,               -- SHA-256 of the cookie's token
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  mailbox_id   int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  csrf         text NOT NULL,
  second_step  boolean NOT NULL DEFAULT false,  -- true: the password was right, the code is still to come
  created_at   timestamptz NOT NULL DEFAULT now(),
  expires_at   timestamptz NOT NULL,
  ip           text NOT NULL DEFAULT '',
  user_agent   text NOT NULL DEFAULT ''
);
CREATE INDEX mailbox_session_mailbox ON mailbox_session (mailbox_id);
SELECT wall_off('mailbox_session');

-- Every sign-in to a mailbox that was tried, by whatever way: for its owner to look at, and for the guard to count.
CREATE TABLE mailbox_sign_in (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at              timestamptz NOT NULL DEFAULT now(),
  workspace_id    int,
  mailbox_id      int REFERENCES mailbox ON DELETE CASCADE,
  login           text NOT NULL,
  protocol        text NOT NULL,                -- imap pop3 sieve smtp portal webmail
  ip              text NOT NULL,
  succeeded       boolean NOT NULL,
  app_password_id bigint REFERENCES app_password ON DELETE SET NULL,
  client          text NOT NULL DEFAULT ''      -- what the program calls itself
);
CREATE INDEX mailbox_sign_in_mailbox ON mailbox_sign_in (mailbox_id, at DESC);
CREATE INDEX mailbox_sign_in_recent ON mailbox_sign_in (at) WHERE NOT succeeded;
SELECT wall_off('mailbox_sign_in', 'SELECT, INSERT');

-- What Dovecot checks. The password proper opens mail programs only while the portal asks for no second step: an app
-- password is tried first. `{CRYPT}*` is the hash of no password.
CREATE VIEW mta.dovecot_app_password AS
  SELECT m.address, encode(a.secret_hash, 'hex') AS secret, a.scope
  FROM app_password a JOIN mailbox m ON m.id = a.mailbox_id
  WHERE m.enabled AND coalesce(a.expires_at > now(), true);
GRANT SELECT ON mta.dovecot_app_password TO thurn_dovecot;
CREATE OR REPLACE VIEW mta.dovecot_user AS
  SELECT address,
         CASE WHEN totp_confirmed_at IS NULL THEN '{ARGON2ID}' || password_hash ELSE '{CRYPT}*' END AS password,
         quota_bytes,
         split_part(address, '@', 2) || '/' || split_part(address, '@', 1) || '.' || id AS home
  FROM mailbox WHERE enabled;
