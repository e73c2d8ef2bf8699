-- The portal: what the owner of a mailbox does for themselves.

-- Before somebody has signed in no workspace is set. These two find the mailbox behind an address and behind a session.
CREATE FUNCTION mailbox_door(login text)
  RETURNS TABLE (mailbox_id int, workspace_id int, address text, password_hash text, second_step boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
  $$ SELECT m.id, m.workspace_id, m.address, m.password_hash, m.totp_confirmed_at IS NOT NULL
     FROM mailbox m WHERE m.address = login AND m.enabled $$;
CREATE FUNCTION mailbox_session_door(hash bytea)
  RETURNS TABLE (mailbox_id int, workspace_id int, second_step boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
  $$ SELECT s.mailbox_id, s.workspace_id, s.second_step
     FROM mailbox_session s JOIN mailbox m ON m.id = s.mailbox_id
     WHERE s.token_hash = hash AND s.expires_at > now() AND m.enabled $$;
REVOKE ALL ON FUNCTION mailbox_door, mailbox_session_door FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailbox_door, mailbox_session_door TO thurn_app;

-- Whoever changes the password or disables the mailbox, and by whatever way: everybody who is signed in is so no more.
CREATE FUNCTION mailbox_door_shut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.password_hash <> OLD.password_hash THEN
    NEW.password_changed_at := now();
  END IF;
  DELETE FROM mailbox_session WHERE mailbox_id = NEW.id;
  RETURN NEW;
END $$;
CREATE TRIGGER mailbox_door_shut BEFORE UPDATE OF password_hash, enabled ON mailbox FOR EACH ROW
  WHEN (NEW.password_hash <> OLD.password_hash OR NOT NEW.enabled) EXECUTE FUNCTION mailbox_door_shut();
