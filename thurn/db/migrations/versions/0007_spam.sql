-- Spam: what a domain and a mailbox want, what Rspamd said of each mail, and what was refused and kept.

-- A mailbox's own wish before its domain's, and that before the installation's; NULL: as the next one says.
CREATE TABLE spam_setting (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id    int NOT NULL REFERENCES domain ON DELETE CASCADE,
  mailbox_id   int REFERENCES mailbox ON DELETE CASCADE,         -- NULL: the whole domain
  junk_at      smallint CHECK (junk_at BETWEEN 1 AND 1000),      -- points; 1000: never
  refuse_at    smallint CHECK (refuse_at BETWEEN 1 AND 1000),
  greylist     boolean,
  digest       boolean,
  digest_hour  smallint CHECK (digest_hour BETWEEN 0 AND 23),    -- in the server's time zone
  UNIQUE NULLS NOT DISTINCT (domain_id, mailbox_id)
);
SELECT wall_off('spam_setting');

-- Compared whole, never as a pattern: `a_b@x.example`, `x.example`, or `*.x.example` for what is below it.
CREATE TABLE spam_sender (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id    int NOT NULL REFERENCES domain ON DELETE CASCADE,
  mailbox_id   int REFERENCES mailbox ON DELETE CASCADE,         -- NULL: the whole domain
  verdict      text NOT NULL CHECK (verdict IN ('allow', 'block')),
  sender       text NOT NULL CHECK (sender = lower(sender)),
  created_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE NULLS NOT DISTINCT (domain_id, mailbox_id, sender)
);
SELECT wall_off('spam_sender');

-- What Rspamd said: a row for each workspace that a mail concerns, with that workspace's recipients only.
CREATE TABLE spam_verdict (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  queue_id     text NOT NULL,                   -- of mx, as in its log
  at           timestamptz NOT NULL DEFAULT now(),
  action       text NOT NULL,                   -- no action | greylist | add header | soft reject | reject …
  score        real NOT NULL,
  required     real NOT NULL,                   -- refused from here
  symbols      jsonb NOT NULL,                  -- [{"name", "score", "options": […]}], what weighs most first
  mail_from    text NOT NULL,                   -- envelope sender
  header_from  text NOT NULL,
  rcpts        text[] NOT NULL,
  subject      text NOT NULL,
  message_id   text NOT NULL,
  ip           text NOT NULL,
  login        text NOT NULL,                   -- who had signed in to send it
  spf          text NOT NULL,                   -- RFC 8601 words: pass fail softfail neutral none temperror permerror
  dkim         text NOT NULL,
  dmarc        text NOT NULL,
  arc          text NOT NULL
);
CREATE INDEX spam_verdict_queue_id ON spam_verdict (queue_id);
CREATE INDEX spam_verdict_at ON spam_verdict (at);
SELECT wall_off('spam_verdict', 'SELECT');

-- Refused as spam and kept for the one it was for.
CREATE TABLE held_mail (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  mailbox_id   int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  at           timestamptz NOT NULL DEFAULT now(),
  queue_id     text NOT NULL,
  mail_from    text NOT NULL,
  header_from  text NOT NULL,
  subject      text NOT NULL,
  score        real NOT NULL,
  required     real NOT NULL,
  symbols      jsonb NOT NULL,
  size         int NOT NULL,
  message      bytea NOT NULL
);
CREATE INDEX held_mail_mailbox ON held_mail (mailbox_id, id DESC);
CREATE INDEX held_mail_workspace ON held_mail (workspace_id, id DESC);
CREATE INDEX held_mail_at ON held_mail (at);
SELECT wall_off('held_mail', 'SELECT, DELETE');

ALTER TABLE mailbox
  ADD junk_mark     uuid NOT NULL DEFAULT gen_random_uuid(),  -- by which its filter knows “Junk for this one”
  ADD digested_at   timestamptz;                              -- when the last list of held mail was sent

-- Who asks for the recipients' wishes has to know who they are, as Postfix does.
GRANT USAGE ON SCHEMA mta TO thurn_system;
GRANT SELECT ON mta.bounce_domain TO thurn_system;
GRANT EXECUTE ON FUNCTION mta.aliases TO thurn_system;

-- For Dovecot's filter at delivery: so many stars of X-Spam-Level are Junk here; `-` is in none.
CREATE VIEW mta.dovecot_junk AS
  SELECT m.address, m.junk_mark::text AS mark,
         CASE WHEN w.junk_at > 100 THEN '-' ELSE repeat('*', w.junk_at) END AS level
  FROM mailbox m
    LEFT JOIN spam_setting d ON d.domain_id = m.domain_id AND d.mailbox_id IS NULL
    LEFT JOIN spam_setting o ON o.mailbox_id = m.id
    CROSS JOIN LATERAL (SELECT coalesce(o.junk_at, d.junk_at, 6) AS junk_at) w;
GRANT SELECT ON mta.dovecot_junk TO thurn_dovecot;
