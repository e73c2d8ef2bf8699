-- Moves: mailboxes brought here from another server over IMAP.

CREATE TABLE mailbox_move (
  id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id   int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  mailbox_id     int NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  host           text NOT NULL,
  port           int NOT NULL,
  login          text NOT NULL,
  fingerprint    text NOT NULL DEFAULT '',  -- SHA-256 of the one certificate to accept, in hex; '': any valid one
  password       bytea,                     -- sealed (thurn/secrets.py); gone when the move has ended
  state          text NOT NULL DEFAULT 'waiting'
                 CHECK (state IN ('waiting', 'running', 'paused', 'done', 'cancelled', 'failed')),
  reason         text NOT NULL DEFAULT '',  -- for a person: why it is paused, has failed, or is tried again
  folder         text NOT NULL DEFAULT '',  -- at which it is
  folders_total  int NOT NULL DEFAULT 0,
  folders_done   int NOT NULL DEFAULT 0,
  messages_total bigint NOT NULL DEFAULT 0,
  messages_done  bigint NOT NULL DEFAULT 0, -- brought here by all runs of this move
  messages_left  bigint NOT NULL DEFAULT 0, -- could not be brought: mailbox_move_problem says why
  bytes_done     bigint NOT NULL DEFAULT 0,
  failures       int NOT NULL DEFAULT 0,    -- lost connections in a row without a message in between
  next_try_at    timestamptz,
  appending      jsonb,                     -- the message that is being stored right now: after a crash it is looked for
  created_at     timestamptz NOT NULL DEFAULT now(),
  started_at     timestamptz,
  finished_at    timestamptz,
  updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX mailbox_move_one_at_a_time ON mailbox_move (mailbox_id)
  WHERE state IN ('waiting', 'running', 'paused');
CREATE INDEX mailbox_move_page ON mailbox_move (workspace_id, id DESC);
CREATE INDEX mailbox_move_due ON mailbox_move (id) WHERE state IN ('waiting', 'running', 'paused');
SELECT wall_off('mailbox_move', 'SELECT, INSERT, UPDATE');

-- A folder of the other server. Messages are taken by rising UID, so one number says which are here.
CREATE TABLE mailbox_move_folder (
  move_id      bigint NOT NULL REFERENCES mailbox_move ON DELETE CASCADE,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  source       text NOT NULL,
  target       text NOT NULL,
  uidvalidity  bigint,                      -- under which done_uid counts (RFC 9051, 2.3.1.1)
  done_uid     bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (move_id, source)
);
SELECT wall_off('mailbox_move_folder', 'SELECT');

CREATE TABLE mailbox_move_problem (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  move_id      bigint NOT NULL REFERENCES mailbox_move ON DELETE CASCADE,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  folder       text NOT NULL,
  uid          bigint,                      -- NULL: the whole folder
  size         bigint,
  dated        timestamptz,
  reason       text NOT NULL
);
CREATE INDEX mailbox_move_problem_move ON mailbox_move_problem (move_id, id);
SELECT wall_off('mailbox_move_problem', 'SELECT');
