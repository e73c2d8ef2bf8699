-- A session of Dovecot ends when the password that opened it is no longer good: `keeper` looks here for such ones
-- (thurn/stack/open_sessions.py). Dovecot writes a row before a session begins; a row whose process is gone is swept.
CREATE TABLE mta.open_session (
  pid       int PRIMARY KEY,                    -- one process a session
  address   text NOT NULL,
  opened_by text NOT NULL,                      -- as in `mta.good_password`
  at        timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, DELETE ON mta.open_session TO thurn_system;

-- `opened_by` of every password that opens a mailbox now. That of the mailbox itself changes with it, so that there is
-- no question of which was first, the change or the session.
CREATE VIEW mta.good_password AS
  SELECT address, 'own ' || left(md5(password), 12) AS opened_by FROM mta.dovecot_user
  UNION ALL
  SELECT address, 'app ' || id FROM mta.dovecot_app_password;
GRANT SELECT ON mta.good_password TO thurn_dovecot, thurn_system;

-- Called by Dovecot's look at who the user is; p_pid is empty where nobody signs in (delivery, doveadm).
CREATE FUNCTION mta.note_session(p_pid text, p_address text, p_opened_by text)
  RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF p_pid ~ '^[1-9][0-9]{0,8}$' AND p_opened_by <> '' THEN
    INSERT INTO mta.open_session (pid, address, opened_by) VALUES (p_pid::int, p_address, p_opened_by)
      ON CONFLICT (pid) DO UPDATE SET address = excluded.address, opened_by = excluded.opened_by, at = now();
  END IF;
  RETURN p_opened_by;
END $$;
REVOKE ALL ON FUNCTION mta.note_session FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mta.note_session TO thurn_dovecot;
