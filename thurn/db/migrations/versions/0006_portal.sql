-- The portal: what the owner of a mailbox does for themselves.

-- Before somebody has signed in no workspace is set. These two find the mailbox behind an address and behind a session.
CREATE FUNCTION mailbox_door(login text)
  RETURNS TABLE (mailbox_id int, workspace_id int, address text, password_hash text, second_step boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
  $$ SELECT m.id, m.workspace_id, m.address, m.password_hash, m.totp_confirmed_at IS NOT NULL
     FROM mailbox m WHERE m.address = login AND m.enabled $$;
CREATE FUNCTION mailbox_session_door(hash bytea)
  RETURNS TABLE (mailbox_id int, workspace_id int, second_step boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
  $$ SELECT s.mailbox_id, s.workspace_id, s.second_step
     FROM mailbox_session s JOIN mailbox m ON m.id = s.mailbox_id
     WHERE s.token_hash = hash AND s.expires_at > now() AND m.enabled $$;
REVOKE ALL ON FUNCTION mailbox_door, mailbox_session_door FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailbox_door, mailbox_session_door TO thurn_app;

-- Whoever changes the password or disables the mailbox, and by whatever way: everybody who is signed in is so no more.
CREATE FUNCTION mailbox_door_shut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.password_hash <> OLD.password_hash THEN
    NEW.password_changed_at := now();
  END IF;
  DELETE FROM mailbox_session WHERE mailbox_id = NEW.id;
  RETURN NEW;
END $$;
CREATE TRIGGER mailbox_door_shut BEFORE UPDATE OF password_hash, enabled ON mailbox FOR EACH ROW
  WHEN (NEW.password_hash <> OLD.password_hash OR NOT NEW.enabled) EXECUTE FUNCTION mailbox_door_shut();

-- Two-factor: what opens the portal when the phone is lost, each once.
CREATE TABLE mailbox_recovery_code (
  mailbox_id   int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  code_hash    bytea NOT NULL,                  -- HMAC with a key that is not in the database
  used_at      timestamptz,
  PRIMARY KEY (mailbox_id, code_hash)
);
SELECT wall_off('mailbox_recovery_code');
ALTER TABLE mailbox_session ADD wrong_codes int NOT NULL DEFAULT 0;  -- after a few the password is asked for again

-- What was changed about who gets into a mailbox and where its mail goes, for its owner to look at.
CREATE TABLE mailbox_change (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  mailbox_id   int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  at           timestamptz NOT NULL DEFAULT now(),
  what         text NOT NULL,                   -- a sentence for the owner
  by_admin     boolean NOT NULL
);
CREATE INDEX mailbox_change_mailbox ON mailbox_change (mailbox_id, id DESC);
SELECT wall_off('mailbox_change', 'SELECT, INSERT');

-- The absence reply. Rendered as Sieve together with the rules (thurn/portal/sieve.py).
CREATE TABLE mailbox_absence (
  mailbox_id   int PRIMARY KEY REFERENCES mailbox ON DELETE CASCADE,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  active       boolean NOT NULL,
  first_day    date,                            -- NULL: at once
  last_day     date,                            -- NULL: until it is turned off
  subject      text NOT NULL,
  body         text NOT NULL,
  every_days   int NOT NULL CHECK (every_days BETWEEN 1 AND 30),  -- one answer to a sender in so many
  CHECK (first_day IS NULL OR last_day IS NULL OR first_day <= last_day)
);
SELECT wall_off('mailbox_absence');

CREATE TABLE mailbox_rule (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  mailbox_id   int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  position     int NOT NULL,
  active       boolean NOT NULL DEFAULT true,
  field        text NOT NULL CHECK (field IN ('from', 'to', 'subject')),
  contains     text NOT NULL,
  action       text NOT NULL CHECK (action IN ('folder', 'read', 'forward', 'trash')),
  argument     text NOT NULL DEFAULT '',        -- the folder, or the address
  UNIQUE (mailbox_id, position) DEFERRABLE INITIALLY DEFERRED
);
SELECT wall_off('mailbox_rule');

-- Absence or rules changed, and Dovecot has not taken the script yet: a job tries again.
CREATE TABLE mailbox_filter_pending (
  mailbox_id   int PRIMARY KEY REFERENCES mailbox ON DELETE CASCADE,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  since        timestamptz NOT NULL DEFAULT now(),
  reason       text NOT NULL DEFAULT ''         -- what went wrong the last time, for operators
);
SELECT wall_off('mailbox_filter_pending');
