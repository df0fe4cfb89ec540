-- What is paid back of sales: what was signed for it, and what became of it. A facilitator that was asked and has not answered may
-- have settled it.
CREATE TABLE refunds (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    sale BLOB NOT NULL REFERENCES sales (payment),
    at INTEGER NOT NULL,
    amount TEXT NOT NULL,
    reason TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'failed')),
    message TEXT,
    transaction_id TEXT CHECK ((transaction_id IS NOT NULL) = (state = 'settled')),
    unanswered INTEGER NOT NULL CHECK (unanswered >= 0),
    changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX refunds_by_sale ON refunds (sale);
CREATE INDEX refunds_by_time ON refunds (at DESC, id);
CREATE UNIQUE INDEX refunds_open ON refunds (sale) WHERE state = 'open';
