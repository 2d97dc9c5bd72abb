-- The read model of the ledger. Everything here but ledger_writes and certificates can be rebuilt from block 0.

CREATE TABLE ledger_checkpoint (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    block_number bigint NOT NULL,       -- last block applied, -1 before the first
    tx_count integer NOT NULL,          -- transactions in it, all applied
    block_hash bytea NOT NULL,          -- hash of its header: the next block must name it
    events_block bigint NOT NULL,       -- events up to here are in the outbox; a rebuild doesn't emit them again
    applied_at timestamptz NOT NULL
);
INSERT INTO ledger_checkpoint VALUES (true, -1, 0, '', -1, now());

-- Append-only: one row per change of a registration. superseded_block closes a row instead of deleting it, NULL is current.
CREATE TABLE lien_versions (
    registration_number text NOT NULL,
    block_number bigint NOT NULL,
    tx_index integer NOT NULL,
    change_index integer NOT NULL,
    superseded_block bigint,
    change text NOT NULL,
    tx_id text NOT NULL,
    changed_at timestamptz NOT NULL,
    vin text NOT NULL,
    search_key text NOT NULL,
    debtor_hash text NOT NULL,
    secured_party_msp_id text NOT NULL,
    discharged boolean NOT NULL,
    expires_at timestamptz,
    registered_block bigint NOT NULL,
    registered_tx_index integer NOT NULL,
    registered_change_index integer NOT NULL,
    record jsonb NOT NULL,              -- the whole record as the chaincode keeps it; the columns above are for finding it
    PRIMARY KEY (registration_number, block_number, tx_index, change_index)
);
CREATE INDEX lien_versions_vin ON lien_versions (vin);
CREATE INDEX lien_versions_search_key ON lien_versions (search_key) WHERE superseded_block IS NULL;
CREATE INDEX lien_versions_debtor ON lien_versions (debtor_hash) WHERE superseded_block IS NULL;
CREATE INDEX lien_versions_tx ON lien_versions (tx_id);
CREATE INDEX lien_versions_holder ON lien_versions (secured_party_msp_id, registration_number) WHERE superseded_block IS NULL;

CREATE TABLE title_versions (
    vin text NOT NULL,
    block_number bigint NOT NULL,
    tx_index integer NOT NULL,
    change_index integer NOT NULL,
    superseded_block bigint,
    change text NOT NULL,
    tx_id text NOT NULL,
    changed_at timestamptz NOT NULL,
    record jsonb NOT NULL,
    PRIMARY KEY (vin, block_number, tx_index, change_index)
);
CREATE INDEX title_versions_tx ON title_versions (tx_id);

-- What this organisation sent to the ledger. The envelope is stored before it is sent and sent again until its outcome is known.
CREATE TABLE ledger_writes (
    write_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org text NOT NULL,
    rpc text NOT NULL,
    idempotency_key text NOT NULL,
    fingerprint bytea NOT NULL,
    function text NOT NULL,
    arguments text[] NOT NULL,
    as_registrar boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('PENDING', 'COMMITTED', 'FAILED')),
    attempt integer NOT NULL,
    tx_id text NOT NULL,
    envelope bytea NOT NULL,
    block_number bigint,
    error jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org, rpc, idempotency_key)
);
CREATE INDEX ledger_writes_tx ON ledger_writes (tx_id);
CREATE INDEX ledger_writes_pending ON ledger_writes (updated_at) WHERE state = 'PENDING';

-- Private details on their way to the own organisation's collection; a row goes once the ledger has them.
CREATE TABLE private_details (
    write_id bigint PRIMARY KEY REFERENCES ledger_writes,
    details bytea NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX private_details_due ON private_details (next_try_at);

CREATE SEQUENCE certificate_numbers INCREMENT BY 100;
CREATE TABLE certificates (
    certificate_number text PRIMARY KEY,
    searched_at timestamptz NOT NULL,
    certificate bytea NOT NULL
);
