-- Mail for people, what came later.

-- Webmail has an origin of its own: a token from the portal is bound to a number that webmail gave the browser.
DELETE FROM webmail_token;  -- good for a minute at most, but for operators' links
ALTER TABLE webmail_token
  DROP COLUMN way,
  ADD COLUMN bound bytea,  -- SHA-256 of that number; none: a link from the operator's command line
  ADD CHECK ((bound IS NULL) = (portal_session IS NULL));

ALTER TABLE certificate
  DROP CONSTRAINT certificate_purpose_check,
  ADD CONSTRAINT certificate_purpose_check
    CHECK (purpose IN ('web', 'webmail', 'mail', 'mta-sts', 'autoconfig', 'autodiscover', 'tracking'));

-- ---------------------------------------------------------------- mailboxes: removed ones

-- A mailbox that was removed, while its mail is on disk: it can be restored until `destroy_at`. Then `keeper` destroys the
-- mail. No foreign keys: the mail has to go even when the workspace has gone.
CREATE TABLE removed_mailbox (
  mailbox_id   int PRIMARY KEY,          -- the id it had, and has again when it is restored: its folder is named after it
  workspace_id int NOT NULL,
  address      text NOT NULL,
  name         text NOT NULL DEFAULT '',
  home         text NOT NULL,            -- below `<state>/mail`, as in mta.dovecot_user
  bytes        bigint NOT NULL DEFAULT 0,
  messages     bigint NOT NULL DEFAULT 0,
  kept         jsonb,                    -- what restoring needs, table -> rows; NULL: it cannot be restored
  removed_at   timestamptz NOT NULL DEFAULT now(),
  destroy_at   timestamptz NOT NULL DEFAULT now() + interval '30 days'
);
CREATE INDEX removed_mailbox_due ON removed_mailbox (destroy_at);
CREATE INDEX removed_mailbox_page ON removed_mailbox (workspace_id, address, mailbox_id);
SELECT wall_off('removed_mailbox');

-- By whatever way a mailbox goes, its mail is not forgotten on the disk.
CREATE FUNCTION note_removed_mailbox() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO removed_mailbox (mailbox_id, workspace_id, address, name, home, bytes, messages)
  VALUES (OLD.id, OLD.workspace_id, OLD.address, OLD.name,
          split_part(OLD.address, '@', 2) || '/' || split_part(OLD.address, '@', 1) || '.' || OLD.id,
          coalesce(OLD.bytes_used, 0), coalesce(OLD.messages_used, 0))
  ON CONFLICT (mailbox_id) DO NOTHING;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION note_removed_mailbox FROM PUBLIC;
CREATE TRIGGER note_removed_mailbox AFTER DELETE ON mailbox FOR EACH ROW EXECUTE FUNCTION note_removed_mailbox();

-- ---------------------------------------------------------------- mailboxes: how full they get

ALTER TABLE mailbox ADD quota_warned_at timestamptz;   -- its owner was told that it is nearly full
CREATE INDEX mailbox_nearly_full ON mailbox (id) WHERE bytes_used * 10 >= quota_bytes * 9;

CREATE TABLE mailbox_size (         -- what each held on a day, for the forecast
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  mailbox_id   int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  day          date NOT NULL,
  bytes        bigint NOT NULL,
  PRIMARY KEY (mailbox_id, day)
);
CREATE INDEX mailbox_size_day ON mailbox_size (day);
SELECT wall_off('mailbox_size', 'SELECT');

-- ---------------------------------------------------------------- mailboxes: many at once

-- A password costs a hash that is slow on purpose, so a file of mailboxes is made by a job (thurn/mailhost/box_import.py).
CREATE TABLE mailbox_import (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  filename     text NOT NULL,
  state        text NOT NULL DEFAULT 'checked'   -- looked through, and nobody has said yes yet
               CHECK (state IN ('checked', 'waiting', 'running', 'done', 'cancelled')),
  created_at   timestamptz NOT NULL DEFAULT now(),
  started_at   timestamptz,
  finished_at  timestamptz,
  forgotten_at timestamptz               -- passwords that were made are not here any more
);
CREATE INDEX mailbox_import_workspace ON mailbox_import (workspace_id, id DESC);
SELECT wall_off('mailbox_import');

CREATE TABLE mailbox_import_row (
  import_id    bigint NOT NULL REFERENCES mailbox_import ON DELETE CASCADE,
  line         int NOT NULL,             -- of the file
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  address      text NOT NULL,
  name         text NOT NULL,
  quota_bytes  bigint NOT NULL,
  given        boolean NOT NULL,         -- the password stood in the file
  password     bytea,                    -- sealed: a given one until its mailbox is made, then one that was made here
  problem      text NOT NULL DEFAULT '', -- why there is no mailbox
  made_at      timestamptz,
  PRIMARY KEY (import_id, line)
);
CREATE INDEX mailbox_import_row_open ON mailbox_import_row (import_id, line) WHERE made_at IS NULL AND problem = '';
SELECT wall_off('mailbox_import_row');

-- ---------------------------------------------------------------- DANE

-- Keys that DNS names for port 25 of the mail host (TLSA 3 1 1), as the last look found. None: nobody checks by DANE.
-- `keeper` holds a renewed certificate back until its key is among them.
CREATE TABLE tlsa_seen (
  key   text PRIMARY KEY,                      -- SHA-256 of the public key, hexadecimal
  since timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, DELETE ON tlsa_seen TO thurn_system;
