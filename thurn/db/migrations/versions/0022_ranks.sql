-- Suspended, and other addresses of its pools carry what `out` has.
ALTER TABLE pace ADD moves boolean NOT NULL DEFAULT false;

-- Our own addresses stand in the middle (2): a relay before them (1) or behind (3) leaves their rank alone. Until now they
-- had 1, or 2 while a relay was first, and then a relay behind them had 2 as well. A pool of relays alone stays as it is.
ALTER TABLE pool_egress ALTER rank SET DEFAULT 2;
WITH own AS (
  SELECT p.pool_id, min(p.rank) AS rank FROM pool_egress p JOIN egress e ON e.id = p.egress_id
  WHERE e.kind = 'address' GROUP BY p.pool_id
)
UPDATE pool_egress p SET rank = CASE WHEN e.kind = 'address' THEN 2 WHEN p.rank < own.rank THEN 1 ELSE 3 END
FROM egress e, own WHERE e.id = p.egress_id AND own.pool_id = p.pool_id;
