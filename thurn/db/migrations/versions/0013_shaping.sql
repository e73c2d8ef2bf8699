-- Shaping by what servers answer, and the brake on campaigns that bounce or annoy.

-- What providers answered, counted by a few seconds: what shaping decides on, and what a rule is tried against. Written by
-- the log reader in the transaction that keeps its position; a day is kept. `domain` is set for the provider `other` only.
CREATE TABLE provider_answer (
  at          timestamptz NOT NULL,
  egress      text NOT NULL,                 -- by name: it stands in the log
  provider    text NOT NULL,
  domain      text NOT NULL DEFAULT '',
  outcome     text NOT NULL CHECK (outcome IN ('delivered', 'deferred', 'bounced')),
  category    text NOT NULL DEFAULT '',
  fingerprint bytea NOT NULL,                -- of the wording: an index entry holds no long reply
  wording     text NOT NULL DEFAULT '',      -- normalised (feedback/classify.py)
  reply       text NOT NULL DEFAULT '',      -- one of them, as it came
  n           int NOT NULL,
  PRIMARY KEY (at, egress, provider, domain, outcome, category, fingerprint)
);

-- Where each sending address stands with each provider: what shaping remembers. `pace` follows from it, and only shaping
-- writes both. State: thurn/shaping/decide.py, as JSON.
CREATE TABLE shaping_state (
  egress_id  smallint NOT NULL REFERENCES egress ON DELETE CASCADE,
  provider   text NOT NULL,
  state      jsonb NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (egress_id, provider)
);

-- What was decided, by a rule or by a person. A rule counts no reply from before its last deed here.
CREATE TABLE shaping_deed (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at         timestamptz NOT NULL DEFAULT now(),
  egress_id  smallint NOT NULL REFERENCES egress ON DELETE CASCADE,
  provider   text NOT NULL,
  rule       text NOT NULL,                  -- a rule's name, `deferrals`, or `by hand`
  action     text NOT NULL CHECK (action IN ('slow', 'move', 'suspend', 'hold', 'lift')),
  until      timestamptz,
  n          int NOT NULL DEFAULT 0,         -- replies that fitted …
  of         int NOT NULL DEFAULT 0,         -- … of so many
  evidence   text NOT NULL DEFAULT '',
  who        text NOT NULL DEFAULT ''        -- the person, if it was one
);
CREATE INDEX shaping_deed_last ON shaping_deed (egress_id, provider, rule, at DESC);

-- Rules that operators made, beside those of thurn/shaping/shaping.toml; columns are called as there.
CREATE TABLE shaping_rule (
  name       text PRIMARY KEY,
  action     text NOT NULL CHECK (action IN ('slow', 'move', 'suspend', 'give-up')),
  provider   text[] NOT NULL DEFAULT '{}',
  outcome    text NOT NULL DEFAULT '' CHECK (outcome IN ('', 'deferred', 'bounced')),
  category   text[] NOT NULL DEFAULT '{}',
  "any"      text[] NOT NULL DEFAULT '{}',
  unless     text[] NOT NULL DEFAULT '{}',
  count      int NOT NULL DEFAULT 3 CHECK (count > 0),
  period     int NOT NULL DEFAULT 60 CHECK (period BETWEEN 1 AND 1440),     -- minutes
  share      real NOT NULL DEFAULT 0 CHECK (share BETWEEN 0 AND 1),
  minutes    int NOT NULL DEFAULT 60 CHECK (minutes BETWEEN 0 AND 43200),
  why        text NOT NULL DEFAULT '',
  todo       text NOT NULL DEFAULT '',
  link       text NOT NULL DEFAULT '',
  matches    text NOT NULL,
  differs    text NOT NULL,
  made_by    text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE shaping_rule_off (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());   -- rules not to be used

-- Mails that a rule gave up: the keeper takes them out of the queue of `out`, whose log then says so.
CREATE TABLE give_up (
  node        text NOT NULL,
  queue_id    text NOT NULL CHECK (queue_id ~ '^[0-9A-Za-z]{6,30}$'),
  campaign_id bigint NOT NULL,
  delivery_id bigint NOT NULL,
  rule        text NOT NULL,
  at          timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (node, queue_id)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON provider_answer, shaping_state, shaping_deed, shaping_rule, shaping_rule_off,
  give_up TO thurn_system;
GRANT SELECT ON provider_answer TO thurn_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON shaping_state, shaping_deed, shaping_rule, shaping_rule_off TO thurn_app;

-- The guard of campaigns: from which share of bounces and complaints on it warns and pauses. No row: as the defaults say.
-- Operators change it; the workspace cannot.
CREATE TABLE sending_guard (
  workspace_id     int PRIMARY KEY REFERENCES workspace ON DELETE CASCADE,
  enabled          boolean NOT NULL DEFAULT true,
  bounce_warn      real NOT NULL DEFAULT 0.02 CHECK (bounce_warn BETWEEN 0.0001 AND 1),
  bounce_pause     real NOT NULL DEFAULT 0.05 CHECK (bounce_pause BETWEEN 0.0001 AND 1),
  complaint_warn   real NOT NULL DEFAULT 0.001 CHECK (complaint_warn BETWEEN 0.0001 AND 1),
  complaint_pause  real NOT NULL DEFAULT 0.003 CHECK (complaint_pause BETWEEN 0.0001 AND 1),
  least_mails      int NOT NULL DEFAULT 100 CHECK (least_mails BETWEEN 1 AND 1000000),  -- with fewer answers nothing is judged
  least_complaints int NOT NULL DEFAULT 3 CHECK (least_complaints BETWEEN 1 AND 1000),
  paused_at        timestamptz,               -- the whole workspace: no campaign of it goes on
  paused_why       text NOT NULL DEFAULT '',
  counted_from     timestamptz NOT NULL DEFAULT '2000-01-01'   -- campaigns started before are not held against the workspace
);

CREATE TABLE campaign_guard (                 -- what the guard did to a campaign
  campaign_id     bigint PRIMARY KEY REFERENCES campaign ON DELETE CASCADE,
  workspace_id    int NOT NULL,
  paused_at       timestamptz,                -- NULL again when somebody went on all the same
  times           int NOT NULL DEFAULT 1,
  last_at         timestamptz NOT NULL DEFAULT now(),
  -- what had been counted when somebody went on: only what comes after is judged
  base_answered   bigint NOT NULL DEFAULT 0,
  base_hard       bigint NOT NULL DEFAULT 0,
  base_delivered  bigint NOT NULL DEFAULT 0,
  base_complained bigint NOT NULL DEFAULT 0
);
SELECT wall_off('campaign_guard', 'SELECT, UPDATE');
GRANT SELECT, INSERT, UPDATE, DELETE ON sending_guard TO thurn_app, thurn_system;
