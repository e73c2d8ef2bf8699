-- Mailboxes: where their mail goes on to, other names for them, who may send as whom and how much, how full they are.

ALTER TABLE mailbox
  ADD forward_to   text[] NOT NULL DEFAULT '{}' CHECK (cardinality(forward_to) <= 10),
  ADD forward_keep boolean NOT NULL DEFAULT true;   -- false: what is sent on does not stay here as well

-- Every address of an alias domain is the same address of another domain of the workspace.
ALTER TABLE domain ADD alias_of int REFERENCES domain ON DELETE SET NULL CHECK (alias_of <> id);

-- An alias `@brotzeit.example` is the domain's catch-all. A target is a mailbox here or an address anywhere.
CREATE INDEX alias_target ON alias (target);

CREATE TABLE send_as (              -- addresses somebody may send from besides their own and their aliases
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id    int NOT NULL REFERENCES domain ON DELETE CASCADE,
  mailbox_id   int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  address      text NOT NULL CHECK (address = lower(address)),   -- or `@brotzeit.example`: every one of the domain
  UNIQUE (address, mailbox_id)
);
CREATE INDEX send_as_mailbox ON send_as (mailbox_id);
SELECT wall_off('send_as');

CREATE TABLE bcc_rule (             -- copies for the record: of what a mailbox or a whole domain receives or sends
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id    int NOT NULL REFERENCES domain ON DELETE CASCADE,
  direction    text NOT NULL CHECK (direction IN ('received', 'sent')),
  address      text NOT NULL CHECK (address = lower(address)),   -- a mailbox, or `@brotzeit.example`
  copy_to      text NOT NULL,
  created_by   text NOT NULL DEFAULT '',
  created_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE (direction, address)
);
SELECT wall_off('bcc_rule');

CREATE TABLE mailbox_sent (         -- what signed-in people handed in within a day; thurn/mailhost/sending.py counts it
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  mailbox_id   int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  at           timestamptz NOT NULL DEFAULT now(),
  recipients   int NOT NULL CHECK (recipients > 0),
  refused      boolean NOT NULL DEFAULT false       -- it was over the limit, and did not go out
);
CREATE INDEX mailbox_sent_recent ON mailbox_sent (mailbox_id, at);
SELECT wall_off('mailbox_sent', 'SELECT');

-- ---------------------------------------------------------------- what Postfix sees

-- An address outside leaves through the door `forward`, where its envelope sender is rewritten: it is carried there as
-- the local part of a domain that exists nowhere (thurn/stack/postfix_mx.py).
CREATE FUNCTION mta.way_to(target text) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
  SET search_path = public, pg_temp AS $$
  SELECT CASE
    WHEN NOT EXISTS (SELECT FROM mailbox m JOIN domain d ON d.id = m.domain_id
                     WHERE m.address = lower(target) AND d.proven_at IS NOT NULL)
      THEN regexp_replace(target, '^(.*)@([^@]*)$', '\1=\2@forward.invalid')
    WHEN EXISTS (SELECT FROM mailbox m WHERE m.address = lower(target) AND m.enabled) THEN lower(target)
  END $$;

-- Where mail to `wanted` goes instead. No row: nowhere else, it is a mailbox, or nothing of ours. What exists is never
-- swallowed by a catch-all, not even while it is disabled, nor with a + and anything behind it.
CREATE FUNCTION mta.aliases(wanted text) RETURNS TABLE (targets text) LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = public, pg_temp AS $$
DECLARE
  local text := split_part(wanted, '@', 1);
  host  domain;
  found text;
BEGIN
  IF wanted !~ '^[^@]+@[^@]+$' THEN
    RETURN;
  END IF;
  SELECT * INTO host FROM domain WHERE name = split_part(wanted, '@', 2) AND proven_at IS NOT NULL;
  IF host.alias_of IS NOT NULL THEN
    SELECT * INTO host FROM domain WHERE id = host.alias_of AND proven_at IS NOT NULL AND alias_of IS NULL;
  END IF;
  IF host.id IS NULL THEN
    RETURN;
  END IF;
  found := local || '@' || host.name;
  IF EXISTS (SELECT FROM alias WHERE address = found) THEN
    RETURN QUERY SELECT string_agg(mta.way_to(a.target), ',' ORDER BY a.id) FROM alias a
                 WHERE a.address = found HAVING count(mta.way_to(a.target)) > 0;
  ELSIF EXISTS (SELECT FROM mailbox WHERE address = found) THEN
    RETURN QUERY SELECT m.address FROM mailbox m WHERE m.address = found AND m.enabled AND found <> wanted;
  ELSIF position('+' IN local) > 1 AND (
      EXISTS (SELECT FROM mailbox WHERE address = split_part(local, '+', 1) || '@' || host.name)
      OR EXISTS (SELECT FROM alias WHERE address = split_part(local, '+', 1) || '@' || host.name)) THEN
    RETURN;  -- Postfix asks again without what stands behind the +
  ELSE
    RETURN QUERY SELECT string_agg(mta.way_to(a.target), ',' ORDER BY a.id) FROM alias a
                 WHERE a.address = '@' || host.name HAVING count(mta.way_to(a.target)) > 0;
  END IF;
