-- What was sold, for ever. A row is written in the same transaction as the delivery that it is of, and outlives it. While nobody
-- knows that the money has moved it has no settled_by, and is struck out when it is known that it has not.
-- Names are in the order of their bytes, whatever the order of the database is.
CREATE TABLE sales (
    payment BYTEA NOT NULL PRIMARY KEY CHECK (length(payment) = 32),
    at BIGINT NOT NULL,
    route TEXT COLLATE "C" NOT NULL,
    resource TEXT COLLATE "C" NOT NULL,
    payer TEXT COLLATE "C",
    pay_to TEXT COLLATE "C" NOT NULL,
    network TEXT COLLATE "C" NOT NULL,
    asset TEXT COLLATE "C" NOT NULL,
    symbol TEXT COLLATE "C" NOT NULL,
    decimals BIGINT NOT NULL,
    is_usd BIGINT NOT NULL CHECK (is_usd IN (0, 1)),
    amount TEXT COLLATE "C" NOT NULL,
    scheme TEXT COLLATE "C" NOT NULL,
    transaction_id TEXT,
    settled_by TEXT CHECK (settled_by IN ('facilitator', 'hook')),
    CHECK ((transaction_id IS NULL) = (settled_by IS NULL))
);
CREATE INDEX sales_by_time ON sales (at DESC, payment);
CREATE INDEX sales_open ON sales (at DESC, payment) WHERE settled_by IS NULL;
-- The beginning of its name alone is ordered, for a facilitator may give a longer one than what an index takes.
CREATE INDEX sales_by_transaction ON sales (substr(transaction_id, 1, 128)) WHERE transaction_id IS NOT NULL;
