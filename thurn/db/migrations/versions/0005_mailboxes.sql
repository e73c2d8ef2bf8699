-- Mailboxes: where their mail goes on to.

ALTER TABLE mailbox
  ADD forward_to   text[] NOT NULL DEFAULT '{}' CHECK (cardinality(forward_to) <= 10),
  ADD forward_keep boolean NOT NULL DEFAULT true;   -- false: what is sent on does not stay here as well
