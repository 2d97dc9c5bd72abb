-- The newest vintage of the one index that marks are carried on by.
CREATE TABLE market_index (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    vintage   text NOT NULL,
    levels    text NOT NULL
);
