-- Mail for people, what came later.

-- Webmail has an origin of its own: a token from the portal is bound to a number that webmail gave the browser.
DELETE FROM webmail_token;  -- good for a minute at most, but for operators' links
ALTER TABLE webmail_token
  DROP COLUMN way,
  ADD COLUMN bound bytea,  -- SHA-256 of that number; none: a link from the operator's command line
  ADD CHECK ((bound IS NULL) = (portal_session IS NULL));

ALTER TABLE certificate
  DROP CONSTRAINT certificate_purpose_check,
  ADD CONSTRAINT certificate_purpose_check
    CHECK (purpose IN ('web', 'webmail', 'mail', 'mta-sts', 'autoconfig', 'autodiscover', 'tracking'));
