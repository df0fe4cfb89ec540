-- Who has ever owed something; locked while another debt of theirs is weighed.
CREATE TABLE debtors (
    id BYTEA NOT NULL PRIMARY KEY CHECK (length(id) = 32)
);

-- What was delivered, or is being delivered, before it was paid: at most so much, by this payment.
CREATE TABLE debts (
    key BYTEA NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    debtor BYTEA NOT NULL REFERENCES debtors (id),
    payer TEXT NOT NULL,
    network TEXT NOT NULL,
    asset TEXT NOT NULL,
    amount TEXT NOT NULL,
    since BIGINT NOT NULL
);
CREATE INDEX debts_by_debtor ON debts (debtor);
