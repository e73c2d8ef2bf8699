-- Trace.
SELECT 1;
