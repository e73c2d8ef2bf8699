-- Control over what is queued: speed, hours and priority of a campaign; what is held; what is to be tried again now.

ALTER TABLE campaign
  ADD speed_limit  int CHECK (speed_limit BETWEEN 1 AND 10000000),    -- mails per speed_unit; NULL: as fast as it goes
  ADD speed_unit   text NOT NULL DEFAULT 'minute' CHECK (speed_unit IN ('minute', 'hour')),
  ADD priority     text NOT NULL DEFAULT 'normal' CHECK (priority IN ('high', 'normal', 'low')),
  -- When mail may leave; NULL: always. A window that ends before it begins goes on after midnight; equal: 24 hours.
  ADD window_days  smallint[] CHECK (window_days <@ '{1,2,3,4,5,6,7}' AND cardinality(window_days) > 0),  -- 1 Monday
  ADD window_from  time,
  ADD window_until time,
  ADD window_zone  text,                                              -- of the IANA database: Europe/Berlin
  ADD CHECK (num_nulls(window_days, window_from, window_until, window_zone) IN (0, 4));

-- The same as thurn/campaigns/pace.py, Window.is_open: a test holds them against each other. A zone that PostgreSQL
-- does not know keeps this campaign waiting, and no other.
CREATE FUNCTION in_send_window(days smallint[], opens time, closes time, zone text, at timestamptz) RETURNS boolean
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  here timestamp;
BEGIN
  IF days IS NULL THEN
    RETURN true;
  END IF;
  here := at AT TIME ZONE zone;
  IF opens < closes THEN
    RETURN extract(isodow FROM here) = ANY (days) AND here::time >= opens AND here::time < closes;
  END IF;
  RETURN (extract(isodow FROM here) = ANY (days) AND here::time >= opens)
      OR (extract(isodow FROM here - interval '1 day') = ANY (days) AND here::time < closes);
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN false;
END $$;

-- Campaigns that may send now. `speed`: mails a minute, NULL for no limit. `weight`: turns it has where a campaign of
-- low priority in the same workspace has one.
CREATE VIEW campaign_due AS
  SELECT c.id, c.workspace_id,
         c.speed_limit / CASE c.speed_unit WHEN 'hour' THEN 60.0 ELSE 1.0 END::float AS speed,
         CASE c.priority WHEN 'high' THEN 16 WHEN 'low' THEN 1 ELSE 4 END AS weight
  FROM campaign c
  WHERE c.state = 'sending'
    AND in_send_window(c.window_days, c.window_from, c.window_until, c.window_zone, now());

-- What operators hold back: nothing of it is handed over, and what `out` has of it waits in Postfix's hold queue.
CREATE TABLE hold (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int REFERENCES workspace ON DELETE CASCADE,            -- NULL: of every workspace
  provider     text CHECK (provider ~ '^[a-z]{1,12}$'),               -- NULL: to every provider
  reason       text NOT NULL DEFAULT '',
  since        timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX hold_of ON hold (coalesce(workspace_id, 0), coalesce(provider, ''));

-- "Try again now": done by the keeper of the node whose `out` has the mail.
CREATE TABLE queue_retry (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  node         text NOT NULL,
  provider     text CHECK (provider ~ '^[a-z]{1,12}$'),               -- NULL: all
  requested_at timestamptz NOT NULL DEFAULT now(),
  done_at      timestamptz,
  mails        int
);
CREATE INDEX queue_retry_open ON queue_retry (node) WHERE done_at IS NULL;

GRANT SELECT ON campaign_due TO thurn_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON hold, queue_retry TO thurn_app, thurn_system;

-- What the queue page shows, over all workspaces: for operators, who see numbers and names of campaigns, never people.
-- Only campaigns are looked at of which something may still be on its way.
CREATE FUNCTION queue_campaigns() RETURNS TABLE (
    campaign_id bigint, campaign text, workspace_id int, workspace text, state text, priority text, provider text,
    waiting bigint, since timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT c.id, c.name, w.id, w.name, c.state, c.priority, t.provider,
         greatest(0, sum(CASE WHEN t.measure = 'recipients' THEN t.n ELSE -t.n END))::bigint, c.started_at
  FROM campaign c JOIN workspace w ON w.id = c.workspace_id JOIN campaign_tally t ON t.campaign_id = c.id
  WHERE c.state IN ('launching', 'sending', 'paused')
    AND t.measure IN ('recipients', 'handed_over', 'suppressed', 'cancelled', 'failed')
  GROUP BY c.id, w.id, t.provider
  HAVING sum(CASE WHEN t.measure = 'recipients' THEN t.n ELSE -t.n END) > 0 $$;

CREATE FUNCTION queue_lanes() RETURNS TABLE (egress_id smallint, provider text, on_the_way bigint, retrying bigint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT t.egress_id, t.provider,
         greatest(0, sum(CASE WHEN t.measure = 'handed_over' THEN t.n ELSE -t.n END))::bigint,
         greatest(0, coalesce(sum(t.n) FILTER (WHERE t.measure = 'deferred'), 0))::bigint
  FROM campaign c JOIN lane_tally t ON t.campaign_id = c.id
  WHERE c.state IN ('launching', 'sending', 'paused', 'cancelled')
    AND (c.finished_at IS NULL OR c.finished_at > now() - interval '10 days')
  GROUP BY t.egress_id, t.provider $$;

CREATE FUNCTION queue_reasons() RETURNS TABLE (
    egress_id smallint, provider text, category text, mails bigint, oldest timestamptz, reply text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT coalesce(d.egress, 1::smallint), d.provider, coalesce(d.category, 'other'), count(*), min(d.handed_over_at),
         max(d.reply)
  FROM campaign c JOIN delivery d ON d.campaign_id = c.id
  WHERE c.state IN ('launching', 'sending', 'paused', 'cancelled')
    AND (c.finished_at IS NULL OR c.finished_at > now() - interval '10 days')
    AND d.state IN ('deferred', 'bounced', 'failed') AND d.state = 'deferred'   -- the first for delivery_trouble
  GROUP BY 1, 2, 3 $$;

REVOKE ALL ON FUNCTION queue_campaigns, queue_lanes, queue_reasons FROM PUBLIC;
GRANT EXECUTE ON FUNCTION queue_campaigns, queue_lanes, queue_reasons TO thurn_app, thurn_system;
