-- Spam.
SELECT 1;
