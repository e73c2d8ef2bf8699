-- Portal.
SELECT 1;
