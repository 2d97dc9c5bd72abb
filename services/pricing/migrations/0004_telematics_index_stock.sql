-- Alert cases and profiles as telematics' events told them: a watch that begins knows what was told before.
CREATE TABLE alerts (
    alert_id   text PRIMARY KEY,
    vin        text NOT NULL,
    revision   integer NOT NULL, -- orders the changes of a case
    open       boolean NOT NULL,
    severity   text NOT NULL,
    kinds      text[] NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX alerts_vin ON alerts (vin) WHERE open;
CREATE INDEX alerts_closed ON alerts (changed_at) WHERE NOT open;

CREATE TABLE profiles (
    vin         text PRIMARY KEY,
    computed_at timestamptz NOT NULL, -- orders them
    risk_score  integer NOT NULL,
    trust       double precision      -- NULL: not stated
);

-- The vintage a watch is carried on by: those of an older one are found and carried on whenever they were begun or marked.
ALTER TABLE watches ADD COLUMN vintage text NOT NULL DEFAULT '';
CREATE INDEX watches_vintage ON watches (vintage) WHERE stage <> 'CLOSED';

-- When somebody must look at a watch although no event came (stock audits).
ALTER TABLE watches ADD COLUMN check_at timestamptz;
CREATE INDEX watches_check ON watches (check_at) WHERE check_at IS NOT NULL;
