-- What sources say of cars, append-only.
CREATE TABLE vehicle_record (
    record_id          uuid PRIMARY KEY,
    vin                text NOT NULL,
    kind               text NOT NULL,
    source             text NOT NULL,
    -- The source's own name of the record.
    key                text NOT NULL,
    occurred_at        timestamptz NOT NULL,
    received_at        timestamptz NOT NULL,
    consent_id         text NOT NULL,
    consent_expires_at timestamptz,
    price              numeric CHECK (price > 0),
    currency           text,
    price_type         text,
    -- The rest of what it states.
    stated             jsonb NOT NULL,
    UNIQUE (source, key)
);
CREATE INDEX vehicle_record_by_vin ON vehicle_record (vin, occurred_at DESC);
CREATE INDEX vehicle_record_quotes ON vehicle_record (source, occurred_at DESC) WHERE kind = 'QUOTE';

-- Which cars have a file, in the order they got it: importers hold an advisory lock, so that sequences become visible in order.
CREATE TABLE vehicle_file (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin      text NOT NULL UNIQUE
);
