-- Who has ever owed something; locked while another debt of theirs is weighed.
CREATE TABLE debtors (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 32)
) STRICT, WITHOUT ROWID;

-- What was delivered, or is being delivered, before it was paid: at most so much, by this payment.
CREATE TABLE debts (
    key BLOB NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    debtor BLOB NOT NULL REFERENCES debtors (id),
    payer TEXT NOT NULL,
    network TEXT NOT NULL,
    asset TEXT NOT NULL,
    amount TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX debts_by_debtor ON debts (debtor);
