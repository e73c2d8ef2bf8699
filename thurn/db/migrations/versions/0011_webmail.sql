-- Webmail.
SELECT 1;
