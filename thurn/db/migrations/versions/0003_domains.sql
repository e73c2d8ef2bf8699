-- Domains.
SELECT 1;
