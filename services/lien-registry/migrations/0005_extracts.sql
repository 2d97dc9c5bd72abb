-- The newest extract of each official registry: compared again whenever the ledger has moved on, not only when it is imported.
CREATE TABLE extracts (
    source text PRIMARY KEY,
    extracted_at timestamptz NOT NULL,
    records jsonb NOT NULL,
    compared_block bigint NOT NULL
);
