-- Reservations, consents, disputes and court orders: one row per change, as in lien_versions.
CREATE TABLE record_versions (
    kind text NOT NULL,                 -- reservation, consent, dispute, court_order
    record_key text NOT NULL,
    block_number bigint NOT NULL,
    tx_index integer NOT NULL,
    change_index integer NOT NULL,
    superseded_block bigint,
    change text NOT NULL,
    tx_id text NOT NULL,
    changed_at timestamptz NOT NULL,
    vin text NOT NULL,
    record jsonb NOT NULL,
    PRIMARY KEY (kind, record_key, block_number, tx_index, change_index)
);
CREATE INDEX record_versions_vin ON record_versions (vin, kind) WHERE superseded_block IS NULL;
CREATE INDEX record_versions_tx ON record_versions (tx_id);

-- What the endorsers answered, and what the service knew when it asked: a batch's answer to a repeat is made from them.
ALTER TABLE ledger_writes ADD COLUMN result bytea NOT NULL DEFAULT '', ADD COLUMN context jsonb NOT NULL DEFAULT '{}';

-- A batch brings details of many registrations; each belongs to the one that carries its hash.
ALTER TABLE private_details DROP CONSTRAINT private_details_pkey;
ALTER TABLE private_details ADD COLUMN details_hash text NOT NULL DEFAULT '';
UPDATE private_details SET details_hash = encode(sha256(details), 'hex');
ALTER TABLE private_details ADD PRIMARY KEY (write_id, details_hash);
