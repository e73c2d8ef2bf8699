-- Sending addresses, pools, providers and their limits. They belong to the installation, not to a workspace: operators
-- change them. Tables of lanes are written by the machinery; a lane is an egress at a provider.

CREATE TABLE egress (
  id         smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9]{0,7}$'),  -- stands in envelope senders
  node       text NOT NULL DEFAULT 'main',         -- the machine that has its addresses: the setting `node`
  kind       text NOT NULL DEFAULT 'address' CHECK (kind IN ('address', 'relay')),
  bind4      inet CHECK (family(bind4) = 4),       -- source addresses; none of both: the one the system chooses
  bind6      inet CHECK (family(bind6) = 6),
  helo       text NOT NULL DEFAULT '' CHECK (helo = lower(helo) AND helo !~ '[^a-z0-9.-]'),  -- empty: the setting `hostname`
  enabled    boolean NOT NULL DEFAULT true,        -- false: takes nothing new, what is on its way goes on
  removed_at timestamptz,                          -- drains: takes nothing new, the row goes when nothing is on its way
  checks     jsonb NOT NULL DEFAULT '[]',          -- last look at addresses and reverse DNS, see delivery/egress_check.py
  checked_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX egress_bind4 ON egress (bind4);
CREATE UNIQUE INDEX egress_bind6 ON egress (bind6);

CREATE TABLE pool (               -- egresses that share the same mail
  id         smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,30}$'),
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE pool_egress (
  pool_id   smallint NOT NULL REFERENCES pool ON DELETE CASCADE,
  egress_id smallint NOT NULL REFERENCES egress ON DELETE CASCADE,
  weight    smallint NOT NULL DEFAULT 100 CHECK (weight BETWEEN 1 AND 1000),
  PRIMARY KEY (pool_id, egress_id)
);
CREATE INDEX pool_egress_egress ON pool_egress (egress_id);

-- Which mail uses which pool. The narrowest rule counts: campaign, then workspace and stream, then stream; no rule: the
-- pool `default`. People's mail has one rule for the house, for `mx` does not know workspaces.
CREATE TABLE pool_rule (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int REFERENCES workspace ON DELETE CASCADE,
  stream       text NOT NULL CHECK (stream IN ('marketing', 'transactional', 'people')),
  campaign_id  bigint REFERENCES campaign ON DELETE CASCADE,
  pool_id      smallint NOT NULL REFERENCES pool ON DELETE CASCADE,
  CHECK (stream <> 'people' OR (workspace_id IS NULL AND campaign_id IS NULL)),
  CHECK (campaign_id IS NULL OR (stream = 'marketing' AND workspace_id IS NULL))
);
CREATE UNIQUE INDEX pool_rule_of ON pool_rule (coalesce(workspace_id, 0), stream, coalesce(campaign_id, 0));

-- What an operator says instead of the book (delivery/providers.toml). NULL: as the book says; no egress: at all of them.
CREATE TABLE provider_limit (
  egress_id       smallint REFERENCES egress ON DELETE CASCADE,
  provider        text NOT NULL,
  connections     int CHECK (connections BETWEEN 1 AND 200),        -- at once
  per_connection  int CHECK (per_connection BETWEEN 1 AND 10000),   -- mails, then a new one
  rate_per_minute int CHECK (rate_per_minute BETWEEN 1 AND 1000000),
  backoff         int CHECK (backoff BETWEEN 10 AND 86400),         -- seconds to leave it alone when it asks for it
  changed_at      timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX provider_limit_of ON provider_limit (coalesce(egress_id, 0), provider);

-- How fast a lane goes compared to its limit, and why. No row: normal. Shaping writes, the sender obeys within a second.
CREATE TABLE pace (
  egress_id       smallint NOT NULL REFERENCES egress ON DELETE CASCADE,
  provider        text NOT NULL,
  factor          real NOT NULL DEFAULT 1 CHECK (factor >= 0 AND factor <= 1),   -- of the rate
  suspended_until timestamptz,                     -- in the future: nothing goes; 'infinity': until somebody lifts it
  state           text NOT NULL DEFAULT 'normal',  -- normal | slowed | suspended | held …, as shaping calls it
  reason          text NOT NULL DEFAULT '',        -- in words, for a person
  evidence        text NOT NULL DEFAULT '',        -- the reply that it follows from
  since           timestamptz NOT NULL DEFAULT now(),
  until           timestamptz,                     -- when the state is looked at again; NULL: when somebody lifts it
  rule            text NOT NULL DEFAULT '',
  PRIMARY KEY (egress_id, provider)
);

-- At most `cap` mails of a lane are claimed on a day (UTC). No row: no cap. Warm-up writes `cap`, the sender `sent`, in
-- the transaction of the claim.
CREATE TABLE day_cap (
  egress_id smallint NOT NULL REFERENCES egress ON DELETE CASCADE,
  provider  text NOT NULL,
  day       date NOT NULL,
  cap       int NOT NULL CHECK (cap >= 0),
  sent      int NOT NULL DEFAULT 0,
  PRIMARY KEY (egress_id, provider, day)
);

ALTER TABLE delivery ADD egress smallint;          -- egress.id, set when claimed; NULL before, and of old: the first one

-- What the fold has counted in a lane, by campaign: measures as in campaign_tally. No foreign keys: the fold must not
-- fail because something was removed meanwhile.
CREATE TABLE lane_tally (
  campaign_id bigint NOT NULL,
  egress_id   smallint NOT NULL,
  provider    text NOT NULL,
  measure     text NOT NULL,
  n           bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (campaign_id, egress_id, provider, measure)
) WITH (fillfactor = 50);
INSERT INTO lane_tally (campaign_id, egress_id, provider, measure, n)
  SELECT campaign_id, 1, provider, measure, n FROM campaign_tally
  WHERE measure IN ('handed_over', 'delivered', 'deferred', 'bounced_hard', 'bounced_soft', 'unknown');
-- Campaigns of which something may still be on its way.
CREATE INDEX campaign_moving ON campaign (id) WHERE state IN ('launching', 'sending', 'paused', 'cancelled');

-- Where a domain's mail goes may change.
ALTER TABLE provider_domain ADD expires_at timestamptz NOT NULL DEFAULT now() + interval '7 days';

-- The first egress: the server's own address and name. Every installation has it.
INSERT INTO egress (name) VALUES ('e1');
INSERT INTO pool (name) VALUES ('default');
INSERT INTO pool_egress (pool_id, egress_id) SELECT p.id, e.id FROM pool p, egress e;

GRANT SELECT, INSERT, UPDATE, DELETE ON egress, pool, pool_egress, pool_rule, provider_limit, pace, day_cap
  TO thurn_app, thurn_system;
GRANT SELECT ON lane_tally TO thurn_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON lane_tally TO thurn_system;
