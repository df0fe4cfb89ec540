-- Amounts are decimal text, for they have up to 256 bits; 64-bit numbers that need all their bits (expires_at, height,
-- fees) are stored in two's complement.

-- The processes that have the book open for writing, each until its time is past on the clock of the database.
CREATE TABLE nodes (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    until TIMESTAMPTZ NOT NULL
);

-- The last transaction that each connection has committed, by which one is found out whose answer was lost.
CREATE TABLE commits (
    connection UUID PRIMARY KEY,
    number BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- The networks that a node serves, from the first time that it asked who does.
CREATE TABLE serving (
    node BIGINT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    network TEXT NOT NULL,
    PRIMARY KEY (node, network)
);

-- Sending accounts, and who may send from them.
CREATE TABLE lanes (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network TEXT NOT NULL,
    account TEXT NOT NULL,
    node BIGINT,
    token BIGINT NOT NULL,
    UNIQUE (network, account)
);

-- One payment each, from the moment that it is about to be sent. Whether its end is for good is checked from check_at on;
-- there is none where it is for good, or a transaction that is under way is watched for it.
CREATE TABLE payments (
    key BYTEA NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    scheme TEXT NOT NULL,
    network TEXT NOT NULL,
    payer TEXT NOT NULL,
    pay_to TEXT NOT NULL,
    asset TEXT NOT NULL,
    amount TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    reference TEXT NOT NULL,
    request TEXT NOT NULL,
    caller TEXT,
    height BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('sending', 'settled', 'dead')),
    transaction_id TEXT NOT NULL,
    settled_network TEXT,
    settled_payer TEXT,
    settled_amount TEXT,
    dead_reason TEXT,
    dead_message TEXT,
    check_at BIGINT,
    CHECK (state <> 'sending' OR check_at IS NULL),
    CHECK (state <> 'settled' OR (settled_network IS NOT NULL AND settled_payer IS NOT NULL AND settled_amount IS NOT NULL)),
    CHECK (state <> 'dead' OR (dead_reason IS NOT NULL AND dead_message IS NOT NULL))
);
CREATE INDEX payments_by_time ON payments (sent_at DESC, key);
CREATE INDEX payments_sending ON payments (sent_at DESC, key) WHERE state = 'sending';
CREATE INDEX payments_dead ON payments (sent_at DESC, key) WHERE state = 'dead';
CREATE INDEX payments_to_check ON payments (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX payments_by_payer ON payments (payer, sent_at DESC, key);
CREATE INDEX payments_by_transaction ON payments (transaction_id);

-- The sequence numbers of lanes: what was written for them, and where it landed.
CREATE TABLE outgoing (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane BIGINT NOT NULL REFERENCES lanes (id),
    sequence BIGINT NOT NULL,
    height BIGINT NOT NULL,
    under_way BIGINT NOT NULL CHECK (under_way IN (0, 1)),
    landed_transaction TEXT,
    landed_height BIGINT,
    landed_block TEXT,
    landed_fee_gwei BIGINT,
    landed_succeeded BIGINT
);
CREATE UNIQUE INDEX outgoing_under_way ON outgoing (lane, sequence) WHERE under_way = 1;

-- The transactions of a sequence number, oldest first. The bytes are kept for as long as they may be needed.
CREATE TABLE transactions (
    outgoing BIGINT NOT NULL REFERENCES outgoing (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    id TEXT NOT NULL,
    signed BYTEA,
    PRIMARY KEY (outgoing, position)
);
CREATE INDEX transactions_by_id ON transactions (id);

-- The payments that they carry.
CREATE TABLE carried (
    outgoing BIGINT NOT NULL REFERENCES outgoing (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    payment BYTEA NOT NULL REFERENCES payments (key),
    PRIMARY KEY (outgoing, position)
);
CREATE INDEX carried_by_payment ON carried (payment);

-- What was spent for whom on which UTC day.
CREATE TABLE sponsored (
    day BIGINT NOT NULL,
    account TEXT NOT NULL,
    spent_gwei BIGINT NOT NULL,
    PRIMARY KEY (day, account)
);

-- What of it was booked for which transaction, to be taken back if that is refused; forgotten when it is closed.
CREATE TABLE charged (
    outgoing BIGINT NOT NULL REFERENCES outgoing (id) ON DELETE CASCADE,
    day BIGINT NOT NULL,
    account TEXT NOT NULL,
    gwei BIGINT NOT NULL,
    PRIMARY KEY (outgoing, day, account)
);

-- The server's book: a row is the newest claim of a payment.
CREATE TABLE deliveries (
    claim BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key BYTEA NOT NULL UNIQUE CHECK (length(key) = 32),
    node BIGINT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('claimed', 'settling', 'unsettled', 'served')),
    transaction_id TEXT CHECK ((transaction_id IS NOT NULL) = (state = 'served')),
    expires_at BIGINT
);
CREATE INDEX deliveries_by_expiry ON deliveries (expires_at) WHERE expires_at IS NOT NULL;

-- The client's book. Dollars are counted in units of 10^-18.
CREATE TABLE reservations (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    usd TEXT NOT NULL,
    resource TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'committed', 'released')),
    transaction_id TEXT
);
CREATE INDEX reservations_by_time ON reservations (at, state, usd);

-- The sum of all reservations but the released ones; one row, which every change of the ledger locks.
CREATE TABLE ledger_total (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    usd TEXT NOT NULL
);
INSERT INTO ledger_total (id, usd) VALUES (1, '0');
