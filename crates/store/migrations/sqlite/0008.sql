-- What was bought for later: time until a moment, and credits. A holder is known by the digest of pass, network and payer.
CREATE TABLE passes (
    holder BLOB NOT NULL PRIMARY KEY CHECK (length(holder) = 32),
    until INTEGER,
    credits INTEGER NOT NULL CHECK (credits >= 0)
) STRICT, WITHOUT ROWID;

-- Which payments have bought a pass, so that none buys two. They are kept for good, as money is.
CREATE TABLE pass_payments (
    payment BLOB NOT NULL PRIMARY KEY CHECK (length(payment) = 32),
    holder BLOB NOT NULL
) STRICT, WITHOUT ROWID;
