-- Machines that send. The one that came first has everything; each further one has a role of its own in the database,
-- a member of `thurn_node`, which may do what `sender`, `feedback` and `keeper` of such a machine need and no more.

CREATE TABLE node (
  name       text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{0,30}$'),
  login      text UNIQUE,                     -- its role in the database; NULL: the machine that came first
  verifier   text NOT NULL DEFAULT '',        -- of that role's password (RFC 5803); `keeper` gives it to PostgreSQL
  state      text NOT NULL DEFAULT 'invited' CHECK (state IN ('invited', 'joined', 'leaving', 'left', 'lost')),
  token_id   text UNIQUE,                     -- of the token that lets a machine join, once
  token      bytea,                           -- sealed
  token_until timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  joined_at  timestamptz,
  ended_at   timestamptz,
  -- What its keeper tells, every two seconds.
  seen_at    timestamptz,
  hostname   text NOT NULL DEFAULT '',
  roles      jsonb NOT NULL DEFAULT '{}',     -- role -> running, stopped, failing …
  able       boolean NOT NULL DEFAULT false,  -- its sender claims, its `out` takes mail
  trouble    text NOT NULL DEFAULT '',        -- for a person: why not
  missing    text[] NOT NULL DEFAULT '{}'     -- of its sending addresses, those the machine does not have
);
ALTER TABLE node ENABLE ROW LEVEL SECURITY;
CREATE POLICY house ON node TO thurn_app, thurn_system USING (true) WITH CHECK (true);
CREATE POLICY others ON node FOR SELECT TO thurn_node USING (true);
CREATE POLICY itself ON node FOR UPDATE TO thurn_node USING (login = session_user);
GRANT SELECT, INSERT, UPDATE, DELETE ON node TO thurn_app, thurn_system;
GRANT SELECT (name, login, state, seen_at, able), UPDATE (seen_at, hostname, roles, able, trouble, missing) ON node
  TO thurn_node;

-- Whether the machine that asks still belongs here: from the moment it is declared lost it sees and takes nothing.
CREATE FUNCTION node_belongs() RETURNS boolean
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
  $$ SELECT EXISTS (SELECT FROM node WHERE login = session_user AND state IN ('joined', 'leaving')) $$;
REVOKE ALL ON FUNCTION node_belongs FROM PUBLIC;
GRANT EXECUTE ON FUNCTION node_belongs TO thurn_node;

-- How the log begins: on a copied disk files have other inodes.
ALTER TABLE log_position ADD head text NOT NULL DEFAULT '';

GRANT USAGE ON SCHEMA public TO thurn_node;
GRANT SELECT ON alembic_version, egress, pool, pool_egress, pool_rule, provider_limit, pace, lane_tally, hold,
  campaign_due, shaping_rule, shaping_rule_off TO thurn_node;
GRANT SELECT (egress_id, host, port, security, fingerprint, username, connections, rate_per_minute, broken_until)
  ON relay TO thurn_node;                      -- never a password
