-- What a delivery needs to be answered again: for how much its payment was to be charged, what the buyer is told of the
-- settlement, and the answer, until that is forgotten.
ALTER TABLE deliveries ADD COLUMN charge TEXT;
ALTER TABLE deliveries ADD COLUMN settlement TEXT;
ALTER TABLE deliveries ADD COLUMN answer_until BIGINT;
ALTER TABLE deliveries ADD COLUMN answer_head BYTEA;
ALTER TABLE deliveries ADD COLUMN answer_body BYTEA;
CREATE INDEX deliveries_by_answer ON deliveries (answer_until) WHERE answer_until IS NOT NULL;

-- What clients call their purchases, as a digest of the payer and the name. A name is gone with its payment's row.
CREATE TABLE purchases (
    name BYTEA NOT NULL PRIMARY KEY CHECK (length(name) = 32),
    payment BYTEA NOT NULL UNIQUE REFERENCES deliveries (key) ON DELETE CASCADE,
    request TEXT NOT NULL
);
