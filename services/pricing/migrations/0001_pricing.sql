-- Quotes, what they were made from, and the watched loans.

-- Every policy bundle a quote was ever priced with, by content address: a stored quote can be computed again after an upgrade.
CREATE TABLE policy_bundles (
    version    text PRIMARY KEY,
    files      jsonb NOT NULL,
    first_used timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE quotes (
    quote_id         text PRIMARY KEY,
    org              text NOT NULL,
    vin              text NOT NULL,
    currency         text NOT NULL,
    status           text NOT NULL CHECK (status IN ('OPEN', 'ACCEPTED', 'DECLINED')),
    quoted_at        timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    accepted_at      timestamptz,
    policies_version text NOT NULL REFERENCES policy_bundles (version),
    engine_version   text NOT NULL,
    software_version text NOT NULL,
    input_hash       text NOT NULL,
    inputs           text NOT NULL, -- canonical JSON; text, because a replay compares it byte for byte
    result           text NOT NULL, -- the same
    CHECK ((status = 'ACCEPTED') = (accepted_at IS NOT NULL))
);
CREATE INDEX quotes_vin ON quotes (vin, quoted_at DESC);

-- Recorded appraisals as their events told them.
CREATE TABLE appraisals (
    appraisal_id text PRIMARY KEY,
    vin          text NOT NULL,
    valued_at    timestamptz NOT NULL,
    usable       boolean NOT NULL, -- false where valuation abstained
    held         text NOT NULL
);
CREATE INDEX appraisals_vin ON appraisals (vin, valued_at DESC);

-- Registrations as the ledger's events told them; (block_number, tx_index) orders them.
CREATE TABLE liens (
    registration_number text PRIMARY KEY,
    vin                 text NOT NULL,
    own                 boolean NOT NULL,
    ahead               boolean NOT NULL,
    active              boolean NOT NULL,
    block_number        bigint NOT NULL,
    tx_index            integer NOT NULL
);
CREATE INDEX liens_vin ON liens (vin);

CREATE TABLE watches (
    loan_id    text PRIMARY KEY,
    vin        text NOT NULL,
    stage      text NOT NULL,
    tier       integer NOT NULL,
    ltv        double precision NOT NULL,
    cure_until timestamptz, -- set in a margin call
    judged     boolean NOT NULL, -- the cure period ended without acceleration; nothing to do until values change
    updated_at timestamptz NOT NULL,
    state      text NOT NULL
);
CREATE INDEX watches_vin ON watches (vin) WHERE stage <> 'CLOSED';
CREATE INDEX watches_cure ON watches (cure_until) WHERE cure_until IS NOT NULL AND NOT judged;
CREATE INDEX watches_stage ON watches (stage, loan_id);
