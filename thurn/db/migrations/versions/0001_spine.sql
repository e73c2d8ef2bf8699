-- The first schema. Read it as the data model: what a row means stands beside the table.
--
-- Roles. `thurn_owner` owns everything and runs migrations. `thurn_app` serves people (web, API): it sees only rows of
-- the workspace named by the setting `thurn.workspace`, by row-level security. `thurn_system` is the machinery
-- (sender, feedback, worker): it serves all workspaces. `thurn_postfix` and `thurn_dovecot` read the views of schema
-- `mta` and nothing else.

CREATE SCHEMA mta;

-- ---------------------------------------------------------------- workspaces and people who sign in

CREATE TABLE workspace (
  id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  slug       text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name       text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE account (            -- somebody who signs in to the web interface (a mailbox is a different thing)
  id            int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email         text NOT NULL,
  name          text NOT NULL DEFAULT '',
  password_hash text NOT NULL,    -- argon2id
  created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX account_email ON account (lower(email));

CREATE TABLE membership (
  account_id   int NOT NULL REFERENCES account ON DELETE CASCADE,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  role         text NOT NULL CHECK (role IN ('owner', 'editor', 'viewer')),
  PRIMARY KEY (account_id, workspace_id)
);

CREATE TABLE session (
  token_hash bytea PRIMARY KEY,   -- SHA-256 of the cookie's token
  account_id int NOT NULL REFERENCES account ON DELETE CASCADE,
  csrf       text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  ip         text NOT NULL DEFAULT '',
  user_agent text NOT NULL DEFAULT ''
);

CREATE TABLE sign_in_failure (    -- slows guessing down
  id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email text NOT NULL,
  ip    text NOT NULL,
  at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sign_in_failure_recent ON sign_in_failure (at);

CREATE TABLE api_key (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  name         text NOT NULL,
  prefix       text NOT NULL,               -- shown, so that a key can be recognised
  secret_hash  bytea NOT NULL UNIQUE,       -- SHA-256 of the whole key
  created_at   timestamptz NOT NULL DEFAULT now(),
  last_used_at timestamptz,
  revoked_at   timestamptz
);

-- ---------------------------------------------------------------- audience

CREATE TABLE contact (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id    int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  email           text NOT NULL CHECK (length(email) <= 320),
  fields          jsonb NOT NULL DEFAULT '{}',   -- personalisation: flat, string keys
  unsubscribed_at timestamptz,                   -- left: gets no campaign of this workspace
  unsubscribed_by bigint,                        -- the campaign that was left from
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX contact_email ON contact (workspace_id, lower(email));
CREATE INDEX contact_page ON contact (workspace_id, id DESC);

CREATE TABLE list (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  name         text NOT NULL CHECK (name <> ''),
  created_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE (workspace_id, name)
);

CREATE TABLE list_member (
  list_id      int NOT NULL REFERENCES list ON DELETE CASCADE,
  contact_id   bigint NOT NULL REFERENCES contact ON DELETE CASCADE,
  workspace_id int NOT NULL,
  added_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (list_id, contact_id)
);
CREATE INDEX list_member_contact ON list_member (contact_id);

CREATE TABLE contact_import (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  list_id      int REFERENCES list ON DELETE SET NULL,
  filename     text NOT NULL,
  path         text NOT NULL,               -- the uploaded file, until the import has ended
  state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
  bytes_total  bigint NOT NULL DEFAULT 0,
  bytes_read   bigint NOT NULL DEFAULT 0,
  rows_added   bigint NOT NULL DEFAULT 0,   -- new contacts
  rows_updated bigint NOT NULL DEFAULT 0,   -- contacts that were there already
  rows_refused bigint NOT NULL DEFAULT 0,   -- see contact_import_reject
  error        text,                        -- why the whole import failed
  created_at   timestamptz NOT NULL DEFAULT now(),
  finished_at  timestamptz
);

CREATE TABLE contact_import_reject (
  import_id    bigint NOT NULL REFERENCES contact_import ON DELETE CASCADE,
  row_number   bigint NOT NULL,             -- line of the file the row starts on, from 1
  workspace_id int NOT NULL,
  reason       text NOT NULL,
  raw          text NOT NULL,               -- the row as it came, undecodable bytes as U+FFFD
  PRIMARY KEY (import_id, row_number)
);

CREATE TABLE suppression (                  -- an address that gets nothing, and why
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  address      text NOT NULL CHECK (address = lower(address)),
  reason       text NOT NULL CHECK (reason IN ('bounce', 'complaint', 'manual')),
  evidence     text NOT NULL DEFAULT '',    -- the reply or report that proves it
  campaign_id  bigint,
  created_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE (workspace_id, address)
);

-- ---------------------------------------------------------------- content

CREATE TABLE template (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  name         text NOT NULL CHECK (name <> ''),
  kind         text NOT NULL CHECK (kind IN ('markdown', 'html')),
  subject      text NOT NULL,
  source       text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE (workspace_id, name)
);

-- ---------------------------------------------------------------- mailhost

CREATE TABLE domain (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  name         text NOT NULL UNIQUE CHECK (name = lower(name)),   -- A-labels
  bounce_host  text NOT NULL UNIQUE,        -- domain of the envelope sender of what Thurn sends, a subdomain of name
  checked_at   timestamptz,
  verified_at  timestamptz,                 -- set when SPF, DKIM, DMARC and bounce MX are right; cleared when one broke
  proven_at    timestamptz,                 -- first time verified: whoever added it rules its DNS. Before, it takes no mail
  checks       jsonb NOT NULL DEFAULT '[]', -- last result, one object a record
  created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE dkim_key (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id    int NOT NULL REFERENCES domain ON DELETE CASCADE,
  selector     text NOT NULL,
  algorithm    text NOT NULL CHECK (algorithm IN ('rsa-sha256', 'ed25519-sha256')),
  private_key  bytea NOT NULL,              -- PKCS #8 DER, sealed with the installation's key (thurn/secrets.py)
  public_key   text NOT NULL,               -- base64 for the p= tag
  created_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE (domain_id, selector)
);

CREATE TABLE mailbox (
  id            int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id  int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id     int NOT NULL REFERENCES domain ON DELETE CASCADE,
  address       text NOT NULL UNIQUE CHECK (address = lower(address)),
  name          text NOT NULL DEFAULT '',
  password_hash text NOT NULL,              -- argon2id, no scheme prefix
  quota_bytes   bigint NOT NULL DEFAULT 5368709120,
  enabled       boolean NOT NULL DEFAULT true,
  created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE alias (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id    int NOT NULL REFERENCES domain ON DELETE CASCADE,
  address      text NOT NULL CHECK (address = lower(address)),
  target       text NOT NULL,
  UNIQUE (address, target)
);

-- What Postfix and Dovecot may see. No row, never a NULL: Postfix warns about a NULL on every lookup.
-- Only proven domains: else a tenant could add a stranger's domain and get the mail that others here send to it.
CREATE VIEW mta.mailbox_domain AS SELECT name FROM domain WHERE proven_at IS NOT NULL;
CREATE VIEW mta.bounce_domain AS SELECT bounce_host AS name FROM domain WHERE proven_at IS NOT NULL;
CREATE VIEW mta.mailbox AS SELECT address, quota_bytes FROM mailbox WHERE enabled;
-- Aliases above all: Postfix rewrites with them whatever passes through, also what people here send to other servers.
CREATE VIEW mta.alias AS
  SELECT a.address, string_agg(a.target, ',' ORDER BY a.id) AS targets
  FROM alias a JOIN domain d ON d.id = a.domain_id
  WHERE d.proven_at IS NOT NULL GROUP BY a.address;
CREATE VIEW mta.sender_login AS
  SELECT m.address, m.address AS login FROM mailbox m JOIN domain d ON d.id = m.domain_id
  WHERE m.enabled AND d.proven_at IS NOT NULL;
-- The folder's name holds the id: who gets an address that another had must not find the other's mail there.
CREATE VIEW mta.dovecot_user AS
  SELECT address, '{ARGON2ID}' || password_hash AS password, quota_bytes,
         split_part(address, '@', 2) || '/' || split_part(address, '@', 1) || '.' || id AS home
  FROM mailbox WHERE enabled;

-- ---------------------------------------------------------------- campaigns

CREATE TABLE campaign (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id  int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  name          text NOT NULL CHECK (name <> ''),
  from_name     text NOT NULL DEFAULT '',
  from_address  text NOT NULL,
  reply_to      text NOT NULL DEFAULT '',
  template_id   int REFERENCES template ON DELETE SET NULL,
  -- copied from the template at launch: what is sent no longer changes
  kind          text,
  subject       text,
  source        text,
  state         text NOT NULL DEFAULT 'draft'
                CHECK (state IN ('draft', 'launching', 'sending', 'paused', 'cancelled', 'sent')),
  state_reason  text NOT NULL DEFAULT '',   -- in words, for a person: why it is paused or went back to draft
  launch_cursor bigint NOT NULL DEFAULT 0,  -- last contact id the snapshot has taken
  recipients    bigint NOT NULL DEFAULT 0,
  created_at    timestamptz NOT NULL DEFAULT now(),
  started_at    timestamptz,
  finished_at   timestamptz
);
CREATE INDEX campaign_page ON campaign (workspace_id, id DESC);
CREATE INDEX campaign_sending ON campaign (id) WHERE state IN ('launching', 'sending');

CREATE TABLE campaign_list (
  campaign_id  bigint NOT NULL REFERENCES campaign ON DELETE CASCADE,
  list_id      int NOT NULL REFERENCES list ON DELETE CASCADE,
  workspace_id int NOT NULL,
  PRIMARY KEY (campaign_id, list_id)
);

CREATE TABLE campaign_link (      -- a tracked link resolves to a stored target: there is no open redirect
  campaign_id  bigint NOT NULL REFERENCES campaign ON DELETE CASCADE,
  number       smallint NOT NULL,           -- from 1, in the order of the mail
  workspace_id int NOT NULL,
  url          text NOT NULL,
  PRIMARY KEY (campaign_id, number)
);

-- ---------------------------------------------------------------- the ledger

CREATE TYPE delivery_state AS ENUM (
  'queued',       -- waits for the sender
  'leased',       -- a sender has it; the attempt was committed before a byte went out
  'handed_over',  -- our Postfix `out` has taken it
  'delivered',    -- the provider has taken it
  'deferred',     -- the provider put it off; Postfix tries again
  'bounced',      -- refused for good, or bounced later
  'suppressed',   -- left out at claim time: suppressed or unsubscribed since the snapshot
  'cancelled',    -- the campaign was cancelled before it was handed over
  'unknown',      -- handed over and gone from the queue, but the log line with the provider's answer was lost in a crash
  'failed'        -- could not be made into a mail or was refused by our own `out`
);

-- One row per recipient of a campaign. A row holds state, never a body. One writer at a time: the snapshot inserts,
-- a sender moves `queued` to `leased`, everything after that is done by the fold (thurn/delivery/fold.py).
CREATE TABLE delivery (
  campaign_id   bigint NOT NULL,
  id            bigint GENERATED BY DEFAULT AS IDENTITY,
  workspace_id  int NOT NULL,
  contact_id    bigint NOT NULL,
  recipient     text NOT NULL,
  provider      text NOT NULL,
  state         delivery_state NOT NULL DEFAULT 'queued',
  attempt       smallint NOT NULL DEFAULT 0,
  deferrals     smallint NOT NULL DEFAULT 0,
  send_at       timestamptz NOT NULL DEFAULT now(),
  lease         bigint,                     -- which sender life holds it, or handed it over: sender_life.id
  handed_over_at timestamptz,
  settled_at    timestamptz,
  category      text,                       -- of the last reply or bounce, see feedback/classify.py
  hard          boolean,
  reply         text,                       -- last SMTP reply or diagnostic, verbatim
  complained    boolean NOT NULL DEFAULT false,
  PRIMARY KEY (campaign_id, id),
  UNIQUE (campaign_id, contact_id)
) PARTITION BY HASH (campaign_id);

DO $$ BEGIN
  FOR i IN 0..15 LOOP
    EXECUTE format('CREATE TABLE delivery_%s PARTITION OF delivery FOR VALUES WITH (MODULUS 16, REMAINDER %s)
                    WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02)', i, i);
  END LOOP;
END $$;
CREATE INDEX delivery_claim ON delivery (campaign_id, provider, send_at, id) WHERE state = 'queued';
CREATE INDEX delivery_leased ON delivery (campaign_id, lease, id) WHERE state = 'leased';
CREATE INDEX delivery_contact ON delivery (contact_id);
-- Why mails were put off or refused: asked each second while somebody watches a campaign.
CREATE INDEX delivery_trouble ON delivery (campaign_id) WHERE state IN ('deferred', 'bounced', 'failed');

-- A life of a sender process on a node. Leases name it, so that what a dead one left is told from what a living one holds.
CREATE TABLE sender_life (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  node       text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  settled_at timestamptz                    -- every lease of this life has been reconciled
);

-- What happened to deliveries, appended by sender, feedback and bounce mail; taken out and folded into `delivery`,
-- `event` and `campaign_tally` in id order, in one transaction.
CREATE TABLE outcome (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  campaign_id bigint NOT NULL,
  delivery_id bigint NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('handed_over', 'delivered', 'deferred', 'bounced', 'complained', 'returned', 'suppressed', 'failed', 'lost')),
  at          timestamptz NOT NULL,
  attempt     smallint,                     -- set by the sender's own outcomes
  queue_id    text,
  category    text,
  hard        boolean,
  reply       text,
  source      text NOT NULL                 -- sender | log | reconcile | mail
);

CREATE TABLE log_position (                 -- how far a node's Postfix log has been read; committed with what was read
  node     text PRIMARY KEY,
  inode    bigint NOT NULL,
  position bigint NOT NULL,
  read_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE queue_entry (                  -- queue id -> delivery, while the mail is in `out`; from qmgr's from= line
  node        text NOT NULL,
  queue_id    text NOT NULL,
  campaign_id bigint NOT NULL,
  delivery_id bigint NOT NULL,
  PRIMARY KEY (node, queue_id)
);

CREATE TABLE provider_domain (              -- recipient domain -> provider, by MX; a cache
  domain     text PRIMARY KEY,
  provider   text NOT NULL,
  looked_up_at timestamptz NOT NULL DEFAULT now()
);

-- ---------------------------------------------------------------- events and numbers

CREATE TABLE event (
  id           bigint GENERATED ALWAYS AS IDENTITY,
  at           timestamptz NOT NULL,
  workspace_id int NOT NULL,
  campaign_id  bigint,
  delivery_id  bigint,
  contact_id   bigint,
  kind         text NOT NULL,   -- the outcome kinds, and: opened, clicked, unsubscribed
  actor        text NOT NULL DEFAULT '',   -- human | machine, for opened and clicked
  detail       jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE TABLE event_default PARTITION OF event DEFAULT;
CREATE INDEX event_delivery ON event (campaign_id, delivery_id);
CREATE INDEX event_contact ON event (contact_id, at DESC);

-- Monthly partitions; the worker calls it every day for this month and the next.
CREATE FUNCTION make_event_partition(month date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = public, pg_temp AS $$
DECLARE
  name text := to_char(month, '"event_"YYYY_MM');
BEGIN
  IF to_regclass(name) IS NULL THEN
    EXECUTE format('CREATE TABLE %I PARTITION OF event FOR VALUES FROM (%L) TO (%L)',
                   name, date_trunc('month', month), date_trunc('month', month) + interval '1 month');
  END IF;
END $$;
SELECT make_event_partition(now()::date), make_event_partition((now() + interval '1 month')::date);

-- First human and machine contact per delivery. Written by the hit loader only (thurn/tracking/loader.py).
CREATE TABLE engagement (
  campaign_id     bigint NOT NULL,
  delivery_id     bigint NOT NULL,
  workspace_id    int NOT NULL,
  opened_human    timestamptz,
  opened_machine  timestamptz,
  clicked_human   timestamptz,
  clicked_machine timestamptz,
  unsubscribed    timestamptz,
  PRIMARY KEY (campaign_id, delivery_id)
);

-- Rollup that reports read: people (not hits) per measure. Measures: recipients, handed_over, delivered, deferred (now),
-- deferred_then_delivered, bounced_hard, bounced_soft, suppressed, cancelled, failed, unknown, complained; opened_human,
-- opened_machine, clicked_human, clicked_machine, unsubscribed.
CREATE TABLE campaign_tally (
  workspace_id int NOT NULL,
  campaign_id  bigint NOT NULL,
  provider     text NOT NULL,
  measure      text NOT NULL,
  n            bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (campaign_id, provider, measure)
);

CREATE TABLE link_tally (
  workspace_id int NOT NULL,
  campaign_id  bigint NOT NULL,
  number       smallint NOT NULL,
  actor        text NOT NULL,
  n            bigint NOT NULL DEFAULT 0,   -- hits
  PRIMARY KEY (campaign_id, number, actor)
);

CREATE TABLE spool_position (     -- how far a node's spool of tracking hits has been loaded; committed with the hits
  node     text NOT NULL,
  file     text NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (node, file)
);

CREATE TABLE incoming_report (    -- bounces and complaints that came by mail, also those we could not match or trust
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  received_at timestamptz NOT NULL DEFAULT now(),
  kind        text NOT NULL,                -- bounce | delayed | complaint | auto-reply | other
  matched     boolean NOT NULL,
  campaign_id bigint,
  delivery_id bigint,
  summary     text NOT NULL DEFAULT '',
  raw         bytea                         -- at most 64 KiB of it
);

-- ---------------------------------------------------------------- rights

GRANT USAGE ON SCHEMA public TO thurn_app, thurn_system;
GRANT USAGE ON SCHEMA mta TO thurn_postfix, thurn_dovecot;
GRANT SELECT ON mta.mailbox_domain, mta.bounce_domain, mta.mailbox, mta.alias, mta.sender_login TO thurn_postfix;
GRANT SELECT ON mta.dovecot_user TO thurn_dovecot;

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO thurn_system;
GRANT SELECT ON workspace TO thurn_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON account, membership, session, sign_in_failure TO thurn_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON
  api_key, contact, list, list_member, contact_import, contact_import_reject, suppression, template, domain, dkim_key,
  mailbox, alias, campaign, campaign_list, campaign_link TO thurn_app;
GRANT SELECT ON delivery, event, engagement, campaign_tally, link_tally TO thurn_app;
REVOKE ALL ON FUNCTION make_event_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_event_partition TO thurn_system;

-- ---------------------------------------------------------------- the wall between tenants

CREATE FUNCTION current_workspace() RETURNS int LANGUAGE sql STABLE AS
  $$ SELECT nullif(current_setting('thurn.workspace', true), '')::int $$;

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['api_key', 'contact', 'list', 'list_member', 'contact_import', 'contact_import_reject',
    'suppression', 'template', 'domain', 'dkim_key', 'mailbox', 'alias', 'campaign', 'campaign_list', 'campaign_link',
    'delivery', 'event', 'engagement', 'campaign_tally', 'link_tally'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY workspace ON %I TO thurn_app
                    USING (workspace_id = (SELECT current_workspace()))
                    WITH CHECK (workspace_id = (SELECT current_workspace()))', t);
    EXECUTE format('CREATE POLICY machinery ON %I TO thurn_system USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;

-- Which workspace an API key opens, before any workspace is set.
CREATE FUNCTION api_key_workspace(hash bytea) RETURNS TABLE (key_id int, workspace_id int)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
  $$ SELECT id, workspace_id FROM api_key WHERE secret_hash = hash AND revoked_at IS NULL $$;
REVOKE ALL ON FUNCTION api_key_workspace FROM PUBLIC;
GRANT EXECUTE ON FUNCTION api_key_workspace TO thurn_app;

INSERT INTO workspace (slug, name) VALUES ('main', 'Main');
