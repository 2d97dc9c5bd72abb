-- Where a market stands between two vintages of its hedonic index; append-only, the newest of a month counts.
CREATE TABLE index_nowcast (
    sequence       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    segment        text NOT NULL,
    region         text NOT NULL,
    month          date NOT NULL,
    level          double precision NOT NULL CHECK (level > 0),
    standard_error double precision NOT NULL CHECK (standard_error >= 0),
    sample_size    bigint NOT NULL CHECK (sample_size >= 0),
    weight         double precision NOT NULL CHECK (weight BETWEEN 0 AND 1),
    -- Hash of the listings, and the model that valued them.
    input_hash     text NOT NULL,
    model_version  text NOT NULL,
    made_at        timestamptz NOT NULL,
    UNIQUE (segment, region, month, input_hash, model_version)
);
