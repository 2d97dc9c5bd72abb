-- Keys of devices that sign, who replaced whom, and what was made coarse or deleted beside the rows.

ALTER TABLE device
    ADD COLUMN signing_algorithm text CHECK (signing_algorithm IN ('SM2', 'RSA', 'ECC')),
    ADD COLUMN signing_key bytea,
    -- the device whose place this one took
    ADD COLUMN replaces text REFERENCES device (device_id),
    ADD CONSTRAINT signing_key_whole CHECK ((signing_algorithm IS NULL) = (signing_key IS NULL));
-- a device has one successor
CREATE UNIQUE INDEX device_replaces ON device (replaces) WHERE replaces IS NOT NULL;

-- VALID, INVALID or NO_KEY for a record with a signature, else null.
ALTER TABLE frame ADD COLUMN signature_status text;

-- Days whose records have lost their exact places. The consumer takes a day off the list when a late record of it arrives.
CREATE TABLE redaction (
    day date PRIMARY KEY,
    redacted_at timestamptz NOT NULL
);

-- done_at: both the rows and what the frame topic still held are gone.
ALTER TABLE deletion ADD COLUMN rows_deleted_at timestamptz;
