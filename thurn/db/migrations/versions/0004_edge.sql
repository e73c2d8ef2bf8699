-- Edge: what the hosts of domains say without anybody signing in, and how certificates were found.

-- A proven domain, for the files that mail servers and mail programs fetch: no workspace is open then.
CREATE FUNCTION hosted_domain(wanted text) RETURNS TABLE (name text, mta_sts_mode text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
  $$ SELECT name, mta_sts_mode FROM domain WHERE name = wanted AND proven_at IS NOT NULL $$;
REVOKE ALL ON FUNCTION hosted_domain FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hosted_domain TO thurn_app, thurn_system;

-- What a client was shown for each of our hosts when the worker last looked. The installation's own hosts are the
-- first workspace's.
CREATE TABLE certificate (
  host         text PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  purpose      text NOT NULL CHECK (purpose IN ('web', 'mail', 'mta-sts', 'autoconfig', 'autodiscover', 'tracking')),
  state        text NOT NULL CHECK (state IN ('good', 'soon', 'bad', 'self-signed', 'unused')),  -- unused: not led here
  issuer       text NOT NULL DEFAULT '',
  serial       text NOT NULL DEFAULT '',          -- hexadecimal
  not_after    timestamptz,
  used_by      text[] NOT NULL DEFAULT '{}',      -- services that showed it: https, smtp, imap
  problem      text NOT NULL DEFAULT '',          -- for people: what is wrong and why
  checked_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX certificate_workspace ON certificate (workspace_id, host);
SELECT wall_off('certificate', 'SELECT');
