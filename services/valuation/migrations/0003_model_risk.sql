-- The car an appraisal was made of, so that it can be valued again; NULL for what was recorded before this column was there.
ALTER TABLE appraisal ADD COLUMN car jsonb;

-- Realised sales, append-only.
CREATE TABLE outcome (
    outcome_id   uuid PRIMARY KEY,
    -- Empty where the source doesn't tell.
    vin          text NOT NULL,
    sold_on      date NOT NULL,
    price        numeric NOT NULL CHECK (price > 0),
    currency     text NOT NULL,
    price_type   text NOT NULL,
    odometer_km  bigint CHECK (odometer_km >= 0),
    source       text NOT NULL,
    reference    text NOT NULL,
    -- The car as it was sold; NULL where nobody described it.
    car          jsonb,
    -- In force on the day of the sale.
    appraisal_id uuid REFERENCES appraisal (appraisal_id),
    reported_at  timestamptz NOT NULL,
    UNIQUE (source, reference)
);
CREATE INDEX outcome_by_day ON outcome (sold_on);
CREATE INDEX outcome_by_vin ON outcome (vin, sold_on);

-- Calibration reports and evaluations of residual methods, as they were made; named by their hash.
CREATE TABLE model_report (
    sequence      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256        text NOT NULL UNIQUE,
    kind          text NOT NULL CHECK (kind IN ('calibration', 'residual')),
    model_version text NOT NULL,
    created_at    timestamptz NOT NULL,
    -- Canonical JSON, the very text that was hashed.
    body          text NOT NULL
);
CREATE INDEX model_report_latest ON model_report (kind, model_version, sequence DESC);
