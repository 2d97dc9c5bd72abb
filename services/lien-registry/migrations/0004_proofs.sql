-- Breaking: it empties the read model, and old code beside it would certify "no lien" until it is built anew.
-- The Merkle tree over the public registry. Its history can't be made from what is here, so the read model is built anew from
-- block 0 at the next start, by itself; writes, certificates and published events stay (events_block).

-- One row per entry (subject key, kind, SHA-256 of the record) and the blocks in which it stood.
CREATE TABLE tree_entries (
    bucket integer NOT NULL,
    entry bytea NOT NULL,
    block_number bigint NOT NULL,
    superseded_block bigint
);
CREATE INDEX tree_entries_bucket ON tree_entries (bucket);

-- Blocks that changed the registry, and which buckets.
CREATE TABLE tree_changes (
    block_number bigint PRIMARY KEY,
    buckets integer[] NOT NULL
);

-- Roots that organisations posted on the ledger.
CREATE TABLE anchors (
    block_number bigint NOT NULL,
    msp_id text NOT NULL,
    root bytea NOT NULL,
    posted_block bigint NOT NULL,
    posted_at timestamptz NOT NULL,
    tx_id text NOT NULL,
    PRIMARY KEY (block_number, msp_id)
);

-- Searches read what is current and what was so as of the anchored block at once.
DROP INDEX lien_versions_search_key;
DROP INDEX lien_versions_debtor;
CREATE INDEX lien_versions_search_key ON lien_versions (search_key);
CREATE INDEX lien_versions_debtor ON lien_versions (debtor_hash);

TRUNCATE lien_versions, title_versions, record_versions;
UPDATE ledger_checkpoint SET block_number = -1, tx_count = 0, block_hash = '', applied_at = now();

-- Reminders that are out: one per registration, its end, and how far ahead.
CREATE TABLE reminders (
    registration_number text NOT NULL,
    expires_at timestamptz NOT NULL,
    days_ahead integer NOT NULL,
    PRIMARY KEY (registration_number, expires_at, days_ahead)
);
CREATE INDEX lien_versions_expiry ON lien_versions (expires_at) WHERE superseded_block IS NULL AND NOT discharged;
