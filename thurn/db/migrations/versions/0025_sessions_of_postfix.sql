-- Also of Postfix's sessions. One of those is never ended by its process, which serves many, one after the other: `guard`
-- looks here at each mail (thurn/guard/own_mail.py). Its row tells of the last sign-in of that process.
-- For a while 0024 itself had made all of this, so nothing here minds finding it done.
ALTER TABLE mta.open_session ADD COLUMN IF NOT EXISTS served_by text NOT NULL DEFAULT 'dovecot'
  CHECK (served_by IN ('dovecot', 'postfix'));
ALTER TABLE mta.open_session ALTER COLUMN served_by DROP DEFAULT;
GRANT UPDATE (at) ON mta.open_session TO thurn_system;  -- when the clock is set forward

-- Called by Dovecot's look at who the user is (p_pid is empty where nobody signs in: delivery, doveadm), and for Postfix
-- once the password is found to be right.
DROP FUNCTION IF EXISTS mta.note_session(text, text, text);
CREATE OR REPLACE FUNCTION mta.note_session(p_pid text, p_address text, p_opened_by text, p_served_by text)
  RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF p_pid ~ '^[1-9][0-9]{0,8}$' AND p_opened_by <> '' THEN
    INSERT INTO mta.open_session (pid, address, opened_by, served_by)
      VALUES (p_pid::int, p_address, p_opened_by, p_served_by)
      ON CONFLICT (pid) DO UPDATE
        SET address = excluded.address, opened_by = excluded.opened_by, served_by = excluded.served_by, at = now();
  END IF;
  RETURN p_opened_by;
END $$;
REVOKE ALL ON FUNCTION mta.note_session FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mta.note_session TO thurn_dovecot;
