-- Relays and warm-up.

-- A relay is an egress whose mail goes by another server, with a name and a password of its own.
CREATE TABLE relay (
  egress_id       smallint PRIMARY KEY REFERENCES egress ON DELETE CASCADE,
  preset          text NOT NULL DEFAULT 'other',       -- thurn/relays/presets.toml
  host            text NOT NULL CHECK (host = lower(host)),
  port            int NOT NULL CHECK (port BETWEEN 1 AND 65535),
  security        text NOT NULL CHECK (security IN ('starttls', 'tls', 'none')),
  fingerprint     text NOT NULL DEFAULT '' CHECK (fingerprint ~ '^([0-9a-f]{64})?$'),  -- SHA-256; instead of an authority
  username        text NOT NULL DEFAULT '',
  password        bytea,                               -- sealed with the installation's key, see relays/service.py
  connections     int NOT NULL DEFAULT 5 CHECK (connections BETWEEN 1 AND 100),
  rate_per_minute int CHECK (rate_per_minute BETWEEN 1 AND 1000000),                   -- NULL: as fast as it takes it
  checked_at      timestamptz,                         -- last try to sign in
  works           boolean,
  says            text NOT NULL DEFAULT '',            -- in words: what it answered, what to do
  failures        int NOT NULL DEFAULT 0,              -- in a row
  broken_until    timestamptz,                         -- the circuit is open: nothing goes to it before that
  deferred_seen   bigint NOT NULL DEFAULT 0,           -- deferrals counted when it was last looked at
  created_at      timestamptz NOT NULL DEFAULT now(),
  CHECK (security <> 'none' OR password IS NULL),
  CHECK ((username = '') = (password IS NULL))
);

-- Lower ranks first; the next one only while none of the lower can take mail.
ALTER TABLE pool_egress ADD rank smallint NOT NULL DEFAULT 1 CHECK (rank BETWEEN 1 AND 9);

-- A rule for what one of our domains sends.
ALTER TABLE pool_rule ADD domain_id int REFERENCES domain ON DELETE CASCADE;
DROP INDEX pool_rule_of;
CREATE UNIQUE INDEX pool_rule_of
  ON pool_rule (coalesce(workspace_id, 0), stream, coalesce(campaign_id, 0), coalesce(domain_id, 0));
ALTER TABLE pool_rule ADD CHECK (domain_id IS NULL OR (stream <> 'people' AND workspace_id IS NULL AND campaign_id IS NULL));

GRANT SELECT, INSERT, UPDATE, DELETE ON relay TO thurn_app, thurn_system;
