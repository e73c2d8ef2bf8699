-- Domains: what an operator decides for each, where its DNS is kept, rotation of its keys, and what broke.

ALTER TABLE domain
  ADD mta_sts_mode    text NOT NULL DEFAULT 'testing' CHECK (mta_sts_mode IN ('none', 'testing', 'enforce')),
  ADD tls_reports     boolean NOT NULL DEFAULT true,   -- TLS-RPT
  ADD dmarc_policy    text NOT NULL DEFAULT 'none' CHECK (dmarc_policy IN ('none', 'quarantine', 'reject')),
  ADD bimi_logo       text NOT NULL DEFAULT '' CHECK (length(bimi_logo) <= 500),       -- '' none, else https://….svg
  ADD tracking_host   text NOT NULL DEFAULT ''         -- '' none, else a name below the domain
                      CHECK (tracking_host = '' OR tracking_host LIKE '%.' || name),
  ADD tracking_right_at timestamptz,                   -- the tracking host's record leads to this server
  ADD rotate_months   int NOT NULL DEFAULT 0 CHECK (rotate_months BETWEEN 0 AND 24),   -- 0: keys stay until asked
  ADD nameservers     text[] NOT NULL DEFAULT '{}',    -- who was asked last; empty: the resolver
  ADD servers_differ  boolean NOT NULL DEFAULT false;

-- pending: not seen at every name server yet. published: seen. active: signs. retiring: signs no more, and must still
-- be found by who reads older mail. retired: its record may go.
ALTER TABLE dkim_key
  ADD state        text NOT NULL DEFAULT 'active'
                   CHECK (state IN ('pending', 'published', 'active', 'retiring', 'retired')),
  ADD published_at timestamptz,
  ADD active_at    timestamptz DEFAULT now(),
  ADD retiring_at  timestamptz,
  ADD retired_at   timestamptz;
-- One key of each algorithm signs, and one waits. Deferred: both change their places in one statement.
ALTER TABLE dkim_key
  ADD CONSTRAINT dkim_key_active EXCLUDE USING btree (domain_id WITH =, algorithm WITH =)
    WHERE (state = 'active') DEFERRABLE INITIALLY DEFERRED,
  ADD CONSTRAINT dkim_key_next EXCLUDE USING btree (domain_id WITH =, algorithm WITH =)
    WHERE (state IN ('pending', 'published')) DEFERRABLE INITIALLY DEFERRED;

-- Where a domain's records can be put by us.
CREATE TABLE domain_publisher (
  domain_id    int PRIMARY KEY REFERENCES domain ON DELETE CASCADE,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  provider     text NOT NULL,                   -- rfc2136, or a provider of dns-lexicon
  zone         text NOT NULL,                   -- the zone that holds the domain: the domain or a parent of it
  access       bytea NOT NULL,                  -- JSON, sealed with the installation's key
  updated_at   timestamptz NOT NULL DEFAULT now()
);
SELECT wall_off('domain_publisher');

-- Something that broke and that a person should know: shown until it is mended, mailed once.
CREATE TABLE alert (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 300),
  level        text NOT NULL DEFAULT 'bad' CHECK (level IN ('bad', 'warn')),
  subject      text NOT NULL,
  text         text NOT NULL,
  link         text NOT NULL DEFAULT '',        -- page below the workspace
  act          text NOT NULL DEFAULT '',        -- what its button says
  created_at   timestamptz NOT NULL DEFAULT now(),
  cleared_at   timestamptz
);
CREATE UNIQUE INDEX alert_open ON alert (workspace_id, key) WHERE cleared_at IS NULL;
SELECT wall_off('alert');
