-- Guard: failed sign-ins as they are counted, who is banned, who never is. These belong to the installation, not to a
-- workspace: a guesser tries the mailboxes of all.

DROP TABLE sign_in_failure;

-- One row for each different failure: the same wrong password again, as an old phone tries it, is the same row. What is
-- lost in a crash was not worth the writing.
CREATE UNLOGGED TABLE guard_failure (
  client   cidr NOT NULL,                -- an IPv4 address, or the /64 an IPv6 address is in
  login    text NOT NULL,
  mark     text NOT NULL,                -- a few bits of the password's hash; random where none is known
  door     text NOT NULL,                -- imap pop3 sieve smtp portal webmail web
  first_at timestamptz NOT NULL DEFAULT now(),
  at       timestamptz NOT NULL DEFAULT now(),
  times    int NOT NULL DEFAULT 1,
  checked  boolean NOT NULL DEFAULT true,   -- false: it had to wait, so nobody knows whether the password was right
  PRIMARY KEY (client, login, mark)
);
CREATE INDEX guard_failure_login ON guard_failure (login, at);
CREATE INDEX guard_failure_at ON guard_failure (at);

-- From where somebody has signed in before: the /24 or /48. They do not wait because strangers guess.
CREATE TABLE guard_known (
  login   text NOT NULL,
  network cidr NOT NULL,
  at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (login, network)
);
CREATE INDEX guard_known_at ON guard_known (at);

-- The last ban of a client; over when `until` has passed. Kept for a week, so that the next one is longer.
CREATE TABLE guard_ban (
  client cidr PRIMARY KEY,
  cause  text NOT NULL CHECK (cause IN ('sign-ins', 'harvesting', 'by hand')),
  detail text NOT NULL DEFAULT '',       -- the reason in words
  level  int NOT NULL DEFAULT 1,         -- 1, 2, 3: 10 minutes, an hour, a day
  since  timestamptz NOT NULL DEFAULT now(),
  until  timestamptz NOT NULL
);
CREATE INDEX guard_ban_client ON guard_ban USING gist (client inet_ops);
CREATE INDEX guard_ban_until ON guard_ban (until);

CREATE TABLE guard_allow (
  network cidr PRIMARY KEY,
  note    text NOT NULL DEFAULT '' CHECK (length(note) <= 200),
  origin  text NOT NULL DEFAULT 'by hand' CHECK (origin IN ('by hand', 'settings')),
  at      timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT, UPDATE, DELETE ON guard_failure, guard_known, guard_ban, guard_allow TO thurn_app, thurn_system;

-- Notes a sign-in where the mailbox's owner sees it; before it, no workspace is set. The same thing again within a
-- minute (failed) or an hour (succeeded) is not worth another row, so that a flood does not fill the table.
CREATE FUNCTION note_sign_in(p_login text, p_protocol text, p_ip text, p_succeeded boolean, p_password bigint,
                             p_client text)
  RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  box mailbox;
  scope text;
BEGIN
  SELECT * INTO box FROM mailbox WHERE address = p_login;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF p_password IS NOT NULL THEN
    UPDATE app_password a SET last_used_at = now(), last_used_ip = p_ip
      WHERE a.id = p_password AND a.mailbox_id = box.id AND p_succeeded
        AND (a.last_used_ip <> p_ip OR coalesce(a.last_used_at < now() - interval '1 minute', true));
    SELECT a.scope INTO scope FROM app_password a WHERE a.id = p_password AND a.mailbox_id = box.id;
    IF scope IS DISTINCT FROM 'programs' THEN  -- webmail's own connections: the sign-in to webmail is what counts
      RETURN;
    END IF;
  END IF;
  IF p_succeeded THEN
    UPDATE mailbox SET used_at = now() WHERE id = box.id AND coalesce(used_at < now() - interval '5 minutes', true);
  END IF;
  INSERT INTO mailbox_sign_in (workspace_id, mailbox_id, login, protocol, ip, succeeded, app_password_id, client)
    SELECT box.workspace_id, box.id, p_login, p_protocol, p_ip, p_succeeded, p_password, p_client
    WHERE NOT EXISTS (
      SELECT 1 FROM mailbox_sign_in s
      WHERE s.mailbox_id = box.id AND s.ip = p_ip AND s.protocol = p_protocol AND s.succeeded = p_succeeded
        AND s.app_password_id IS NOT DISTINCT FROM p_password
        AND s.at > now() - CASE WHEN p_succeeded THEN interval '1 hour' ELSE interval '1 minute' END);
END $$;
REVOKE ALL ON FUNCTION note_sign_in FROM PUBLIC;
GRANT EXECUTE ON FUNCTION note_sign_in TO thurn_app, thurn_system;

-- Dovecot tells the guard which of them somebody came with.
CREATE OR REPLACE VIEW mta.dovecot_app_password AS
  SELECT m.address, encode(a.secret_hash, 'hex') AS secret, a.scope, a.id
  FROM app_password a JOIN mailbox m ON m.id = a.mailbox_id
  WHERE m.enabled AND coalesce(a.expires_at > now(), true);
