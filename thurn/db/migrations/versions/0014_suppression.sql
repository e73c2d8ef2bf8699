-- What is suppressed, who changed it, and what came back by mail.

-- Without a workspace a row bars the address everywhere: only who runs the installation writes such a row. What bars
-- which stream, and for how long: thurn/audience/barring.py.
ALTER TABLE suppression
  ALTER workspace_id DROP NOT NULL,
  DROP CONSTRAINT suppression_reason_check,
  ADD CHECK (reason IN ('bounce', 'soft-bounces', 'complaint', 'unsubscribed', 'manual')),
  DROP CONSTRAINT suppression_workspace_id_address_key,
  ADD CONSTRAINT suppression_once UNIQUE NULLS NOT DISTINCT (workspace_id, address),
  ADD CHECK (length(address) <= 320),
  ADD category   text NOT NULL DEFAULT '',   -- of the bounce, see feedback/classify.py
  ADD source     text NOT NULL DEFAULT '',   -- log | mail | webhook | hand | import | api | …
  ADD report_id  bigint,                     -- incoming_report: the mail that said so
  ADD expires_at timestamptz;                -- NULL: stands until somebody takes it back
CREATE INDEX suppression_address ON suppression (address);
CREATE INDEX suppression_page ON suppression (workspace_id, id DESC);
CREATE INDEX suppression_reasons ON suppression (workspace_id, reason, expires_at);
CREATE POLICY everywhere_seen ON suppression FOR SELECT TO thurn_app USING (workspace_id IS NULL);
CREATE POLICY everywhere_kept ON suppression TO thurn_app
  USING (workspace_id IS NULL AND (SELECT current_workspace()) = (SELECT id FROM workspace WHERE slug = 'main'))
  WITH CHECK (workspace_id IS NULL AND (SELECT current_workspace()) = (SELECT id FROM workspace WHERE slug = 'main'));

UPDATE suppression SET source = CASE reason WHEN 'manual' THEN 'hand' WHEN 'complaint' THEN 'mail' ELSE 'log' END;
UPDATE suppression s SET category = d.category FROM delivery d
WHERE s.reason = 'bounce' AND d.campaign_id = s.campaign_id AND d.workspace_id = s.workspace_id
  AND lower(d.recipient) = s.address AND d.hard AND d.category IS NOT NULL;

CREATE TABLE suppression_change (              -- appended only: who put an address there or took it back, and why
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at           timestamptz NOT NULL DEFAULT now(),
  workspace_id int REFERENCES workspace ON DELETE CASCADE,   -- NULL: everywhere
  address      text NOT NULL,                  -- empty for a whole file
  action       text NOT NULL CHECK (action IN ('added', 'removed', 'imported')),
  reason       text NOT NULL DEFAULT '',
  evidence     text NOT NULL DEFAULT '',       -- of what was taken back: the row itself is gone
  actor        text NOT NULL,                  -- an account's address, “API key 3”, “command line”, “Thurn”
  note         text NOT NULL DEFAULT ''
);
CREATE INDEX suppression_change_address ON suppression_change (address, id DESC);
CREATE INDEX suppression_change_page ON suppression_change (workspace_id, id DESC);
SELECT wall_off('suppression_change', 'SELECT, INSERT');
CREATE POLICY everywhere ON suppression_change TO thurn_app
  USING (workspace_id IS NULL AND (SELECT current_workspace()) = (SELECT id FROM workspace WHERE slug = 'main'))
  WITH CHECK (workspace_id IS NULL AND (SELECT current_workspace()) = (SELECT id FROM workspace WHERE slug = 'main'));

-- What came back by mail: a workspace sees what is matched to it, who runs the installation also what nobody knows.
ALTER TABLE incoming_report
  ADD workspace_id int REFERENCES workspace ON DELETE CASCADE,
  ADD address    text NOT NULL DEFAULT '',     -- ours, that it came to
  ADD sender     text NOT NULL DEFAULT '',     -- From, as it says
  ADD subject    text NOT NULL DEFAULT '',
  ADD recipient  text NOT NULL DEFAULT '',     -- whom it is about
  ADD matched_by text NOT NULL DEFAULT '',     -- address | message-id | sender | feedback-id | unsubscribe
  ADD category   text NOT NULL DEFAULT '',
  ADD effect     text NOT NULL DEFAULT '';     -- in words: what Thurn did, and why
UPDATE incoming_report r SET workspace_id = c.workspace_id FROM campaign c WHERE c.id = r.campaign_id;
CREATE INDEX incoming_report_page ON incoming_report (workspace_id, id DESC);
CREATE INDEX incoming_report_age ON incoming_report (received_at) WHERE raw IS NOT NULL;
SELECT wall_off('incoming_report', 'SELECT');
CREATE POLICY unmatched ON incoming_report FOR SELECT TO thurn_app
  USING (workspace_id IS NULL AND (SELECT current_workspace()) = (SELECT id FROM workspace WHERE slug = 'main'));

ALTER TABLE outcome
  DROP CONSTRAINT outcome_kind_check,
  ADD CONSTRAINT outcome_kind_check CHECK (kind IN ('handed_over', 'delivered', 'deferred', 'bounced', 'complained',
    'replied', 'returned', 'suppressed', 'failed', 'lost')),
  ADD report_id bigint;                        -- incoming_report: the mail that said so
ALTER TABLE delivery ADD replied boolean NOT NULL DEFAULT false;
