-- Warm-up: how much a sending address may send to a provider that does not know it yet.

-- The day that caps are counted by. Whoever needs it asks here and nowhere else, so that a test can put a faster one in
-- its place.
CREATE FUNCTION sending_day(OUT day date, OUT length interval, OUT remains interval) LANGUAGE sql STABLE AS $$
  SELECT (now() AT TIME ZONE 'UTC')::date, interval '24 hours',
         interval '24 hours' - (now() AT TIME ZONE 'UTC')::time::interval $$;

-- A plan for a sending address at a provider. Only running and paused ones cap; a paused one keeps its cap and does not
-- grow. `day_cap` follows from it (thurn/warmup/store.py).
CREATE TABLE warmup (
  egress_id    smallint NOT NULL REFERENCES egress ON DELETE CASCADE,
  provider     text NOT NULL,
  state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'done', 'off')),
  curve        int[] NOT NULL CHECK (cardinality(curve) BETWEEN 1 AND 120 AND 0 < ALL (curve)),  -- mails on each day
  step         smallint NOT NULL DEFAULT 1,        -- the day of the curve that counts, from 1
  cap          int GENERATED ALWAYS AS (curve[step]) STORED,
  overflow     text NOT NULL DEFAULT 'pool' CHECK (overflow IN ('pool', 'wait')),  -- what the cap holds back: where to
  by_hand      boolean NOT NULL DEFAULT false,     -- paused by somebody: goes on by nobody else
  reason       text NOT NULL DEFAULT '',           -- in words, why it is in its state
  since        timestamptz NOT NULL DEFAULT now(), -- of the state
  started_at   timestamptz NOT NULL DEFAULT now(),
  decided      date NOT NULL,                      -- the sending day that was decided last
  counted_from date NOT NULL,                      -- answers of earlier days are forgiven
  clean        smallint NOT NULL DEFAULT 0,        -- quiet days since it was paused
  used_on      date NOT NULL,                      -- the last day on which anything was sent
  PRIMARY KEY (egress_id, provider),
  CHECK (step BETWEEN 1 AND cardinality(curve))
);

-- What providers said of a day, while a plan caps: counted by the fold. What was sent stands in day_cap. No foreign key:
-- the fold must not fail because something was removed meanwhile.
CREATE TABLE warmup_day (
  egress_id  smallint NOT NULL,
  provider   text NOT NULL,
  day        date NOT NULL,
  delivered  int NOT NULL DEFAULT 0,
  bounced    int NOT NULL DEFAULT 0,               -- hard
  put_off    int NOT NULL DEFAULT 0,               -- mails, for what says: less, please
  complained int NOT NULL DEFAULT 0,               -- on the day the complaint came
  PRIMARY KEY (egress_id, provider, day)
);

CREATE TABLE warmup_deed (                         -- what was decided, by Thurn or by a person
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at        timestamptz NOT NULL DEFAULT now(),
  egress_id smallint NOT NULL REFERENCES egress ON DELETE CASCADE,
  provider  text NOT NULL,
  day       date NOT NULL,
  what      text NOT NULL CHECK (what IN ('started', 'grown', 'repeated', 'paused', 'lowered', 'held', 'resumed', 'rested',
                                          'done', 'changed', 'stopped')),
  cap       int NOT NULL,
  why       text NOT NULL DEFAULT '',
  who       text NOT NULL DEFAULT ''               -- the person, if it was one
);
CREATE INDEX warmup_deed_last ON warmup_deed (egress_id, provider, id DESC);

-- What is left today of a lane's cap, locked until the claim is committed; NULL: no cap. A lane that warms up has one
-- whoever was asleep at midnight: then it is the plan's.
CREATE FUNCTION lock_day_cap(lane_egress int, lane_provider text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  today date := (SELECT s.day FROM sending_day() s);
  remaining int;
BEGIN
  SELECT c.cap - c.sent INTO remaining FROM day_cap c
  WHERE c.egress_id = lane_egress AND c.provider = lane_provider AND c.day = today FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM FROM warmup w
    WHERE w.egress_id = lane_egress AND w.provider = lane_provider AND w.state IN ('running', 'paused');
    IF NOT FOUND THEN
      RETURN NULL;
    END IF;
    INSERT INTO day_cap (egress_id, provider, day, cap)
    SELECT w.egress_id, w.provider, today, w.cap FROM warmup w
    WHERE w.egress_id = lane_egress AND w.provider = lane_provider AND w.state IN ('running', 'paused')
    ON CONFLICT DO NOTHING;
    SELECT c.cap - c.sent INTO remaining FROM day_cap c
    WHERE c.egress_id = lane_egress AND c.provider = lane_provider AND c.day = today FOR UPDATE;
  END IF;
  RETURN remaining;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON warmup, warmup_deed TO thurn_app, thurn_system;
GRANT SELECT ON warmup_day TO thurn_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON warmup_day TO thurn_system;
REVOKE ALL ON FUNCTION lock_day_cap FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lock_day_cap TO thurn_system;

-- The last day on which a person, not a machine, opened a mail or followed a link. The snapshot of a campaign puts them
-- first. Written by the hit loader.
ALTER TABLE contact ADD engaged_on date;
UPDATE contact c SET engaged_on = e.day FROM (
  SELECT d.contact_id, max(greatest(e.opened_human, e.clicked_human) AT TIME ZONE 'UTC')::date AS day
  FROM engagement e JOIN delivery d ON d.campaign_id = e.campaign_id AND d.id = e.delivery_id
  WHERE e.opened_human IS NOT NULL OR e.clicked_human IS NOT NULL GROUP BY d.contact_id) e
WHERE c.id = e.contact_id;

-- Whose provider is whose, to tell how an audience is shared among them.
GRANT SELECT ON provider_domain TO thurn_app;
