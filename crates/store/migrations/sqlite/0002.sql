-- The nonces of sign-ins that are used up, as digests, until no sign-in with them can be good any more.
CREATE TABLE used_nonces (
    digest BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    useless_from INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_nonces_by_age ON used_nonces (useless_from);

-- Who may have what without paying again: the digest is of resource and payer, the network that on which it was paid for,
-- and without an end it is for ever.
CREATE TABLE grants (
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    network TEXT NOT NULL,
    resource TEXT NOT NULL,
    payer TEXT NOT NULL,
    until INTEGER,
    PRIMARY KEY (digest, network)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_end ON grants (until) WHERE until IS NOT NULL;
