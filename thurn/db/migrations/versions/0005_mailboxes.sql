-- Mailboxes.
SELECT 1;
