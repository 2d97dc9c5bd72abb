-- The collateral value index: every vintage as it was published, never changed afterwards.

CREATE TABLE index_publications (
    publication_id      bigserial PRIMARY KEY, -- publishers hold an advisory lock: ids become visible in order
    segment             text NOT NULL,
    region              text NOT NULL,
    method              text NOT NULL CHECK (method IN ('hedonic', 'repeat_price')),
    vintage             date NOT NULL, -- first day of the last month of the data
    base_month          date NOT NULL,
    input_hash          text NOT NULL,
    methodology_version text NOT NULL,
    published_at        timestamptz NOT NULL,
    UNIQUE (segment, region, method, vintage)
);

CREATE TABLE index_points (
    publication_id bigint NOT NULL REFERENCES index_publications,
    month          date NOT NULL,
    level          double precision NOT NULL CHECK (level > 0),
    standard_error double precision NOT NULL CHECK (standard_error >= 0),
    sample_size    bigint NOT NULL CHECK (sample_size >= 0),
    PRIMARY KEY (publication_id, month)
);

-- A frozen vintage stays frozen, whoever asks.
CREATE FUNCTION index_is_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a published index is never changed';
END $$;
CREATE TRIGGER index_publications_frozen BEFORE UPDATE OR DELETE ON index_publications FOR EACH ROW EXECUTE FUNCTION index_is_frozen();
CREATE TRIGGER index_points_frozen BEFORE UPDATE OR DELETE ON index_points FOR EACH ROW EXECUTE FUNCTION index_is_frozen();
