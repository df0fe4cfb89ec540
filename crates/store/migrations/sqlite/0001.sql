-- Amounts are decimal text, for they have up to 256 bits; 64-bit numbers that need all their bits (expires_at, height,
-- fees) are stored in two's complement.

-- The processes that opened the book for writing. The file's lock lets only one of them live: the last one here.
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY AUTOINCREMENT
) STRICT;

-- The networks that a node serves, from the first time that it asked who does.
CREATE TABLE serving (
    node INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    network TEXT NOT NULL,
    PRIMARY KEY (node, network)
) STRICT, WITHOUT ROWID;

-- Sending accounts, and who may send from them.
CREATE TABLE lanes (
    id INTEGER PRIMARY KEY,
    network TEXT NOT NULL,
    account TEXT NOT NULL,
    node INTEGER,
    token INTEGER NOT NULL,
    UNIQUE (network, account)
) STRICT;

-- One payment each, from the moment that it is about to be sent. Whether its end is for good is checked from check_at on;
-- there is none where it is for good, or a transaction that is under way is watched for it.
CREATE TABLE payments (
    key BLOB NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    scheme TEXT NOT NULL,
    network TEXT NOT NULL,
    payer TEXT NOT NULL,
    pay_to TEXT NOT NULL,
    asset TEXT NOT NULL,
    amount TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    reference TEXT NOT NULL,
    request TEXT NOT NULL,
    caller TEXT,
    height INTEGER NOT NULL,
    sent_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('sending', 'settled', 'dead')),
    transaction_id TEXT NOT NULL,
    settled_network TEXT,
    settled_payer TEXT,
    settled_amount TEXT,
    dead_reason TEXT,
    dead_message TEXT,
    check_at INTEGER,
    CHECK (state <> 'sending' OR check_at IS NULL),
    CHECK (state <> 'settled' OR (settled_network IS NOT NULL AND settled_payer IS NOT NULL AND settled_amount IS NOT NULL)),
    CHECK (state <> 'dead' OR (dead_reason IS NOT NULL AND dead_message IS NOT NULL))
) STRICT;
CREATE INDEX payments_by_time ON payments (sent_at DESC, key);
CREATE INDEX payments_sending ON payments (sent_at DESC, key) WHERE state = 'sending';
CREATE INDEX payments_dead ON payments (sent_at DESC, key) WHERE state = 'dead';
CREATE INDEX payments_to_check ON payments (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX payments_by_payer ON payments (payer, sent_at DESC, key);
CREATE INDEX payments_by_transaction ON payments (transaction_id);

-- The sequence numbers of lanes: what was written for them, and where it landed.
CREATE TABLE outgoing (
    id INTEGER PRIMARY KEY,
    lane INTEGER NOT NULL REFERENCES lanes (id),
    sequence INTEGER NOT NULL,
    height INTEGER NOT NULL,
    under_way INTEGER NOT NULL CHECK (under_way IN (0, 1)),
    landed_transaction TEXT,
    landed_height INTEGER,
    landed_block TEXT,
    landed_fee_gwei INTEGER,
    landed_succeeded INTEGER
) STRICT;
CREATE UNIQUE INDEX outgoing_under_way ON outgoing (lane, sequence) WHERE under_way = 1;

-- The transactions of a sequence number, oldest first. The bytes are kept for as long as they may be needed.
CREATE TABLE transactions (
    outgoing INTEGER NOT NULL REFERENCES outgoing (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    id TEXT NOT NULL,
    signed BLOB,
    PRIMARY KEY (outgoing, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX transactions_by_id ON transactions (id);

-- The payments that they carry.
CREATE TABLE carried (
    outgoing INTEGER NOT NULL REFERENCES outgoing (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    payment BLOB NOT NULL REFERENCES payments (key),
    PRIMARY KEY (outgoing, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX carried_by_payment ON carried (payment);

-- What was spent for whom on which UTC day.
CREATE TABLE sponsored (
    day INTEGER NOT NULL,
    account TEXT NOT NULL,
    spent_gwei INTEGER NOT NULL,
    PRIMARY KEY (day, account)
) STRICT, WITHOUT ROWID;

-- What of it was booked for which transaction, to be taken back if that is refused; forgotten when it is closed.
CREATE TABLE charged (
    outgoing INTEGER NOT NULL REFERENCES outgoing (id) ON DELETE CASCADE,
    day INTEGER NOT NULL,
    account TEXT NOT NULL,
    gwei INTEGER NOT NULL,
    PRIMARY KEY (outgoing, day, account)
) STRICT, WITHOUT ROWID;

-- The server's book: a row is the newest claim of a payment.
CREATE TABLE deliveries (
    claim INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
    node INTEGER NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('claimed', 'settling', 'unsettled', 'served')),
    transaction_id TEXT CHECK ((transaction_id IS NOT NULL) = (state = 'served')),
    expires_at INTEGER
) STRICT;
CREATE INDEX deliveries_by_expiry ON deliveries (expires_at) WHERE expires_at IS NOT NULL;

-- The client's book. Dollars are counted in units of 10^-18.
CREATE TABLE reservations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    usd TEXT NOT NULL,
    resource TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'committed', 'released')),
    transaction_id TEXT
) STRICT;
CREATE INDEX reservations_by_time ON reservations (at, state, usd);

-- The sum of all reservations but the released ones; one row, which every change of the ledger locks.
CREATE TABLE ledger_total (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    usd TEXT NOT NULL
) STRICT;
INSERT INTO ledger_total (id, usd) VALUES (1, '0');
