-- Bounces from elsewhere: mailboxes that are read over IMAP or POP3, and webhooks of sending services.

CREATE TABLE feed (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  kind         text NOT NULL CHECK (kind IN ('imap', 'pop3', 'ses', 'sendgrid', 'mailgun', 'postmark', 'sparkpost', 'brevo')),
  enabled      boolean NOT NULL DEFAULT true,
  secret       bytea NOT NULL,              -- sealed: the mailbox's password, or what proves that a webhook is the service's
  host         text NOT NULL DEFAULT '',
  port         int,
  login        text NOT NULL DEFAULT '',
  fingerprint  text NOT NULL DEFAULT '',    -- SHA-256 of the one certificate to accept, in hex; '': any valid one
  folder       text NOT NULL DEFAULT '',
  afterwards   text NOT NULL DEFAULT 'keep' CHECK (afterwards IN ('keep', 'seen', 'move', 'delete')),
  target       text NOT NULL DEFAULT '',    -- the folder that read mail is moved to
  hook         text UNIQUE,                 -- stands in the address of a webhook; NULL for a mailbox
  uidvalidity  bigint,                      -- under which done_uid counts (RFC 9051, 2.3.1.1)
  done_uid     bigint NOT NULL DEFAULT 0,
  state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'ok', 'retrying', 'broken')),
  reason       text NOT NULL DEFAULT '',    -- for a person: why it is tried again, or broken
  failures     int NOT NULL DEFAULT 0,      -- in a row
  next_at      timestamptz NOT NULL DEFAULT now(),  -- when the mailbox is looked at next; also the lease of who looks
  read_at      timestamptz,                 -- the last look, or the last call, that went well
  taken        bigint NOT NULL DEFAULT 0,   -- mails or events that were read
  matched      bigint NOT NULL DEFAULT 0,   -- of them: belong to a mail of ours
  refused      bigint NOT NULL DEFAULT 0,   -- calls whose signature was wrong
  refused_at   timestamptz,
  created_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE (workspace_id, name)
);
CREATE INDEX feed_due ON feed (next_at) WHERE enabled AND hook IS NULL AND state <> 'broken';
SELECT wall_off('feed');

-- What came: by its SHA-256, so that nothing counts twice, however often it is sent or read. The body goes once it is read.
CREATE TABLE feed_item (
  feed_id      bigint NOT NULL REFERENCES feed ON DELETE CASCADE,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  key          bytea NOT NULL,
  received_at  timestamptz NOT NULL DEFAULT now(),
  body         bytea,
  PRIMARY KEY (feed_id, key)
);
CREATE INDEX feed_item_waiting ON feed_item (received_at) WHERE body IS NOT NULL;
CREATE INDEX feed_item_age ON feed_item (received_at);
SELECT wall_off('feed_item', 'SELECT, INSERT');

-- Which feed an address of a webhook belongs to, before any workspace is set.
CREATE FUNCTION feed_of_hook(given text) RETURNS TABLE (feed_id bigint, workspace_id int)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
  $$ SELECT id, workspace_id FROM feed WHERE hook = given AND enabled $$;
REVOKE ALL ON FUNCTION feed_of_hook FROM PUBLIC;
GRANT EXECUTE ON FUNCTION feed_of_hook TO thurn_app;
