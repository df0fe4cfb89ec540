-- What was sold, for ever. A row is written in the same transaction as the delivery that it is of, and outlives it. While nobody
-- knows that the money has moved it has no settled_by, and is struck out when it is known that it has not.
CREATE TABLE sales (
    payment BLOB NOT NULL PRIMARY KEY CHECK (length(payment) = 32),
    at INTEGER NOT NULL,
    route TEXT NOT NULL,
    resource TEXT NOT NULL,
    payer TEXT,
    pay_to TEXT NOT NULL,
    network TEXT NOT NULL,
    asset TEXT NOT NULL,
    symbol TEXT NOT NULL,
    decimals INTEGER NOT NULL,
    is_usd INTEGER NOT NULL CHECK (is_usd IN (0, 1)),
    amount TEXT NOT NULL,
    scheme TEXT NOT NULL,
    transaction_id TEXT,
    settled_by TEXT CHECK (settled_by IN ('facilitator', 'hook')),
    CHECK ((transaction_id IS NULL) = (settled_by IS NULL))
) STRICT;
CREATE INDEX sales_by_time ON sales (at DESC, payment);
CREATE INDEX sales_open ON sales (at DESC, payment) WHERE settled_by IS NULL;
-- The beginning of its name alone is ordered, for a facilitator may give a longer one than what an index takes.
CREATE INDEX sales_by_transaction ON sales (substr(transaction_id, 1, 128)) WHERE transaction_id IS NOT NULL;
