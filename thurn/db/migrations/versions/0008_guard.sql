-- Guard.
SELECT 1;
