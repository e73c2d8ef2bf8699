-- Message trace: the mail log of `mx` as rows, each in the workspace it concerns.

CREATE SEQUENCE trace_id;                -- of messages and recipients: the reader numbers them before it writes
GRANT USAGE ON SEQUENCE trace_id TO thurn_system;

-- A mail as one workspace may see it: its sender's workspace all of it, a recipient's workspace its own part.
CREATE TABLE trace_message (
  id           bigint PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  node         text NOT NULL,
  queue_id     text NOT NULL,             -- '': refused before it had one
  at           timestamptz NOT NULL,      -- when it came
  ours         boolean NOT NULL,          -- somebody of this workspace sent it
  sender       text NOT NULL DEFAULT '',  -- of the envelope, lower case
  message_id   text NOT NULL DEFAULT '',
  size         bigint,
  client_ip    text NOT NULL DEFAULT '',
  client_name  text NOT NULL DEFAULT '',
  helo         text NOT NULL DEFAULT '',  -- known of refused ones only
  login        text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX trace_message_queue_id ON trace_message (node, queue_id, workspace_id) WHERE queue_id <> '';
CREATE INDEX trace_message_at ON trace_message (at);
SELECT wall_off('trace_message', 'SELECT');

CREATE TABLE trace_recipient (
  id           bigint PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  trace_id     bigint NOT NULL REFERENCES trace_message ON DELETE CASCADE,
  at           timestamptz NOT NULL,      -- of the message: lists go by it
  recipient    text NOT NULL,
  original     text NOT NULL DEFAULT '',  -- what it was written to, where an alias led elsewhere
  state        text NOT NULL              -- postponed: refused for now at the door, its sender tries again
               CHECK (state IN ('delivered', 'deferred', 'bounced', 'refused', 'postponed')),
  reply        text NOT NULL DEFAULT '',  -- the last one
  attempts     int NOT NULL DEFAULT 1,
  changed_at   timestamptz NOT NULL,
  UNIQUE (trace_id, recipient, original)
);
CREATE INDEX trace_recipient_page ON trace_recipient (workspace_id, at DESC, id DESC);
CREATE INDEX trace_recipient_state ON trace_recipient (workspace_id, state, at DESC, id DESC);
SELECT wall_off('trace_recipient', 'SELECT');

-- Everything a recipient's row is found by: addresses, `@domain`, `<Message-ID>`, queue id.
CREATE TABLE trace_key (
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  key          text NOT NULL,
  at           timestamptz NOT NULL,
  recipient_id bigint NOT NULL REFERENCES trace_recipient ON DELETE CASCADE,
  PRIMARY KEY (workspace_id, key, at, recipient_id)
);
CREATE INDEX trace_key_recipient ON trace_key (recipient_id);
SELECT wall_off('trace_key', 'SELECT');

-- What happened, line by line: each attempt for a recipient, and what concerns the whole mail (recipient_id NULL).
CREATE TABLE trace_step (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  trace_id     bigint NOT NULL REFERENCES trace_message ON DELETE CASCADE,
  recipient_id bigint REFERENCES trace_recipient ON DELETE CASCADE,
  at           timestamptz NOT NULL,
  what         text NOT NULL,             -- a state of trace_recipient, or: told expired removed
  relay        text NOT NULL DEFAULT '',
  delay        real,                      -- seconds since the mail came
  reply        text NOT NULL DEFAULT ''
);
CREATE INDEX trace_step_message ON trace_step (trace_id, id);
CREATE INDEX trace_step_recipient ON trace_step (recipient_id);
SELECT wall_off('trace_step', 'SELECT');

-- How far each node's log of `mx` has been read, committed with what was read, and what is known of mails in its queue.
CREATE TABLE trace_position (
  node     text PRIMARY KEY,
  inode    bigint NOT NULL,
  position bigint NOT NULL
);
CREATE TABLE trace_open (
  node     text NOT NULL,
  queue_id text NOT NULL,
  at       timestamptz NOT NULL,
  known    jsonb NOT NULL,
  PRIMARY KEY (node, queue_id)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON trace_position, trace_open TO thurn_system;