GRANT SELECT, INSERT (egress_id, provider, day, cap), UPDATE (sent) ON day_cap TO thurn_node;
GRANT SELECT ON warmup TO thurn_node;
GRANT EXECUTE ON FUNCTION lock_day_cap TO thurn_node;
GRANT SELECT, INSERT (node), UPDATE (settled_at) ON sender_life TO thurn_node;
GRANT SELECT, INSERT ON outcome TO thurn_node;
GRANT SELECT, INSERT, UPDATE, DELETE ON log_position, queue_entry, queue_retry, give_up TO thurn_node;
GRANT SELECT, INSERT, UPDATE ON provider_answer TO thurn_node;
-- Of tenants: what a mail is made from, and the state of a delivery that is claimed.
GRANT SELECT (id, workspace_id, fields, unsubscribed_at) ON contact TO thurn_node;
GRANT SELECT ON suppression, domain, dkim_key, certificate, campaign_tally TO thurn_node;
GRANT SELECT, UPDATE (state, state_reason) ON campaign TO thurn_node;
GRANT SELECT, UPDATE (state, lease, attempt, egress) ON delivery TO thurn_node;
DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['contact', 'suppression', 'domain', 'dkim_key', 'certificate', 'campaign_tally', 'campaign',
                           'delivery'] LOOP
    EXECUTE format('CREATE POLICY sending ON %I TO thurn_node USING ((SELECT node_belongs()))
                    WITH CHECK ((SELECT node_belongs()))', t);
  END LOOP;
END $$;

-- Deliveries of a machine that was declared lost, as they stood then.
CREATE TABLE node_loss (
  node         text NOT NULL,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  campaign_id  bigint NOT NULL REFERENCES campaign ON DELETE CASCADE,
  delivery_id  bigint NOT NULL,
  was          text NOT NULL CHECK (was IN ('leased', 'handed_over', 'deferred')),
  again        boolean NOT NULL,              -- queued again, by decision of the operator
  PRIMARY KEY (node, campaign_id, delivery_id)
);
SELECT wall_off('node_loss', 'SELECT');

-- What a machine has taken and nobody knows the end of; once it was declared lost: what that was about. `was` leased:
-- claimed, and nothing says that its Postfix ever got it.
CREATE FUNCTION node_people(given text) RETURNS TABLE (
    workspace_id int, workspace text, campaign_id bigint, campaign text, delivery_id bigint, recipient text, was text,
    again boolean, state text, attempt smallint, since timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT w.id, w.name, c.id, c.name, d.id, d.recipient,
         CASE WHEN d.state <> 'leased' THEN d.state::text
              WHEN EXISTS (SELECT FROM queue_entry q WHERE q.campaign_id = d.campaign_id AND q.delivery_id = d.id)
                OR EXISTS (SELECT FROM outcome o WHERE o.campaign_id = d.campaign_id AND o.delivery_id = d.id)
              THEN 'handed_over' ELSE 'leased' END,
         false, d.state::text, d.attempt, coalesce(d.handed_over_at, l.started_at)
  FROM campaign c JOIN workspace w ON w.id = c.workspace_id
  JOIN delivery d ON d.campaign_id = c.id JOIN sender_life l ON l.id = d.lease
  WHERE c.state IN ('launching', 'sending', 'paused', 'cancelled') AND l.node = given
    AND d.state IN ('leased', 'handed_over', 'deferred')
    AND NOT EXISTS (SELECT FROM node_loss x WHERE x.node = given AND x.campaign_id = d.campaign_id
                                              AND x.delivery_id = d.id)
  UNION ALL
  SELECT w.id, w.name, c.id, c.name, d.id, d.recipient, x.was, x.again, d.state::text, d.attempt,
         coalesce(d.handed_over_at, n.ended_at)
  FROM node_loss x JOIN node n ON n.name = x.node JOIN campaign c ON c.id = x.campaign_id
  JOIN workspace w ON w.id = c.workspace_id JOIN delivery d ON d.campaign_id = x.campaign_id AND d.id = x.delivery_id
  WHERE x.node = given
  ORDER BY 3, 5 $$;

-- Give a machine up that has not been seen for `silence`: in one step, so that nothing of it is decided twice. What
-- was only leased is queued again if the operator says so; of all the rest the end is unknown, and nothing resends it.
CREATE FUNCTION node_lose(given text, again boolean, silence interval) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  PERFORM FROM node WHERE name = given AND login IS NOT NULL AND node.state IN ('joined', 'leaving')
    AND coalesce(seen_at, joined_at) < now() - silence FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  INSERT INTO node_loss (node, workspace_id, campaign_id, delivery_id, was, again)
    SELECT given, p.workspace_id, p.campaign_id, p.delivery_id, p.was, node_lose.again AND p.was = 'leased'
    FROM node_people(given) p;
  GET DIAGNOSTICS n = ROW_COUNT;
  INSERT INTO outcome (campaign_id, delivery_id, kind, at, attempt, source)
    SELECT p.campaign_id, p.delivery_id, CASE WHEN p.again THEN 'returned' ELSE 'lost' END, now(), p.attempt, 'reconcile'
    FROM node_people(given) p ORDER BY p.campaign_id, p.delivery_id;
  UPDATE node SET state = 'lost', ended_at = now(), able = false, token = NULL, token_id = NULL WHERE name = given;
  UPDATE egress SET enabled = false, removed_at = coalesce(removed_at, now()) WHERE node = given;
  UPDATE sender_life SET settled_at = now() WHERE node = given AND settled_at IS NULL;
  DELETE FROM queue_entry WHERE node = given;
  DELETE FROM queue_retry WHERE node = given;
  DELETE FROM give_up WHERE node = given;
  RETURN n;
END $$;

-- What is on its way of each machine: figures, never people.
CREATE FUNCTION node_figures() RETURNS TABLE (node text, leased bigint, queued bigint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT n.name,
         (SELECT count(*) FROM campaign c JOIN delivery d ON d.campaign_id = c.id JOIN sender_life l ON l.id = d.lease
          WHERE c.state IN ('launching', 'sending', 'paused', 'cancelled') AND d.state = 'leased' AND l.node = n.name),
         (SELECT count(*) FROM queue_entry q WHERE q.node = n.name)
  FROM node n $$;

REVOKE ALL ON FUNCTION node_people, node_lose, node_figures FROM PUBLIC;
GRANT EXECUTE ON FUNCTION node_people, node_lose, node_figures TO thurn_app, thurn_system;
