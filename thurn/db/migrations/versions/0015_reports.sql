-- DMARC and TLS reports, and reputation.

-- A report of either kind, once. `submitter`: the domain that was proven to have mailed it, `upload`, or '' where nothing
-- was proven. Only counted ones go into figures, advice and alerts: whoever claims to be somebody else is kept out.
CREATE TABLE auth_report (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id    int NOT NULL REFERENCES domain ON DELETE CASCADE,
  kind         text NOT NULL CHECK (kind IN ('dmarc', 'tls')),
  received_at  timestamptz NOT NULL DEFAULT now(),
  org          text NOT NULL,
  contact      text NOT NULL DEFAULT '',
  report_id    text NOT NULL,
  submitter    text NOT NULL,
  counted      boolean NOT NULL,
  digest       bytea NOT NULL,            -- SHA-256 of what it says
  begins       timestamptz NOT NULL,
  ends         timestamptz NOT NULL,
  about        text NOT NULL,             -- the domain whose policy it is on: the domain or one below
  policy       jsonb NOT NULL DEFAULT '{}',  -- of DMARC, as the reporter found it published
  good         bigint NOT NULL DEFAULT 0, -- mails that passed, sessions that were encrypted
  bad          bigint NOT NULL DEFAULT 0,
  UNIQUE (domain_id, kind, org, report_id, submitter)
);
CREATE INDEX auth_report_page ON auth_report (domain_id, kind, id DESC);
CREATE INDEX auth_report_days ON auth_report (domain_id, kind, begins) WHERE counted;
SELECT wall_off('auth_report', 'SELECT, INSERT, UPDATE');

-- A row of a DMARC report: mails from one source with one result.
CREATE TABLE dmarc_row (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id  int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id     int NOT NULL REFERENCES domain ON DELETE CASCADE,
  report_id     bigint NOT NULL REFERENCES auth_report ON DELETE CASCADE,
  day           date NOT NULL,            -- the first of the report, UTC
  counted       boolean NOT NULL,
  source        inet NOT NULL,
  n             bigint NOT NULL,
  disposition   text NOT NULL,
  dkim_aligned  boolean NOT NULL,
  spf_aligned   boolean NOT NULL,
  overrides     text[] NOT NULL,          -- why the policy was not followed: forwarded, mailing_list …
  header_from   text NOT NULL,
  envelope_from text NOT NULL,
  dkim          jsonb NOT NULL,           -- [[domain, selector, result]]
  spf           jsonb NOT NULL,           -- [[domain, result]]
  sender        text NOT NULL             -- a key of dmarc/senders.toml, `own`, or ''
);
CREATE INDEX dmarc_row_days ON dmarc_row (domain_id, day) WHERE counted;
CREATE INDEX dmarc_row_report ON dmarc_row (report_id);
SELECT wall_off('dmarc_row', 'SELECT, INSERT, UPDATE');

-- What people said about a source of their mail, by the name it is shown under.
CREATE TABLE dmarc_source (
  workspace_id int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id    int NOT NULL REFERENCES domain ON DELETE CASCADE,
  source       text NOT NULL CHECK (length(source) BETWEEN 1 AND 255),
  verdict      text NOT NULL DEFAULT '' CHECK (verdict IN ('', 'ours', 'foreign')),
  first_seen   timestamptz NOT NULL DEFAULT now(),
  told_at      timestamptz,               -- when owners were told of it
  PRIMARY KEY (domain_id, source)
);
SELECT wall_off('dmarc_source', 'SELECT, INSERT, UPDATE');

-- What DNS calls an address, looked up once a month. Of no workspace: it says nothing about anybody's mail.
CREATE TABLE source_name (
  ip        inet PRIMARY KEY,
  name      text NOT NULL DEFAULT '',     -- reverse DNS, only where the name points back (FCrDNS)
  org       text NOT NULL DEFAULT '',     -- the name's organisational domain
  looked_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON source_name TO thurn_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON source_name TO thurn_system;

-- A DMARC failure report (RFC 6591, 7489 7.3) without anything that names a person.
CREATE TABLE dmarc_failure (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id  int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id     int NOT NULL REFERENCES domain ON DELETE CASCADE,
  received_at   timestamptz NOT NULL DEFAULT now(),
  about         text NOT NULL,
  source        inet,
  failed        text NOT NULL,            -- Auth-Failure: dmarc, spf, signature …
  done          text NOT NULL,            -- Delivery-Result
  header_from   text NOT NULL,
  dkim_domain   text NOT NULL,
  dkim_selector text NOT NULL,
  spf           text NOT NULL,
  counted       boolean NOT NULL
);
CREATE INDEX dmarc_failure_page ON dmarc_failure (domain_id, id DESC);
SELECT wall_off('dmarc_failure', 'SELECT, INSERT');

-- What a TLS report says of one policy (failed_with = ''), and of each kind of failure under it.
CREATE TABLE tls_row (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id  int NOT NULL REFERENCES workspace ON DELETE CASCADE,
  domain_id     int NOT NULL REFERENCES domain ON DELETE CASCADE,
  report_id     bigint NOT NULL REFERENCES auth_report ON DELETE CASCADE,
  day           date NOT NULL,
  counted       boolean NOT NULL,
  policy        text NOT NULL,            -- sts | tlsa | no-policy-found
  failed_with   text NOT NULL,            -- a result type of RFC 8460, 4.3; '': the sum of the policy
  good          bigint NOT NULL,
  bad           bigint NOT NULL,
  mx            text NOT NULL DEFAULT '',
  sender_ip     text NOT NULL DEFAULT '',
  detail        text NOT NULL DEFAULT ''  -- in the reporter's words
);
CREATE INDEX tls_row_days ON tls_row (domain_id, day) WHERE counted;
CREATE INDEX tls_row_report ON tls_row (report_id);
SELECT wall_off('tls_row', 'SELECT, INSERT, UPDATE');

-- ---------------------------------------------------------------- reputation: of the installation, for operators

-- The last look at one list for one of our addresses or domains.
CREATE TABLE listing (
  subject      text NOT NULL,             -- an address or a domain
  list         text NOT NULL,             -- a key of reputation/lists.toml
  workspace_id int REFERENCES workspace ON DELETE CASCADE,  -- whose domain it is; NULL: an address of this server
  state        text NOT NULL CHECK (state IN ('clear', 'listed', 'unknown')),
  codes        text[] NOT NULL DEFAULT '{}',
  why          text NOT NULL DEFAULT '',  -- the list's own words (TXT), or why nothing can be told
  listed_at    timestamptz,               -- the last time it began
  cleared_at   timestamptz,
  times        int NOT NULL DEFAULT 0,    -- how often it began
  looked_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (subject, list)
);
GRANT SELECT, DELETE ON listing TO thurn_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON listing TO thurn_system;

-- What providers tell us about ourselves where an operator has given access: kept sealed.
CREATE TABLE provider_access (
  provider   text PRIMARY KEY CHECK (provider IN ('google', 'microsoft')),
  sealed     bytea NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  asked_at   timestamptz,
  trouble    text NOT NULL DEFAULT ''     -- why the last question was not answered
);
CREATE TABLE provider_figure (
  provider text NOT NULL,
  subject  text NOT NULL,                 -- a domain (Google), an address (Microsoft)
  day      date NOT NULL,
  figures  jsonb NOT NULL,
  PRIMARY KEY (provider, subject, day)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON provider_access TO thurn_app, thurn_system;
GRANT SELECT ON provider_figure TO thurn_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON provider_figure TO thurn_system;
