-- Moves.
SELECT 1;
