-- Edge.
SELECT 1;
