-- What may be had so many times in a period: how many were granted in the newest one, and when that ends. A counter is known by
-- the digest of its name, which may hold an address.
CREATE TABLE quotas (
    counter BLOB NOT NULL PRIMARY KEY CHECK (length(counter) = 32),
    until INTEGER NOT NULL,
    used INTEGER NOT NULL CHECK (used > 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX quotas_by_end ON quotas (until);
