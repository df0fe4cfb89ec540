-- What was bought for later: time until a moment, and credits. A holder is known by the digest of pass, network and payer.
CREATE TABLE passes (
    holder BYTEA NOT NULL PRIMARY KEY CHECK (length(holder) = 32),
    until BIGINT,
    credits BIGINT NOT NULL CHECK (credits >= 0)
);

-- Which payments have bought a pass, so that none buys two. They are kept for good, as money is.
CREATE TABLE pass_payments (
    payment BYTEA NOT NULL PRIMARY KEY CHECK (length(payment) = 32),
    holder BYTEA NOT NULL
);