END $$;

-- Who may send with this address as envelope sender: its mailbox, mailboxes an alias of that name leads to, and who was
-- given the right. One row, for Postfix wants the logins in one line.
CREATE FUNCTION mta.logins(wanted text) RETURNS TABLE (logins text) LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = public, pg_temp AS $$
DECLARE
  host domain;
  real text;
BEGIN
  SELECT * INTO host FROM domain WHERE name = split_part(wanted, '@', 2) AND proven_at IS NOT NULL;
  IF host.id IS NULL OR wanted !~ '^[^@]+@[^@]+$' THEN
    RETURN;
  END IF;
  real := wanted;
  IF host.alias_of IS NOT NULL THEN
    real := split_part(wanted, '@', 1) || '@' || coalesce((SELECT name FROM domain WHERE id = host.alias_of), '');
  END IF;
  RETURN QUERY
    SELECT string_agg(DISTINCT m.address, ',') FROM mailbox m
    WHERE m.enabled AND m.workspace_id = host.workspace_id AND (
      m.address = real
      OR m.address IN (SELECT a.target FROM alias a WHERE a.address = real)
      OR m.id IN (SELECT s.mailbox_id FROM send_as s WHERE s.address IN (wanted, '@' || host.name)))
    HAVING count(*) > 0;
END $$;

DROP VIEW mta.alias;
-- The same right seen from the other side, for lists: which addresses a login may send as, by name.
CREATE OR REPLACE VIEW mta.sender_login AS
  SELECT s.address, m.address AS login FROM mailbox m
    CROSS JOIN LATERAL (
      SELECT m.address UNION SELECT a.address FROM alias a WHERE a.target = m.address AND a.address NOT LIKE '@%'
      UNION SELECT r.address FROM send_as r WHERE r.mailbox_id = m.id) s
    JOIN domain d ON d.name = split_part(s.address, '@', 2) AND d.workspace_id = m.workspace_id
  WHERE m.enabled AND d.proven_at IS NOT NULL;
CREATE OR REPLACE VIEW mta.mailbox_domain AS
  SELECT name FROM domain WHERE proven_at IS NOT NULL AND alias_of IS NULL;
CREATE VIEW mta.alias_domain AS SELECT name FROM domain WHERE proven_at IS NOT NULL AND alias_of IS NOT NULL;
CREATE VIEW mta.receives_only AS
  SELECT address, '550 5.7.1 This mailbox receives only. Your administrator can let it send.'::text AS reply
  FROM mailbox WHERE NOT may_send;
CREATE VIEW mta.bcc_sent AS
  SELECT b.address, mta.way_to(b.copy_to) AS copy_to FROM bcc_rule b JOIN domain d ON d.id = b.domain_id
  WHERE b.direction = 'sent' AND d.proven_at IS NOT NULL AND mta.way_to(b.copy_to) IS NOT NULL;

REVOKE ALL ON FUNCTION mta.way_to, mta.aliases, mta.logins FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mta.aliases, mta.logins, mta.way_to TO thurn_postfix;
GRANT SELECT ON mta.alias_domain, mta.receives_only, mta.bcc_sent TO thurn_postfix;

-- ---------------------------------------------------------------- what Dovecot sees

-- `onward`: who gets the mail too, at most ten targets of the mailbox and two rules of the administrator.
CREATE OR REPLACE VIEW mta.dovecot_user AS
  SELECT address,
         CASE WHEN totp_confirmed_at IS NULL THEN '{ARGON2ID}' || password_hash ELSE '{CRYPT}*' END AS password,
         quota_bytes,
         split_part(address, '@', 2) || '/' || split_part(address, '@', 1) || '.' || id AS home,
         ARRAY(SELECT b.copy_to FROM bcc_rule b WHERE b.direction = 'received' AND b.copy_to <> m.address
               AND b.address IN (m.address, '@' || split_part(m.address, '@', 2)) ORDER BY b.id) || forward_to AS onward,
         CASE WHEN forward_keep THEN 'no' ELSE 'yes' END AS onward_only
  FROM mailbox m WHERE enabled;

-- The door by which Dovecot says how full a mailbox is (its quota_clone). What it writes lands in `mailbox`, no row stays.
CREATE TABLE mta.quota_usage (username text PRIMARY KEY, bytes bigint, messages bigint);
CREATE FUNCTION mta.note_usage() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = public, pg_temp AS $$
BEGIN
  UPDATE mailbox SET bytes_used = greatest(coalesce(NEW.bytes, bytes_used), 0),
                     messages_used = greatest(coalesce(NEW.messages, messages_used), 0), used_at = now()
  WHERE address = NEW.username;
  RETURN NULL;
END $$;
CREATE TRIGGER note_usage BEFORE INSERT ON mta.quota_usage FOR EACH ROW EXECUTE FUNCTION mta.note_usage();
GRANT SELECT, INSERT, UPDATE ON mta.quota_usage TO thurn_dovecot;
