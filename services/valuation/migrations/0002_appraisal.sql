-- Recorded appraisals, append-only: what was answered, as it was answered.
CREATE TABLE appraisal (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    appraisal_id uuid NOT NULL UNIQUE,
    vin text NOT NULL,
    valued_at timestamptz NOT NULL,
    cause text NOT NULL,
    supersedes uuid REFERENCES appraisal (appraisal_id),
    model_version text NOT NULL,
    -- carlien.valuation.v1.Appraisal
    body bytea NOT NULL
);
CREATE INDEX appraisal_by_vin ON appraisal (vin, sequence DESC);
