-- Differences between the ledger and official registries: one open case per thing that differs.
CREATE TABLE mismatches (
    mismatch_id text PRIMARY KEY,
    kind text NOT NULL,
    state text NOT NULL CHECK (state IN ('OPEN', 'RESOLVED', 'GONE')),
    source text NOT NULL,
    vin text NOT NULL,
    registration_number text NOT NULL,
    external_certificate_number text NOT NULL,
    ledger_says text NOT NULL,
    registry_says text NOT NULL,
    opened_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    ended_at timestamptz,
    resolution text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX mismatches_open ON mismatches (kind, source, vin, registration_number, external_certificate_number)
    WHERE state = 'OPEN';
CREATE INDEX mismatches_due ON mismatches (state, due_at, mismatch_id);
